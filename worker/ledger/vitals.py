"""What the page of metrics tells of the ledger as a whole; nothing about single rows or people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from worker.ledger.alerts import count_sends
from worker.ledger.database import Database
from worker.ledger.pulse import backlog_of, beat_silent_of
from worker.ledger.schema import chunks, outcomes, runs
from worker.ledger.states import CHUNK_ENDED, RUN_ENDED, ChunkState, RunState
from worker.profile import OutcomeKind

LATELY_S = 86_400.0
"""What ended longer ago is not on the page any more."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """How everything stands at one moment.

    Attributes:
        active: runs in each state that is no end.
        ended: runs that ended within a day, by how.
        ages: seconds since each active run was started, by orchestration.
        paused: runs that their destination paused, by (destination, error code).
        open_chunks: chunks of active runs, by (account, state).
        quarantined: chunks that were given up in runs that are active or ended within a day, by
            account.
        unconfirmed: rows of such runs of which nobody can say what became, by orchestration.
        late: chunks and runs that should be on their way and are not.
        late_seconds: how long the latest of them.
        beat_silent_seconds: since beat's last tick was worked on; None if that is unknown.
        alerts_waiting: alerts and sends that are still to be made.
        alerts_given_up: sends that were given up within a day.
    """

    active: Mapping[str, int] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    ages: Mapping[str, float] = field(default_factory=dict)
    paused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    open_chunks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    unconfirmed: Mapping[str, int] = field(default_factory=dict)
    late: int = 0
    late_seconds: float = 0.0
    beat_silent_seconds: float | None = None
    alerts_waiting: int = 0
    alerts_given_up: int = 0


def look(database: Database) -> Vitals:
    """Return how everything stands."""
    with database.read() as connection:  # one: each costs a server several round trips
        now = database.now(connection)
        backlog = backlog_of(connection, now)
        waiting, given_up = count_sends(connection, now - LATELY_S)
        return Vitals(
            **_of_runs(connection, now),
            **_of_chunks(connection, now),
            late=backlog.late,
            late_seconds=backlog.longest_seconds,
            beat_silent_seconds=beat_silent_of(connection, now),
            alerts_waiting=waiting,
            alerts_given_up=given_up,
        )


def _of_runs(connection: Connection, now: float) -> dict[str, Any]:
    active = select(runs.c.state, func.count()).where(runs.c.active.is_not(None))
    ended = select(runs.c.state, func.count()).where(
        runs.c.state.in_(RUN_ENDED), runs.c.ended_at >= now - LATELY_S
    )
    started = select(runs.c.orchestration, runs.c.created_at).where(runs.c.active.is_not(None))
    paused = (
        select(runs.c.destination, runs.c.error_code, func.count())
        .where(
            runs.c.active.is_not(None),
            runs.c.state == RunState.PAUSED,
            runs.c.error_code.is_not(None),
        )
        .group_by(runs.c.destination, runs.c.error_code)
    )
    none = {str(state): 0 for state in RunState}
    living = {state: 0 for state in none if state not in RUN_ENDED}
    over = {state: 0 for state in none if state in RUN_ENDED}
    return {
        "active": {**living, **_counted(connection, active.group_by(runs.c.state))},
        "ended": {**over, **_counted(connection, ended.group_by(runs.c.state))},
        "ages": {name: max(0.0, now - at) for name, at in connection.execute(started)},
        "paused": {(name, code): n for name, code, n in connection.execute(paused)},
    }


def _of_chunks(connection: Connection, now: float) -> dict[str, Any]:
    lately = or_(
        runs.c.active.is_not(None),
        and_(runs.c.state.in_(RUN_ENDED), runs.c.ended_at >= now - LATELY_S),
    )
    open_ = (
        select(chunks.c.account, chunks.c.state, func.count())
        .join(runs, runs.c.run_id == chunks.c.run_id)
        .where(runs.c.active.is_not(None), chunks.c.state.not_in(CHUNK_ENDED))
        .group_by(chunks.c.account, chunks.c.state)
    )
    quarantined = (
        select(chunks.c.account, func.count())
        .join(runs, runs.c.run_id == chunks.c.run_id)
        .where(lately, chunks.c.state == ChunkState.QUARANTINED)
    )
    unconfirmed = (
        select(runs.c.orchestration, func.count())
        .join(outcomes, outcomes.c.run_id == runs.c.run_id)
        .where(lately, outcomes.c.kind == OutcomeKind.UNCONFIRMED)
    )
    return {
        "open_chunks": {(name, state): n for name, state, n in connection.execute(open_)},
        "quarantined": _counted(connection, quarantined.group_by(chunks.c.account)),
        "unconfirmed": _counted(connection, unconfirmed.group_by(runs.c.orchestration)),
    }


def _counted(connection: Connection, query: Select[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in connection.execute(query)}
