"""The small blobs of a chunk that may hold values of people: tags that were read, known outcomes.

They spare requests and are never needed: what cannot be opened is read again, or looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row

from worker.ledger import spool
from worker.ledger.secrecy import seal, unseal
from worker.profile import Outcome
from worker.sealing import KeyMissing, place_of

_TAGS, _KNOWN = "chunks.tags", "chunks.known"


def sealed_tags(
    connection: Connection, run_id: str, seq: int, tags: Mapping[int, list[str] | None]
) -> bytes | None:
    """Return tags by row as they lie in the ledger, or None if there are none."""
    return _sealed(connection, place_of(_TAGS, run_id, seq), spool.encode_tags(tags))


def tags(connection: Connection, chunk: Row[Any]) -> dict[int, list[str] | None]:
    """Return the tags that a chunk's row holds, as far as they can be read."""
    place = place_of(_TAGS, chunk.run_id, chunk.seq)
    return spool.decode_tags(_opened(connection, place, chunk.tags))


def sealed_known(
    connection: Connection, run_id: str, seq: int, told: Iterable[Outcome]
) -> bytes | None:
    """Return known outcomes as they lie in the ledger, or None if there are none."""
    return _sealed(connection, place_of(_KNOWN, run_id, seq), spool.encode_outcomes(told))


def known(connection: Connection, chunk: Row[Any]) -> tuple[Outcome, ...]:
    """Return the known outcomes that a chunk's row holds; nothing of what cannot be read."""
    place = place_of(_KNOWN, chunk.run_id, chunk.seq)
    return spool.decode_outcomes(_opened(connection, place, chunk.known))


def _sealed(connection: Connection, place: bytes, blob: bytes | None) -> bytes | None:
    return None if blob is None else seal(connection, place, blob)[0]


def _opened(connection: Connection, place: bytes, blob: bytes | None) -> bytes | None:
    if blob is None:
        return None
    try:
        return unseal(connection, place, blob)
    except (KeyMissing, spool.Damaged):
        return None
