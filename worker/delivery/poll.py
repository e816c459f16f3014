"""Polling: one look answers for all jobs of an account that are due.

`poll_at` in the ledger is the only timetable. Polling raises neither fence nor attempt; each result
is written under its chunk's own fence, so that two pollers cannot contradict each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from worker.delivery.context import (
    JOB_OVERHEAD_S,
    Client,
    Context,
    likely_seconds,
    reason_of,
    worth_again,
)
from worker.delivery.permits import Ticket
from worker.errors import DeskfeedError, DestinationError, Superseded, Throttled
from worker.failpoints import reach
from worker.hints import Deliver, Done, Finish, Hint, Poll, Step, Wait
from worker.ledger.records import Account, DueChunk, Target
from worker.ledger.spool import Damaged
from worker.log_context import about
from worker.profile import Outcome
from worker.sealing import KeyMissing
from worker.zendesk.replies import JobStatus, JobStatuses, match_results

log = structlog.get_logger(__name__)

LEAST_ROWS = 50
"""Smaller chunks do not tell how long a full one takes."""

ON_TIME = 1.1
"""A look this much later than the job was likely done still tells how good the guess was."""

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
        reach("poll.taken")
        hints: list[Hint] = []
        for group in _by_target(due):
            hints.extend(self._look(account, group))
        for ended in sorted({chunk.run_id for chunk in due}):
            hints.extend(self._in.go_on(ended))
        return Done(tuple(hints), _told(due, hints))

    def _look(self, account: str, due: Sequence[DueChunk]) -> Sequence[Hint]:
        """One look at jobs of one destination."""
        try:
            # First of all: without a credential there is nothing to take leave for.
            client = self._in.clients(due[0].target)
            ticket = self._in.request_permit(account)
            if isinstance(ticket, float):
                return self._later(due, ticket, looked=False)
            statuses = self._ask(client, ticket, due)
        except DeskfeedError as error:
            return self._look_failed(account, due, error)
        reach("poll.answered")
        self._ledger.polling.count_look(due)
        return self._judge_all(self._ledger.polling.account(account), due, statuses)

    def _ask(self, client: Client, ticket: Ticket, due: Sequence[DueChunk]) -> JobStatuses:
        try:
            statuses = client.job_statuses([chunk.job_id for chunk in due])
        except DeskfeedError as error:
            self._in.permits.failed(ticket, error)
            raise
        self._in.permits.answered(ticket, statuses.rate)
        return statuses

    def _look_failed(
        self, account: str, due: Sequence[DueChunk], error: DeskfeedError
    ) -> Sequence[Hint]:
        log.warning("look_failed", jobs=len(due), **reason_of(error))
        seconds = self._in.times.unreachable
        if isinstance(error, Throttled):
            seconds = self._in.permits.throttled(account, error)
            for run_id in sorted({chunk.run_id for chunk in due}):
                self._in.note_throttled(run_id, error, seconds)
        if isinstance(error, DestinationError):
            self._in.pause_destination(due[0].target, error)
            seconds = self._in.times.longest_countdown
        known = self._ledger.polling.account(account)
        hints: list[Hint] = []
        waiting: list[DueChunk] = []
        for chunk in due:
            if chunk.age_seconds > self._in.times.job_deadline:
                hints.extend(self._unless_fenced(self._lost, known, chunk, "job_lost"))
            else:
                waiting.append(chunk)
        return [*hints, *self._later(waiting, seconds, looked=False)]

    def _later(
        self, due: Sequence[DueChunk], seconds: float, *, looked: bool = True
    ) -> Sequence[Hint]:
        """All of these are looked at again at one moment, for which one message is enough."""
        seconds = min(seconds, self._in.times.longest_countdown)
        for chunk in due:
            try:
                self._ledger.polling.look_again(chunk, seconds, looked=looked)
            except Superseded as error:
                _say_fenced(chunk, error)
        return [Poll(due[0].run_id, due[0].seq, seconds)] if due else []

    def _judge_all(
        self, account: Account, due: Sequence[DueChunk], statuses: Mapping[str, JobStatus]
    ) -> Sequence[Hint]:
        hints: list[Hint] = []
        running: list[DueChunk] = []
        for chunk in due:
            status = statuses.get(chunk.job_id)
            if self._still_running(account, chunk, status):
                running.append(chunk)
            else:
                hints.extend(self._unless_fenced(self._judge, account, chunk, status))
        if running:
            hints.extend(self._look_again(account, running))
        return hints

    def _look_again(self, account: Account, running: Sequence[DueChunk]) -> Sequence[Hint]:
        """Jobs that still run are looked at with others that come soon, or else in a while."""
        pause = self._pause_seconds(min(chunk.looks for chunk in running))
        alone: list[DueChunk] = []
        for chunk in running:
            self._learn_running(account, chunk)
            try:
                if not self._ledger.polling.look_along(account.account, chunk, pause):
                    alone.append(chunk)
            except Superseded as error:
                _say_fenced(chunk, error)
        return self._later(alone, pause)

    def _still_running(self, account: Account, chunk: DueChunk, status: JobStatus | None) -> bool:
        if status is None:  # unknown right after it was made: patience; later it is lost
            patience = self._in.times.overdue + likely_seconds(account, chunk.rows)
            return chunk.age_seconds < patience
        return not status.state.ended and chunk.age_seconds <= self._in.times.job_deadline

    def _pause_seconds(self, looks: int) -> float:
        pause = self._in.times.poll_again * BACKOFF ** (looks - 1)
        return min(pause, self._in.times.poll_longest) * random.uniform(0.9, 1.1)  # noqa: S311

    def _unless_fenced(
        self,
        act: Callable[..., Sequence[Hint]],
        account: Account,
        chunk: DueChunk,
        *args: Any,
    ) -> Sequence[Hint]:
        try:
            with about(chunk.run_id, chunk.seq, chunk.attempt):
                return act(account, chunk, *args)
        except Superseded as error:
            _say_fenced(chunk, error)
            return ()
        except KeyMissing as error:  # a worker that has the key gives its rows their outcomes
            log.error("results_not_written", reason=error.message, resolution=error.resolution)
            return self._later([chunk], self._in.times.longest_countdown, looked=False)

    def _judge(self, account: Account, chunk: DueChunk, status: JobStatus | None) -> Sequence[Hint]:
        """Give the rows of a job that has ended (or is gone) their outcomes."""
        if status is None:
            return self._lost(account, chunk, "job_lost")
        if not status.state.ended:
            return self._lost(account, chunk, "job_stuck")
        try:
            profiles = self._ledger.outcomes.profiles(chunk.run_id, chunk.seq)
        except Damaged:  # whoever claims it sees that too, and quarantines it
            return self._lost(account, chunk, "payload_changed")
        matched = match_results(profiles, status)
        if matched.unmatched:
            return self._lost(account, chunk, "results_unmatched", matched.outcomes)
        self._finish(chunk, matched.outcomes)
        self._learn(account, chunk)
        return ()

    def _lost(
        self, account: Account, chunk: DueChunk, why: str, found: Sequence[Outcome] = ()
    ) -> Sequence[Hint]:
        """Nobody can say what became of the chunk: settle; whoever claims it then goes on."""
        log.warning("job_unclear", run_id=chunk.run_id, seq=chunk.seq, why=why)
        settle = self._in.settle_seconds(account, chunk.rows)
        message = settle <= self._in.times.longest_countdown
        self._ledger.polling.lost(chunk, settle, why, message=message, known=found)
        return (Deliver(chunk.run_id, chunk.seq, settle),) if message else ()

    def _finish(self, chunk: DueChunk, outcomes: Sequence[Outcome]) -> None:
        again = worth_again(outcomes)
        to = self._ledger.outcomes.finish(
            chunk.run_id, chunk.seq, chunk.fence, outcomes, again=again
        )
        reach("outcome.committed")
        log.info("chunk_done", run_id=chunk.run_id, seq=chunk.seq, job_id=chunk.job_id, again=to)

    def _learn(self, account: Account, chunk: DueChunk) -> None:
        """How long do jobs take? A look tells only whether this one has ended by now.

        A job that had ended when it was just likely to makes the guess a little smaller. One that
        had ended when it was looked at late, in company, tells nothing.
        """
        guess = account.job_seconds
        if chunk.rows < LEAST_ROWS:
            return
        if chunk.looks <= 1:
            if chunk.age_seconds <= ON_TIME * likely_seconds(account, chunk.rows):
                self._ledger.polling.learn(account.account, max(guess * 0.98, 0.05))
        elif chunk.looks >= 3:
            took = min(_per_full_chunk(chunk), 2 * guess)
            self._ledger.polling.learn(account.account, 0.5 * guess + 0.5 * took)

    def _learn_running(self, account: Account, chunk: DueChunk) -> None:
        """A job that still runs at its first look takes longer than that."""
        least = 1.02 * _per_full_chunk(chunk)
        if chunk.looks <= 1 and chunk.rows >= LEAST_ROWS and least > account.job_seconds:
            self._ledger.polling.learn(account.account, least)


def _say_fenced(chunk: DueChunk, error: Superseded) -> None:
    with about(chunk.run_id, chunk.seq, chunk.attempt):
        log.warning("chunk_fenced", reason=error.message)


def _per_full_chunk(chunk: DueChunk) -> float:
    return max(chunk.age_seconds - JOB_OVERHEAD_S, 0.05) * 100 / chunk.rows


def _told(due: Sequence[DueChunk], hints: Sequence[Hint]) -> str:
    """Return in words what a look came to."""
    jobs = f"looked at {len(due)} job{'s' if len(due) != 1 else ''}"
    next_looks = [hint.in_seconds for hint in hints if isinstance(hint, Poll)]
    if next_looks:
        jobs += f", the next look is in {min(next_looks):.0f} s"
    ended = sum(isinstance(hint, Finish) for hint in hints)
    return jobs + (", the run has ended" if ended else "")


def _by_target(due: Sequence[DueChunk]) -> list[list[DueChunk]]:
    """One look is made with one credential: what is wrong with one must not keep others waiting."""
    groups: dict[Target, list[DueChunk]] = {}
    for chunk in due:
        groups.setdefault(chunk.target, []).append(chunk)
    return list(groups.values())
