"""People who are to be forgotten while runs go on, and how their rows leave such a run.

A mark (`forgotten`: a keyed hash) holds for the runs that began before it was made. Two kinds of
transaction ask for it: a claim, so that nobody who is to be forgotten is sent, and the end of a
chunk, so that nothing of them is kept. Both ask after they have changed the chunk's row. Whoever
forgets writes the mark first, and then locks each chunk with a row of the person: one of the two
sees the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from worker.digests import key_hash
from worker.ledger import blobs
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.payloads import remove_profiles, store_profiles
from worker.ledger.schema import chunks, forgotten, outcomes, runs
from worker.ledger.spool import payload_digest
from worker.ledger.states import ChunkState
from worker.profile import DELIVERED, Outcome, OutcomeKind, Profile, key_of

CODE = "forgotten"


def hashes_of(external_id: str | None, email: str | None, hash_key: bytes) -> frozenset[bytes]:
    """Return the keyed hashes of all by which a person is known: external_id, e-mail."""
    keys = (key_of(external_id, None), key_of(None, email))
    return frozenset(key_hash(key, hash_key) for key in keys if key is not None)


def rows_of(
    profiles: Sequence[Profile], hashes: Collection[bytes], hash_key: bytes
) -> frozenset[int]:
    """Return which of these rows are of a person with one of the hashes."""
    if not hashes:
        return frozenset()
    wanted = frozenset(hashes)
    return frozenset(
        p.row for p in profiles if wanted & hashes_of(p.external_id, p.email, hash_key)
    )


def marks(connection: Connection, run_id: str) -> frozenset[bytes]:
    """Return the hashes of those who are to be forgotten in a run. Hardly ever are there any."""
    query = select(forgotten.c.hash).join(runs, runs.c.created_at <= forgotten.c.at)
    return frozenset(map(bytes, connection.scalars(query.where(runs.c.run_id == run_id))))


def marked(
    connection: Connection, run_id: str, profiles: Sequence[Profile], hash_key: bytes
) -> frozenset[int]:
    """Return which rows of a run are of people who are to be forgotten."""
    return rows_of(profiles, marks(connection, run_id), hash_key)


def cleaned(found: Sequence[Outcome], doomed: Collection[int]) -> list[Outcome]:
    """Return outcomes without what tells whose they are, for these rows."""
    return [replace(o, detail=None, zendesk_id=None) if o.row in doomed else o for o in found]


def take_out(
    connection: Connection,
    database: Database,
    chunk: Row[Any],
    profiles: Sequence[Profile],
    doomed: Collection[int],
) -> list[Profile]:
    """Let rows leave a chunk that is not with Zendesk; one that has no row left ends.

    Args:
        connection: a transaction that holds the chunk's row.
        database: for the clock.
        chunk: its row.
        profiles: what it holds.
        doomed: numbers of the rows that leave it: skipped, or unconfirmed if they may have been
            sent before.

    Returns:
        What is left.
    """
    left = [profile for profile in profiles if profile.row not in doomed]
    known = {told.row: told for told in blobs.known(connection, chunk)}
    _write(connection, chunk, [_outcome(chunk, known.get(row), row) for row in sorted(doomed)])
    remove_profiles(connection, chunk.run_id, chunk.seq)
    if left:
        store_profiles(connection, chunk.run_id, chunk.seq, left)
    _shrink(connection, database, chunk, left)
    record(connection, database, "rows_forgotten", chunk.run_id, chunk.seq, rows=len(doomed))
    return left


def _outcome(chunk: Row[Any], told: Outcome | None, row: int) -> Outcome:
    if chunk.spent == 0:
        return Outcome(row, OutcomeKind.SKIPPED, CODE)
    if told is not None and told.kind not in DELIVERED:
        return Outcome(row, told.kind, told.code)
    return Outcome(row, OutcomeKind.UNCONFIRMED, "unconfirmed")


def _write(connection: Connection, chunk: Row[Any], found: Sequence[Outcome]) -> None:
    rows = [
        {
            "run_id": chunk.run_id,
            "row": o.row,
            "seq": chunk.seq,
            "kind": o.kind,
            "code": o.code,
            "forgotten": True,
        }
        for o in found
    ]
    connection.execute(insert(outcomes), rows)


def _shrink(
    connection: Connection, database: Database, chunk: Row[Any], left: Sequence[Profile]
) -> None:
    kept = {profile.row for profile in left}
    tags = {row: tags for row, tags in blobs.tags(connection, chunk).items() if row in kept}
    values: dict[str, Any] = {
        "rows": len(left),
        "digest": payload_digest(left),
        "tags": blobs.sealed_tags(connection, chunk.run_id, chunk.seq, tags),
    }
    if not left:
        values |= {
            "state": ChunkState.DONE,
            "ended_at": database.now(connection),
            **dict.fromkeys(("wake_at", "poll_at", "owner", "why", "known")),
        }
        record(connection, database, "chunk_done", chunk.run_id, chunk.seq)
    this = (chunks.c.run_id == chunk.run_id, chunks.c.seq == chunk.seq)
    connection.execute(update(chunks).where(*this).values(**values))
