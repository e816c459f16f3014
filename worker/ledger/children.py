"""Chunks made of other chunks: the halves of a refused one, and the last one, of rows sent again.

Both are made within the transaction that ends the chunk they come from, so that at every moment
each row is in exactly one chunk that is open or has exactly one outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from worker.digests import canonical
from worker.ledger import spool
from worker.ledger.payloads import intact_profiles, remove_profiles, store_profiles
from worker.ledger.records import Claim
from worker.ledger.schema import chunks
from worker.ledger.states import ChunkState
from worker.profile import CHUNK_SIZE, MAX_BODY_BYTES, Profile


def add_halves(connection: Connection, claim: Claim, wake_at: float) -> list[int]:
    """Add the two halves of a chunk that was refused as a whole; returns their numbers.

    What is known of the attempts of the whole holds for its halves too.

    Args:
        connection: a transaction that holds the run (`lock_run`).
        claim: the whole.
        wake_at: when messages for them count as lost.
    """
    parent = _row(connection, claim.run_id, claim.seq)
    middle = len(claim.profiles) // 2
    first = _next_seq(connection, claim.run_id)
    for seq, half in enumerate((claim.profiles[:middle], claim.profiles[middle:]), start=first):
        _add(
            connection,
            parent,
            seq,
            half,
            state=ChunkState.QUEUED,
            again=parent.again,
            spent=parent.spent,
            first_submitted_at=parent.first_submitted_at,
            wake_at=wake_at,
        )
    return [first, first + 1]


def count_refused(connection: Connection, run_id: str, reason: str) -> int:
    """Return how many chunks as spooled were refused so; 0 if Zendesk takes others of the run.

    It does when a row was delivered, and perhaps when a chunk is being worked on. Halves do not
    count: they are refused for the same row.
    """
    mine = chunks.c.run_id == run_id
    taken = or_(chunks.c.created + chunks.c.updated > 0, chunks.c.state == ChunkState.POLLING)
    if connection.scalar(select(chunks.c.seq).where(mine, taken).limit(1)) is not None:
        return 0
    whole = (mine, chunks.c.parent_seq.is_(None), chunks.c.refused == reason)
    return int(connection.scalar(select(func.count()).where(*whole)) or 0)


def add_again(
    connection: Connection, run_id: str, parent_seq: int, profiles: Sequence[Profile]
) -> int:
    """Put rows that are sent once more into a last chunk of the run; returns its number.

    They join one that waits and has room, or make a new one.

    Args:
        connection: a transaction that holds the run (`lock_run`).
        run_id: which run.
        parent_seq: the chunk in which they failed.
        profiles: the rows.
    """
    for row in _open_again(connection, run_id):
        held = intact_profiles(connection, run_id, row.seq, row.digest)
        if held is not None and _fits(joined := (*held, *profiles)):
            _replace(connection, run_id, row.seq, joined)
            return int(row.seq)
    seq = _next_seq(connection, run_id)
    parent = _row(connection, run_id, parent_seq)
    _add(connection, parent, seq, profiles, state=ChunkState.PLANNED, again=True)
    return seq


def _open_again(connection: Connection, run_id: str) -> Sequence[Row[Any]]:
    return connection.execute(
        select(chunks)
        .where(
            chunks.c.run_id == run_id,
            chunks.c.state == ChunkState.PLANNED,
            chunks.c.again,
            chunks.c.rows < CHUNK_SIZE,
        )
        .order_by(chunks.c.seq)
    ).all()


def _fits(profiles: Sequence[Profile]) -> bool:
    if len(profiles) > CHUNK_SIZE:
        return False
    return len(canonical({"users": [p.user for p in profiles]})) <= MAX_BODY_BYTES


def _replace(connection: Connection, run_id: str, seq: int, profiles: Sequence[Profile]) -> None:
    remove_profiles(connection, run_id, seq)
    store_profiles(connection, run_id, seq, profiles)
    connection.execute(
        update(chunks)
        .where(chunks.c.run_id == run_id, chunks.c.seq == seq)
        .values(rows=len(profiles), digest=spool.payload_digest(profiles))
    )


def _add(
    connection: Connection,
    parent: Row[Any],
    seq: int,
    profiles: Sequence[Profile],
    **values: Any,
) -> None:
    connection.execute(
        insert(chunks).values(
            run_id=parent.run_id,
            seq=seq,
            parent_seq=parent.seq,
            account=parent.account,
            rows=len(profiles),
            digest=spool.payload_digest(profiles),
            **values,
        )
    )
    store_profiles(connection, parent.run_id, seq, profiles)


def _row(connection: Connection, run_id: str, seq: int) -> Row[Any]:
    return connection.execute(
        select(chunks).where(chunks.c.run_id == run_id, chunks.c.seq == seq)
    ).one()


def _next_seq(connection: Connection, run_id: str) -> int:
    last = connection.scalar(select(func.max(chunks.c.seq)).where(chunks.c.run_id == run_id))
    return int(last or 0) + 1
