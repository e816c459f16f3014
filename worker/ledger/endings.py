"""How a run ends: whether it may, as what, and when too many of its rows have failed.

Each takes the row of `runs` as it was read in the transaction that relies on the answer.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, Row, select

from worker.errors import RunError
from worker.ledger.schema import chunks
from worker.ledger.states import CHUNK_ENDED, RunState
from worker.ledger.sums import row_sums


def may_end(connection: Connection, row: Row[Any]) -> bool:
    """Return whether everything of a run is spooled, or stopped, and all its chunks have ended."""
    going_on = row.state in (RunState.SENDING, RunState.PAUSED)
    ready = row.state == RunState.STOPPING or (going_on and row.spool_complete)
    if not ready:
        return False
    open_chunk = connection.scalar(
        select(chunks.c.seq)
        .where(chunks.c.run_id == row.run_id, chunks.c.state.not_in(CHUNK_ENDED))
        .limit(1)
    )
    return open_chunk is None


def final_state(connection: Connection, row: Row[Any]) -> tuple[RunState, RunError | None]:
    """Return how a run whose chunks have ended ends, and the error that it adds, if any."""
    sums = row_sums(connection, row.run_id, row.rows_read, row.unchanged)
    if not sums.agree or sums.pending:
        return RunState.INCONSISTENT, None
    if row.ends_as is not None:
        return RunState(row.ends_as), None
    error = too_many_failed(connection, row)
    if error is not None:
        return RunState.FAILED, error
    if sums.failed or sums.unconfirmed:
        return RunState.FINISHED_WITH_FAILURES, None
    return RunState.SUCCEEDED, None


def too_many_failed(connection: Connection, row: Row[Any]) -> RunError | None:
    """Return what is wrong when more rows failed than the orchestration allows, else None."""
    most = orjson.loads(row.options).get("max_failed_percent")
    if most is None:
        return None
    sums = row_sums(connection, row.run_id, row.rows_read, row.unchanged)
    failed = sums.failed + sums.unconfirmed
    if 100 * failed <= most * sums.read:
        return None
    return RunError(
        f"{failed:,} of {sums.read:,} rows failed or are unconfirmed, more than "
        f"thresholds.max_failed_percent ({most:g} %) allows",
        code="threshold_exceeded",
        resolution=f"Nothing more was sent. See why: deskfeed failures {row.run_id}",
    )
