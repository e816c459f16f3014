"""The timetable of polling: `poll_at`, and nothing else, says who looks at which job when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, func, or_, select, tuple_, update

from worker.errors import LedgerError, Superseded
from worker.ledger import blobs
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.limits import count_jobs, standing
from worker.ledger.records import Account, Claim, DueChunk, Limits
from worker.ledger.runs import load_target
from worker.ledger.schema import accounts, chunks, runs
from worker.ledger.states import UNSUBMITTED, ChunkState
from worker.profile import Outcome
from worker.times import Times

MOST_JOBS_A_LOOK = 100
"""Job ids in one show_many; users/show_many takes 100, for jobs Zendesk documents no number."""


def planned_look(connection: Connection, account: str, first: float, last: float) -> float | None:
    """Return when the first look at a job of the account between two moments is planned, if any."""
    planned = connection.scalar(
        select(func.min(chunks.c.poll_at)).where(
            chunks.c.account == account,
            chunks.c.state == ChunkState.POLLING,
            chunks.c.poll_at.between(first, last),
        )
    )
    return None if planned is None else float(planned)


def first_look(
    connection: Connection, claim: Claim, ready_at: float, batch_seconds: float
) -> tuple[float, bool]:
    """Return when to look at a new job first, and whether others are looked at then anyway.

    One look shall answer for several jobs: wait for company, unless nobody comes.

    Args:
        connection: the transaction that notes the job.
        claim: its chunk.
        ready_at: when it is likely done.
        batch_seconds: how long to wait for company.
    """
    more = connection.scalar(
        select(chunks.c.seq)
        .where(
            chunks.c.run_id == claim.run_id,
            chunks.c.seq != claim.seq,
            chunks.c.state.in_(UNSUBMITTED | {ChunkState.PLANNED}),
        )
        .limit(1)
    )
    if more is None:
        return ready_at, False
    latest = ready_at + batch_seconds
    planned = planned_look(connection, claim.target.account, ready_at, latest)
    return (latest, False) if planned is None else (planned, True)


class Polling:
    """Who looks at which job, and when next.

    Args:
        database: where the ledger lies.
        times: leases and the like.
    """

    def __init__(self, database: Database, times: Times) -> None:
        self._db = database
        self._times = times

    def account_of(self, run_id: str, seq: int) -> tuple[str, float | None] | None:
        """Return the account of a polling chunk and the seconds until its look, or None."""
        with self._db.read() as connection:
            row = connection.execute(
                select(chunks.c.account, chunks.c.state, chunks.c.poll_at).where(
                    chunks.c.run_id == run_id, chunks.c.seq == seq
                )
            ).one_or_none()
            if row is None:
                return None
            polling = row.state == ChunkState.POLLING
            return row.account, (row.poll_at - self._db.now(connection) if polling else None)

    def take_due(self, account: str) -> list[DueChunk]:
        """Take all chunks of the account that are due, and those worth a look by the way.

        One conditional UPDATE moves `poll_at` ahead: that is the lease. When nothing is due,
        nothing is taken: another poller was here.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            polling = (chunks.c.account == account, chunks.c.state == ChunkState.POLLING)
            due = connection.scalar(
                select(chunks.c.seq).where(*polling, chunks.c.poll_at <= now).limit(1)
            )
            if due is None:
                return []
            worth = or_(chunks.c.poll_at <= now, chunks.c.ready_at <= now)
            first = (
                select(chunks.c.run_id, chunks.c.seq)
                .where(*polling, worth)
                .order_by(chunks.c.poll_at)
                .limit(MOST_JOBS_A_LOOK)
                # PostgreSQL: what another transaction holds (another poller, somebody who stands
                # still) is left to it and not waited for; `wake_at` finds it if that one dies. As
                # a CTE the rows are chosen and locked once, however the planner joins them.
                .with_for_update(key_share=True, skip_locked=True)
                .cte("first")
            )
            lease = now + self._times.poll_lease
            taken = connection.execute(
                update(chunks)
                .where(*polling, worth, tuple_(chunks.c.run_id, chunks.c.seq).in_(select(first)))
                .values(
                    poll_at=lease,
                    ready_at=lease,
                    wake_at=lease,
                    looks=chunks.c.looks + 1,
                )
                .returning(chunks)
            ).all()
            return self._due(connection, taken, now)

    def _due(self, connection: Connection, taken: Any, now: float) -> list[DueChunk]:
        run_ids = {row.run_id for row in taken}
        targets = {
            row.run_id: load_target(row.target)
            for row in connection.execute(
                select(runs.c.run_id, runs.c.target).where(runs.c.run_id.in_(run_ids))
            )
        }
        return [
            DueChunk(
                run_id=row.run_id,
                seq=row.seq,
                fence=row.fence,
                attempt=row.attempt,
                spent=row.spent,
                job_id=row.job_id,
                age_seconds=now - row.submitted_at,
                looks=row.looks,
                rows=row.rows,
                target=targets[row.run_id],
            )
            for row in sorted(taken, key=lambda row: (row.submitted_at, row.run_id, row.seq))
        ]

    def count_look(self, looked_at: Iterable[DueChunk]) -> None:
        """Count one request that asked for jobs of these runs."""
        run_ids = {chunk.run_id for chunk in looked_at}
        with self._db.write() as connection:
            connection.execute(
                update(runs).where(runs.c.run_id.in_(run_ids)).values(polls=runs.c.polls + 1)
            )

    def look_again(self, due: DueChunk, seconds: float, *, looked: bool = True) -> None:
        """Look again in a while.

        Args:
            due: the chunk.
            seconds: how long.
            looked: whether the job was seen, and still runs. A look that told nothing is none: it
                would make the next pause longer, and the job seem slower than it was.
        """
        looks = {} if looked else {"looks": due.looks - 1}
        with self._db.write() as connection:
            at = self._db.now(connection) + seconds
            self._move(
                connection, due, poll_at=at, ready_at=at, wake_at=at + self._times.overdue, **looks
            )

    def look_along(self, account: str, due: DueChunk, seconds: float) -> bool:
        """The job is still running: look again with others, if a look is planned soon after.

        Args:
            account: the Zendesk host.
            due: the chunk.
            seconds: not before.

        Returns:
            Whether there is such a look; else nothing was changed.
        """
        with self._db.write() as connection:
            ready_at = self._db.now(connection) + seconds
            planned = planned_look(connection, account, ready_at, ready_at + self._times.poll_batch)
            if planned is None:
                return False
            wake_at = planned + self._times.overdue
            self._move(connection, due, poll_at=planned, ready_at=ready_at, wake_at=wake_at)
            return True

    def lost(
        self,
        due: DueChunk,
        seconds: float,
        why: str,
        *,
        message: bool,
        known: Sequence[Outcome] = (),
    ) -> None:
        """The job is gone or its results match nothing: settle, then send the chunk again.

        Args:
            due: the chunk.
            seconds: not again before.
            why: a word for people and metrics.
            message: whether the caller sends a message that arrives then.
            known: what the job said of some rows; holds unless the chunk is sent again.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            not_before = now + seconds
            self._move(
                connection,
                due,
                state=ChunkState.AMBIGUOUS,
                why=why,
                waiting_since=now,
                spent=chunks.c.spent + 1,
                not_before=not_before,
                poll_at=None,
                known=blobs.sealed_known(connection, due.run_id, due.seq, known),
                wake_at=not_before + (self._times.overdue if message else 0.0),
            )
            record(connection, self._db, "chunk_unclear", due.run_id, due.seq, why=why)

    def _move(self, connection: Connection, due: DueChunk, **values: Any) -> None:
        changed = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == due.run_id,
                chunks.c.seq == due.seq,
                chunks.c.state == ChunkState.POLLING,
                chunks.c.fence == due.fence,
            )
            .values(**values)
        ).rowcount
        if changed != 1:
            raise Superseded(f"chunk {due.seq} of {due.run_id} has moved on without this poller")

    # --- what is known of an account ----------------------------------------------------------

    def account(self, account: str, declared: Limits | None = None) -> Account:
        """Return an account's limits as they hold now, and what was learned of it.

        Args:
            account: the Zendesk host.
            declared: what the catalog says, for an account to which nothing was sent yet.
        """
        with self._db.read() as connection:
            known = standing(connection, account, self._db.now(connection), declared=declared)
        if known is None:
            raise LedgerError(f"the ledger does not know the account {account!r}")
        seconds = self._times.job_guess if known.job_seconds is None else known.job_seconds
        return Account(account, known.limits, seconds)

    def jobs_in_flight(self, account: str) -> int:
        """Return how many of an account's job slots are held by us."""
        with self._db.read() as connection:
            return count_jobs(connection, account, self._db.now(connection))

    def lower_job_cap(self, account: str, seconds: float) -> int:
        """Have no more jobs than now for a while: Zendesk has too many, the others are not ours.

        Args:
            account: the Zendesk host.
            seconds: how long; then the declared limit holds again.

        Returns:
            The cap: our jobs in flight without the chunk that was just refused, which is still
            `submitting`; at least one, so that the account does not stand still.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            standing(connection, account, now, lock=True)
            cap = max(1, count_jobs(connection, account, now) - 1)
            connection.execute(
                update(accounts)
                .where(accounts.c.account == account)
                .values(jobs_cap=cap, jobs_cap_until=now + seconds)
            )
            return cap

    def learn(self, account: str, job_seconds: float) -> None:
        """Remember how long a full chunk's job takes."""
        with self._db.write() as connection:
            connection.execute(
                update(accounts)
                .where(accounts.c.account == account)
                .values(job_seconds=job_seconds)
            )
