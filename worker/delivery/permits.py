"""Leave to send: asking the limiter for it, and telling it what became of the request.

Every request to Zendesk goes through here, so that each is counted, each probe is reported, and
what the headers of answers tell reaches every worker of the account.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from worker import metrics
from worker.errors import (
    DeskfeedError,
    DestinationError,
    LimiterUnavailable,
    Refused,
    Throttle,
    Throttled,
)
from worker.ledger.records import Account, Limits
from worker.limiter import Booked, Budget, Denied, Go, Limiter, NotYet, Stale
from worker.times import Times
from worker.zendesk.replies import RateHeaders

log = structlog.get_logger(__name__)

THROTTLE_S: dict[Throttle, float] = {"account": 10.0, "chunk": 30.0, "jobs": 3.0}
"""How long to wait where Zendesk asks to wait and does not say how long."""

LEAST_THROTTLE_S = 1.0
"""How long to wait at least, also where Zendesk says 0: it has just refused."""

GIVEN_BACK = 20
"""Headers that leave us more than they did are worth a call from this part of the budget on."""

RETRY_S = 1.0
"""How long to wait before asking again for a permit that was voided."""

NO_HEADERS = RateHeaders()

NEVER_ANSWERED = frozenset({"tls_error", "wrong_host", "credential_missing"})
"""What a person must mend and Zendesk said nothing about."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to send one request now; report what became of it.

    Attributes:
        account: the account as it was known when the leave was given.
        permit: its name at the limiter.
        stamp_us: the time of sending, in microseconds of Redis' clock.
        probe: everybody waits for the answer to this one.
        next_in_s: when the same run's next permit is worth asking for.
        used: requests of ours in the minute that ends with this one.
        requests_cap: requests a minute that headers leave to us; None while they tell nothing.
    """

    account: Account
    permit: str
    stamp_us: int
    probe: bool
    next_in_s: float = 0.0
    used: int = 0
    requests_cap: int | None = None


@dataclass(frozen=True, slots=True)
class Permits:
    """Asks for leave and reports answers.

    Args:
        limiter: gives permits.
        times: how long a slot is slept.
        owner: names this worker in the permits of requests that carry no chunk.
        sleep: waits for a booked slot; tests pass their own.
    """

    limiter: Limiter
    times: Times
    owner: str
    sleep: Callable[[float], None] = time.sleep

    def book(
        self, account: Account, permit: str, users: int, run_id: str, share: float
    ) -> Booked | Denied:
        """Book a slot for a chunk.

        Raises:
            LimiterUnavailable: Redis does not answer.
        """
        return self._reserve(account, permit, users, run_id, share)

    def _reserve(
        self, account: Account, permit: str, users: int, flow: str = "", share: float = 1.0
    ) -> Booked | Denied:
        answer = self.limiter.reserve(
            account.account,
            permit,
            users=users,
            requests=1,
            budget=budget(account.limits),
            max_wait_s=self.times.slept_slot,
            flow=flow,
            share=share,
        )
        if isinstance(answer, Denied):
            metrics.PERMITS_DENIED.labels(account.account, answer.why).inc()
        return answer

    def redeem(
        self, account: Account, booked: Booked, users: int, run_id: str = "", share: float = 1.0
    ) -> Ticket | None:
        """Wait for a booked slot and stamp it; None when the permit is void or Redis away.

        The waiting is bounded, well below the lease of a claim.

        Args:
            account: the account.
            booked: what `book` gave.
            users: users in the request.
            run_id: the run, if it will ask for another permit soon.
            share: the run's share.
        """
        slept = 0.0
        while True:
            try:
                answer = self.limiter.confirm(
                    account.account,
                    booked.permit,
                    budget=budget(account.limits),
                    flow=run_id,
                    share=share,
                    max_wait_s=self.times.slept_slot,
                )
            except LimiterUnavailable as error:
                log.warning("limiter_unavailable", reason=error.message)
                return None
            match answer:
                case Go():
                    return self._granted(account, booked, users, answer)
                case Stale(why):
                    metrics.PERMITS_VOIDED.labels(account.account, why).inc()
                    return None
                case NotYet(wait_s) if slept + wait_s > 2 * self.times.slept_slot:
                    self.give_back(account.account, booked)
                    return None
                case NotYet(wait_s):
                    self.sleep(wait_s)
                    slept += max(wait_s, 0.001)

    def _granted(self, account: Account, booked: Booked, users: int, go: Go) -> Ticket:
        metrics.PERMITS_GRANTED.labels(account.account, "post" if users else "get").inc()
        metrics.USERS_GRANTED.labels(account.account).inc(users)
        metrics.PERMIT_WAIT.labels(account.account).observe(
            booked.wait_s + (go.stamp_us - booked.slot_us) / 1e6
        )
        metrics.PERMIT_LATENESS.labels(account.account).observe(go.late_s)
        told = (go.next_in_s, go.used, go.requests_cap)
        return Ticket(account, booked.permit, go.stamp_us, go.probe, *told)

    def request(self, account: Account) -> Ticket | float:
        """Take leave for one request without users, or return the seconds to wait for it.

        Raises:
            LimiterUnavailable: Redis does not answer.
        """
        permit = f"get:{self.owner}:{random.getrandbits(64):016x}"
        answer = self._reserve(account, permit, users=0)
        if isinstance(answer, Denied):
            return answer.retry_in_s
        self.sleep(answer.wait_s)
        return self.redeem(account, answer, users=0) or RETRY_S

    def give_back(self, account: str, booked: Booked) -> None:
        """Cancel a permit that will not be used."""
        try:
            self.limiter.cancel(account, booked.permit)
        except LimiterUnavailable as error:
            # It expires by itself: a slot unused, never a slot used twice.
            log.warning("permit_not_cancelled", reason=error.message)

    def answered(self, ticket: Ticket, rate: RateHeaders = NO_HEADERS) -> None:
        """Report that Zendesk answered, with what its headers tell of the minute."""
        if ticket.probe or tells_something(rate, ticket):
            self._observe(ticket, rate, answered=True)

    def failed(self, ticket: Ticket, error: DeskfeedError) -> None:
        """Report a request that did not do what it should; a rate limit pauses the account."""
        if isinstance(error, Throttled):
            metrics.THROTTLED.labels(ticket.account.account, error.scope).inc()
        if ticket.probe:
            # A refusal is an answer, too. After silence, or a server that is not itself, only
            # another probe can tell.
            seen = (
                isinstance(error, Refused)
                or (isinstance(error, DestinationError) and error.code not in NEVER_ANSWERED)
                or (isinstance(error, Throttled) and error.scope != "account")
            )
            self._observe(ticket, NO_HEADERS, answered=seen)

    def _observe(self, ticket: Ticket, rate: RateHeaders, *, answered: bool) -> None:
        try:
            observed = self.limiter.observe(
                ticket.account.account,
                ticket.permit,
                budget=budget(ticket.account.limits),
                answered=answered,
                limit=rate.limit,
                remaining=rate.remaining,
                reset_s=rate.reset_s,
                reserve_percent=ticket.account.limits.reserve_percent,
            )
        except LimiterUnavailable as error:
            # A probe that nobody reported is given up after its time; headers come again.
            log.warning("answer_not_reported", reason=error.message)
            return
        if observed.rest_s:
            metrics.note_pause(ticket.account.account, "headers", observed.rest_s)
            log.info("account_rests", reason="headers", seconds=observed.rest_s)

    def pause(self, account: str, seconds: float, reason: str) -> None:
        """Stop all sending to an account for a while."""
        try:
            left = self.limiter.pause(account, seconds, reason)
        except LimiterUnavailable as error:
            # Without Redis there are no permits either, so nothing is sent meanwhile.
            log.warning("limiter_unavailable", reason=error.message)
            return
        metrics.note_pause(account, reason, min(left, seconds))

    def throttled(self, account: str, error: Throttled) -> float:
        """Pause the account if Zendesk means all of it; returns how long to wait, in seconds."""
        seconds = patience(error)
        if error.scope == "account":
            self.pause(account, seconds, error.code)
        return seconds


def budget(limits: Limits) -> Budget:
    """Return an account's budgets as the limiter wants them."""
    return Budget(limits.users_per_second, limits.requests_per_minute)


def patience(error: Throttled) -> float:
    """Return how long to wait when Zendesk asks to wait, in seconds: the one rule for it.

    `Retry-After` was cut to its longest where it was read (`retry_after_seconds`).
    """
    asked = error.retry_after_seconds
    return max(LEAST_THROTTLE_S, THROTTLE_S[error.scope] if asked is None else asked)


def tells_something(rate: RateHeaders, ticket: Ticket) -> bool:
    """Whether headers change what we may use; else reporting them would be a call for nothing.

    What of the account's limit is neither left nor used by ourselves is used by others.

    Args:
        rate: what the headers of an answer said.
        ticket: what its request was sent under.
    """
    if rate.remaining is None:
        return False
    limits, cap = ticket.account.limits, ticket.requests_cap
    others = math.ceil((rate.limit or 0) * limits.reserve_percent / 100)
    left = rate.remaining - others
    ours = min(ticket.used + left, limits.requests_per_minute)
    if left <= 0 or cap is None:
        return left <= 0 or ours < limits.requests_per_minute
    return ours < cap or ours - cap >= max(1, limits.requests_per_minute // GIVEN_BACK)
