"""The transitions of a chunk up to Zendesk's acceptance: each one UPDATE on (state, fence).

    planned -> queued -> claimed -> submitting -> polling -> done
                  ^         |           |  |
                  +-waiting-+-----------+  +-> ambiguous, split

`submitting` is committed before the POST leaves. That is what tells a worker's death before the
POST (nothing happened) from a death after it (nobody can say).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from worker.errors import LedgerError, Superseded
from worker.ledger import blobs, children
from worker.ledger.alerts import note_accepted
from worker.ledger.confirmed import Confirmed
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.forgotten import marked, take_out
from worker.ledger.limits import count_jobs, standing
from worker.ledger.payloads import intact_profiles, remove_profiles
from worker.ledger.polling import first_look
from worker.ledger.records import Accepted, Claim
from worker.ledger.runs import load_target, lock_run
from worker.ledger.schema import chunks, runs
from worker.ledger.states import HELD_BACK, ChunkState, RunState
from worker.ledger.window import admit_planned, last_waits, run_is
from worker.sealing import KeyMissing
from worker.times import Times

log = structlog.get_logger(__name__)

LEAST_WINDOW = 2
"""So many chunks of a run ask for permits, however many runs send to the account."""


def _sending_beside(connection: Connection, run_id: str) -> int:
    """Return how many runs send to the account of this one, itself included."""
    account = select(runs.c.account).where(runs.c.run_id == run_id).scalar_subquery()
    sending = (runs.c.account == account, runs.c.state == RunState.SENDING)
    return int(connection.scalar(select(func.count()).select_from(runs).where(*sending)) or 0)


class Chunks:
    """Every way an unsubmitted chunk changes.

    Args:
        database: where the ledger lies.
        times: leases and the like.
        hash_key: keys the hashes of people's keys.
    """

    def __init__(self, database: Database, times: Times, hash_key: bytes) -> None:
        self._db = database
        self._times = times
        self._hash_key = hash_key

    def admit(self, run_id: str, window: int, in_seconds: float = 0.0) -> list[int]:
        """Queue planned chunks until `window` of the run are not yet submitted; returns them.

        Rows that are sent again were in conflict with other jobs: their chunk is let in last, when
        all others of the run have ended.

        Args:
            run_id: which run.
            window: how many at a time; the runs that send to one account share it, so that those
                who ask for permits do not become more and more.
            in_seconds: when the caller's messages arrive.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            wake_at = now + in_seconds + self._times.overdue
            part = window // max(1, _sending_beside(connection, run_id))
            return admit_planned(connection, run_id, max(part, min(LEAST_WINDOW, window)), wake_at)

    def last_waits(self, run_id: str) -> bool:
        """Return whether the run has a chunk of rows to send again that was not let in yet."""
        with self._db.read() as connection:
            return last_waits(connection, run_id)

    def claim(self, run_id: str, seq: int, owner: str) -> Claim | None:
        """Take a chunk in hand, or return None: somebody else has it, or it is not its time.

        A claim whose payload is not what was spooled says so (`intact`), and has no profiles. A
        chunk that is encrypted with a key that this process lacks waits for one that has it.
        """
        try:
            return self._claim(run_id, seq, owner)
        except KeyMissing as error:
            log.error("chunk_set_aside", reason=error.message, resolution=error.resolution)
            self._set_aside(run_id, seq)
            return None

    def _claim(self, run_id: str, seq: int, owner: str) -> Claim | None:
        with self._db.write() as connection:
            now = self._db.now(connection)
            ready = _ready(now)
            changed = connection.execute(
                update(chunks)
                .where(_this(run_id, seq), ready, run_is(run_id, RunState.SENDING))
                .values(
                    state=ChunkState.CLAIMED,
                    fence=chunks.c.fence + 1,
                    owner=owner,
                    why=None,
                    wake_at=now + self._times.lease,
                )
            ).rowcount
            return self._claimed(connection, run_id, seq) if changed == 1 else None

    def _set_aside(self, run_id: str, seq: int) -> None:
        """Let a chunk wait without a message, and without any of its counts raised."""
        with self._db.write() as connection:
            now = self._db.now(connection)
            not_before = now + self._times.longest_countdown
            connection.execute(
                update(chunks)
                .where(_this(run_id, seq), _ready(now))
                .values(
                    state=ChunkState.WAITING,
                    why="spool_key",
                    waiting_since=func.coalesce(chunks.c.waiting_since, now),
                    not_before=not_before,
                    wake_at=not_before,
                )
            )

    def due_in(self, run_id: str, seq: int) -> float | None:
        """Return the seconds until a waiting chunk may be claimed; None if it is not waiting."""
        with self._db.read() as connection:
            not_before = connection.scalar(
                select(chunks.c.not_before).where(
                    _this(run_id, seq),
                    chunks.c.state.in_(HELD_BACK),
                )
            )
            return None if not_before is None else float(not_before) - self._db.now(connection)

    def _claimed(self, connection: Connection, run_id: str, seq: int) -> Claim | None:
        row = connection.execute(
            select(chunks, runs.c.orchestration, runs.c.target, runs.c.options)
            .join(runs, runs.c.run_id == chunks.c.run_id)
            .where(_this(run_id, seq))
        ).one()
        planned = select(chunks.c.seq).where(
            chunks.c.run_id == run_id, chunks.c.state == ChunkState.PLANNED
        )
        profiles = intact_profiles(connection, run_id, seq, row.digest)
        if profiles and (doomed := marked(connection, run_id, profiles, self._hash_key)):
            profiles = tuple(take_out(connection, self._db, row, profiles, doomed))
            if not profiles:
                return None  # nobody is left whom it could send: it has ended
        options = orjson.loads(row.options)
        return Claim(
            run_id=run_id,
            seq=seq,
            fence=row.fence,
            attempt=row.attempt,
            spent=row.spent,
            orchestration=row.orchestration,
            target=load_target(row.target),
            profiles=profiles or (),
            share=float(options.get("share", 1.0)),  # absent in older runs
            adds_tags=bool(options.get("adds_tags")),
            more=connection.scalar(planned.limit(1)) is not None,
            intact=profiles is not None,
            first_submitted_at=row.first_submitted_at,
            read_backs=row.read_backs,
            known=blobs.known(connection, row),
            tags=blobs.tags(connection, row),
        )

    def renew(self, claim: Claim) -> None:
        """Hold a claim for another lease.

        Raises:
            Superseded: the claim was taken over, or the run does not send now.
        """
        with self._db.write() as connection:
            wake_at = self._db.now(connection) + self._times.lease
            sends = run_is(claim.run_id, RunState.SENDING)
            self._move(connection, claim, ChunkState.CLAIMED, sends, wake_at=wake_at)

    def keep_tags(self, claim: Claim, tags: Mapping[int, list[str] | None]) -> None:
        """Keep the tags that were read for a claimed chunk, whoever claims it next.

        Each read costs a request. Were they read anew by each claim, chunks that share a small
        budget would use it up for reads, and none would ever be sent.

        Raises:
            Superseded: the claim was taken over.
        """
        with self._db.write() as connection:
            kept = blobs.sealed_tags(connection, claim.run_id, claim.seq, tags)
            self._move(connection, claim, ChunkState.CLAIMED, tags=kept)

    def wait(
        self,
        claim: Claim,
        seconds: float,
        why: str,
        *,
        message: bool = True,
        read_back_failed: bool = False,
    ) -> None:
        """Give a claim back; the chunk is not taken up again before `seconds` are over.

        Args:
            claim: what to give back.
            seconds: how long.
            why: a word for people and metrics.
            message: whether the caller sends a message that arrives then. Without, the chunk
                rests in the ledger until the sweeper finds its time come.
            read_back_failed: whether a read-back was made and failed; there are only so many.
        """
        extra: dict[str, Any] = {"read_backs": chunks.c.read_backs + 1} if read_back_failed else {}
        self._leave(claim, ChunkState.CLAIMED, seconds, why, message=message, **extra)

    def unsubmit(
        self,
        claim: Claim,
        seconds: float,
        why: str,
        *,
        sent: bool,
        spent: bool = False,
        message: bool = True,
    ) -> None:
        """Leave `submitting` for `waiting`: Zendesk surely did nothing.

        Args:
            claim: what to give back.
            seconds: not again before.
            why: a word for people and metrics.
            sent: whether a POST left (and was refused): then it stays counted.
            spent: whether it counts against the attempts; waiting never does.
            message: as for `wait`.
        """
        extra: dict[str, Any] = {"expiries": 0}
        if not sent:
            extra["attempt"] = chunks.c.attempt - 1
        if spent:
            extra["spent"] = chunks.c.spent + 1
        self._leave(claim, ChunkState.SUBMITTING, seconds, why, message=message, **extra)

    def unclear(self, claim: Claim, seconds: float, why: str) -> None:
        """Leave `submitting` for `ambiguous`: it may have arrived; settle, then send again."""
        self._leave(
            claim,
            ChunkState.SUBMITTING,
            seconds,
            why,
            to=ChunkState.AMBIGUOUS,
            message=seconds <= self._times.longest_countdown,
            spent=chunks.c.spent + 1,
            expiries=0,
        )

    def _leave(
        self,
        claim: Claim,
        state: ChunkState,
        seconds: float,
        why: str,
        *,
        to: ChunkState = ChunkState.WAITING,
        message: bool,
        **values: Any,
    ) -> None:
        with self._db.write() as connection:
            now = self._db.now(connection)
            not_before = now + seconds
            self._move(
                connection,
                claim,
                state,
                state=to,
                why=why,
                waiting_since=func.coalesce(chunks.c.waiting_since, now),
                owner=None,
                not_before=not_before,
                wake_at=not_before + (self._times.overdue if message else 0.0),
                **values,
            )
            if to == ChunkState.AMBIGUOUS:
                record(connection, self._db, "chunk_unclear", claim.run_id, claim.seq, why=why)

    def free_job_slots(self, account: str) -> int:
        """Return how many more jobs the account may have in flight; may be negative."""
        with self._db.read() as connection:
            return self._free_slots(connection, account, lock=False)

    def submitting(self, claim: Claim) -> bool:
        """Commit that a POST is about to leave; False when no job slot is free.

        In the same transaction the attempt is counted and what Zendesk was known to have of these
        people is forgotten: until the job says otherwise nobody knows what it has.

        Raises:
            Superseded: the claim was taken over, or the run no longer sends.
            LedgerError: the payload is not what was spooled.
        """
        if not claim.intact:
            raise LedgerError(
                f"chunk {claim.seq} of {claim.run_id} is not what was spooled and is never sent",
                code="payload_changed",
            )
        with self._db.write() as connection:
            if self._free_slots(connection, claim.target.account, lock=True) <= 0:
                return False
            now = self._db.now(connection)
            self._move(
                connection,
                claim,
                ChunkState.CLAIMED,
                run_is(claim.run_id, RunState.SENDING),
                state=ChunkState.SUBMITTING,
                attempt=chunks.c.attempt + 1,
                known=None,
                tags=None,
                read_backs=0,
                first_submitted_at=func.coalesce(chunks.c.first_submitted_at, now),
                wake_at=now + self._times.lease,
            )
            people = (claim.target.account, claim.orchestration, self._hash_key)
            Confirmed(connection, *people).forget(claim.profiles)
            return True

    def accepted(self, claim: Claim, job_id: str, likely_seconds: float, stamp: float) -> Accepted:
        """Commit the job's id at once after the POST, and when to look at it.

        Args:
            claim: the chunk.
            job_id: what Zendesk called the job.
            likely_seconds: how long such a job takes.
            stamp: when the POST left, by the limiter's clock.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            ready_at = now + likely_seconds
            poll_at, joined = first_look(connection, claim, ready_at, self._times.poll_batch)
            message = poll_at - now <= self._times.longest_countdown
            self._move(
                connection,
                claim,
                ChunkState.SUBMITTING,
                state=ChunkState.POLLING,
                job_id=job_id,
                submitted_at=now,
                waiting_since=None,
                looks=0,
                expiries=0,
                ready_at=ready_at,
                poll_at=poll_at,
                wake_at=poll_at + (self._times.overdue if message else 0.0),
            )
            record(
                connection,
                self._db,
                "chunk_submitted",
                claim.run_id,
                claim.seq,
                users=len(claim.profiles),
                stamp=stamp,
                attempt=claim.attempt + 1,
            )
            destination = claim.target.destination
            note_accepted(connection, self._db, claim.run_id, destination)
            return Accepted(poll_at, max(0.0, poll_at - now), message and not joined)

    def note_refusal(self, claim: Claim, reason: str) -> int:
        """Note that Zendesk refused a chunk as a whole; tells whether it takes any of the run.

        Args:
            claim: the chunk, `submitting`.
            reason: how it was refused.

        Returns:
            The chunks as spooled that were refused so, or 0 if Zendesk took a chunk and has not
            ended with it, or took a row.
        """
        with self._db.write() as connection:
            self._move(connection, claim, ChunkState.SUBMITTING, refused=reason)
            return children.count_refused(connection, claim.run_id, reason)

    def split(self, claim: Claim) -> list[int]:
        """Replace a chunk that was refused as a whole by its two halves; returns their numbers."""
        with self._db.write() as connection:
            lock_run(connection, claim.run_id)
            now = self._db.now(connection)
            self._move(
                connection,
                claim,
                ChunkState.SUBMITTING,
                state=ChunkState.SPLIT,
                ended_at=now,
                wake_at=None,
            )
            remove_profiles(connection, claim.run_id, claim.seq)
            halves = children.add_halves(connection, claim, now + self._times.overdue)
            record(connection, self._db, "chunk_split", claim.run_id, claim.seq)
            return halves

    def _free_slots(self, connection: Connection, account: str, *, lock: bool) -> int:
        """Count, if asked under the account's lock so that two cannot both take the last slot."""
        now = self._db.now(connection)
        known = standing(connection, account, now, lock=lock)
        cap = known.limits.jobs_in_flight if known else 0
        return cap - count_jobs(connection, account, now)

    def _move(
        self,
        connection: Connection,
        claim: Claim,
        leaves: ChunkState,
        *conditions: Any,
        **values: Any,
    ) -> None:
        changed = connection.execute(
            update(chunks)
            .where(
                _this(claim.run_id, claim.seq),
                chunks.c.state == leaves,
                chunks.c.fence == claim.fence,
                *conditions,
            )
            .values(**values)
        ).rowcount
        if changed != 1:
            raise Superseded(
                f"chunk {claim.seq} of {claim.run_id} has moved on without this worker"
            )


def _ready(now: float) -> ColumnElement[bool]:
    """The condition that a chunk may be claimed."""
    return or_(
        chunks.c.state == ChunkState.QUEUED,
        and_(chunks.c.state.in_(HELD_BACK), chunks.c.not_before <= now),
    )


def _this(run_id: str, seq: int) -> Any:
    return and_(chunks.c.run_id == run_id, chunks.c.seq == seq)
