"""How a run went: what its report asks the ledger, and what is noted for the report only.

Everything that comes out of here is bounded, or one small value per chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, and_, case, func, or_, select, update

from worker.ledger import spool
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.payloads import load_profiles
from worker.ledger.records import ChunkRows, Event, Post, RowOutcome
from worker.ledger.runs import lock_run
from worker.ledger.schema import chunks, events, outcomes, payloads, runs
from worker.ledger.states import CHUNK_ENDED, IN_FLIGHT, RUN_ENDED, ChunkState

THROTTLED_EVERY_S = 10.0
"""Zendesk's refusals of this many seconds are one event of a run, with their number: a day of
nothing else makes thousands of events and not millions."""

MILESTONES = (
    "run_created", "run_configured", "planning_warning", "run_spooled", "run_throttled",
    "run_paused", "run_resumed", "run_stopping", "run_ended",
)  # fmt: skip
"""Events of a run as a whole."""

MOST_MILESTONES = 5_000

MOST_BATCHES = 20
"""Of refused rows; whose row it was is looked for in so many batches of kept rows."""


class History:
    """Questions about the course of a run.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def now(self) -> float:
        """Return the ledger's time in seconds since the epoch."""
        with self._db.read() as connection:
            return self._db.now(connection)

    def note_throttled(self, run_id: str, scope: str, seconds: float) -> None:
        """Note that Zendesk refused a chunk of a run for now (429).

        Args:
            run_id: which run.
            scope: what is to wait: the `account`, a `chunk`, or `jobs`.
            seconds: how long Zendesk asks to wait.
        """
        with self._db.write() as connection:
            lock_run(connection, run_id)
            if not _goes_on(connection, run_id):
                return  # it was stopped meanwhile; nothing is told of what has ended
            last = _last_throttled(connection, run_id)
            now = self._db.now(connection)
            if last is None or now - last.at > THROTTLED_EVERY_S:
                told = {"scope": scope, "seconds": round(seconds, 3), "times": 1}
                record(connection, self._db, "run_throttled", run_id, None, **told)
                return
            until = max(last.at + last.told["seconds"], now + seconds)
            more = {"seconds": round(until - last.at, 3), "times": last.told["times"] + 1}
            connection.execute(
                update(events)
                .where(events.c.id == last.id)
                .values(data=orjson.dumps(last.told | more).decode())
            )

    def chunk_rows(self, run_id: str) -> ChunkRows:
        """Return how many rows of a run are in chunks, and how far these are."""
        posted = or_(chunks.c.attempt > 0, chunks.c.again)
        ended = chunks.c.state.in_(CHUNK_ENDED)
        sent = and_(ended, posted, chunks.c.state != ChunkState.CANCELLED)
        on_the_way = chunks.c.state.in_(IN_FLIGHT)
        kinds = (sent, on_the_way, and_(~ended, ~on_the_way))
        with self._db.read() as connection:
            found = connection.execute(
                select(
                    func.coalesce(func.sum(chunks.c.rows), 0),
                    *(func.coalesce(func.sum(case((k, chunks.c.rows), else_=0)), 0) for k in kinds),
                ).where(chunks.c.run_id == run_id, chunks.c.state != ChunkState.SPLIT)
            ).one()
        return ChunkRows(*map(int, found))

    def posts(self, run_id: str) -> list[Post]:
        """Return the POSTs of a run that Zendesk accepted, by the time they left."""
        query = select(events.c.at, events.c.data).where(
            events.c.run_id == run_id, events.c.kind == "chunk_submitted"
        )
        with self._db.read() as connection:
            found = connection.execute(query).all()
        told = ((row.at, orjson.loads(row.data)) for row in found)
        posts = (Post(at, data.get("stamp", at), data["users"]) for at, data in told)
        return sorted(posts, key=lambda post: post.stamp)

    def job_seconds(self, run_id: str) -> list[float]:
        """Return, for each chunk whose job ended, how long until its rows had their outcomes."""
        query = select(chunks.c.ended_at - chunks.c.submitted_at).where(
            chunks.c.run_id == run_id,
            chunks.c.state == ChunkState.DONE,
            chunks.c.submitted_at.is_not(None),
        )
        with self._db.read() as connection:
            return sorted(max(0.0, float(seconds)) for seconds in connection.scalars(query))

    def milestones(self, run_id: str) -> list[Event]:
        """Return the events of a run as a whole, in order; the last ones where they are many."""
        query = (
            select(events)
            .where(events.c.run_id == run_id, events.c.kind.in_(MILESTONES))
            .order_by(events.c.id.desc())
            .limit(MOST_MILESTONES)
        )
        with self._db.read() as connection:
            found = connection.execute(query).all()
        return [Event(row.at, row.kind, row.seq, orjson.loads(row.data)) for row in reversed(found)]

    def counts(self, run_id: str) -> Mapping[str, int]:
        """Return how many events of each kind a run has."""
        query = select(events.c.kind, func.count().label("n"))
        with self._db.read() as connection:
            rows = connection.execute(query.where(events.c.run_id == run_id).group_by("kind"))
            return {row.kind: int(row.n) for row in rows}

    def examples(self, run_id: str, kind: str, code: str, most: int) -> list[RowOutcome]:
        """Return the first rows of one outcome and code, with whose they are where it is kept."""
        query = (
            select(outcomes)
            .where(outcomes.c.run_id == run_id, outcomes.c.kind == kind, outcomes.c.code == code)
            .order_by(outcomes.c.row)
            .limit(most)
        )
        with self._db.read() as connection:
            rows = connection.execute(query).all()
            people = _people(connection, run_id, {row.row: row.seq for row in rows})
        return [
            RowOutcome(row.row, *people.get(row.row, (None, None)), row.kind, row.code, row.detail)
            for row in rows
        ]


