"""What people ask the ledger: a run with its sums, the rows not delivered, the events."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from sqlalchemy import Connection, func, select, union

from worker.ledger import spool
from worker.ledger.database import Database
from worker.ledger.limits import count_jobs, standing
from worker.ledger.payloads import load_profiles
from worker.ledger.records import AccountView, Event, Limits, RowOutcome, RunView, Waiting
from worker.ledger.runs import as_run
from worker.ledger.schema import (
    accounts,
    chunks,
    events,
    limit_overrides,
    outcomes,
    payloads,
    runs,
    summaries,
)
from worker.ledger.states import HELD_BACK, ChunkState, RunState
from worker.ledger.sums import ended_rows, row_sums
from worker.profile import OutcomeKind

NOT_DELIVERED = (OutcomeKind.FAILED, OutcomeKind.UNCONFIRMED, OutcomeKind.SKIPPED)


class Views:
    """Questions that change nothing.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def run(self, run_id: str) -> RunView | None:
        """Return a run with its sums at one moment, or None."""
        with self._db.read() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
            if row is None:
                return None
            states = connection.execute(
                select(
                    chunks.c.state,
                    func.count().label("n"),
                    func.coalesce(func.sum(chunks.c.attempt), 0).label("posts"),
                )
                .where(chunks.c.run_id == run_id)
                .group_by(chunks.c.state)
            ).all()
            return RunView(
                run=as_run(row),
                rows=row_sums(connection, run_id, row.rows_read, row.unchanged),
                chunks={ChunkState(s.state): s.n for s in states},
                waits=_waits(connection, run_id),
                posts=int(sum(s.posts for s in states)),
                reasons=_reasons(connection, run_id),
                retries=_retries(connection, run_id),
                rows_pruned=_is_pruned(connection, run_id),
                warnings=_warnings(connection, run_id),
            )

    def accounts(self) -> list[str]:
        """Return the accounts that the ledger knows, by name."""
        with self._db.read() as connection:
            lowered = select(limit_overrides.c.account).where(
                limit_overrides.c.until > self._db.now(connection)
            )
            return sorted(connection.scalars(union(select(accounts.c.account), lowered)))

    def account(self, account: str, declared: Limits | None = None) -> AccountView | None:
        """Return an account's limits, its use of job slots and who waits; None if nobody knows it.

        Args:
            account: the Zendesk host.
            declared: what the catalog says, for an account to which nothing was sent yet.
        """
        with self._db.read() as connection:
            now = self._db.now(connection)
            known = standing(connection, account, now, declared=declared)
            if known is None:
                return None
            return AccountView(
                account=account,
                at=now,
                standing=known,
                jobs=count_jobs(connection, account, now),
                waiting=_waiting(connection, account, now),
            )

    def not_delivered(
        self, run_id: str, kinds: tuple[OutcomeKind, ...] = NOT_DELIVERED
    ) -> Iterator[RowOutcome]:
        """Yield the rows that were not delivered, in the order of the result.

        Identities come from the kept rows, and are None once those are gone.
        """
        with self._db.read() as connection:
            people = _Kept(connection, run_id)
            rows = connection.execute(
                select(outcomes)
                .where(outcomes.c.run_id == run_id, outcomes.c.kind.in_(kinds))
                .order_by(outcomes.c.row)
            )
            for row in rows:
                external_id, email = people.identity(row.row, row.seq)
                yield RowOutcome(row.row, external_id, email, row.kind, row.code, row.detail)

    def delivered(self, run_id: str) -> Iterator[tuple[int, OutcomeKind, int | None]]:
        """Yield (row, created or updated, Zendesk id) of the delivered rows, chunk by chunk."""
        with self._db.read() as connection:
            blobs = connection.scalars(
                select(chunks.c.results).where(chunks.c.run_id == run_id).order_by(chunks.c.seq)
            )
            for blob in blobs:
                yield from spool.decode_results(blob)

    def events(
        self, run_id: str, kind: str | None = None, last_seconds: float | None = None
    ) -> list[Event]:
        """Return what happened to a run, in order: all, of one kind, or of the last seconds."""
        query = select(events).where(events.c.run_id == run_id).order_by(events.c.id)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        with self._db.read() as connection:
            if last_seconds is not None:
                query = query.where(events.c.at >= self._db.now(connection) - last_seconds)
            return [
                Event(row.at, row.kind, row.seq, orjson.loads(row.data))
                for row in connection.execute(query)
            ]


