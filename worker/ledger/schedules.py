"""What is due, and how far that is dealt with; which ended runs others have still to follow.

Of every orchestration that starts by itself there is a row: what the catalog said when a tick last
looked, and until when every due minute is dealt with (`checked_until`). A tick starts what is due,
under a key that makes starting twice harmless, and only then moves `checked_until` on, by a
compare-and-set. So a tick that dies is made up for by the next one, and of two at once one tells
what was not started. An ended run waits for those that come `after` it in the same way, by
`runs.followed_at`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update

from worker.errors import Conflict
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.records import Run
from worker.ledger.runs import as_run
from worker.ledger.schema import meta, runs, schedules
from worker.ledger.states import RUN_ENDED

BATCH = 200
"""Ended runs that one tick looks after; the next tick takes the rest."""

PROBLEMS = "catalog_problems"

RULES = "catalog_rules"
"""Whether the catalog has an access.yaml."""


def has_rules(database: Database) -> bool:
    """Return whether the catalog of the ledger's workers had an access.yaml when last they looked.

    Raises:
        LedgerError: the ledger does not answer.
    """
    with database.read() as connection:
        value = connection.scalar(select(meta.c.value).where(meta.c.name == RULES))
    return value is not None and bytes(value) == b"1"


@dataclass(frozen=True, slots=True)
class Seen:
    """An orchestration that starts by itself, as the ledger knows it.

    Attributes:
        declared: cron and time zone, or what it comes after.
        first_seen: ledger time since when it is declared so.
        checked_until: ledger time up to which every due minute is dealt with.
        note: the last due start that did not happen.
    """

    orchestration: str
    declared: str
    first_seen: float
    checked_until: float
    note: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A due start that did not happen: an event, told once.

    Attributes:
        kind: of the event.
        key: what the run would have had; if there is such a run meanwhile, nothing is to tell.
        run_id: of the run that stands in the way, or that was to be followed.
        data: why; never customer data.
    """

    kind: str
    orchestration: str
    key: str = ""
    run_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class Schedules:
    """What ticks ask and write down.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def now(self) -> float:
        """Return the ledger's time: one clock for the ticks of all hosts."""
        with self._db.read() as connection:
            return self._db.now(connection)

    def all(self) -> dict[str, Seen]:
        """Return what ticks have seen, by orchestration."""
        with self._db.read() as connection:
            return _all(connection)

    def see(self, declared: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, Seen]:
        """Take note of what the catalog declares now; return what is known of each.

        What is new or declared otherwise counts from now on. What is no longer declared is
        forgotten.

        Args:
            declared: orchestration -> cron and time zone, or what it comes after.
            keep: orchestrations of which nobody can say what they declare: these stay as they are.
        """
        known = self.all()
        if declared == {name: one.declared for name, one in known.items() if name not in keep}:
            return known
        try:
            with self._db.write() as connection:
                self._take_note(connection, declared, keep)
                return _all(connection)
        except Conflict:  # another tick saw the same meanwhile
            return self.see(declared, keep)

    def _take_note(
        self, connection: Connection, declared: Mapping[str, str], keep: Collection[str]
    ) -> None:
        known, now = _all(connection), self._db.now(connection)
        for name in known.keys() - declared.keys() - {*keep}:
            connection.execute(delete(schedules).where(schedules.c.orchestration == name))
            self._tell(connection, [_changed(name, known[name].declared, None)])
        for name, text in declared.items():
            row = {"declared": text, "first_seen": now, "checked_until": now, "note": None}
            if name not in known:
                connection.execute(insert(schedules).values(orchestration=name, **row))
            elif known[name].declared != text:
                changed = update(schedules).where(schedules.c.orchestration == name)
                connection.execute(changed.values(**row))
                self._tell(connection, [_changed(name, known[name].declared, text)])

    def move_on(self, idle: Sequence[Seen], until: float) -> None:
        """Write down that nothing of these was due up to a time."""
        if not idle:
            return
        statement = (
            update(schedules)
            .where(
                schedules.c.orchestration == bindparam("name"),
                schedules.c.declared == bindparam("text"),
                schedules.c.checked_until == bindparam("since"),
            )
            .values(checked_until=until)
        )
        rows = [
            {"name": one.orchestration, "text": one.declared, "since": one.checked_until}
            for one in idle
        ]
        with self._db.write() as connection:
            connection.execute(statement, rows)

    def settle(self, seen: Seen, until: float, notes: Iterable[Note] = ()) -> bool:
        """Write down that what was due up to a time is started or told; False if somebody has.

        Args:
            seen: as the caller read it.
            until: up to when.
            notes: what was not started; told by whoever settles it.
        """
        with self._db.write() as connection:
            changed = connection.execute(
                update(schedules)
                .where(
                    schedules.c.orchestration == seen.orchestration,
                    schedules.c.declared == seen.declared,
                    schedules.c.checked_until == seen.checked_until,
                )
                .values(checked_until=until)
            ).rowcount
            if changed:
                self._tell(connection, notes)
            return changed == 1

    def unfollowed(self) -> list[Run]:
        """Return ended runs after which nobody has looked for what follows, oldest first."""
        query = (
            select(runs)
            .where(runs.c.followed_at.is_(None), runs.c.state.in_(RUN_ENDED))
            .order_by(runs.c.ended_at)
            .limit(BATCH)
        )
        with self._db.read() as connection:
            return [as_run(row) for row in connection.execute(query)]

    def followed(self, run_id: str, notes: Iterable[Note] = ()) -> bool:
        """Write down that what follows a run is started or told; False if somebody has."""
        with self._db.write() as connection:
            changed = connection.execute(
                update(runs)
                .where(
                    runs.c.run_id == run_id,
                    runs.c.state.in_(RUN_ENDED),
                    runs.c.followed_at.is_(None),
                )
                .values(followed_at=self._db.now(connection))
            ).rowcount
            if changed:
                self._tell(connection, notes)
            return changed == 1

    def tell_problems(self, problems: Sequence[str]) -> bool:
        """Record an event when the catalog is broken in another way than before, or is mended.

        Args:
            problems: the sentences of `check`; none when it is right.

        Returns:
            Whether anything is new.
        """
        text = "\n".join(problems).encode()
        query = select(meta.c.value).where(meta.c.name == PROBLEMS)
        with self._db.read() as connection:
            if (connection.scalar(query) or b"") == text:
                return False
        try:
            with self._db.write() as connection:
                before = connection.scalar(query.with_for_update())
                if (before or b"") == text:
                    return False
                if before is None:
                    connection.execute(insert(meta).values(name=PROBLEMS, value=text))
                row = update(meta).where(meta.c.name == PROBLEMS)
                connection.execute(row.values(value=text))
                kind = "catalog_broken" if problems else "catalog_mended"
                record(connection, self._db, kind, None, problems=list(problems))
                return True
        except Conflict:  # another tick told of it
            return False

    def note_rules(self, *, there: bool) -> None:
        """Record whether the catalog has an access.yaml, for commands that find another one."""
        value = b"1" if there else b"0"
        with self._db.read() as connection:
            if connection.scalar(select(meta.c.value).where(meta.c.name == RULES)) == value:
                return
        try:
            with self._db.write() as connection:
                row = update(meta).where(meta.c.name == RULES).values(value=value)
                if connection.execute(row).rowcount == 0:
                    connection.execute(insert(meta).values(name=RULES, value=value))
        except Conflict:  # another tick did
            return

    def _tell(self, connection: Connection, notes: Iterable[Note]) -> None:
        for note in notes:
            run = (runs.c.orchestration == note.orchestration) & (runs.c.key == note.key)
            if note.key and connection.scalar(select(exists().where(run))):
                continue  # another tick could start it
            data = {"orchestration": note.orchestration, **note.data}
            record(connection, self._db, note.kind, note.run_id, **data)
            text = orjson.dumps({"kind": note.kind, **data}).decode()
            row = update(schedules).where(schedules.c.orchestration == note.orchestration)
            connection.execute(row.values(note=text))


def _all(connection: Connection) -> dict[str, Seen]:
    rows = connection.execute(select(schedules).order_by(schedules.c.orchestration))
    return {
        row.orchestration: Seen(
            orchestration=row.orchestration,
            declared=row.declared,
            first_seen=row.first_seen,
            checked_until=row.checked_until,
            note=orjson.loads(row.note) if row.note else None,
        )
        for row in rows
    }


def _changed(name: str, before: str, now: str | None) -> Note:
    """Return the note of a declaration that counts anew: what was due before it is left out."""
    return Note("schedule_changed", name, data={"before": before, "now": now})
