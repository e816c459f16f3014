"""Who shall be told of what: `alerts.yaml` in the catalog folder.

    channels: [ops]                   # of those that are set; absent: every one
    tell: [failed, paused, recovered]
    failed_percent: 1
    too_long: 2h
    orchestrations:
      loyalty: {channels: [crm], too_long: 30m}

A channel's address is a secret and stands in the environment, never here. Without the file every
channel that is set is told of everything in `DEFAULT_KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema

from orchestrations.document import Document, DocumentError, read_document
from orchestrations.loader import InvalidCatalog, Problem
from orchestrations.model import CatalogModel, refusal
from orchestrations.sentences import sentences
from orchestrations.spec import ALERTS_FILE, Name
from worker.times import time_span

Kind = Literal[
    "failed",  # a run failed, or its sums do not agree
    "row_failures",  # a run finished, with more failed or unconfirmed rows than it may have
    "stopped",  # a person stopped a run
    "succeeded",  # a run succeeded
    "paused",  # a destination is paused: a person must mend something
    "recovered",  # Zendesk takes the rows of a destination again that had been paused
    "too_long",  # a run goes on for longer than it should
]
"""What somebody may be told of."""

DEFAULT_KINDS: tuple[Kind, ...] = ("failed", "row_failures", "paused", "recovered", "too_long")

_CHANNEL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def _channel(value: str) -> str:
    if len(value) > 64 or not _CHANNEL.fullmatch(value):
        # The value is not repeated: it may be the address itself.
        raise refusal(
            "must be the name of a channel: lower-case letters and digits, words joined by '_', "
            "e.g. 'ops'; its address stands in DESKFEED_ALERTS__OPS"
        )
    return value


def _span(value: Any) -> float:
    seconds = time_span(value) if isinstance(value, str) else None
    if not seconds:
        raise refusal("must be a time span such as 30m, 2h or 1d")
    return seconds


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Channels = Annotated[
    tuple[Annotated[str, AfterValidator(_channel)], ...], BeforeValidator(_as_tuple)
]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_as_tuple)]
Span = Annotated[
    float,
    BeforeValidator(_span),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,6}[smhd]$"}, mode="validation"),
]


class OwnRules(CatalogModel):
    """What is otherwise for one orchestration; what it does not say is as for all others.

    Attributes:
        channels: who is told of its runs.
        tell: of what.
        failed_percent: the share of failed and unconfirmed rows above which a run that finished is
            told of.
        too_long: how long its runs may take.
    """

    channels: Channels | None = None
    tell: Kinds | None = None
    failed_percent: float | None = Field(default=None, ge=0, le=100)
    too_long: Span | None = None


class AlertRules(CatalogModel):
    """Who shall be told of what: `alerts.yaml`.

    Attributes:
        channels: who is told; absent: every channel that is set (`DESKFEED_ALERTS__<NAME>`).
        tell: of what.
        failed_percent: the share of failed and unconfirmed rows above which a run that finished is
            told of as `row_failures`; 0: of each such row.
        too_long: how long a run may take before `too_long` is told; absent: for ever.
        orchestrations: what is otherwise for some of them, by name.
    """

    channels: Channels | None = None
    tell: Kinds = DEFAULT_KINDS
    failed_percent: float = Field(default=0.0, ge=0, le=100)
    too_long: Span | None = None
    orchestrations: dict[Name, OwnRules] = Field(default_factory=dict)

    @property
    def all_channels(self) -> set[str]:
        """Every channel that is named."""
        own = [one.channels or () for one in self.orchestrations.values()]
        return {name for names in (self.channels or (), *own) for name in names}

    def of(self, orchestration: str) -> AlertRules:
        """Return the rules as they are for one orchestration."""
        own = self.orchestrations.get(orchestration)
        said = {} if own is None else own.model_dump(exclude_none=True)
        return self.model_copy(update={**said, "orchestrations": {}})


def load_rules(folder: Path, orchestrations: Collection[str] | None = None) -> AlertRules:
    """Read the rules of a catalog; without a file they are the defaults.

    Args:
        folder: the catalog folder.
        orchestrations: those that there are; None: not to be compared.

    Raises:
        CatalogError: the file is wrong; as `InvalidCatalog`, with file, line and key.
    """
    try:
        document = read_document(folder / ALERTS_FILE)
    except FileNotFoundError:
        return AlertRules()
    except DocumentError as error:
        raise InvalidCatalog([Problem(ALERTS_FILE, error.line, "", error.what)]) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise InvalidCatalog([Problem(ALERTS_FILE, 1, "", what)]) from None
    problems = list(_unknown_or_repeated(document, orchestrations))
    try:
        rules = AlertRules.model_validate(document.data)
    except ValidationError as error:
        problems += [
            Problem(ALERTS_FILE, document.line(location), ".".join(map(str, location)), what)
            for location, what in sentences(AlertRules, error)
        ]
    if problems:
        raise InvalidCatalog(problems)
    return rules


def _unknown_or_repeated(
    document: Document, orchestrations: Collection[str] | None
) -> Iterator[Problem]:
    for location, line in document.repeated:
        key = ".".join(map(str, location))
        what = f"stands twice; again in line {line}"
        yield Problem(ALERTS_FILE, document.line(location), key, what)
    own = document.data.get("orchestrations")
    if not isinstance(own, dict) or orchestrations is None:
        return
    for name in own:
        if name not in orchestrations:
            line = document.line(("orchestrations", name))
            what = "the catalog has no such orchestration"
            yield Problem(ALERTS_FILE, line, f"orchestrations.{name}", what)


def kinds() -> tuple[str, ...]:
    """Return everything that somebody may be told of."""
    return get_args(Kind)
