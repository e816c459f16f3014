"""What the ledger tells of the health of it all: who lives, what is late, when beat was here."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, or_, select, text

from worker.ledger.database import Database
from worker.ledger.recovery import Recovery
from worker.ledger.schema import HEAD, chunks, locks, runs, workers
from worker.ledger.states import CHUNK_ENDED, ChunkState, RunState

BEAT = "beat"
"""The lock that every tick of beat renews: how long it still holds tells when beat was here."""

BEAT_SEEN_S = 3600.0


@dataclass(frozen=True, slots=True)
class WorkerPulse:
    """A worker process that the ledger has heard of.

    Attributes:
        worker: its name.
        host: the machine's name.
        age_seconds: since when it runs.
        silent_seconds: since when it said nothing.
    """

    worker: str
    host: str
    age_seconds: float
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What should have happened by now.

    Attributes:
        late: chunks, and runs to plan.
        longest_seconds: how late the latest of them is.
    """

    late: int
    longest_seconds: float


class Pulse:
    """Asks the ledger how it all stands; changes nothing.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def workers(self) -> list[WorkerPulse]:
        """Return all workers heard of that did not say farewell, longest running first."""
        with self._db.read() as connection:
            now = self._db.now(connection)
            rows = connection.execute(select(workers).order_by(workers.c.started_at)).all()
        return [
            WorkerPulse(row.worker, row.host, now - row.started_at, now - row.seen_at)
            for row in rows
        ]

    def backlog(self) -> Backlog:
        """Return what is late; the sweeper looks after it every ten seconds."""
        with self._db.read() as connection:
            return backlog_of(connection, self._db.now(connection))

    def beat_silent_seconds(self) -> float | None:
        """Return how long ago a tick of beat was worked on; None if not within the hour."""
        with self._db.read() as connection:
            return beat_silent_of(connection, self._db.now(connection))

    def revision(self) -> tuple[str, str]:
        """Return the revision of the ledger's tables, and the one that this version is made for."""
        with self._db.read() as connection:
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return str(found), HEAD


def backlog_of(connection: Connection, now: float) -> Backlog:
    """Return what is late, within a transaction."""
    going = and_(
        chunks.c.state.not_in(CHUNK_ENDED),
        or_(runs.c.state == RunState.SENDING, chunks.c.state == ChunkState.POLLING),
    )
    late, first = connection.execute(
        select(func.count(), func.min(chunks.c.wake_at))
        .join(runs, runs.c.run_id == chunks.c.run_id)
        .where(going, chunks.c.wake_at <= now)
    ).one()
    planned, earliest = connection.execute(
        select(func.count(), func.min(runs.c.wake_at)).where(
            runs.c.state.in_((RunState.PLANNED, RunState.PLANNING)), runs.c.wake_at <= now
        )
    ).one()
    since = [moment for moment in (first, earliest) if moment is not None]
    return Backlog(late + planned, now - min(since) if since else 0.0)


def beat_silent_of(connection: Connection, now: float) -> float | None:
    """Return how long ago a tick of beat was worked on, within a transaction."""
    until = connection.scalar(select(locks.c.until).where(locks.c.name == BEAT))
    silent = None if until is None else now - (until - BEAT_SEEN_S)
    return silent if silent is not None and silent <= BEAT_SEEN_S else None


def note_beat(recovery: Recovery) -> None:
    """Note that beat is alive: one of its ticks is being worked on."""
    recovery.lock(BEAT, BEAT, BEAT_SEEN_S)
