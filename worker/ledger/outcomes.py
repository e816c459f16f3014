"""How a chunk ends: outcomes, state, kept rows and digests in one transaction, or none of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection, Row, and_, insert, select, update

from worker.errors import Superseded
from worker.failpoints import reach
from worker.ledger import blobs, spool
from worker.ledger.children import add_again
from worker.ledger.confirmed import Confirmed
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.forgotten import cleaned, marked, take_out
from worker.ledger.payloads import (
    intact_profiles,
    load_profiles,
    remove_profiles,
    store_profiles,
)
from worker.ledger.runs import lock_run
from worker.ledger.schema import chunks, outcomes, runs
from worker.ledger.states import MAY_BE_SENT, ChunkState, RunState
from worker.profile import CHUNK_SIZE, DELIVERED, Outcome, OutcomeKind, Profile

KEEP_FAILED_SECONDS = 7 * 24 * 3600.0
"""How long the profiles of failed, unconfirmed and cancelled rows are kept."""

SENT_AGAIN_CODE = "row_conflict"
"""The code of a row whose failure passes by itself; it is sent once more before it counts."""


@dataclass(frozen=True, slots=True)
class _End:
    """Which chunk ends how: the conditions and the outcome of its last transition."""

    run_id: str
    seq: int
    fence: int
    leaves: tuple[ChunkState, ...]
    ends: ChunkState
    why: str | None = None


class Outcomes:
    """Writes what became of the rows of a chunk.

    Args:
        database: where the ledger lies.
        hash_key: keys the hashes of people's keys.
        keep_failed: how long rows that did not arrive are kept, in seconds.
    """

    def __init__(
        self, database: Database, hash_key: bytes, keep_failed: float = KEEP_FAILED_SECONDS
    ) -> None:
        self._db = database
        self._hash_key = hash_key
        self._keep_failed = keep_failed

    def finish(
        self,
        run_id: str,
        seq: int,
        fence: int,
        found: Sequence[Outcome],
        *,
        leaves: Iterable[ChunkState] = (ChunkState.POLLING,),
        ends: ChunkState = ChunkState.DONE,
        again: Collection[int] = (),
    ) -> int | None:
        """End a chunk: exactly one outcome for each of its rows, or another chunk for it.

        Args:
            run_id: which run.
            seq: which chunk.
            fence: the caller's.
            found: one for each row, in order.
            leaves: the states that the chunk may be in.
            ends: its state afterwards.
            again: failed rows that are worth sending once more. They have no outcome yet, unless
                the chunk itself is of rows sent again, or the run is being stopped.

        Returns:
            The chunk in which rows are sent again, if any are.

        Raises:
            Superseded: the chunk has moved on; nothing was written.
            ValueError: the outcomes are not those of the chunk's rows.
        """
        end = _End(run_id, seq, fence, tuple(leaves), ends)
        with self._db.write() as connection:
            if again:
                lock_run(connection, run_id)
            moving = _movable(connection, end, found, again) if again else frozenset()
            return self._finish(connection, end, found, moving)

    def _finish(
        self,
        connection: Connection,
        end: _End,
        found: Sequence[Outcome],
        moving: Collection[int] = frozenset(),
    ) -> int | None:
        final = [outcome for outcome in found if outcome.row not in moving]
        self._end(connection, end, final)
        profiles = load_profiles(connection, end.run_id, end.seq)
        if [p.row for p in profiles] != [o.row for o in found]:
            raise ValueError(f"chunk {end.seq} of {end.run_id}: outcomes are not those of its rows")
        doomed = marked(connection, end.run_id, profiles, self._hash_key)
        if doomed:
            final = cleaned(final, doomed)
            self._clean_results(connection, end, final)
        self._write_rows(connection, end, final, doomed)
        ended = [p for p in profiles if p.row not in moving]
        self._keep(connection, end, ended, final, doomed)
        self._remember(connection, end.run_id, ended, final, doomed)
        reach("outcome.before")
        if not moving:
            return None
        moved = [p for p in profiles if p.row in moving]
        to = add_again(connection, end.run_id, end.seq, moved)
        if not doomed.isdisjoint(moving):
            self._take_out(connection, end.run_id, to, doomed)
        record(connection, self._db, "rows_again", end.run_id, end.seq, rows=len(moved), to=to)
        return to

    def _take_out(
        self, connection: Connection, run_id: str, seq: int, doomed: Collection[int]
    ) -> None:
        this = (chunks.c.run_id == run_id, chunks.c.seq == seq)
        row = connection.execute(select(chunks).where(*this)).one()
        held = load_profiles(connection, run_id, seq)
        take_out(connection, self._db, row, held, frozenset(doomed) & {p.row for p in held})

    def _clean_results(self, connection: Connection, end: _End, final: Sequence[Outcome]) -> None:
        connection.execute(
            update(chunks)
            .where(chunks.c.run_id == end.run_id, chunks.c.seq == end.seq)
            .values(results=spool.encode_results(final))
        )

    def _end(self, connection: Connection, end: _End, final: Sequence[Outcome]) -> None:
        """The conditional UPDATE of every end; the chunk is left with the rows that ended in it."""
        changed = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == end.run_id,
                chunks.c.seq == end.seq,
                chunks.c.fence == end.fence,
                chunks.c.state.in_(end.leaves),
            )
            .values(
                state=end.ends,
                why=end.why,
                ended_at=self._db.now(connection),
                wake_at=None,
                poll_at=None,
                owner=None,
                known=None,
                tags=None,
                rows=len(final),
                created=sum(o.kind == OutcomeKind.CREATED for o in final),
                updated=sum(o.kind == OutcomeKind.UPDATED for o in final),
                results=spool.encode_results(final),
            )
        ).rowcount
        if changed != 1:
            raise Superseded(f"chunk {end.seq} of {end.run_id} has moved on without this worker")
        why = {"why": end.why} if end.why else {}
        record(connection, self._db, f"chunk_{end.ends}", end.run_id, end.seq, **why)

    def profiles(self, run_id: str, seq: int) -> tuple[Profile, ...]:
        """Return the profiles that a chunk holds."""
        with self._db.read() as connection:
            return load_profiles(connection, run_id, seq)

    # --- ends without a job's word ------------------------------------------------------------

    def end_all(
        self,
        run_id: str,
        seq: int,
        fence: int,
        kind: OutcomeKind,
        code: str,
        detail: str,
        *,
        leaves: Iterable[ChunkState] = (ChunkState.CLAIMED,),
        ends: ChunkState = ChunkState.QUARANTINED,
    ) -> None:
        """End a chunk with one outcome for all rows, but for those of which a job told another.

        It needs no payload that is as it was spooled: then nothing is kept of it.

        Raises:
            Superseded: the chunk has moved on; nothing was written.
            ValueError: the payload was written by a version that this one does not know.
        """
        end = _End(run_id, seq, fence, tuple(leaves), ends, why=code)
        with self._db.write() as connection:
            self._end_all(connection, end, Outcome(0, kind, code, detail))

    def _end_all(self, connection: Connection, end: _End, outcome: Outcome) -> None:
        this = (chunks.c.run_id == end.run_id, chunks.c.seq == end.seq)
        row = connection.execute(select(chunks).where(*this)).one()
        profiles = intact_profiles(connection, end.run_id, end.seq, row.digest)
        if profiles is None:
            numbers = _numbers(connection, end.run_id, end.seq, row.rows)
            found = [replace(outcome, row=number) for number in numbers]
            self._end(connection, end, found)
            remove_profiles(connection, end.run_id, end.seq)
            self._write_rows(connection, end, found)
            return
        known = {told.row: told for told in blobs.known(connection, row)}
        found = [known.get(p.row, replace(outcome, row=p.row)) for p in profiles]
        self._finish(connection, end, found)

    def cancel_some(self, run_id: str, limit: int = 200) -> int:
        """Cancel unsent chunks of a stopping run; returns how many, 0 when none is left.

        A chunk whose POST may have arrived is not cancelled: its rows are unconfirmed, once it has
        settled; until then it may be a job at Zendesk and holds a slot. Nor are rows that were to
        be sent again: Zendesk answered them once, so they failed.
        """
        with self._db.write() as connection:
            unsettled = and_(
                chunks.c.state == ChunkState.AMBIGUOUS,
                chunks.c.not_before > self._db.now(connection),
            )
            rows = connection.execute(
                select(chunks)
                .join(runs, runs.c.run_id == chunks.c.run_id)
                .where(
                    chunks.c.run_id == run_id,
                    ~unsettled,
                    chunks.c.state.in_(MAY_BE_SENT),
                    runs.c.state == RunState.STOPPING,
                )
                .order_by(chunks.c.seq)
                .limit(limit)
            ).all()
            for row in rows:
                self._cancel(connection, row)
            return len(rows)

    def _cancel(self, connection: Connection, row: Row[Any]) -> None:
        outcome, ends = _when_stopped(row)
        leaves = (ChunkState(row.state),)
        try:
            self._end_all(connection, _End(row.run_id, row.seq, row.fence, leaves, ends), outcome)
        except Superseded:
            return  # a worker moved it meanwhile; the next look sees where to

    def _write_rows(
        self,
        connection: Connection,
        end: _End,
        found: Sequence[Outcome],
        doomed: Collection[int] = frozenset(),
    ) -> None:
        rows = [
            {
                "run_id": end.run_id,
                "row": o.row,
                "seq": end.seq,
                "kind": o.kind,
                "code": o.code or "unconfirmed",
                "detail": o.detail,
                "zendesk_id": o.zendesk_id,
                "forgotten": o.row in doomed,
            }
            for o in found
            if o.kind not in DELIVERED
        ]
        if rows:
            connection.execute(insert(outcomes), rows)

    def _keep(
        self,
        connection: Connection,
        end: _End,
        profiles: Sequence[Profile],
        found: Sequence[Outcome],
        doomed: Collection[int],
    ) -> None:
        """Delivered people leave the ledger here; only those whom `retry` may need stay a while."""
        remove_profiles(connection, end.run_id, end.seq)
        failed = [p for p, o in zip(profiles, found, strict=True) if o.kind not in DELIVERED]
        kept = [p for p in failed if p.row not in doomed]
        if kept:
            expires_at = self._db.now(connection) + self._keep_failed
            store_profiles(connection, end.run_id, end.seq, kept, expires_at)

    def _remember(
        self,
        connection: Connection,
        run_id: str,
        profiles: Sequence[Profile],
        found: Sequence[Outcome],
        doomed: Collection[int],
    ) -> None:
        run: Any = connection.execute(
            select(runs.c.account, runs.c.orchestration, runs.c.options).where(
                runs.c.run_id == run_id
            )
        ).one()
        people = Confirmed(connection, run.account, run.orchestration, self._hash_key)
        delivered = (p for p, o in zip(profiles, found, strict=True) if o.kind in DELIVERED)
        people.remember(
            (p for p in delivered if p.row not in doomed),
            adds_tags=bool(orjson.loads(run.options).get("adds_tags")),
        )


def _movable(
    connection: Connection, end: _End, found: Sequence[Outcome], again: Collection[int]
) -> frozenset[int]:
    """Return the rows that may be sent once more: failed, for the first time, in a run going on."""
    first_time = connection.scalar(
        select(chunks.c.seq)
        .join(runs, runs.c.run_id == chunks.c.run_id)
        .where(
            chunks.c.run_id == end.run_id,
            chunks.c.seq == end.seq,
            ~chunks.c.again,
            runs.c.state.in_((RunState.SENDING, RunState.PAUSED)),
        )
    )
    if first_time is None:
        return frozenset()
    return frozenset(o.row for o in found if o.row in again and o.kind == OutcomeKind.FAILED)


def _when_stopped(row: Row[Any]) -> tuple[Outcome, ChunkState]:
    """Return what becomes of the rows of a chunk that is not sent any more."""
    if row.spent > 0:
        return Outcome(0, OutcomeKind.UNCONFIRMED, "unconfirmed"), ChunkState.DONE
    if row.again:
        detail = "the run was stopped before the row was sent again"
        return Outcome(0, OutcomeKind.FAILED, SENT_AGAIN_CODE, detail), ChunkState.DONE
    return Outcome(0, OutcomeKind.SKIPPED, "cancelled"), ChunkState.CANCELLED


def _numbers(connection: Connection, run_id: str, seq: int, rows: int) -> list[int]:
    """Return the row numbers of a chunk whose payload is not what was spooled.

    They are the payload's if it can be read and they can be right. Else they are below zero:
    how many rows these were is known, which ones is not.
    """
    read = [p.row for p in intact_profiles(connection, run_id, seq, None) or ()]
    taken = select(outcomes.c.row).where(outcomes.c.run_id == run_id, outcomes.c.row.in_(read))
    plausible = len(set(read)) == len(read) == rows and min(read, default=0) > 0
    if plausible and connection.scalar(taken.limit(1)) is None:
        return read
    return [-(seq * CHUNK_SIZE + offset) for offset in range(rows)]
