"""Every error Deskfeed raises on purpose, sorted by what its catcher must do.

    DeskfeedError                 has a code, a title, a message for the user and a resolution
    ├── UsageError                nothing was started: the command ends with 2
    │   └── CatalogError          a catalog file is wrong; names file, line and key
    ├── RunError                  the run fails, nothing (more) is sent; the command ends with 1
    ├── DestinationError          customer's to mend (401, 403, TLS, redirect): pause destination
    ├── DeliveryError             something about one request; nothing for a person to do (yet)
    │   ├── NotSent               the request surely never reached Zendesk: try again soon
    │   ├── Refused               Zendesk surely did nothing with this chunk: split it
    │   ├── Throttled             Zendesk asks to wait (account, row or jobs): no attempt is used
    │   ├── Renewed               the credential was changed meanwhile: try again with the new one
    │   └── Ambiguous             it may or may not have been done: settle, then send again
    ├── LimiterUnavailable        Redis does not answer: fail closed, no permit
    └── LedgerError
        ├── Conflict              another transaction wrote the same key first: ask again
        └── Superseded            somebody else moved this chunk or run on: drop what you hold

What each code means to people stands in `worker.explanations`. Messages never hold secrets or
customer data: they reach logs, events and Flower.
"""

from __future__ import annotations

from typing import Literal

from worker.explanations import explain


class DeskfeedError(Exception):
    """The root: an error that was foreseen, has a code and tells what to do.

    Args:
        message: one sentence for the user, without secrets and customer data.
        code: a key of `worker.explanations.EXPLANATIONS`; each class has a default.
        resolution: replaces the code's general advice where the place knows better.
    """

    default_code = "usage"

    def __init__(
        self, message: str, *, code: str | None = None, resolution: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.resolution = resolution or explain(self.code).resolution

    @property
    def title(self) -> str:
        """A few words that stand for the code."""
        return explain(self.code).title

    def as_dict(self) -> dict[str, str]:
        """The shape of `error` in `--json` output: code, title, message, resolution."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.message,
            "resolution": self.resolution,
        }


class UsageError(DeskfeedError):
    """The command, the settings or the catalog are wrong; nothing was started."""


class CatalogError(UsageError):
    """A catalog file is wrong. The message is `<file>:<line> <key>: <what>`."""

    default_code = "catalog_error"


class RunError(DeskfeedError):
    """The run cannot go on for a reason of its own; what was not sent stays unsent."""

    default_code = "query_failed"


class DestinationError(DeskfeedError):
    """Only a person can mend this; no chunk may burn attempts on it."""

    default_code = "authorization_error"


class DeliveryError(DeskfeedError):
    """One request did not do what it should; its subclasses say what follows."""

    default_code = "unclear_answer"


class NotSent(DeliveryError):
    """The request surely never reached Zendesk; sending it again is the same as sending it once."""

    default_code = "destination_unavailable"


class Refused(DeliveryError):
    """Zendesk refused the request as a whole and surely did nothing with it.

    Args:
        message: for the log.
        reason: a word for what Zendesk said (`http_422`), the same whenever it says the same; None
            when the refusal is our own.
    """

    default_code = "chunk_refused"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


Throttle = Literal["account", "chunk", "jobs"]


class Throttled(DeliveryError):
    """Zendesk asks to wait.

    Args:
        message: for the log.
        retry_after_seconds: how long, already clamped; None when Zendesk did not say.
        scope: `account` stops everybody, `chunk` cools this chunk only, `jobs` is the job limit.
    """

    default_code = "rate_limited"

    def __init__(
        self, message: str, *, retry_after_seconds: float | None, scope: Throttle = "account"
    ) -> None:
        super().__init__(message, code="too_many_jobs" if scope == "jobs" else "rate_limited")
        self.retry_after_seconds = retry_after_seconds
        self.scope: Throttle = scope


class Renewed(DeliveryError):
    """Zendesk refused a credential that has been replaced meanwhile; nothing was done."""

    default_code = "credential_renewed"


class Ambiguous(DeliveryError):
    """The request may or may not have been carried out."""

    default_code = "unclear_answer"


class LimiterUnavailable(DeskfeedError):
    """Redis gave no answer; without an answer there is no permit."""

    default_code = "limiter_unavailable"


class LedgerError(DeskfeedError):
    """The ledger cannot be read or written."""

    default_code = "ledger_unavailable"


class Conflict(LedgerError):
    """Another transaction wrote the same key first; asking again gives its result."""

    default_code = "superseded"


class Superseded(LedgerError):
    """A conditional transition touched no row: state or fence have moved on."""

    default_code = "superseded"
