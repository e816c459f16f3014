"""Retention: what is old enough goes, in short transactions, and never anything of a live run.

The sums of a run outlive its rows: they are written down as its summary before the first outcome
goes. What Zendesk confirmed (`delivered`) is never pruned: change detection lives on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from worker.ledger.alerts import AlertState
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.parameters import HOLDS_VALUES, without_values
from worker.ledger.schema import (
    alert_sends,
    alerts,
    audit,
    chunks,
    events,
    outcomes,
    payloads,
    runs,
    summaries,
)
from worker.ledger.states import RUN_ENDED
from worker.ledger.sums import derived_rows

DAY_S = 86_400.0

BATCH = 2_000
"""Rows removed in one transaction; payloads are larger, so a tenth of it of those."""

EXPIRE_BATCH = 200
"""Chunks whose kept rows go in one sweep."""

PAUSE_S = 0.02
"""Between two transactions: workers that wait for SQLite's only writer come first."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How long things are kept after their run has ended, in seconds.

    Attributes:
        outcomes: rows that were not delivered, with their reasons; ids of those that were.
        events: from when they happened; alerts, too.
        runs: the run itself, its chunks and sums, and whatever else is left of it.
        audit: who did what, from when they did it.
        kept_rows: the rows for `retry`, beside the end that each was given when it was kept.
    """

    outcomes: float = 30 * DAY_S
    events: float = 30 * DAY_S
    runs: float = 400 * DAY_S
    audit: float = 3_650 * DAY_S
    kept_rows: float = 400 * DAY_S

    def at_most(self, seconds: float) -> Ages:
        """Return the same with nothing kept longer than so many seconds."""
        shorter = {name: min(age, seconds) for name, age in asdict(self).items()}
        return replace(Ages(**shorter), audit=self.audit)  # it is not of runs alone


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was removed.

    Attributes:
        kept_rows: chunks (or batches of refused rows) whose kept rows went.
        outcomes: rows with their reasons.
        results: chunks whose list of Zendesk ids went.
        events: events.
        alerts: alerts of which everything is told.
        chunks: chunks.
        runs: runs.
        audit: lines of the audit.
    """

    kept_rows: int = 0
    outcomes: int = 0
    results: int = 0
    events: int = 0
    alerts: int = 0
    chunks: int = 0
    runs: int = 0
    audit: int = 0

    @property
    def anything(self) -> bool:
        """Whether there was something to remove."""
        return any(asdict(self).values())


