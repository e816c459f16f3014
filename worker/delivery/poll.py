"""Polling: one look answers for all jobs of an account that are due.

`poll_at` in the ledger is the only timetable. Polling raises neither fence nor attempt; each result
is written under its chunk's own fence, so that two pollers cannot contradict each other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import structlog

from worker.delivery.context import (
    JOB_OVERHEAD_S,
    MOST_UNCLEAR,
    UNREACHABLE_PAUSE_S,
    Context,
    likely_seconds,
    reason_of,
    unconfirmed,
)
from worker.errors import DeskfeedError, DestinationError, Superseded, Throttled
from worker.hints import Deliver, Done, Hint, Poll, Step, Wait
from worker.ledger.records import Account, DueChunk
from worker.profile import Outcome
from worker.zendesk.replies import JobStatus, match_results

log = structlog.get_logger(__name__)

BACKOFF = 1.6
"""Each further pause between two looks at a job is so many times the one before."""


class Poller:
    """Looks at jobs.

    Args:
        context: the parts to work with.
    """

    def __init__(self, context: Context) -> None:
        self._in = context
        self._ledger = context.ledger

    def poll(self, run_id: str, seq: int) -> Step:
        """Look at all jobs of the account that are due; the chunk only names the account."""
        named = self._ledger.polling.account_of(run_id, seq)
        if named is None:
            return Done()
        account, due_in = named
        due = self._ledger.polling.take_due(account)
        if not due:
            # The clock that sent the message may be ahead of the ledger's.
            early = due_in is not None and 0 < due_in <= self._in.times.slept_slot
            return Wait(due_in, "not_due") if early and due_in is not None else Done()
        try:
            statuses = self._look(account, due)
        except DeskfeedError as error:
            return self._look_failed(due, error)
        return self._judge_all(account, due, statuses)

    def _look(self, account: str, due: Sequence[DueChunk]) -> Mapping[str, JobStatus]:
        wait = self._in.request_permit(account)
        if wait is not None:
            raise Throttled("no request is left this minute", retry_after_seconds=wait)
        return self._in.clients(due[0].target).job_statuses([chunk.job_id for chunk in due])

    def _look_failed(self, due: Sequence[DueChunk], error: DeskfeedError) -> Step:
        log.warning("look_failed", jobs=len(due), **reason_of(error))
        seconds = UNREACHABLE_PAUSE_S
        if isinstance(error, Throttled) and error.retry_after_seconds is not None:
            seconds = error.retry_after_seconds
        if isinstance(error, DestinationError):
            self._in.pause_destination(due[0].target, error)
            seconds = self._in.times.longest_countdown
        seconds = min(seconds, self._in.times.longest_countdown)
        for chunk in due:
            self._look_again(chunk, seconds)
        return Done((Poll(due[0].run_id, due[0].seq, seconds),))

    def _judge_all(
        self, account: str, due: Sequence[DueChunk], statuses: Mapping[str, JobStatus]
    ) -> Step:
        known = self._ledger.polling.account(account)
        hints: list[Hint] = []
        again: list[tuple[float, DueChunk]] = []
        for chunk in due:
            try:
                found = self._judge(known, chunk, statuses.get(chunk.job_id))
            except Superseded as error:
                log.warning("chunk_fenced", reason=error.message)
                continue
            if isinstance(found, float):
                again.append((found, chunk))
            else:
                hints.extend(found)
        for run_id in sorted({chunk.run_id for chunk in due}):
            hints.extend(self._in.close(run_id))
        if again:
            seconds, first = min(again, key=lambda pair: pair[0])
            hints.append(Poll(first.run_id, first.seq, seconds))
        return Done(tuple(hints))

    def _judge(
        self, account: Account, chunk: DueChunk, status: JobStatus | None
    ) -> float | Sequence[Hint]:
        """Return the seconds until the next look, or what to enqueue when the chunk has moved."""
        if status is None:
            return self._missing(account, chunk)
        if not status.state.ended:
            return self._running(account, chunk)
        profiles = self._ledger.outcomes.profiles(chunk.run_id, chunk.seq)
        matched = match_results(profiles, status)
        if matched.unmatched:
            return self._lost(account, chunk, "results_unmatched", matched.outcomes)
        self._finish(chunk, matched.outcomes)
        self._learn(account, chunk)
        return ()

    def _missing(self, account: Account, chunk: DueChunk) -> float | Sequence[Hint]:
        """A job unknown right after it was made is patience; later it is lost."""
        if chunk.age_seconds < self._in.times.overdue + likely_seconds(account, chunk.rows):
            return self._again(chunk)
        return self._lost(account, chunk, "job_lost")

    def _running(self, account: Account, chunk: DueChunk) -> float | Sequence[Hint]:
        if chunk.age_seconds > self._in.times.job_deadline:
            return self._lost(account, chunk, "job_stuck")
        return self._again(chunk)

    def _again(self, chunk: DueChunk) -> float:
        pause = self._in.times.poll_again * BACKOFF ** (chunk.looks - 1)
        seconds = min(pause, self._in.times.poll_longest) * random.uniform(0.9, 1.1)  # noqa: S311
        self._look_again(chunk, seconds)
        return seconds

    def _look_again(self, chunk: DueChunk, seconds: float) -> None:
        try:
            self._ledger.polling.look_again(chunk, seconds)
        except Superseded as error:
            log.warning("chunk_fenced", reason=error.message)

    def _lost(
        self, account: Account, chunk: DueChunk, why: str, found: Sequence[Outcome] = ()
    ) -> Sequence[Hint]:
        """Nobody can say what became of the chunk: send it again, or end it unconfirmed."""
        log.warning("job_unclear", run_id=chunk.run_id, seq=chunk.seq, why=why)
        if chunk.spent + 1 >= MOST_UNCLEAR:
            profiles = self._ledger.outcomes.profiles(chunk.run_id, chunk.seq)
            known = {outcome.row: outcome for outcome in found}
            self._finish(chunk, [known.get(o.row, o) for o in unconfirmed(profiles, why)])
            return ()
        settle = self._in.settle_seconds(account, chunk.rows)
        self._ledger.polling.lost(chunk, settle, why)
        return (Deliver(chunk.run_id, chunk.seq, min(settle, self._in.times.longest_countdown)),)

    def _finish(self, chunk: DueChunk, outcomes: Sequence[Outcome]) -> None:
        self._ledger.outcomes.finish(chunk.run_id, chunk.seq, chunk.fence, outcomes)
        log.info("chunk_done", run_id=chunk.run_id, seq=chunk.seq, job_id=chunk.job_id)

    def _learn(self, account: Account, chunk: DueChunk) -> None:
        """Come a little earlier after a first look that found the job done, else move later."""
        guess = account.job_seconds
        if chunk.rows < 50:
            return  # too small to tell how long a full chunk takes
        if chunk.looks <= 1:
            self._ledger.polling.learn(account.account, max(guess * 0.98, 0.05))
        else:
            took = (chunk.age_seconds - JOB_OVERHEAD_S) * 100 / chunk.rows
            self._ledger.polling.learn(account.account, 0.5 * guess + 0.5 * max(took, 0.05))