def _warnings(connection: Connection, run_id: str) -> tuple[str, ...]:
    """Return the warnings of planning, each once: a second planner warned anew."""
    found = connection.scalars(
        select(events.c.data)
        .where(events.c.run_id == run_id, events.c.kind == "planning_warning")
        .order_by(events.c.id)
    )
    return tuple(dict.fromkeys(orjson.loads(data)["what"] for data in found))


class _Kept:
    """The kept rows of a run, loaded batch by batch as they are asked for."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id
        self._people: dict[int, tuple[str | None, str | None]] = {}
        self._loaded: set[int] = set()

    def identity(self, row: int, seq: int | None) -> tuple[str | None, str | None]:
        if seq is None:
            self._load_rejected()
        elif seq not in self._loaded:
            self._load(seq)
        return self._people.get(row, (None, None))

    def _load_rejected(self) -> None:
        if 0 in self._loaded:
            return
        self._loaded.add(0)
        batches = self._connection.scalars(
            select(payloads.c.seq).where(payloads.c.run_id == self._run_id, payloads.c.seq < 0)
        ).all()
        for batch in batches:
            self._load(batch)

    def _load(self, seq: int) -> None:
        self._loaded.add(seq)
        known = self._connection.scalar(
            select(payloads.c.seq).where(payloads.c.run_id == self._run_id, payloads.c.seq == seq)
        )
        if known is None:
            return  # nothing of this chunk was kept, or the time of keeping is over
        try:
            profiles = load_profiles(self._connection, self._run_id, seq)
        except spool.Damaged:
            return  # who they were is not known any more; what became of them is
        for profile in profiles:
            self._people[profile.row] = (profile.external_id, profile.email)


def _waits(connection: Connection, run_id: str) -> dict[str, int]:
    rows = connection.execute(
        select(chunks.c.why, func.count().label("n"))
        .where(
            chunks.c.run_id == run_id,
            chunks.c.state.in_(HELD_BACK),
        )
        .group_by(chunks.c.why)
    )
    return {row.why or "unknown": row.n for row in rows}


def _waiting(connection: Connection, account: str, now: float) -> tuple[Waiting, ...]:
    groups = (chunks.c.run_id, runs.c.orchestration, runs.c.state, chunks.c.why)
    since = func.min(chunks.c.waiting_since)
    rows = connection.execute(
        select(
            *groups,
            func.count().label("n"),
            since.label("since"),
            func.min(chunks.c.not_before).label("next_at"),
        )
        .join(runs, runs.c.run_id == chunks.c.run_id)
        .where(chunks.c.account == account, chunks.c.state.in_(HELD_BACK))
        .group_by(*groups)
        .order_by(since.asc().nulls_last(), chunks.c.run_id, chunks.c.why)
    )
    return tuple(
        Waiting(
            run_id=row.run_id,
            orchestration=row.orchestration,
            state=RunState(row.state),
            why=row.why or "unknown",
            chunks=row.n,
            waited_seconds=None if row.since is None else max(0.0, now - row.since),
            next_in_seconds=max(0.0, row.next_at - now),
        )
        for row in rows
    )


def _reasons(connection: Connection, run_id: str) -> dict[tuple[str, str], int]:
    found = ended_rows(connection, run_id)
    return {reason: count for reason, count in found.items() if reason[0] in NOT_DELIVERED}


def _retries(connection: Connection, run_id: str) -> tuple[str, ...]:
    query = select(runs.c.run_id).where(runs.c.parent_run == run_id)
    return tuple(connection.scalars(query.order_by(runs.c.created_at, runs.c.run_id)))


def _is_pruned(connection: Connection, run_id: str) -> bool:
    query = select(summaries.c.run_id).where(summaries.c.run_id == run_id)
    return connection.scalar(query.limit(1)) is not None
