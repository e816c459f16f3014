"""The transitions of a run, each one conditional UPDATE, and the questions asked about runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from worker.errors import Conflict, DeskfeedError, Superseded, UsageError
from worker.ledger import alerts, audit, parameters
from worker.ledger.database import Database
from worker.ledger.endings import final_state, may_end, too_many_failed
from worker.ledger.events import record
from worker.ledger.limits import declare
from worker.ledger.payloads import check_snapshot
from worker.ledger.records import NewRun, Run, Target
from worker.ledger.schema import runs
from worker.ledger.states import RunState
from worker.times import Times


class Runs:
    """Every way a run changes.

    Args:
        database: where the ledger lies.
        times: leases and the like.
        hash_key: by it the parameters of a run are known again when they are gone.
    """

    def __init__(self, database: Database, times: Times, hash_key: bytes) -> None:
        self._db = database
        self._times = times
        self._hash_key = hash_key

    def start(self, new: NewRun) -> tuple[Run, bool]:
        """Record a run; return it and whether it is new. The same key again is the same run.

        Raises:
            UsageError: another run of this orchestration is still active.
            KeyMissing: its parameters must be encrypted, and there is no key here.
        """
        try:
            with self._db.write() as connection:
                found = self._by_key(connection, new)
                if found is not None:
                    return found, False
                self._refuse_second(connection, new)
                declare(connection, new.target.account, new.limits)
                connection.execute(insert(runs).values(**self._values(connection, new)))
                self._record_start(connection, new)
                self._audit_start(connection, new)
                return as_run(_row(connection, new.run_id)), True
        except Conflict:  # somebody started the same meanwhile; now it is there to be found
            return self.start(new)

    def _record_start(self, connection: Connection, new: NewRun) -> None:
        limits = asdict(new.limits)  # as declared now: the report draws the rate against them
        about: dict[str, Any] = {"orchestration": new.orchestration, "limits": limits}
        about["origin"] = new.origin
        record(connection, self._db, "run_created", new.run_id, **about)

    def _audit_start(self, connection: Connection, new: NewRun) -> None:
        action = "retry" if new.parent_run else "run"
        data = {"orchestration": new.orchestration, "destination": new.target.destination}
        data |= {"parent": new.parent_run} if new.parent_run else {}
        data |= {"origin": new.origin, "key": new.key} if new.origin != "manual" else {}
        audit.write(connection, self._db, new.principal, action, new.run_id, **data)

    def _by_key(self, connection: Connection, new: NewRun) -> Run | None:
        row = connection.execute(
            select(runs).where(runs.c.orchestration == new.orchestration, runs.c.key == new.key)
        ).one_or_none()
        return None if row is None else as_run(row)

    def _refuse_second(self, connection: Connection, new: NewRun) -> None:
        active = connection.execute(
            select(runs.c.run_id, runs.c.key).where(runs.c.active == new.orchestration)
        ).one_or_none()
        if active is None:
            return
        if active.key == new.key:  # committed since we looked for it (PostgreSQL)
            raise Conflict("somebody started the same run meanwhile")
        raise UsageError(
            f"{new.orchestration} is already being run as {active.run_id}",
            code="already_active",
            resolution=f"Wait for it or look at it: deskfeed show {active.run_id}",
        )

    def _values(self, connection: Connection, new: NewRun) -> dict[str, Any]:
        now = self._db.now(connection)
        options = parameters.as_written(connection, new.run_id, new.options, self._hash_key)
        return {
            "run_id": new.run_id,
            "orchestration": new.orchestration,
            "key": new.key,
            "active": new.orchestration,
            "state": RunState.PLANNED,
            "destination": new.target.destination,
            "account": new.target.account,
            "target": _dump_target(new.target),
            "options": orjson.dumps(options).decode(),
            "principal": new.principal,
            "parent_run": new.parent_run,
            "origin": new.origin,
            "created_at": now,
            "wake_at": now + self._times.overdue,
            "late_at": None if new.too_long is None else now + new.too_long,
        }

    def get(self, run_id: str) -> Run | None:
        """Return a run, or None."""
        with self._db.read() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
        return None if row is None else as_run(row)

    def newest(self, limit: int = 20, orchestration: str | None = None) -> list[Run]:
        """Return the newest runs, newest first: all, or those of one orchestration."""
        query = select(runs).order_by(runs.c.created_at.desc(), runs.c.run_id.desc()).limit(limit)
        if orchestration is not None:
            query = query.where(runs.c.orchestration == orchestration)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return [as_run(row) for row in rows]

    def active(self, orchestration: str) -> str | None:
        """Return the id of the run of an orchestration that has not ended, or None."""
        with self._db.read() as connection:
            query = select(runs.c.run_id).where(runs.c.active == orchestration)
            return connection.scalar(query)

    def matching(self, prefix: str) -> list[str]:
        """Return the ids that begin with a prefix, newest first; at most ten."""
        with self._db.read() as connection:
            query = select(runs.c.run_id).where(runs.c.run_id.startswith(prefix, autoescape=True))
            return list(connection.scalars(query.order_by(runs.c.created_at.desc()).limit(10)))

    # --- planning ---------------------------------------------------------------------------

    def claim_plan(self, run_id: str) -> Run | None:
        """Take up the planning of a run, or return None if there is nothing to plan.

        A planning whose lease expired is taken over; `Spool.clear` then removes what it left.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            free = or_(
                runs.c.state == RunState.PLANNED,
                (runs.c.state == RunState.PLANNING) & (runs.c.wake_at <= now),
            )
            changed = connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id, free)
                .values(
                    state=RunState.PLANNING,
                    plan_fence=runs.c.plan_fence + 1,
                    plan_expiries=runs.c.plan_expiries
                    + case((runs.c.state == RunState.PLANNING, 1), else_=0),
                    started_at=func.coalesce(runs.c.started_at, now),
                    wake_at=now + self._times.lease,
                )
            ).rowcount
            return as_run(_row(connection, run_id)) if changed == 1 else None

    def renew_plan(self, run_id: str, fence: int) -> None:
        """Say that planning is alive.

        Raises:
            Superseded: the planning was taken over, or the run was stopped.
        """
        with self._db.write() as connection:
            self.hold_plan(connection, run_id, fence)

    def hold_plan(self, connection: Connection, run_id: str, fence: int, **values: Any) -> None:
        """Within a transaction: renew the planner's lease and write its progress."""
        _changed_one(
            connection.execute(
                update(runs)
                .where(
                    runs.c.run_id == run_id,
                    runs.c.state == RunState.PLANNING,
                    runs.c.plan_fence == fence,
                )
                .values(wake_at=self._db.now(connection) + self._times.lease, **values)
            ).rowcount,
            f"planning of {run_id}",
        )

    # --- the end ----------------------------------------------------------------------------

    def postpone_plan(self, run: Run, seconds: float) -> None:
        """Give a planning back for a while, for a reason that passes by itself.

        Raises:
            Superseded: the planning was taken over, or the run was stopped.
        """
        with self._db.write() as connection:
            self.hold_plan(connection, run.run_id, run.plan_fence, state=RunState.PLANNED)
            connection.execute(
                update(runs)
                .where(runs.c.run_id == run.run_id)
                .values(wake_at=self._db.now(connection) + seconds)
            )

    def fail_plan(self, run: Run, error: DeskfeedError) -> None:
        """End a run whose planning cannot go on; what it spooled is cancelled.

        Raises:
            Superseded: the planning was taken over, or the run was stopped.
        """
        mine = (runs.c.state == RunState.PLANNING, runs.c.plan_fence == run.plan_fence)
        if not self._stop(run.run_id, mine, RunState.FAILED, error):
            raise Superseded(f"planning of {run.run_id} has been taken over or has ended")

    def stop(
        self,
        run_id: str,
        *,
        ends_as: RunState = RunState.STOPPED,
        error: DeskfeedError | None = None,
        by: str | None = None,
    ) -> bool:
        """Let nothing new out. Jobs in flight are polled to the end; the rest becomes cancelled.

        The run is `stopping` until `Chunks.cancel_some` and the pollers have ended every chunk,
        then `close` gives it the state `ends_as`. Returns whether this call did it.
        """
        active = (RunState.PLANNED, RunState.PLANNING, RunState.SENDING, RunState.PAUSED)
        return self._stop(run_id, (runs.c.state.in_(active),), ends_as, error, by)

    def _stop(
        self,
        run_id: str,
        conditions: Sequence[ColumnElement[bool]],
        ends_as: RunState,
        error: DeskfeedError | None,
        by: str | None = None,
    ) -> bool:
        with self._db.write() as connection:
            # Why a run was paused stays to be seen when it is stopped.
            values = _error_values(error) if error else {}
            changed = connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id, *conditions)
                .values(
                    state=RunState.STOPPING,
                    ends_as=ends_as,
                    plan_fence=runs.c.plan_fence + 1,
                    started_at=func.coalesce(runs.c.started_at, self._db.now(connection)),
                    wake_at=self._db.now(connection),
                    **values,
                )
            ).rowcount
            if changed:
                record(
                    connection, self._db, "run_stopping", run_id, ends_as=ends_as, **_code(error)
                )
                if by is not None:
                    alerts.note_answer(connection, run_id)
                self._audit(connection, by, "stop", run_id)
            return changed == 1

    def _audit(self, connection: Connection, by: str | None, action: str, run_id: str) -> None:
        """What a person did; what a worker did by itself is an event only."""
        if by is not None:
            audit.write(connection, self._db, by, action, run_id)

    def pause(
        self, run_id: str, error: DeskfeedError | None = None, *, by: str | None = None
    ) -> bool:
        """Let nothing new out until `resume`; returns whether this call did it."""
        with self._db.write() as connection:
            changed = connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id, runs.c.state == RunState.SENDING)
                .values(state=RunState.PAUSED, **_error_values(error))
            ).rowcount
            if changed:
                record(connection, self._db, "run_paused", run_id, **_code(error))
                if error is not None:
                    alerts.note_pause(connection, self._db, run_id, error)
                self._audit(connection, by, "pause", run_id)
            return changed == 1

    def pause_destination(self, destination: str, error: DeskfeedError) -> list[str]:
        """Pause every run that is sending to a destination; returns their ids."""
        with self._db.read() as connection:
            ids = connection.scalars(
                select(runs.c.run_id).where(
                    runs.c.destination == destination, runs.c.state == RunState.SENDING
                )
            ).all()
        return [run_id for run_id in ids if self.pause(run_id, error)]

    def resume(self, run_id: str, *, by: str | None = None) -> bool:
        """Let a paused run go on with the same snapshot; returns whether this call did it.

        Raises:
            RunError: rows that are not sent yet are not what was spooled; the run stays paused.
        """
        run = self.get(run_id)
        if run is not None and run.state == RunState.PAUSED:
            check_snapshot(self._db, run_id)
        with self._db.write() as connection:
            changed = connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id, runs.c.state == RunState.PAUSED)
                .values(state=RunState.SENDING, **_error_values(None))
            ).rowcount
            if changed:
                record(connection, self._db, "run_resumed", run_id)
                alerts.note_answer(connection, run_id)
                self._audit(connection, by, "resume", run_id)
            return changed == 1

    def stop_if_too_many_failed(self, run_id: str) -> None:
        """Stop a run when more of its rows failed than its orchestration allows."""
        with self._db.read() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
            if row is None or row.state not in (RunState.SENDING, RunState.PAUSED):
                return
            error = too_many_failed(connection, row)
        if error is not None:
            self.stop(run_id, ends_as=RunState.FAILED, error=error)

    def close(self, run_id: str) -> RunState | None:
        """End a run whose chunks have all ended; returns its final state if this call ended it.

        The sums must agree, else the state is `inconsistent`: never success without proof. The
        values of its parameters go: nobody needs them any more.
        """
        final, had_values = self._close(run_id)
        if had_values:
            self._db.wipe()
        return final

    def _close(self, run_id: str) -> tuple[RunState | None, bool]:
        with self._db.write() as connection:
            # A whole FOR UPDATE: `active`, which is unique, is a key to PostgreSQL, and it changes.
            # A weaker lock would have to be raised below, and two who raise theirs may deadlock.
            row = connection.execute(
                select(runs).where(runs.c.run_id == run_id).with_for_update()
            ).one_or_none()
            if row is None or not may_end(connection, row):
                return None, False
            final, error = final_state(connection, row)
            values = _error_values(error) if error else {}
            options = parameters.without_values(row.options)
            values |= {} if options is None else {"options": options}
            now = self._db.now(connection)
            connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id)
                .values(
                    state=final,
                    active=None,
                    ended_at=now,
                    wake_at=now + self._times.overdue,  # by then somebody has told of it
                    **values,
                )
            )
            record(connection, self._db, "run_ended", run_id, state=final)
            alerts.note_end(connection, self._db, run_id, final)
            return final, options is not None


