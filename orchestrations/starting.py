"""What a scheduler may put into a message that starts a run; anything else is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrations.spec import NAME_PATTERN
from worker.errors import UsageError
from worker.messages import Unreadable

LONGEST_KEY = 255
"""As long as the ledger's column."""

MOST_ROWS = 2**53
"""The largest sample that every client can write as JSON."""

_PARAMETERS = ("orchestration", "key", "sample")


@dataclass(frozen=True, slots=True)
class Start:
    """What was read.

    Attributes:
        orchestration: its name; perhaps of none in the catalog.
        key: the same key again is the same run; None: the message's own id.
        sample: send only so many rows; None for all.
    """

    orchestration: str
    key: str | None = None
    sample: int | None = None


def read_start(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Start | Unreadable:
    """Return what a message asks for, whatever it holds.

    Args:
        args: its positional arguments, in the order of `Start`.
        kwargs: its named arguments.
    """
    given = dict(zip(_PARAMETERS, args, strict=False))
    known = {*given, *kwargs} <= {*_PARAMETERS}
    if len(args) > len(_PARAMETERS) or given.keys() & kwargs.keys() or not known:
        return Unreadable("malformed")
    given |= kwargs
    name, key, sample = (given.get(parameter) for parameter in _PARAMETERS)
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        return Unreadable("malformed")
    if not _is_key(key) or not _is_sample(sample):
        return Unreadable("malformed")
    return Start(name, key, sample)


def refuse_key(key: str | None) -> None:
    """Raise `UsageError` for a key of the command that a message could not have either."""
    if _is_key(key):
        return
    if key == "":
        raise UsageError(
            "the key is empty, and would keep nothing from being started twice",
            resolution="Look why the variable after --key is empty, or leave --key out.",
        )
    raise UsageError(
        f"the key is longer than {LONGEST_KEY} characters, or has some that cannot be printed",
        resolution="Give a short word that names the occasion: --key 2026-11-24T08:30",
    )


def refuse_sample(sample: int | None) -> None:
    """Raise `UsageError` for a sample of the command that a message could not ask for either."""
    if not _is_sample(sample):
        raise UsageError(
            f"a sample is a number of rows from 1 to {MOST_ROWS}",
            resolution="Give a smaller number, or leave --sample out to take all rows.",
        )


def _is_key(key: Any) -> bool:
    """An empty key is none that was meant: a variable was empty."""
    if key is None:
        return True
    return isinstance(key, str) and 0 < len(key) <= LONGEST_KEY and key.isprintable()


def _is_sample(sample: Any) -> bool:
    return sample is None or (type(sample) is int and 0 < sample <= MOST_ROWS)
