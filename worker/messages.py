"""What a message of ours holds: a version, a run, perhaps a chunk. Anything else is left alone.

A message is a hint, so one that cannot be read costs nothing: it is acknowledged, logged by the
name of its task and never by its contents, and the sweeper puts the work back on its way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VERSION = 1
"""The `v` of every message; one of another version is left to the sweeper of who knows it."""

_RUN_ID = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)

MOST_SEQ = 2**31 - 1
"""The largest number of a chunk that every database can hold."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was read.

    Attributes:
        run_id: the run.
        seq: the chunk; 0 in a message about the whole run.
    """

    run_id: str
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message to leave alone.

    Attributes:
        why: `unknown version` or `malformed`.
    """

    why: str


def read(args: Sequence[Any], kwargs: Mapping[str, Any], *, chunk: bool) -> Message | Unreadable:
    """Return what a message says, whatever it holds.

    Args:
        args: its positional arguments; ours have none.
        kwargs: its named arguments.
        chunk: whether it must name a chunk.
    """
    version = kwargs.get("v")
    numbered = type(version) is int
    if numbered and version != VERSION:
        return Unreadable("unknown version")
    known = names(kwargs)
    wanted = {"run_id", "seq"} if chunk else {"run_id"}
    if args or not numbered or set(kwargs) != wanted | {"v"} or set(known) != wanted:
        return Unreadable("malformed")
    return Message(known["run_id"], known.get("seq", 0))


def names(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return run and chunk as far as they are what they should be: fit to be logged."""
    found: dict[str, Any] = {}
    run_id, seq = kwargs.get("run_id"), kwargs.get("seq")
    if isinstance(run_id, str) and _RUN_ID.fullmatch(run_id):
        found["run_id"] = run_id
    if type(seq) is int and 0 < seq <= MOST_SEQ:
        found["seq"] = seq
    return found
