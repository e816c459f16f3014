"""Spooling: how the rows of a run get into the ledger, in short transactions, before any leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, insert

from worker.ledger import spool
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.forgetting import Forgetting
from worker.ledger.outcomes import KEEP_FAILED_SECONDS
from worker.ledger.payloads import store_packed, store_profiles
from worker.ledger.records import Run
from worker.ledger.runs import Runs
from worker.ledger.schema import chunks, outcomes, payloads, runs
from worker.ledger.states import ChunkState, RunState
from worker.profile import Profile, RejectedRow


class Planning:
    """The planner's pen. Every write holds the planner's fence, so that only one planner writes.

    Args:
        database: where the ledger lies.
        table: the runs, for the planner's lease.
        forgetting: erases people who asked for it while the run was planned.
        keep_failed: how long the identities of refused rows are kept, in seconds.
    """

    def __init__(
        self,
        database: Database,
        table: Runs,
        forgetting: Forgetting,
        keep_failed: float = KEEP_FAILED_SECONDS,
    ) -> None:
        self._db = database
        self._runs = table
        self._forgetting = forgetting
        self._keep_failed = keep_failed

    def clear(self, run: Run) -> None:
        """Remove what an earlier planner of this run left behind; none of it was ever sent."""
        with self._db.write() as connection:
            self._runs.hold_plan(connection, run.run_id, run.plan_fence, rows_read=0, unchanged=0)
            for table in (payloads, outcomes, chunks):
                connection.execute(delete(table).where(table.c.run_id == run.run_id))

    def add_rejected(self, run: Run, batch: int, rejected: Sequence[RejectedRow]) -> None:
        """Record rows that are not sent, with the identities that `failures` will name.

        Args:
            run: the run being planned.
            batch: 1, 2, …: numbers this batch of kept rows within the run.
            rejected: the rows.
        """
        with self._db.write() as connection:
            self._runs.hold_plan(
                connection, run.run_id, run.plan_fence, rows_read=runs.c.rows_read + len(rejected)
            )
            connection.execute(
                insert(outcomes),
                [
                    {
                        "run_id": run.run_id,
                        "row": row.row,
                        "kind": row.kind,
                        "code": row.code,
                        "detail": row.detail,
                    }
                    for row in rejected
                ],
            )
            kept = [Profile(row.row, _identity(row)) for row in rejected]
            expires_at = self._db.now(connection) + self._keep_failed
            store_profiles(connection, run.run_id, -batch, kept, expires_at)

    def add_chunks(self, run: Run, first_seq: int, group: Sequence[Sequence[Profile]]) -> None:
        """Spool chunks numbered from `first_seq` on."""
        self.add_packed(run, first_seq, [spool.pack(profiles) for profiles in group])

    def add_packed(self, run: Run, first_seq: int, group: Sequence[spool.Packed]) -> None:
        """Spool chunks that are encoded already, numbered from `first_seq` on."""
        numbered = list(enumerate(group, start=first_seq))
        with self._db.write() as connection:
            self._runs.hold_plan(
                connection,
                run.run_id,
                run.plan_fence,
                rows_read=runs.c.rows_read + sum(packed.rows for packed in group),
            )
            connection.execute(
                insert(chunks),
                [
                    {
                        "run_id": run.run_id,
                        "seq": seq,
                        "account": run.target.account,
                        "state": ChunkState.PLANNED,
                        "rows": packed.rows,
                        "digest": packed.digest,
                    }
                    for seq, packed in numbered
                ],
            )
            store_packed(connection, run.run_id, [(seq, packed.blob) for seq, packed in numbered])

    def configured(self, run: Run, digests: Mapping[str, str]) -> None:
        """Record the digests of the configuration that the run is planned with, by file."""
        with self._db.write() as connection:
            self._runs.hold_plan(connection, run.run_id, run.plan_fence)
            record(connection, self._db, "run_configured", run.run_id, None, **digests)

    def warn(self, run: Run, what: str) -> None:
        """Record what somebody should know of the run; `show` tells it. Without values of rows."""
        with self._db.write() as connection:
            self._runs.hold_plan(connection, run.run_id, run.plan_fence)
            record(connection, self._db, "planning_warning", run.run_id, what=what)

    def complete(self, run: Run, unchanged: int = 0) -> None:
        """Everything is spooled: the run may send."""
        self._forgetting.apply(run.run_id)
        with self._db.write() as connection:
            self._runs.hold_plan(
                connection,
                run.run_id,
                run.plan_fence,
                rows_read=runs.c.rows_read + unchanged,
                unchanged=unchanged,
                spool_complete=True,
                state=RunState.SENDING,
            )
            record(connection, self._db, "run_spooled", run.run_id)


def _identity(row: RejectedRow) -> dict[str, str | None]:
    return {"external_id": row.external_id, "email": row.email}
