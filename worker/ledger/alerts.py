"""Alerts: what must reach somebody, written down where it happens and sent from there (an outbox).

    new -> addressed; then for each channel: waiting -> sent | given_up

An alert is added within the transaction of what it tells of, so there is none without its cause
and no cause without it. Who shall get it is decided once (`address`); from then on each channel
has a send of its own, claimed with a lease, sent, and marked. A process that dies before the mark
leaves the send to whoever comes after the lease: then the channel may hear of it twice. Nothing is
lost, and nothing is told twice for another reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import Connection, Row, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.errors import DeskfeedError
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.schema import alert_sends, alerts, runs
from worker.ledger.states import RunState
from worker.times import Times

MOST_ATTEMPTS = 10
"""A send that failed so often is given up: with the pauses below after about two hours."""

LONGEST_PAUSE = 60
"""No pause between two attempts is longer than so many first ones: half an hour."""

BATCH = 200
"""Alerts that one sweep takes up; the next sweep takes the rest."""


class AlertKind(StrEnum):
    """What an alert tells of."""

    ENDED = "ended"  #: a run has ended, well or not
    PAUSED = "paused"  #: a destination was paused: a person must mend something
    RECOVERED = "recovered"  #: Zendesk took a chunk of a destination that had been paused
    TOO_LONG = "too_long"  #: a run is still active after the time it was given


class AlertState(StrEnum):
    """Where an alert stands, and the send to one channel."""

    NEW = "new"  #: nobody has decided yet who shall get it
    ADDRESSED = "addressed"  #: decided; each channel has a send of its own, or nobody wants it
    WAITING = "waiting"  #: a send that is to be made, or made again
    SENT = "sent"  #: the channel took it
    GIVEN_UP = "given_up"  #: the channel refused it too often


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that must reach somebody.

    Attributes:
        made_at: ledger time.
        data: what only the moment knew: the error of a pause, the final state of a run.
    """

    id: int
    kind: AlertKind
    run_id: str
    orchestration: str
    destination: str
    made_at: float
    state: AlertState
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Send:
    """An alert on its way through one channel.

    Attributes:
        attempts: so many, this one included when it is claimed; names the claim.
        due_at: when it may be tried again; None once it has ended.
        why: what befell the last attempt that failed.
    """

    alert: Alert
    channel: str
    state: AlertState
    attempts: int
    due_at: float | None
    ended_at: float | None
    why: str | None


# --- within the transaction of what an alert tells of ---------------------------------------------


def note_end(connection: Connection, database: Database, run_id: str, state: RunState) -> None:
    """A run has ended. Whoever takes its report (`worker.ledger.reports`) wakes this alert."""
    _add(connection, database, AlertKind.ENDED, run_id, state=state)


def wake(connection: Connection, run_id: str, now: float) -> None:
    """The report of a run was taken: from now on its alerts have a timetable of their own."""
    connection.execute(
        update(alerts)
        .where(alerts.c.run_id == run_id, alerts.c.state == AlertState.NEW)
        .values(wake_at=now)
    )


def note_pause(
    connection: Connection, database: Database, run_id: str, error: DeskfeedError
) -> None:
    """A run was paused because of its destination.

    Of many pauses of one destination the first is told; another one after a person acted on it
    (resumed or stopped a run) or Zendesk took something.
    """
    destination = _destination(connection, run_id)
    found = connection.execute(
        select(alerts.c.id, alerts.c.answered).where(alerts.c.open == destination).with_for_update()
    ).one_or_none()
    if found is not None and not found.answered:
        return
    if found is not None:
        connection.execute(update(alerts).where(alerts.c.id == found.id).values(open=None))
    data = {"code": error.code, "message": error.message, "resolution": error.resolution}
    _add(connection, database, AlertKind.PAUSED, run_id, destination, **data)


def note_answer(connection: Connection, run_id: str) -> None:
    """A person resumed or stopped a run: if its destination is paused they know of it."""
    connection.execute(
        update(alerts)
        .where(alerts.c.open == _destination(connection, run_id), ~alerts.c.answered)
        .values(answered=True)
    )


def note_accepted(
    connection: Connection, database: Database, run_id: str, destination: str
) -> None:
    """Zendesk took a chunk: a destination that had been paused has recovered.

    What was on its way when the destination was paused proves nothing: the run must have been
    resumed since, or started.
    """
    started = select(runs.c.created_at).where(runs.c.run_id == run_id).scalar_subquery()
    changed = connection.execute(
        update(alerts)
        .where(alerts.c.open == destination, or_(alerts.c.answered, alerts.c.made_at < started))
        .values(open=None)
    ).rowcount
    if changed:
        _add(connection, database, AlertKind.RECOVERED, run_id)


