"""The sums of a run, derived from chunks and outcomes at the moment they are asked for."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from worker.ledger.records import RowSums
from worker.ledger.schema import chunks, outcomes
from worker.ledger.states import CHUNK_ENDED
from worker.profile import OutcomeKind


def row_sums(connection: Connection, run_id: str, read: int, unchanged: int) -> RowSums:
    """Return what became of the rows of a run.

    Args:
        connection: a snapshot in which `read` and `unchanged` were read too.
        run_id: which run.
        read: rows of which the ledger has been told.
        unchanged: rows skipped as unchanged, kept as one count only.
    """
    created, updated = connection.execute(
        select(
            func.coalesce(func.sum(chunks.c.created), 0),
            func.coalesce(func.sum(chunks.c.updated), 0),
        ).where(chunks.c.run_id == run_id)
    ).one()
    pending = connection.scalar(
        select(func.coalesce(func.sum(chunks.c.rows), 0)).where(
            chunks.c.run_id == run_id, chunks.c.state.not_in(CHUNK_ENDED)
        )
    )
    kinds: dict[str, int] = {
        row.kind: row.n
        for row in connection.execute(
            select(outcomes.c.kind, func.count().label("n"))
            .where(outcomes.c.run_id == run_id)
            .group_by(outcomes.c.kind)
        )
    }
    return RowSums(
        read=int(read),
        created=int(created),
        updated=int(updated),
        failed=kinds.get(OutcomeKind.FAILED, 0),
        skipped=kinds.get(OutcomeKind.SKIPPED, 0) + int(unchanged),
        unconfirmed=kinds.get(OutcomeKind.UNCONFIRMED, 0),
        pending=int(pending or 0),
    )
