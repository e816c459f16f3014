"""The sums of a run, derived from chunks and outcomes at the moment they are asked for.

Of a run whose outcomes were pruned they come from its summary, which was derived in the same way
in one transaction before the first outcome went.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, func, select

from worker.ledger.records import RowSums
from worker.ledger.schema import chunks, outcomes, summaries
from worker.ledger.states import CHUNK_ENDED
from worker.profile import OutcomeKind

Reasons = dict[tuple[str, str], int]
"""(outcome kind, code) -> rows; the code of created and updated rows is empty."""


def row_sums(connection: Connection, run_id: str, read: int, unchanged: int) -> RowSums:
    """Return what became of the rows of a run.

    Args:
        connection: a snapshot in which `read` and `unchanged` were read too.
        run_id: which run.
        read: rows of which the ledger has been told.
        unchanged: rows skipped as unchanged, kept as one count only.
    """
    kinds: Counter[str] = Counter()
    for (kind, _), rows in ended_rows(connection, run_id).items():
        kinds[kind] += rows
    pending = connection.scalar(
        select(func.coalesce(func.sum(chunks.c.rows), 0)).where(
            chunks.c.run_id == run_id, chunks.c.state.not_in(CHUNK_ENDED)
        )
    )
    return RowSums(
        read=int(read),
        created=kinds[OutcomeKind.CREATED],
        updated=kinds[OutcomeKind.UPDATED],
        failed=kinds[OutcomeKind.FAILED],
        skipped=kinds[OutcomeKind.SKIPPED] + int(unchanged),
        unconfirmed=kinds[OutcomeKind.UNCONFIRMED],
        pending=int(pending or 0),
    )


def ended_rows(connection: Connection, run_id: str) -> Reasons:
    """Return how many rows ended in which way and why, without the unchanged ones."""
    kept: Reasons = {
        (row.kind, row.code): int(row.rows)
        for row in connection.execute(select(summaries).where(summaries.c.run_id == run_id))
    }
    return kept or derived_rows(connection, run_id)


def derived_rows(connection: Connection, run_id: str) -> Reasons:
    """Return the same as `ended_rows`, from chunks and outcomes in any case."""
    created, updated = connection.execute(
        select(
            func.coalesce(func.sum(chunks.c.created), 0),
            func.coalesce(func.sum(chunks.c.updated), 0),
        ).where(chunks.c.run_id == run_id)
    ).one()
    found: Reasons = {
        (OutcomeKind.CREATED, ""): int(created),
        (OutcomeKind.UPDATED, ""): int(updated),
    }
    rows = connection.execute(
        select(outcomes.c.kind, outcomes.c.code, func.count().label("n"))
        .where(outcomes.c.run_id == run_id)
        .group_by(outcomes.c.kind, outcomes.c.code)
    )
    found.update({(row.kind, row.code): int(row.n) for row in rows})
    return {reason: count for reason, count in found.items() if count}