def note_late(connection: Connection, database: Database, now: float) -> None:
    """Tell of the runs that take longer than they were given, of each once."""
    late = select(runs.c.run_id).where(runs.c.active.is_not(None), runs.c.late_at <= now)
    told = (
        update(runs)
        .where(runs.c.run_id.in_(late.limit(BATCH)), runs.c.late_at <= now)
        .values(late_at=None)
        .returning(runs.c.run_id)
    )
    for run_id in sorted(connection.scalars(told)):
        _add(connection, database, AlertKind.TOO_LONG, run_id)


def send_again(connection: Connection, now: float, overdue: float) -> list[str]:
    """Return the runs with alerts that somebody must look after now, and expect it anew.

    Args:
        connection: a transaction that writes.
        now: the ledger's time.
        overdue: seconds after which the message that is now sent counts as lost.
    """
    late = (
        select(alerts.c.id).where(alerts.c.wake_at <= now).order_by(alerts.c.wake_at).limit(BATCH)
    )
    again = update(alerts).where(alerts.c.id.in_(late)).values(wake_at=now + overdue)
    return sorted(set(connection.scalars(again.returning(alerts.c.run_id))))


def _add(
    connection: Connection,
    database: Database,
    kind: AlertKind,
    run_id: str,
    open_: str | None = None,
    **data: Any,
) -> None:
    now = database.now(connection)
    run = connection.execute(
        select(runs.c.orchestration, runs.c.destination).where(runs.c.run_id == run_id)
    ).one()
    values = {
        "kind": kind,
        "run_id": run_id,
        "orchestration": run.orchestration,
        "destination": run.destination,
        "made_at": now,
        "state": AlertState.NEW,
        "wake_at": None if kind == AlertKind.ENDED else now,
        "open": open_,
        "data": orjson.dumps(data).decode(),
    }
    # Two runs of one destination may be paused at once: the second must not fail because of it.
    dialect = sqlite if database.is_sqlite else postgresql
    connection.execute(
        dialect.insert(alerts).values(**values).on_conflict_do_nothing(index_elements=["open"])
    )


def _destination(connection: Connection, run_id: str) -> str:
    query = select(runs.c.destination).where(runs.c.run_id == run_id)
    return str(connection.scalar(query))


# --- from the ledger to people ----------------------------------------------------------------


