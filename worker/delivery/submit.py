"""Submitting one chunk: claim, job slot, permit, `submitting`, confirm, POST, `polling`.

A chunk whose attempts are spent is read back in place of being sent (`readback.py`).

Whatever goes wrong with the POST is decided once, in `_after`, by the class of the error; the
ledger has been told before `submit` returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from worker.delivery.context import (
    JOB_CAP_S,
    JOB_SLOT_RETRY_S,
    Client,
    Context,
    likely_seconds,
    reason_of,
)
from worker.delivery.forbidden import told_apart
from worker.delivery.permits import RETRY_S, Ticket
from worker.delivery.readback import ReadBack
from worker.delivery.tags import TagAdder
from worker.errors import (
    Ambiguous,
    DeskfeedError,
    DestinationError,
    LedgerError,
    LimiterUnavailable,
    NotSent,
    Refused,
    Renewed,
    Superseded,
    Throttled,
)
from worker.failpoints import reach
from worker.hints import Deliver, Done, Hint, Poll, Step, Wait
from worker.ledger.database import persist
from worker.ledger.records import Account, Claim
from worker.ledger.recovery import MOST_UNCLEAR
from worker.ledger.states import ChunkState
from worker.limiter import Booked, Denied
from worker.log_context import of_attempt
from worker.profile import Outcome, OutcomeKind, Profile

log = structlog.get_logger(__name__)

MOST_REFUSED = 3
"""So many chunks refused as a whole, for one reason and with no good row, pause a destination."""

COMMIT_LEAD_S = 0.04
"""`submitting` is committed this long before the slot, so that the commit does not make it late."""


class Submitter:
    """Sends chunks.

    Args:
        context: the parts to work with.
    """

    def __init__(self, context: Context) -> None:
        self._in = context
        self._chunks = context.ledger.chunks
        self._permits = context.permits
        self._read_back = ReadBack(context)
        self._tags = TagAdder(context)

    def submit(self, run_id: str, seq: int) -> Step:
        """Send one chunk, or say what it waits for.

        Delivering the same message many times is harmless: only one claim succeeds.
        """
        claim = self._claim(run_id, seq)
        if claim is None:
            return Done()
        of_attempt(claim.attempt + 1)
        reach("chunk.claimed")
        try:
            return self._go_on(claim)
        except Superseded as error:
            log.warning("chunk_fenced", reason=error.message)
            self._let_go(claim)
            return Done()
        except DeskfeedError:
            self._let_go(claim)
            raise

    def _claim(self, run_id: str, seq: int) -> Claim | None:
        """Claim a chunk, also one that is due in a moment: the sender's clock may be ahead of ours.

        That moment is slept here. Were the message sent again instead, one that had been doubled
        would stay two for as long as the chunk waits from second to second, and grow to more.
        """
        claim = self._chunks.claim(run_id, seq, self._in.owner)
        due_in = self._chunks.due_in(run_id, seq) if claim is None else None
        if due_in is None or not 0 < due_in <= self._in.times.slept_slot:
            return claim
        self._in.sleep(due_in)
        return self._chunks.claim(run_id, seq, self._in.owner)

    def _let_go(self, claim: Claim) -> None:
        """Give back what was not submitted, so that its lease does not look like a crash."""
        try:
            self._chunks.wait(claim, 0.0, "interrupted", message=False)
        except LedgerError as error:  # it has moved on, or the ledger is away: the lease will end
            log.debug("claim_not_given_back", reason=error.message)

    def _go_on(self, claim: Claim) -> Step:
        """Send what was claimed, unless it has been sent too often, or is not what was spooled."""
        if not claim.intact:
            return self._quarantine(claim)
        if claim.spent >= MOST_UNCLEAR:
            return self._read_back.end(claim)
        return self._send(claim)

    def _quarantine(self, claim: Claim) -> Step:
        log.error("payload_changed", run_id=claim.run_id, seq=claim.seq)
        kind = OutcomeKind.UNCONFIRMED if claim.spent else OutcomeKind.FAILED
        detail = "the rows in the ledger are not those that were planned; they were not sent"
        self._in.ledger.outcomes.end_all(
            claim.run_id, claim.seq, claim.fence, kind, "payload_changed", detail
        )
        return Done((*self._in.admit(claim.run_id), *self._in.close(claim.run_id)))

    def _send(self, claim: Claim) -> Step:
        """Log in, then send. Without a login nothing was tried, and nothing is used up."""
        try:
            client = self._in.clients(claim.target)
        except DestinationError as error:
            self._chunks.wait(claim, 0.0, error.code, message=False)
            return self._in.pause_destination(claim.target, error)
        except Throttled as error:  # asked for an OAuth token: it says nothing of users
            return self._give_back(claim, error.retry_after_seconds or RETRY_S, error.code)
        except NotSent as error:
            log.warning("no_login_now", **reason_of(error))
            return self._give_back(claim, self._in.times.unreachable, error.code)
        return self._send_by(client, claim)

    def _send_by(self, client: Client, claim: Claim) -> Step:
        account = self._in.ledger.polling.account(claim.target.account)
        if self._chunks.free_job_slots(account.account) <= 0:
            return self._give_back(claim, JOB_SLOT_RETRY_S, "job_slot")
        profiles = self._tags.added(claim, client)
        if not isinstance(profiles, tuple):
            return profiles
        try:
            booked = self._reserve(claim, account)
        except LimiterUnavailable as error:
            log.warning("limiter_unavailable", reason=error.message)
            return self._give_back(claim, self._in.times.unreachable, "limiter")
        if isinstance(booked, Denied):
            return self._give_back(claim, booked.retry_in_s, booked.why)
        reach("permit.booked")
        self._in.sleep(max(0.0, booked.wait_s - COMMIT_LEAD_S))
        if not self._submitting(claim, booked):
            return self._give_back(claim, JOB_SLOT_RETRY_S, "job_slot")
        reach("submitting.committed")
        # The run's next turn is worth knowing only if there is a chunk to take it.
        run_id = claim.run_id if claim.more else ""
        users = len(claim.profiles)
        ticket = self._permits.redeem(account, booked, users, run_id, claim.share)
        if ticket is None:
            return self._retreat(claim, RETRY_S, "permit_voided", sent=False)
        reach("permit.confirmed")
        return self._post(claim, profiles, client, ticket)

    def _reserve(self, claim: Claim, account: Account) -> Booked | Denied:
        permit = f"{claim.run_id}:{claim.seq}:{claim.fence}"
        users = len(claim.profiles)
        return self._permits.book(account, permit, users, claim.run_id, claim.share)

    def _give_back(self, claim: Claim, seconds: float, why: str) -> Step:
        message = seconds <= self._in.times.longest_countdown
        self._chunks.wait(claim, seconds, why, message=message)
        return Wait(seconds, why, message)

    def _submitting(self, claim: Claim, booked: Booked) -> bool:
        """Commit the intent to POST; a permit that will not be used goes back."""
        taken = False
        try:
            taken = self._chunks.submitting(claim)
        finally:
            if not taken:
                self._permits.give_back(claim.target.account, booked)
        return taken

    def _post(
        self, claim: Claim, profiles: Sequence[Profile], client: Client, ticket: Ticket
    ) -> Step:
        account = ticket.account
        try:
            reach("post.before")
            job = client.create_or_update_many(profiles)
            reach("post.after")
        except DeskfeedError as error:
            log.warning("chunk_not_accepted", **reason_of(error))
            self._permits.failed(ticket, error)
            return self._after(claim, account, client, error)
        likely = likely_seconds(account, len(claim.profiles))
        stamp = ticket.stamp_us / 1e6
        try:
            accepted = persist(  # as long as the claim is ours; without the job's id: sent again
                lambda: self._chunks.accepted(claim, job.job_id, likely, stamp),
                self._in.times.lease,
                self._in.pause or self._in.sleep,
            )
        finally:  # others may be waiting for this answer, whatever became of the ledger
            self._permits.answered(ticket, job.rate)
        reach("job.saved")
        log.info("chunk_submitted", job_id=job.job_id, users=len(claim.profiles))
        hints: list[Hint] = list(self._in.admit(claim.run_id, ticket.next_in_s))
        if accepted.message:
            hints.append(Poll(claim.run_id, claim.seq, accepted.in_seconds))
        what = f"job {job.job_id} submitted, {len(claim.profiles)} users"
        return Done(tuple(hints), what, job.job_id)

    def _after(self, claim: Claim, account: Account, client: Client, error: DeskfeedError) -> Step:
        """What an error of the POST means for the chunk: one place, by class."""
        match error:
            case DestinationError():
                self._chunks.unsubmit(claim, 0.0, error.code, sent=True, message=False)
                meant = told_apart(self._in, claim.target, client, error)
                return self._in.pause_destination(claim.target, meant)
            case Throttled():
                return self._throttled(claim, error)
            case Renewed():
                return self._retreat(claim, 0.0, error.code, sent=True)
            case NotSent():
                self._permits.pause(account.account, self._in.times.unreachable, error.code)
                return self._retreat(claim, self._in.times.unreachable, error.code, sent=False)
            case Refused():
                return self._refused(claim, error)
            case Ambiguous():
                return self._unclear(claim, account, error)
        raise error

    def _retreat(self, claim: Claim, seconds: float, why: str, *, sent: bool) -> Step:
        message = seconds <= self._in.times.longest_countdown
        self._chunks.unsubmit(claim, seconds, why, sent=sent, message=message)
        return Wait(seconds, why, message)

    def _throttled(self, claim: Claim, error: Throttled) -> Step:
        account = claim.target.account
        if error.scope == "jobs":  # others have jobs, too: it is not the rate that is too high
            cap = self._in.ledger.polling.lower_job_cap(account, JOB_CAP_S)
            log.info("job_cap_lowered", cap=cap, seconds=JOB_CAP_S)
        seconds = self._permits.throttled(account, error)
        step = self._retreat(claim, seconds, error.code, sent=True)
        self._in.note_throttled(claim.run_id, error, seconds)
        return step

    def _refused(self, claim: Claim, error: Refused) -> Step:
        refused = self._chunks.note_refusal(claim, error.reason) if error.reason else 0
        if refused >= MOST_REFUSED:
            return self._all_refused(claim, refused, error)
        if len(claim.profiles) > 1:
            halves = self._chunks.split(claim)
            what = "refused as a whole: halved"
            return Done(tuple(Deliver(claim.run_id, seq) for seq in halves), what)
        outcome = Outcome(
            claim.profiles[0].row, OutcomeKind.FAILED, "rejected_by_zendesk", error.message
        )
        self._in.ledger.outcomes.finish(
            claim.run_id, claim.seq, claim.fence, [outcome], leaves=(ChunkState.SUBMITTING,)
        )
        return Done((*self._in.admit(claim.run_id), *self._in.close(claim.run_id)))

    def _all_refused(self, claim: Claim, refused: int, error: Refused) -> Step:
        """It is not a row that is at fault: a person looks, before the rest is taken to pieces."""
        self._chunks.unsubmit(claim, 0.0, "chunks_refused", sent=True, message=False)
        pausing = DestinationError(
            f"Zendesk refused {refused} chunks of {claim.run_id} as a whole and took no row of it. "
            f"The last time: {error.message}",
            code="chunks_refused",
        )
        return self._in.pause_destination(claim.target, pausing)

    def _unclear(self, claim: Claim, account: Account, error: DeskfeedError) -> Step:
        settle = self._in.settle_seconds(account, len(claim.profiles))
        self._chunks.unclear(claim, settle, error.code)
        return Wait(settle, error.code, message=settle <= self._in.times.longest_countdown)
