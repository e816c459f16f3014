"""What submitting and polling share: the parts they work with, and how a run goes on or ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from worker.errors import (
    DeskfeedError,
    DestinationError,
    LimiterUnavailable,
    Throttle,
    Throttled,
)
from worker.hints import Deliver, Failed, Finish, Hint
from worker.ledger import Ledger
from worker.ledger.records import Account, Target
from worker.limiter import Budget, Denied, Go, Limiter, NotYet
from worker.profile import Outcome, OutcomeKind, Profile
from worker.times import Times
from worker.zendesk.replies import JobAccepted, JobStatus

log = structlog.get_logger(__name__)

THROTTLE_S: dict[Throttle, float] = {"account": 10.0, "chunk": 30.0, "jobs": 3.0}
"""How long to wait where Zendesk asks to wait and does not say how long."""

CANCEL_ROUNDS = 10
"""Batches of chunks cancelled at a time; the next sweep goes on with the rest."""

UNREACHABLE_PAUSE_S = 5.0
"""How long an account rests after Zendesk or Redis could not be reached."""

RETRY_S = 1.0
"""How long to wait before asking again for a job slot or a voided permit."""

JOB_OVERHEAD_S = 0.3
"""What a job takes beside its users."""


class Client(Protocol):
    """What delivery needs of Zendesk; `worker.zendesk.client.ZendeskClient` is one."""

    def create_or_update_many(self, profiles: Sequence[Profile]) -> JobAccepted:
        """POST the users; return the job that Zendesk queued."""
        ...

    def job_statuses(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the jobs that Zendesk knows of these."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts that both use-cases work with.

    Attributes:
        ledger: the record of truth.
        limiter: gives permits.
        clients: returns the client of a destination.
        times: the table of times.
        owner: names this worker in claims.
        window: chunks of a run that may be enqueued and not yet submitted.
        sleep: waits for a booked slot; tests pass their own.
    """

    ledger: Ledger
    limiter: Limiter
    clients: Callable[[Target], Client]
    times: Times
    owner: str
    window: int = 8
    sleep: Callable[[float], None] = time.sleep

    def admit(self, run_id: str) -> tuple[Hint, ...]:
        """Let the next planned chunks of a run into its window."""
        return tuple(Deliver(run_id, seq) for seq in self.ledger.chunks.admit(run_id, self.window))

    def close(self, run_id: str) -> tuple[Hint, ...]:
        """End the run if all its chunks have ended, or if too many of its rows failed.

        A stopping run's unsent chunks are cancelled first.
        """
        self.ledger.runs.stop_if_too_many_failed(run_id)
        for _ in range(CANCEL_ROUNDS):
            if not self.ledger.outcomes.cancel_some(run_id):
                break
        state = self.ledger.runs.close(run_id)
        if state is None:
            return ()
        log.info("run_ended", run_id=run_id, state=state)
        return (Finish(run_id),)

    def pause_destination(self, target: Target, error: DestinationError) -> Failed:
        """Pause every run of a destination: only a person can mend what is wrong."""
        for run_id in self.ledger.runs.pause_destination(target.destination, error):
            log.error("run_paused", run_id=run_id, code=error.code, reason=error.message)
        return Failed(error.code)

    def pause_account(self, account: str, seconds: float, reason: str) -> None:
        """Stop all sending to an account for a while."""
        try:
            self.limiter.pause(account, seconds, reason)
        except LimiterUnavailable as error:
            # Without Redis there are no permits either, so nothing is sent meanwhile.
            log.warning("limiter_unavailable", reason=error.message)

    def throttled(self, account: str, error: Throttled) -> float:
        """Pause the account if Zendesk means all of it; returns how long to wait, in seconds."""
        seconds = error.retry_after_seconds
        if seconds is None:
            seconds = THROTTLE_S[error.scope]
        if error.scope == "account":
            self.pause_account(account, seconds, error.code)
        return seconds

    def settle_seconds(self, account: Account, rows: int) -> float:
        """How long to wait after an unclear POST before Zendesk has surely ended with it."""
        return max(self.times.settle, 2 * likely_seconds(account, rows))

    def request_permit(self, account: str) -> float | None:
        """Take leave for one request without users; returns the seconds to wait when there is none.

        Raises:
            LimiterUnavailable: Redis does not answer.
        """
        limits = budget(self.ledger.polling.account(account))
        permit = f"get:{self.owner}:{random.getrandbits(64):016x}"
        answer = self.limiter.reserve(
            account,
            permit,
            users=0,
            requests=1,
            budget=limits,
            max_wait_s=self.times.slept_slot,
        )
        if isinstance(answer, Denied):
            return answer.retry_in_s
        wait_s = answer.wait_s
        for _ in range(3):
            self.sleep(wait_s)
            confirmed = self.limiter.confirm(account, permit, budget=limits)
            if isinstance(confirmed, Go):
                return None
            if not isinstance(confirmed, NotYet):
                break
            wait_s = confirmed.wait_s
        return RETRY_S


def budget(account: Account) -> Budget:
    """Return an account's budgets as the limiter wants them."""
    return Budget(account.limits.users_per_second, account.limits.requests_per_minute)


def likely_seconds(account: Account, rows: int) -> float:
    """How long the job of so many rows likely takes."""
    return JOB_OVERHEAD_S + account.job_seconds * rows / 100


def unconfirmed(profiles: Sequence[Profile], detail: str) -> list[Outcome]:
    """Return the outcome of rows of which nobody can say what became of them."""
    return [Outcome(p.row, OutcomeKind.UNCONFIRMED, "unconfirmed", detail) for p in profiles]


def reason_of(error: DeskfeedError) -> dict[str, str]:
    """Return what a log line says of an error."""
    return {"code": error.code, "reason": error.message}