class Alerts:
    """What is still to be told, and through which channels.

    Args:
        database: where the ledger lies.
        times: the lease of a send, and the pause after one that failed.
    """

    def __init__(self, database: Database, times: Times) -> None:
        self._db = database
        self._times = times

    def new(self, run_id: str) -> list[Alert]:
        """Return the alerts about a run of which nobody has decided yet who shall get them."""
        query = (
            select(alerts)
            .where(alerts.c.run_id == run_id, alerts.c.state == AlertState.NEW)
            .order_by(alerts.c.id)
        )
        with self._db.read() as connection:
            return [_as_alert(row) for row in connection.execute(query)]

    def address(self, alert: Alert, channels: Iterable[str]) -> bool:
        """Decide who shall get an alert, nobody perhaps; False when somebody else has decided."""
        with self._db.write() as connection:
            changed = connection.execute(
                update(alerts)
                .where(alerts.c.id == alert.id, alerts.c.state == AlertState.NEW)
                .values(state=AlertState.ADDRESSED)
            ).rowcount
            if changed != 1:
                return False
            now = self._db.now(connection)
            sends = [
                {
                    "alert_id": alert.id,
                    "channel": channel,
                    "state": AlertState.WAITING,
                    "attempts": 0,
                    "due_at": now,
                }
                for channel in dict.fromkeys(channels)
            ]
            if sends:
                connection.execute(insert(alert_sends), sends)
            _expect(connection, alert.id)
            return True

    def claim(self, run_id: str) -> Send | None:
        """Take the next send of the alerts about a run that is due; None when none is.

        It belongs to the caller for a lease: long enough for `sent` or `failed` to be said.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            query = (
                select(alert_sends.c.alert_id, alert_sends.c.channel)
                .join(alerts, alerts.c.id == alert_sends.c.alert_id)
                .where(alerts.c.run_id == run_id, alert_sends.c.due_at <= now)
                .order_by(alert_sends.c.due_at, alert_sends.c.alert_id, alert_sends.c.channel)
            )
            for found in connection.execute(query).all():
                taken = connection.execute(
                    update(alert_sends)
                    .where(
                        alert_sends.c.alert_id == found.alert_id,
                        alert_sends.c.channel == found.channel,
                        alert_sends.c.due_at <= now,
                    )
                    .values(attempts=alert_sends.c.attempts + 1, due_at=now + self._times.lease)
                ).rowcount
                if taken:
                    _expect(connection, found.alert_id)
                    return _send(connection, found.alert_id, found.channel)
        return None

    def sent(self, send: Send) -> bool:
        """Mark a send as made; False when the lease was over and somebody else has it."""
        with self._db.write() as connection:
            return self._end(connection, send, AlertState.SENT)

    def failed(self, send: Send, why: str) -> AlertState | None:
        """Note that a channel did not take an alert: it is tried again, or given up in the end.

        Args:
            send: the claim.
            why: a word for it, without secrets.

        Returns:
            What becomes of it; None when the lease was over and somebody else has it.
        """
        with self._db.write() as connection:
            if send.attempts >= MOST_ATTEMPTS:
                mine = self._end(connection, send, AlertState.GIVEN_UP, why)
                return AlertState.GIVEN_UP if mine else None
            pause = self._times.alert_pause * min(2 ** (send.attempts - 1), LONGEST_PAUSE)
            due_at = self._db.now(connection) + pause
            mine = _change(connection, send, due_at=due_at, why=why)
            _expect(connection, send.alert.id)
            return AlertState.WAITING if mine else None

    def _end(
        self, connection: Connection, send: Send, state: AlertState, why: str | None = None
    ) -> bool:
        now = self._db.now(connection)
        mine = _change(connection, send, state=state, due_at=None, ended_at=now, why=why)
        if mine:
            _expect(connection, send.alert.id)
            record(
                connection,
                self._db,
                f"alert_{state}",
                send.alert.run_id,
                alert=send.alert.kind,
                channel=send.channel,
                attempts=send.attempts,
            )
        return mine

    def newest(self, limit: int = 50) -> list[tuple[Alert, Sequence[Send]]]:
        """Return the newest alerts with their sends, newest first."""
        with self._db.read() as connection:
            found = [
                _as_alert(row)
                for row in connection.execute(
                    select(alerts).order_by(alerts.c.id.desc()).limit(limit)
                )
            ]
            by_id = {alert.id: alert for alert in found}
            sends: dict[int, list[Send]] = {}
            query = select(alert_sends).where(alert_sends.c.alert_id.in_(by_id))
            for row in connection.execute(query.order_by(alert_sends.c.channel)):
                sends.setdefault(row.alert_id, []).append(_as_send(row, by_id[row.alert_id]))
        return [(alert, sends.get(alert.id, [])) for alert in found]

    def counts(self, given_up_within: float) -> tuple[int, int]:
        """Return how many sends wait, and how many were given up within so many seconds."""
        with self._db.read() as connection:
            since = self._db.now(connection) - given_up_within
            return count_sends(connection, since)


def count_sends(connection: Connection, since: float) -> tuple[int, int]:
    """Return how many alerts and sends wait, and how many were given up since a time."""
    new = connection.scalar(
        select(func.count()).select_from(alerts).where(alerts.c.state == AlertState.NEW)
    )
    states = select(func.count()).select_from(alert_sends)
    waiting = connection.scalar(states.where(alert_sends.c.state == AlertState.WAITING))
    given_up = connection.scalar(
        states.where(alert_sends.c.state == AlertState.GIVEN_UP, alert_sends.c.ended_at >= since)
    )
    return int(new or 0) + int(waiting or 0), int(given_up or 0)


def _change(connection: Connection, send: Send, **values: Any) -> bool:
    """Change a send that is still in the hands of whoever claimed it."""
    changed = connection.execute(
        update(alert_sends)
        .where(
            alert_sends.c.alert_id == send.alert.id,
            alert_sends.c.channel == send.channel,
            alert_sends.c.state == AlertState.WAITING,
            alert_sends.c.attempts == send.attempts,
        )
        .values(**values)
    ).rowcount
    return changed == 1


def _expect(connection: Connection, alert_id: int) -> None:
    """Let the sweeper look after an alert when the next of its sends is due."""
    due = select(func.min(alert_sends.c.due_at)).where(alert_sends.c.alert_id == alert_id)
    connection.execute(
        update(alerts).where(alerts.c.id == alert_id).values(wake_at=due.scalar_subquery())
    )


def _send(connection: Connection, alert_id: int, channel: str) -> Send:
    alert = connection.execute(select(alerts).where(alerts.c.id == alert_id)).one()
    row = connection.execute(
        select(alert_sends).where(
            alert_sends.c.alert_id == alert_id, alert_sends.c.channel == channel
        )
    ).one()
    return _as_send(row, _as_alert(alert))


def _as_alert(row: Row[Any]) -> Alert:
    return Alert(
        id=row.id,
        kind=AlertKind(row.kind),
        run_id=row.run_id,
        orchestration=row.orchestration,
        destination=row.destination,
        made_at=row.made_at,
        state=AlertState(row.state),
        data=orjson.loads(row.data),
    )


def _as_send(row: Row[Any], alert: Alert) -> Send:
    return Send(
        alert=alert,
        channel=row.channel,
        state=AlertState(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        ended_at=row.ended_at,
        why=row.why,
    )
