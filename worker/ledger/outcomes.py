"""How a chunk ends: outcomes, state, kept rows and digests in one transaction, or none of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from worker.errors import Superseded
from worker.failpoints import reach
from worker.ledger import spool
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.payloads import load_profiles, remove_profiles, store_profiles
from worker.ledger.schema import chunks, delivered, outcomes, runs
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind, Profile

KEEP_FAILED_SECONDS = 7 * 24 * 3600.0
"""How long the profiles of failed, unconfirmed and cancelled rows are kept."""

DELIVERED = frozenset({OutcomeKind.CREATED, OutcomeKind.UPDATED})


class Outcomes:
    """Writes what became of the rows of a chunk.

    Args:
        database: where the ledger lies.
        hash_key: keys the hashes of people's keys.
    """

    def __init__(self, database: Database, hash_key: bytes) -> None:
        self._db = database
        self._hash_key = hash_key

    def finish(
        self,
        run_id: str,
        seq: int,
        fence: int,
        found: Sequence[Outcome],
        *,
        leaves: Iterable[ChunkState] = (ChunkState.POLLING,),
        ends: ChunkState = ChunkState.DONE,
    ) -> None:
        """End a chunk: exactly one outcome for each of its rows.

        Raises:
            Superseded: the chunk has moved on; nothing was written.
            ValueError: the outcomes are not those of the chunk's rows.
        """
        with self._db.write() as connection:
            self._finish(connection, run_id, seq, fence, found, tuple(leaves), ends)

    def _finish(
        self,
        connection: Connection,
        run_id: str,
        seq: int,
        fence: int,
        found: Sequence[Outcome],
        leaves: Sequence[ChunkState],
        ends: ChunkState,
    ) -> None:
        changed = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == run_id,
                chunks.c.seq == seq,
                chunks.c.fence == fence,
                chunks.c.state.in_(leaves),
            )
            .values(
                state=ends,
                ended_at=self._db.now(connection),
                wake_at=None,
                poll_at=None,
                owner=None,
                created=sum(o.kind == OutcomeKind.CREATED for o in found),
                updated=sum(o.kind == OutcomeKind.UPDATED for o in found),
                results=spool.encode_results(found),
            )
        ).rowcount
        if changed != 1:
            raise Superseded(f"chunk {seq} of {run_id} has moved on without this worker")
        profiles = load_profiles(connection, run_id, seq)
        if [p.row for p in profiles] != [o.row for o in found]:
            raise ValueError(f"chunk {seq} of {run_id}: outcomes are not those of its rows")
        self._write_rows(connection, run_id, seq, found)
        self._keep(connection, run_id, seq, profiles, found)
        self._remember(connection, run_id, profiles, found)
        record(connection, self._db, f"chunk_{ends}", run_id, seq)
        reach("outcome.before")

    def profiles(self, run_id: str, seq: int) -> tuple[Profile, ...]:
        """Return the profiles that a chunk holds."""
        with self._db.read() as connection:
            return load_profiles(connection, run_id, seq)

    def cancel_some(self, run_id: str, limit: int = 200) -> int:
        """Cancel unsent chunks of a stopping run; returns how many, 0 when none is left.

        A chunk whose POST may have arrived is not cancelled: its rows are unconfirmed.
        """
        unsent = (
            ChunkState.PLANNED,
            ChunkState.QUEUED,
            ChunkState.WAITING,
            ChunkState.CLAIMED,
            ChunkState.AMBIGUOUS,
        )
        with self._db.write() as connection:
            rows = connection.execute(
                select(chunks.c.seq, chunks.c.fence, chunks.c.state, chunks.c.spent)
                .join(runs, runs.c.run_id == chunks.c.run_id)
                .where(
                    chunks.c.run_id == run_id,
                    chunks.c.state.in_(unsent),
                    runs.c.state == RunState.STOPPING,
                )
                .order_by(chunks.c.seq)
                .limit(limit)
            ).all()
            for row in rows:
                self._cancel(connection, run_id, row)
            return len(rows)

    def _cancel(self, connection: Connection, run_id: str, row: Any) -> None:
        maybe_sent = row.spent > 0
        kind = OutcomeKind.UNCONFIRMED if maybe_sent else OutcomeKind.SKIPPED
        code = "unconfirmed" if maybe_sent else "cancelled"
        ends = ChunkState.DONE if maybe_sent else ChunkState.CANCELLED
        try:
            profiles = load_profiles(connection, run_id, row.seq)
            found = [Outcome(p.row, kind, code) for p in profiles]
            leaves = (ChunkState(row.state),)
            self._finish(connection, run_id, row.seq, row.fence, found, leaves, ends)
        except Superseded:
            return  # a worker moved it meanwhile; the next look sees where to

    def _write_rows(
        self, connection: Connection, run_id: str, seq: int, found: Sequence[Outcome]
    ) -> None:
        rows = [
            {
                "run_id": run_id,
                "row": o.row,
                "seq": seq,
                "kind": o.kind,
                "code": o.code or "unconfirmed",
                "detail": o.detail,
                "zendesk_id": o.zendesk_id,
            }
            for o in found
            if o.kind not in DELIVERED
        ]
        if rows:
            connection.execute(insert(outcomes), rows)

    def _keep(
        self,
        connection: Connection,
        run_id: str,
        seq: int,
        profiles: Sequence[Profile],
        found: Sequence[Outcome],
    ) -> None:
        """Delivered people leave the ledger here; only those whom `retry` may need stay a while."""
        remove_profiles(connection, run_id, seq)
        kept = [p for p, o in zip(profiles, found, strict=True) if o.kind not in DELIVERED]
        if kept:
            expires_at = self._db.now(connection) + KEEP_FAILED_SECONDS
            store_profiles(connection, run_id, seq, kept, expires_at)

    def _remember(
        self,
        connection: Connection,
        run_id: str,
        profiles: Sequence[Profile],
        found: Sequence[Outcome],
    ) -> None:
        run: Any = connection.execute(
            select(runs.c.account, runs.c.orchestration).where(runs.c.run_id == run_id)
        ).one()
        rows = [
            {
                "account": run.account,
                "orchestration": run.orchestration,
                "key_hash": spool.key_hash(p.key, self._hash_key),
                "digest": spool.digest(p.user),
            }
            for p, o in zip(profiles, found, strict=True)
            if o.kind in DELIVERED
        ]
        if not rows:
            return
        connection.execute(
            delete(delivered).where(
                delivered.c.account == run.account,
                delivered.c.orchestration == run.orchestration,
                delivered.c.key_hash.in_([row["key_hash"] for row in rows]),
            )
        )
        connection.execute(insert(delivered), rows)