def _goes_on(connection: Connection, run_id: str) -> bool:
    state = connection.scalar(select(runs.c.state).where(runs.c.run_id == run_id))
    return state is not None and state not in RUN_ENDED


class _Throttled(NamedTuple):
    id: int
    at: float
    told: dict[str, Any]


def _last_throttled(connection: Connection, run_id: str) -> _Throttled | None:
    row = connection.execute(
        select(events)
        .where(events.c.run_id == run_id, events.c.kind == "run_throttled")
        .order_by(events.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _Throttled(row.id, row.at, orjson.loads(row.data))


def _people(
    connection: Connection, run_id: str, wanted: Mapping[int, int | None]
) -> Mapping[int, tuple[str | None, str | None]]:
    """Return (external_id, e-mail) of rows by number, as far as they are kept.

    Args:
        connection: the transaction in which the rows were read.
        run_id: which run.
        wanted: row -> its chunk; None for a row that was refused by planning.
    """
    found: dict[int, tuple[str | None, str | None]] = {}
    for seq in sorted({seq for seq in wanted.values() if seq is not None}):
        found.update(_kept(connection, run_id, seq))
    refused = {row for row, seq in wanted.items() if seq is None}
    for batch in _batches(connection, run_id) if refused else ():
        found.update(_kept(connection, run_id, batch))
        if refused <= found.keys():
            break
    return {row: found[row] for row in wanted if row in found}


def _batches(connection: Connection, run_id: str) -> Iterator[int]:
    """Batches of refused rows are numbered -1, -2, …, in the order of the result."""
    mine = (payloads.c.run_id == run_id, payloads.c.seq < 0)
    query = select(payloads.c.seq).where(*mine).order_by(payloads.c.seq.desc())
    yield from connection.scalars(query.limit(MOST_BATCHES)).all()


def _kept(
    connection: Connection, run_id: str, seq: int
) -> Mapping[int, tuple[str | None, str | None]]:
    known = select(payloads.c.seq).where(payloads.c.run_id == run_id, payloads.c.seq == seq)
    if connection.scalar(known) is None:
        return {}  # nothing of it was kept, or the time of keeping is over
    try:
        profiles = load_profiles(connection, run_id, seq)
    except spool.Damaged:
        return {}
    return {p.row: (p.external_id, p.email) for p in profiles}