def _row(connection: Connection, run_id: str) -> Row[Any]:
    return connection.execute(select(runs).where(runs.c.run_id == run_id)).one()


def _changed_one(rowcount: int, what: str) -> None:
    if rowcount != 1:
        raise Superseded(f"{what} has been taken over or has ended")


def _error_values(error: DeskfeedError | None) -> dict[str, str | None]:
    return {
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "error_resolution": error.resolution if error else None,
    }


def _code(error: DeskfeedError | None) -> dict[str, Any]:
    return {"code": error.code} if error else {}


def _dump_target(target: Target) -> str:
    return orjson.dumps(target).decode()


def lock_run(connection: Connection, run_id: str) -> None:
    """Keep other transactions from adding or admitting chunks of a run until this one ends.

    On PostgreSQL FOR NO KEY UPDATE (`key_share`): whoever inserts an outcome or a payload holds the
    run's key (a foreign key's FOR KEY SHARE), which FOR UPDATE would keep waiting although nobody
    changes a key here. SQLite has one writer anyway.
    """
    row = select(runs.c.run_id).where(runs.c.run_id == run_id)
    connection.execute(row.with_for_update(key_share=True))


def load_target(text: str) -> Target:
    """Return the target that a run's row holds as JSON."""
    return Target(**orjson.loads(text))


def as_run(row: Row[Any]) -> Run:
    """Return the run that a row of `runs` holds."""
    return Run(
        run_id=row.run_id,
        orchestration=row.orchestration,
        key=row.key,
        state=RunState(row.state),
        target=load_target(row.target),
        options=orjson.loads(row.options),
        principal=row.principal,
        parent_run=row.parent_run,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        plan_fence=row.plan_fence,
        plan_expiries=row.plan_expiries,
        rows_read=row.rows_read,
        unchanged=row.unchanged,
        spool_complete=row.spool_complete,
        ends_as=RunState(row.ends_as) if row.ends_as else None,
        error=_error(row),
        polls=row.polls,
        origin=row.origin,
    )


def _error(row: Row[Any]) -> Mapping[str, str] | None:
    if row.error_code is None:
        return None
    return {
        "code": row.error_code,
        "message": row.error_message or "",
        "resolution": row.error_resolution or "",
    }
