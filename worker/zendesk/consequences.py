"""What follows from an answer that is not the one wanted: one table from status to error.

Two things besides the status count: whether the request changes something (after a POST, "perhaps"
must be said), and two kinds of body that say more than their status does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from worker.errors import (
    Ambiguous,
    DeskfeedError,
    DestinationError,
    NotSent,
    Refused,
    Throttled,
)
from worker.zendesk.answer import Answer
from worker.zendesk.redaction import MASK, MAX_CHARS, error_class, redact

_READ_CHARS = 2000
"""So much of a body is looked at for words that tell why."""

_SCOPE = re.compile(r"\bscopes?\b", re.IGNORECASE)
_IMPORT = re.compile(r"\bimports?\b", re.IGNORECASE)

Consequence = Callable[[Answer, bool], DeskfeedError]
"""Makes the error of an answer; the flag says whether the request was a POST."""


def error_of(answer: Answer, *, posted: bool) -> DeskfeedError | None:
    """Return the error that an answer means, or None if its status is a success.

    Args:
        answer: what Zendesk sent.
        posted: whether the request was a POST, which may have been carried out. A GET that failed
            is `NotSent`: asking again is the same as asking once.
    """
    if _error_name(answer.document) == "TooManyJobs":
        return _too_many_jobs(answer)
    if 200 <= answer.status < 300:
        return None
    consequence = _BY_STATUS.get(answer.status) or _BY_HUNDRED.get(answer.status // 100, _unclear)
    return consequence(answer, posted)


def unclear(what: str, *, posted: bool) -> DeskfeedError:
    """Return what an answer means that nobody can make sense of: `Ambiguous`, or ask again."""
    if posted:
        return Ambiguous(what)
    return NotSent(what, code="unclear_answer")


def said_by(document: Mapping[str, Any] | None) -> str:
    """Return Zendesk's own words from any of its four error envelopes, redacted; perhaps empty.

    `{"error": str, "description": str}`, `{"error": {"title", "message"}}`,
    `{"errors": [{"code", "title", "detail"}]}`, `{"error": str}`; field errors in `details`.
    """
    if document is None:
        return ""
    error = document.get("error")
    names: list[Any] = [error]
    words: list[Any] = [document.get("description"), document.get("message")]
    for nested in [error, *_items(document.get("errors"))]:
        if isinstance(nested, dict):
            names.append(nested.get("code"))
            words += [nested.get("title"), nested.get("message"), nested.get("detail")]
    words += _field_errors(document.get("details"))
    classes = [error_class(name) for name in names]
    words += [name for name, known in zip(names, classes, strict=True) if known is None]
    phrases = [known for known in classes if known]
    phrases += [redact(word) for word in words if isinstance(word, str)]
    joined = "; ".join(dict.fromkeys(phrase for phrase in phrases if phrase))
    return joined if len(joined) <= MAX_CHARS else joined[: MAX_CHARS - 1] + MASK


def _field_errors(details: Any) -> list[Any]:
    """The descriptions in `{"details": {"email": [{"description": …}]}}`; any keys, any depth 1."""
    if isinstance(details, str):
        return [details]
    if not isinstance(details, dict):
        return []
    listed = [item for items in details.values() for item in _items(items)]
    return [item.get("description") if isinstance(item, dict) else item for item in listed[:20]]


def _items(value: Any) -> list[Any]:
    return value[:20] if isinstance(value, list) else []


def _error_name(document: Mapping[str, Any] | None) -> str | None:
    name = document.get("error") if document is not None else None
    return name if isinstance(name, str) else None


def _sentence(start: str, answer: Answer) -> str:
    said = said_by(answer.document)
    return f"{start}: {said}" if said else start


# --- the consequences ---------------------------------------------------------------------------


def _too_many_jobs(answer: Answer) -> DeskfeedError:
    # The status of this answer is documented nowhere, so the body decides whatever the status.
    return Throttled(
        "Zendesk has 30 jobs queued or running",
        retry_after_seconds=answer.retry_after_s,
        scope="jobs",
    )


def _rate_limited(answer: Answer, _posted: bool) -> DeskfeedError:
    seconds = answer.retry_after_s
    if "single unique user" in answer.text[:_READ_CHARS].lower():
        # Plain text, with budget left: about one user of this chunk, not about the account.
        return Throttled(
            "one user was changed too often", retry_after_seconds=seconds, scope="chunk"
        )
    if seconds is None:
        seconds = answer.rate.reset_s
    return Throttled("Zendesk's rate limit is reached", retry_after_seconds=seconds)


def _conflict(answer: Answer, posted: bool) -> DeskfeedError:
    # Another request held the same users: nothing was done, and it will pass by itself. Resting
    # the chunk is enough; the account is fine.
    if not posted:
        return unclear("Zendesk answered 409", posted=False)
    return Throttled(
        "Zendesk is busy with the same users (409)",
        retry_after_seconds=answer.retry_after_s,
        scope="chunk",
    )


def _unavailable(answer: Answer, posted: bool) -> DeskfeedError:
    # With Retry-After, 503 is a refusal that Zendesk gives on purpose (maintenance, overload) and
    # to everybody. Should the job have been queued all the same, sending again is harmless, as
    # every row has a key. Without Retry-After it is a failure like any other 5xx.
    seconds = answer.retry_after_s
    if seconds is None:
        return _unclear(answer, posted)
    return Throttled("Zendesk is unavailable for now (503)", retry_after_seconds=seconds)


def _unclear(answer: Answer, posted: bool) -> DeskfeedError:
    return unclear(f"Zendesk answered {answer.status}", posted=posted)


def _not_logged_in(answer: Answer, _posted: bool) -> DeskfeedError:
    return DestinationError(
        _sentence("Zendesk does not accept the credential (401)", answer),
        code="invalid_credentials",
    )


def _forbidden(answer: Answer, posted: bool) -> DeskfeedError:
    # The words of these answers are documented nowhere. Where they say why, they are believed;
    # else both reasons are told, and `worker.delivery.forbidden` asks who we are.
    said = answer.text[:_READ_CHARS] if answer.document is not None else ""
    if _SCOPE.search(said):
        start, code = (
            "Zendesk refuses the request (403) for want of an OAuth scope",
            "missing_scope",
        )
    elif posted and _IMPORT.search(said):
        start = "Zendesk refuses the bulk upsert (403): bulk user import is off for the account"
        code = "bulk_import_disabled"
    elif posted:
        start = (
            "Zendesk refuses the bulk upsert (403): bulk user import is not enabled for the "
            "account, or the credential's user may not edit users"
        )
        code = "authorization_error"
    else:
        start, code = "Zendesk refuses the request (403)", "authorization_error"
    return DestinationError(_sentence(start, answer), code=code)


def _not_found(answer: Answer, _posted: bool) -> DeskfeedError:
    # Every path that we ask for exists in every account, so it is the account that is missing.
    return DestinationError(
        _sentence("Zendesk knows no account or no such path here (404)", answer),
        code="subdomain_not_found",
    )


def _redirected(answer: Answer, _posted: bool) -> DeskfeedError:
    return DestinationError(
        f"Zendesk answered {answer.status} with a redirect to {_origin(answer)}",
        code="unexpected_redirect",
    )


def _refused(answer: Answer, posted: bool) -> DeskfeedError:
    if not posted:
        return _unclear(answer, posted)
    said = _sentence(f"Zendesk refused the request ({answer.status})", answer)
    return Refused(said, reason=f"http_{answer.status}")


def _unexpected(answer: Answer, posted: bool) -> DeskfeedError:
    # Splitting the chunk would send a hundred more of these, so a person looks first.
    if not posted:
        return _unclear(answer, posted)
    return DestinationError(
        _sentence(f"Zendesk answered {answer.status}", answer), code="unexpected_answer"
    )


_BY_STATUS: Mapping[int, Consequence] = {
    400: _refused,  # TooManyValues, malformed
    401: _not_logged_in,
    403: _forbidden,
    404: _not_found,
    408: _unclear,
    409: _conflict,
    413: _refused,
    422: _refused,
    423: _unclear,
    425: _unclear,
    429: _rate_limited,
    503: _unavailable,
}

_BY_HUNDRED: Mapping[int, Consequence] = {3: _redirected, 4: _unexpected, 5: _unclear}


def _origin(answer: Answer) -> str:
    """Scheme and host of a redirect; the rest of the URL may hold anything."""
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        host = parts.hostname or ""
    except ValueError:
        return "an address that cannot be read"
    if not host:
        return "another path of the same host"
    shown = "".join(c for c in host if c.isascii() and (c.isalnum() or c in ".-:"))
    scheme = f"{parts.scheme}:" if parts.scheme in {"http", "https"} else ""
    return f"{scheme}//{shown[:253]}"
