"""The profiles that lie in the ledger: spooled until they are sent, kept a while if they failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from worker.errors import RunError, Superseded
from worker.ledger import spool
from worker.ledger.database import Database
from worker.ledger.schema import chunks, payloads
from worker.ledger.secrecy import refuse_without_key, seal, unseal
from worker.ledger.states import MAY_BE_SENT
from worker.profile import Profile
from worker.sealing import place_of

SEALED = "sealed-1"
"""The codec of what is encrypted; inside is what `spool.CODEC` names."""

CHECKED_AT_A_TIME = 100
"""Chunks whose digests are compared in one snapshot: some megabytes at most."""


def load_profiles(connection: Connection, run_id: str, seq: int) -> tuple[Profile, ...]:
    """Return the spooled profiles of a chunk.

    Raises:
        Superseded: they are gone: the chunk has ended meanwhile.
        KeyMissing: they are encrypted with a key that is not here.
    """
    row = connection.execute(
        select(payloads.c.blob, payloads.c.codec).where(_this(run_id, seq))
    ).one_or_none()
    if row is None:
        raise Superseded(f"chunk {seq} of {run_id} has moved on without this worker")
    blob, codec = _in_clear(connection, run_id, seq, row)
    return spool.decode_profiles(blob, codec)


def intact_profiles(
    connection: Connection, run_id: str, seq: int, digest: bytes | None
) -> tuple[Profile, ...] | None:
    """Return the spooled profiles of an open chunk, or None if they are not what was spooled.

    Args:
        connection: a transaction in which the chunk is known to be open.
        run_id: which run.
        seq: which chunk.
        digest: of the profiles as they were spooled; None in rows of older versions, whose
            profiles must only be readable.

    Raises:
        ValueError: they were written by a version that this one does not know.
        KeyMissing: they are encrypted with a key that is not here. That is no damage.
    """
    refuse_without_key(connection)
    row = connection.execute(
        select(payloads.c.blob, payloads.c.codec).where(_this(run_id, seq))
    ).one_or_none()
    return None if row is None else _intact(connection, run_id, seq, row, digest)


def _intact(
    connection: Connection, run_id: str, seq: int, row: Any, digest: bytes | None
) -> tuple[Profile, ...] | None:
    try:
        blob, codec = _in_clear(connection, run_id, seq, row)
    except spool.Damaged:
        return None
    return spool.decode_intact(blob, codec, digest)


def _in_clear(connection: Connection, run_id: str, seq: int, row: Any) -> tuple[bytes, str]:
    """Return a payload's blob without its seal, and how it is encoded then."""
    if row.codec != SEALED:
        return row.blob, row.codec
    return unseal(connection, _place(run_id, seq), row.blob), spool.CODEC


def check_snapshot(database: Database, run_id: str) -> None:
    """Compare all that a run may still send with what was spooled, some chunks at a time.

    Raises:
        RunError: the rows of some chunks are not those that were planned.
        ValueError: they were written by a version that this one does not know.
        KeyMissing: they are encrypted with a key that is not here.
    """
    after: int | None = 0
    while after is not None:
        with database.read() as connection:
            changed, after = _changed(connection, run_id, after)
        if changed:
            named = ", ".join(str(seq) for seq in changed[:5])
            more = ", …" if len(changed) > 5 else ""
            raise RunError(
                f"{run_id} cannot go on: in the ledger the rows of chunk {named}{more} are not "
                "those that were planned",
                code="payload_changed",
            )


def _changed(connection: Connection, run_id: str, after: int) -> tuple[list[int], int | None]:
    """Return the changed chunks of the next batch, and where to go on if there are more."""
    rows = connection.execute(
        select(chunks.c.seq, chunks.c.digest, payloads.c.blob, payloads.c.codec)
        .join(
            payloads,
            and_(payloads.c.run_id == chunks.c.run_id, payloads.c.seq == chunks.c.seq),
            isouter=True,
        )
        .where(chunks.c.run_id == run_id, chunks.c.seq > after, chunks.c.state.in_(MAY_BE_SENT))
        .order_by(chunks.c.seq)
        .limit(CHECKED_AT_A_TIME)
    ).all()
    changed = [
        row.seq
        for row in rows
        if row.blob is None or _intact(connection, run_id, row.seq, row, row.digest) is None
    ]
    return changed, (rows[-1].seq if len(rows) == CHECKED_AT_A_TIME else None)


def store_profiles(
    connection: Connection,
    run_id: str,
    seq: int,
    profiles: Sequence[Profile],
    expires_at: float | None = None,
) -> None:
    """Spool profiles within a transaction; `expires_at` None means: still to be sent."""
    blob = spool.encode_profiles(profiles)
    store_packed(connection, run_id, [(seq, blob)], expires_at)


def store_packed(
    connection: Connection,
    run_id: str,
    numbered: Sequence[tuple[int, bytes]],
    expires_at: float | None = None,
) -> None:
    """Spool profiles that are encoded already, each with the number that it lies under."""
    rows = []
    for seq, blob in numbered:
        sealed, key_id = seal(connection, _place(run_id, seq), blob)
        rows.append(
            {
                "run_id": run_id,
                "seq": seq,
                "codec": spool.CODEC if key_id is None else SEALED,
                "key_id": key_id,
                "blob": sealed,
                "expires_at": expires_at,
            }
        )
    connection.execute(insert(payloads), rows)


def remove_profiles(connection: Connection, run_id: str, seq: int) -> None:
    """Remove the profiles of a chunk within a transaction."""
    connection.execute(delete(payloads).where(_this(run_id, seq)))


def _place(run_id: str, seq: int) -> bytes:
    return place_of("payloads.blob", run_id, seq)


def _this(run_id: str, seq: int) -> ColumnElement[bool]:
    return and_(payloads.c.run_id == run_id, payloads.c.seq == seq)
