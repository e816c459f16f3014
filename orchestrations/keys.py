"""The keys of runs that start by themselves. A run with such a key *is* the one that was due.

The same key is the same run, whatever it was started with. So a key of these forms is taken from a
schedule, from `after`, and from a person who means that run; a message on the broker, which nobody
signs, may not use one: a sample under it would stand in the place of the whole delivery.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

_MINUTE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z", re.ASCII)
_RUN_ID = re.compile(r"df-\d{8}T\d{6}Z-[0-9a-f]{6}", re.ASCII)


def key_of(due: datetime) -> str:
    """Return the key of the run that is due at a minute."""
    return f"{due.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def new_run_id(now: datetime | None = None) -> str:
    """Return an id that sorts by time and whose end cannot be guessed.

    It is the key of runs that come after this one.
    """
    moment = now or datetime.now(UTC)
    return f"df-{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def is_reserved(key: str) -> bool:
    """Whether a key has the form of those that schedules and `after` give to their runs."""
    return bool(_MINUTE.fullmatch(key) or _RUN_ID.fullmatch(key))