class Retention:
    """Removes what is older than it is to be kept.

    Args:
        database: where the ledger lies.
        pause: waits between two transactions; tests pass their own.
    """

    def __init__(self, database: Database, pause: Callable[[float], None] = time.sleep) -> None:
        self._db = database
        self._pause = pause

    def look(self, ages: Ages) -> Pruned:
        """Count what `prune` would remove now."""
        with self._db.read() as connection:
            old = _Old(self._db.now(connection), ages)
            return Pruned(
                kept_rows=_count(connection, payloads, old.kept_rows),
                outcomes=_count(connection, outcomes, old.outcomes),
                results=_count(connection, chunks, old.results),
                events=_count(connection, events, old.events),
                alerts=_count(connection, alerts, old.alerts),
                chunks=_count(connection, chunks, old.of_old_runs(chunks)),
                runs=_count(connection, runs, old.runs),
                audit=_count(connection, audit, old.audit),
            )

    def prune(self, ages: Ages) -> Pruned:
        """Remove what is old enough; returns how much. Stopped midway, the next one goes on."""
        with self._db.read() as connection:
            old = _Old(self._db.now(connection), ages)
            lacking = list(connection.scalars(old.without_summary()))
        for run_id in lacking:
            self._summarise(run_id)
        self._forget_parameters()
        done = Pruned(
            kept_rows=self._remove(payloads, old.kept_rows, max(1, BATCH // 10)),
            outcomes=self._remove(outcomes, old.outcomes, BATCH),
            results=self._forget_results(old.results),
            events=self._remove(events, old.events, BATCH),
            alerts=self._remove_alerts(old),
            chunks=self._remove(chunks, old.of_old_runs(chunks), BATCH),
            audit=self._remove(audit, old.audit, BATCH),
        )
        done = replace(done, runs=self._remove_runs(old))
        if done.anything:
            with self._db.write() as connection:
                record(connection, self._db, "pruned", None, **asdict(done))
        return done

    def expire(self) -> int:
        """Remove kept rows whose time is over, one batch; returns how many chunks' rows went.

        The sweeper does it: people's rows must go also where nobody prunes.
        """
        with self._db.read() as connection:
            over = _Old(self._db.now(connection), Ages()).expired
            key = tuple_(*payloads.primary_key.columns)
            doomed = select(*payloads.primary_key.columns).where(over).limit(EXPIRE_BATCH)
            found = [tuple(row) for row in connection.execute(doomed)]
        if not found:
            return 0
        with self._db.write() as connection:
            gone = delete(payloads).where(key.in_(found), over)
            removed = int(connection.execute(gone).rowcount)
        self._db.wipe()
        return removed

    def _summarise(self, run_id: str) -> None:
        """Write down the sums, once and all together; from then on they are what holds."""
        with self._db.write() as connection:
            held = select(summaries.c.run_id).where(summaries.c.run_id == run_id).limit(1)
            if connection.scalar(held) is not None:
                return  # somebody else prunes, too
            rows = [
                {"run_id": run_id, "kind": kind, "code": code, "rows": count}
                for (kind, code), count in derived_rows(connection, run_id).items()
            ]
            if rows:
                connection.execute(insert(summaries), rows)

    def _forget_parameters(self) -> None:
        """Take the values of parameters from runs that a worker of an older version has ended."""
        left = select(runs.c.run_id, runs.c.options).where(
            runs.c.state.in_(RUN_ENDED), HOLDS_VALUES
        )
        with self._db.read() as connection:
            found = [(row.run_id, without_values(row.options)) for row in connection.execute(left)]
        for run_id, options in found:
            if options is not None:
                with self._db.write() as connection:
                    mine = update(runs).where(runs.c.run_id == run_id)
                    connection.execute(mine.values(options=options))
        if found:
            self._db.wipe()

    def _remove(self, table: Table, condition: ColumnElement[bool], batch: int) -> int:
        return self._in_batches(lambda doomed: delete(table).where(doomed), table, condition, batch)

    def _forget_results(self, condition: ColumnElement[bool]) -> int:
        def change(doomed: ColumnElement[bool]) -> Any:
            return update(chunks).where(doomed).values(results=None)

        return self._in_batches(change, chunks, condition, BATCH)

    def _in_batches(
        self,
        change: Callable[[ColumnElement[bool]], Any],
        table: Table,
        condition: ColumnElement[bool],
        batch: int,
    ) -> int:
        key = tuple_(*table.primary_key.columns)
        doomed = select(*table.primary_key.columns).where(condition).limit(batch)
        total = 0
        while True:
            with self._db.write() as connection:
                changed = connection.execute(change(key.in_(doomed))).rowcount
            total += changed
            if changed < batch:
                return total
            self._pause(PAUSE_S)

    def _remove_alerts(self, old: _Old) -> int:
        self._remove(alert_sends, old.alert_sends, BATCH)
        return self._remove(alerts, old.alerts, BATCH)

    def _remove_runs(self, old: _Old) -> int:
        """Runs go last, when nothing is left that refers to them."""
        total = 0
        empty = and_(old.runs, *(~_has(table) for table in (chunks, outcomes, payloads)))
        while True:
            with self._db.write() as connection:
                ids = connection.scalars(select(runs.c.run_id).where(empty).limit(100)).all()
                for table in (summaries, runs):
                    connection.execute(delete(table).where(table.c.run_id.in_(ids)))
            total += len(ids)
            if not ids:
                return total
            self._pause(PAUSE_S)


class _Old:
    """What is old enough at a moment, as conditions: counting and removing share them."""

    def __init__(self, now: float, ages: Ages) -> None:
        self._now = now
        self._ages = ages

    @property
    def runs(self) -> ColumnElement[bool]:
        return self._ended_for(self._ages.runs)

    def of_old_runs(self, table: Table) -> ColumnElement[bool]:
        return table.c.run_id.in_(_ids(self.runs))

    @property
    def outcomes(self) -> ColumnElement[bool]:
        return outcomes.c.run_id.in_(_ids(self._rows_ended()))

    @property
    def results(self) -> ColumnElement[bool]:
        old = chunks.c.run_id.in_(_ids(self._rows_ended()))
        return and_(old, chunks.c.results.is_not(None))

    @property
    def kept_rows(self) -> ColumnElement[bool]:
        ages = self._ages
        long_ended = self._ended_for(min(ages.kept_rows, ages.outcomes, ages.runs))
        return or_(
            self.expired,
            payloads.c.run_id.in_(_ids(long_ended)),
        )

    @property
    def expired(self) -> ColumnElement[bool]:
        over = payloads.c.expires_at <= self._now
        return and_(over, payloads.c.run_id.in_(_ids(self._ended_for(0.0))))

    @property
    def audit(self) -> ColumnElement[bool]:
        return audit.c.at <= self._now - self._ages.audit

    @property
    def events(self) -> ColumnElement[bool]:
        live = select(runs.c.run_id).where(runs.c.state.not_in(RUN_ENDED))
        of_nobody_live = or_(events.c.run_id.is_(None), events.c.run_id.not_in(live))
        return or_(
            and_(events.c.at <= self._now - self._ages.events, of_nobody_live),
            and_(events.c.run_id.is_not(None), events.c.run_id.in_(_ids(self.runs))),
        )

    @property
    def alerts(self) -> ColumnElement[bool]:
        told = and_(
            alerts.c.state == AlertState.ADDRESSED,
            alerts.c.wake_at.is_(None),
            alerts.c.open.is_(None),
            alerts.c.made_at <= self._now - self._ages.events,
        )
        return or_(told, alerts.c.run_id.in_(_ids(self.runs)))

    @property
    def alert_sends(self) -> ColumnElement[bool]:
        return alert_sends.c.alert_id.in_(select(alerts.c.id).where(self.alerts))

    def without_summary(self) -> Select[Any]:
        """Select the runs whose rows will go and whose sums are not written down yet."""
        return select(runs.c.run_id).where(
            self._rows_ended(), ~_has(summaries), or_(_has(chunks), _has(outcomes))
        )

    def _rows_ended(self) -> ColumnElement[bool]:
        return self._ended_for(min(self._ages.outcomes, self._ages.runs))

    def _ended_for(self, seconds: float) -> ColumnElement[bool]:
        """Which runs ended so long ago. One whose rows are just being taken over lives still."""
        child = runs.alias("child")
        wanted = exists().where(
            child.c.parent_run == runs.c.run_id,
            child.c.state.not_in(RUN_ENDED),
            child.c.spool_complete.is_not(True),
        )
        return and_(runs.c.state.in_(RUN_ENDED), runs.c.ended_at <= self._now - seconds, ~wanted)


def _ids(condition: ColumnElement[bool]) -> Select[Any]:
    return select(runs.c.run_id).where(condition)


def _has(table: Table) -> ColumnElement[bool]:
    return exists().where(table.c.run_id == runs.c.run_id)


def _count(connection: Connection, table: Table, condition: ColumnElement[bool]) -> int:
    return int(connection.scalar(select(func.count()).select_from(table).where(condition)) or 0)
