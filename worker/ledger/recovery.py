"""What the sweeper finds: work whose worker or message is gone, put back on its way.

Every worker sweeps, one at a time (a lock in the ledger with a lease). Everything here is found
by `wake_at`, the moment by which something should have happened; nothing looks at Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Row, func, insert, select, update

from worker.errors import Conflict, Superseded
from worker.ledger import alerts
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.host import check_host
from worker.ledger.outcomes import Outcomes
from worker.ledger.reports import send_again
from worker.ledger.schema import chunks, locks, runs, workers
from worker.ledger.states import ChunkState, RunState
from worker.profile import OutcomeKind
from worker.sealing import KeyMissing
from worker.times import Times

log = structlog.get_logger(__name__)

MOST_CLAIMS_LOST = 5
"""A chunk on which so many workers in a row died is quarantined."""

MOST_UNCLEAR = 5
"""So many attempts of a chunk may end unclear; then its rows are read back and not sent again."""

MOST_READ_BACKS = 5
"""So many read-backs of a chunk may fail; then its rows are unconfirmed."""

BATCH = 200
"""Rows that one sweep takes up of each kind; the next sweep takes the rest."""


@dataclass(frozen=True, slots=True)
class Found:
    """What to enqueue again: (run_id, seq) of chunks and polls, run ids of the others."""

    deliver: tuple[tuple[str, int], ...]
    poll: tuple[tuple[str, int], ...]
    plan: tuple[str, ...]
    finish: tuple[str, ...]
    alert: tuple[str, ...] = ()


class Recovery:
    """Finds what stands still.

    Args:
        database: where the ledger lies.
        times: leases and the like.
        outcomes: ends quarantined chunks.
    """

    def __init__(self, database: Database, times: Times, outcomes: Outcomes) -> None:
        self._db = database
        self._times = times
        self._outcomes = outcomes

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew a lock for a while; False when somebody else holds it."""
        try:
            with self._db.write() as connection:
                now = self._db.now(connection)
                values = {"owner": owner, "until": now + seconds}
                free = (locks.c.until <= now) | (locks.c.owner == owner)
                changed = connection.execute(
                    update(locks).where(locks.c.name == name, free).values(**values)
                ).rowcount
                if changed:
                    return True
                held = connection.scalar(select(locks.c.owner).where(locks.c.name == name))
                if held is None:
                    connection.execute(insert(locks).values(name=name, **values))
                return held is None
        except Conflict:
            return False

    def release_expired(self) -> None:
        """Take chunks from workers whose lease is over; their fence is raised, so they are late."""
        for row in self._overdue(ChunkState.CLAIMED):
            if row.expiries + 1 >= MOST_CLAIMS_LOST:
                self._quarantine(row)
            else:
                self._take(row, state=ChunkState.QUEUED, expiries=chunks.c.expiries + 1)
        for row in self._overdue(ChunkState.SUBMITTING):
            self._settle(row)

    def _overdue(self, *states: ChunkState) -> list[Row[Any]]:
        with self._db.read() as connection:
            return list(
                connection.execute(
                    select(chunks)
                    .where(chunks.c.state.in_(states), chunks.c.wake_at <= self._db.now(connection))
                    .order_by(chunks.c.wake_at)
                    .limit(BATCH)
                )
            )

    def _take(self, row: Row[Any], **values: Any) -> None:
        with self._db.write() as connection:
            now = self._db.now(connection)
            changed = self._seize(connection, row, now, wake_at=now, **values)
            if changed:
                record(connection, self._db, "claim_expired", row.run_id, row.seq)

    def _settle(self, row: Row[Any]) -> None:
        """The POST may have left: let Zendesk finish with it before it is sent again or read."""
        with self._db.write() as connection:
            now = self._db.now(connection)
            not_before = now + self._times.settle
            changed = self._seize(
                connection,
                row,
                now,
                state=ChunkState.AMBIGUOUS,
                why="worker_lost",
                waiting_since=func.coalesce(chunks.c.waiting_since, now),
                spent=chunks.c.spent + 1,
                not_before=not_before,
                wake_at=not_before,
            )
            if changed:
                record(
                    connection, self._db, "chunk_unclear", row.run_id, row.seq, why="worker_lost"
                )

    def _seize(self, connection: Connection, row: Row[Any], now: float, **values: Any) -> bool:
        changed = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == row.run_id,
                chunks.c.seq == row.seq,
                chunks.c.state == row.state,
                chunks.c.fence == row.fence,
                chunks.c.wake_at <= now,
            )
            .values(fence=chunks.c.fence + 1, owner=None, **values)
        ).rowcount
        return changed == 1

    def _quarantine(self, row: Row[Any]) -> None:
        """End a chunk that costs one worker after the other."""
        # What may have arrived did not surely fail.
        kind = OutcomeKind.UNCONFIRMED if row.spent > 0 else OutcomeKind.FAILED
        detail = "one worker after the other died while it held this chunk"
        try:
            self._outcomes.end_all(
                row.run_id,
                row.seq,
                row.fence,
                kind,
                "quarantined",
                detail,
                leaves=(ChunkState(row.state),),
                ends=ChunkState.QUARANTINED,
            )
        except Superseded:
            return  # the worker lives after all and was quicker
        except KeyMissing as error:  # whoever has the key ends it
            log.error(
                "chunk_not_ended",
                run_id=row.run_id,
                seq=row.seq,
                reason=error.message,
                resolution=error.resolution,
            )
        except ValueError as error:  # written by a version that this one does not know
            log.error("chunk_unreadable", run_id=row.run_id, seq=row.seq, reason=str(error))

    def find_lost(self) -> Found:
        """Return what should have happened by now, and take note that it is enqueued again."""
        with self._db.write() as connection:
            now = self._db.now(connection)
            deliver = self._lost_deliveries(connection, now)
            poll = self._lost_polls(connection, now)
            plan = self._lost_plans(connection, now)
            finish = send_again(connection, now, self._times.overdue)
            alerts.note_late(connection, self._db, now)
            alert = alerts.send_again(connection, now, self._times.overdue)
        return Found(tuple(deliver), tuple(poll), tuple(plan), tuple(finish), tuple(alert))

    def _lost_deliveries(self, connection: Connection, now: float) -> list[tuple[str, int]]:
        states = (ChunkState.QUEUED, ChunkState.WAITING, ChunkState.AMBIGUOUS)
        rows = connection.execute(
            select(chunks.c.run_id, chunks.c.seq)
            .join(runs, runs.c.run_id == chunks.c.run_id)
            .where(
                chunks.c.state.in_(states),
                chunks.c.wake_at <= now,
                runs.c.state == RunState.SENDING,
            )
            .order_by(chunks.c.wake_at)
            .limit(BATCH)
        ).all()
        return [
            (row.run_id, row.seq)
            for row in rows
            if self._expect(connection, row.run_id, row.seq, states, now)
        ]

    def _lost_polls(self, connection: Connection, now: float) -> list[tuple[str, int]]:
        rows = connection.execute(
            select(chunks.c.account, chunks.c.run_id, chunks.c.seq)
            .where(chunks.c.state == ChunkState.POLLING, chunks.c.wake_at <= now)
            .limit(BATCH)
        ).all()
        found = {
            row.account: (row.run_id, row.seq)
            for row in rows
            if self._expect(connection, row.run_id, row.seq, (ChunkState.POLLING,), now)
        }
        return list(found.values())

    def _expect(
        self,
        connection: Connection,
        run_id: str,
        seq: int,
        states: Sequence[ChunkState],
        now: float,
    ) -> bool:
        """Note that a chunk's message is sent again; False when a worker has it meanwhile."""
        changed = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == run_id,
                chunks.c.seq == seq,
                chunks.c.state.in_(states),
                chunks.c.wake_at <= now,
            )
            .values(wake_at=now + self._times.overdue)
        ).rowcount
        return changed == 1

    def _lost_plans(self, connection: Connection, now: float) -> list[str]:
        overdue = connection.execute(
            select(runs.c.run_id, runs.c.state).where(
                runs.c.state.in_((RunState.PLANNED, RunState.PLANNING)), runs.c.wake_at <= now
            )
        ).all()
        planned = [row.run_id for row in overdue if row.state == RunState.PLANNED]
        connection.execute(
            update(runs)
            .where(runs.c.run_id.in_(planned), runs.c.state == RunState.PLANNED)
            .values(wake_at=now + self._times.overdue)
        )
        return [row.run_id for row in overdue]

    def active_runs(self) -> list[tuple[str, RunState]]:
        """Return the runs that are sending, paused or stopping."""
        with self._db.read() as connection:
            rows = connection.execute(
                select(runs.c.run_id, runs.c.state).where(
                    runs.c.state.in_((RunState.SENDING, RunState.PAUSED, RunState.STOPPING))
                )
            ).all()
        return [(row.run_id, RunState(row.state)) for row in rows]

    # --- who lives --------------------------------------------------------------------------

    def heartbeat(self, worker: str, host: str) -> None:
        """Say that a worker process lives.

        Raises:
            UsageError: the ledger is SQLite and was taken to another host; nothing was written.
        """
        with self._db.write() as connection:
            if self._db.is_sqlite:
                check_host(connection)
            now = self._db.now(connection)
            changed = connection.execute(
                update(workers).where(workers.c.worker == worker).values(seen_at=now)
            ).rowcount
            if changed == 0:
                connection.execute(
                    insert(workers).values(worker=worker, host=host, started_at=now, seen_at=now)
                )
            silent = now - 100 * self._times.worker_dead
            connection.execute(workers.delete().where(workers.c.seen_at < silent))

    def farewell(self, worker: str) -> None:
        """Say that a worker process ends."""
        with self._db.write() as connection:
            connection.execute(workers.delete().where(workers.c.worker == worker))

    def living_workers(self) -> list[str]:
        """Return the workers heard of lately."""
        with self._db.read() as connection:
            since = self._db.now(connection) - self._times.worker_dead
            return list(
                connection.scalars(select(workers.c.worker).where(workers.c.seen_at >= since))
            )
