"""The profiles that lie in the ledger: spooled until they are sent, kept a while if they failed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from worker.errors import Superseded
from worker.ledger import spool
from worker.ledger.schema import payloads
from worker.profile import Profile


def load_profiles(connection: Connection, run_id: str, seq: int) -> tuple[Profile, ...]:
    """Return the spooled profiles of a chunk.

    Raises:
        Superseded: they are gone: the chunk has ended meanwhile.
    """
    row = connection.execute(
        select(payloads.c.blob, payloads.c.codec).where(_this(run_id, seq))
    ).one_or_none()
    if row is None:
        raise Superseded(f"chunk {seq} of {run_id} has moved on without this worker")
    return spool.decode_profiles(row.blob, row.codec)


def store_profiles(
    connection: Connection,
    run_id: str,
    seq: int,
    profiles: Sequence[Profile],
    expires_at: float | None = None,
) -> None:
    """Spool profiles within a transaction; `expires_at` None means: still to be sent."""
    connection.execute(
        insert(payloads).values(
            run_id=run_id,
            seq=seq,
            codec=spool.CODEC,
            blob=spool.encode_profiles(profiles),
            expires_at=expires_at,
        )
    )


def remove_profiles(connection: Connection, run_id: str, seq: int) -> None:
    """Remove the profiles of a chunk within a transaction."""
    connection.execute(delete(payloads).where(_this(run_id, seq)))


def _this(run_id: str, seq: int) -> ColumnElement[bool]:
    return and_(payloads.c.run_id == run_id, payloads.c.seq == seq)
