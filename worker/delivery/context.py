"""What submitting and polling share: the parts they work with, and how a run goes on or ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from worker.delivery.permits import Permits, Ticket
from worker.errors import DeskfeedError, DestinationError, LedgerError, Throttled
from worker.failpoints import reach
from worker.hints import Deliver, Failed, Finish, Hint
from worker.ledger import Ledger
from worker.ledger.outcomes import SENT_AGAIN_CODE
from worker.ledger.records import Account, Limits, Target
from worker.limiter import Limiter
from worker.profile import Outcome, Profile
from worker.times import Times
from worker.zendesk.replies import Identity, JobAccepted, JobStatuses, UsersFound

log = structlog.get_logger(__name__)

CANCEL_ROUNDS = 10
"""Batches of chunks cancelled at a time; the next sweep goes on with the rest."""

JOB_SLOT_RETRY_S = 1.0
"""How long to wait before asking again for a free job."""

JOB_CAP_S = 60.0
"""How long fewer jobs are sent after Zendesk said that there are too many, all clients together."""

JOB_OVERHEAD_S = 0.3
"""What a job takes beside its users."""


class Client(Protocol):
    """What delivery needs of Zendesk; `worker.zendesk.client.ZendeskClient` is one."""

    def whoami(self) -> Identity:
        """Return who the credential is."""
        ...

    def create_or_update_many(self, profiles: Sequence[Profile]) -> JobAccepted:
        """POST the users; return the job that Zendesk queued."""
        ...

    def job_statuses(self, job_ids: Sequence[str]) -> JobStatuses:
        """Return the jobs that Zendesk knows of these."""
        ...

    def users_show_many(self, external_ids: Sequence[str]) -> UsersFound:
        """Return the users that have these external_ids, one batch of `readable_batches`."""
        ...

    def users_search(
        self, *, external_id: str | None = None, email: str | None = None
    ) -> UsersFound:
        """Return the users that have this one external_id or e-mail."""
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
        sleep: waits for a booked slot; may return early when the process is to end.
        pause: waits between two tries of a write, to the end; without it `sleep` does.
    """

    ledger: Ledger
    limiter: Limiter
    clients: Callable[[Target], Client]
    times: Times
    owner: str
    window: int = 8
    sleep: Callable[[float], None] = time.sleep
    pause: Callable[[float], None] | None = None

    @property
    def permits(self) -> Permits:
        """Where leave to send is asked for."""
        return Permits(self.limiter, self.times, self.owner, self.sleep)

    def admit(self, run_id: str, in_seconds: float = 0.0) -> tuple[Hint, ...]:
        """Let the next planned chunks of a run into its window.

        Args:
            run_id: which run.
            in_seconds: when it is worth looking at them, as far as that is known.
        """
        seconds = min(in_seconds, self.times.longest_countdown)
        admitted = self.ledger.chunks.admit(run_id, self.window, seconds)
        return tuple(Deliver(run_id, seq, seconds) for seq in admitted)

    def go_on(self, run_id: str) -> tuple[Hint, ...]:
        """After chunks have ended: let the run's last one in if it is its turn, or end it."""
        last = self.admit(run_id) if self.ledger.chunks.last_waits(run_id) else ()
        return (*last, *self.close(run_id))

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
        reach("run.closed")
        log.info("run_ended", run_id=run_id, state=state)
        return (Finish(run_id),)

    def pause_destination(self, target: Target, error: DestinationError) -> Failed:
        """Pause every run of a destination: only a person can mend what is wrong."""
        for run_id in self.ledger.runs.pause_destination(target.destination, error):
            log.error("run_paused", run_id=run_id, code=error.code, reason=error.message)
        return Failed(error.code)

    def note_throttled(self, run_id: str, error: Throttled, seconds: float) -> None:
        """Note for the run's report that Zendesk asked to wait; delivery does without the note."""
        try:
            self.ledger.history.note_throttled(run_id, error.scope, seconds)
        except LedgerError as failed:
            log.warning("throttling_not_noted", run_id=run_id, reason=failed.message)

    def settle_seconds(self, account: Account, rows: int) -> float:
        """How long to wait after an unclear POST before Zendesk has surely ended with it."""
        return max(self.times.settle, 2 * likely_seconds(account, rows))

    def request_permit(self, account: str, declared: Limits | None = None) -> Ticket | float:
        """Take leave for one request without users, or return the seconds to wait for it.

        Args:
            account: the Zendesk host.
            declared: its limits after the catalog, if the ledger may not know it yet.

        Raises:
            LimiterUnavailable: Redis does not answer.
        """
        return self.permits.request(self.ledger.polling.account(account, declared))


def likely_seconds(account: Account, rows: int) -> float:
    """How long the job of so many rows likely takes."""
    return JOB_OVERHEAD_S + account.job_seconds * rows / 100


def worth_again(outcomes: Sequence[Outcome]) -> frozenset[int]:
    """Return the rows whose failure passes by itself; they are sent once more."""
    return frozenset(o.row for o in outcomes if o.code == SENT_AGAIN_CODE)


def reason_of(error: DeskfeedError) -> dict[str, str]:
    """Return what a log line says of an error."""
    return {"code": error.code, "reason": error.message}
