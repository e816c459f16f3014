"""A run's window: which of its planned chunks are let in, so that only so many are under way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exists, func, select, update

from worker.ledger.runs import lock_run
from worker.ledger.schema import chunks, runs
from worker.ledger.states import CHUNK_ENDED, UNSUBMITTED, ChunkState, RunState


def admit_planned(connection: Connection, run_id: str, window: int, wake_at: float) -> list[int]:
    """Queue planned chunks until `window` of the run are not yet submitted; returns them.

    Rows that are sent again were in conflict with other jobs: their chunk is let in last, when all
    others of the run have ended.

    Args:
        connection: a transaction that writes.
        run_id: which run.
        window: how many at a time.
        wake_at: when their messages count as lost.
    """
    lock_run(connection, run_id)
    waiting = connection.scalar(
        select(func.count()).where(chunks.c.run_id == run_id, chunks.c.state.in_(UNSUBMITTED))
    )
    room = window - int(waiting or 0)
    if room <= 0:
        return []
    first = (
        select(chunks.c.seq)
        .where(chunks.c.run_id == run_id, chunks.c.state == ChunkState.PLANNED)
        .where(run_is(run_id, RunState.SENDING), ~chunks.c.again | _others_ended(run_id))
        .order_by(chunks.c.seq)
        .limit(room)
    )
    admitted = connection.scalars(
        update(chunks)
        .where(
            chunks.c.run_id == run_id,
            chunks.c.state == ChunkState.PLANNED,
            chunks.c.seq.in_(first.scalar_subquery()),
        )
        .values(state=ChunkState.QUEUED, wake_at=wake_at)
        .returning(chunks.c.seq)
    ).all()
    return sorted(admitted)


def last_waits(connection: Connection, run_id: str) -> bool:
    """Return whether the run has a chunk of rows to send again that was not let in yet."""
    waiting = select(chunks.c.seq).where(
        chunks.c.run_id == run_id, chunks.c.state == ChunkState.PLANNED, chunks.c.again
    )
    return connection.scalar(waiting.limit(1)) is not None


def run_is(run_id: str, state: RunState) -> Any:
    """The condition that a run is in a state."""
    return exists().where(runs.c.run_id == run_id, runs.c.state == state)


def _others_ended(run_id: str) -> Any:
    others = chunks.alias("others")
    return ~exists().where(
        others.c.run_id == run_id, ~others.c.again, others.c.state.not_in(CHUNK_ENDED)
    )
