"""Asking Zendesk about the people of a claimed chunk, with leave for each request.

What prevents an answer is no failure of the chunk: its claim is given back, and it waits.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.delivery.context import Context
from worker.errors import DeskfeedError, DestinationError, LimiterUnavailable, Renewed, Throttled
from worker.hints import Step, Wait
from worker.ledger.records import Claim
from worker.zendesk.replies import UsersFound

log = structlog.get_logger(__name__)


class NoPermit(DeskfeedError):
    """Leave to ask is not to be had now.

    Args:
        seconds: until it is worth asking again.
    """

    default_code = "rate_limited"

    def __init__(self, seconds: float) -> None:
        super().__init__("the request has no permit yet")
        self.seconds = seconds


class Asker:
    """Asks, or gives a claim back.

    Args:
        context: the parts to work with.
        why: what a chunk waits for that could not ask, a word for people and metrics.
    """

    def __init__(self, context: Context, why: str) -> None:
        self._in = context
        self._chunks = context.ledger.chunks
        self._why = why

    def ask(self, claim: Claim, call: Callable[[], UsersFound]) -> UsersFound:
        """Send one request with a permit, and renew the claim for as long as it may take.

        Raises:
            NoPermit: there is no permit now.
            LimiterUnavailable: Redis does not answer.
            Superseded: the claim was taken over, or the run does not send now.
            DeskfeedError: what the request ended in.
        """
        self._chunks.renew(claim)
        ticket = self._in.request_permit(claim.target.account)
        if isinstance(ticket, float):
            raise NoPermit(ticket)
        try:
            answer = call()
        except DeskfeedError as error:
            self._in.permits.failed(ticket, error)
            raise
        self._in.permits.answered(ticket, answer.rate)
        return answer

    def put_off(self, claim: Claim, error: DeskfeedError) -> Step | None:
        """Give the claim back until it is worth asking again; None for an answer without use."""
        match error:
            case NoPermit():
                return self.give_back(claim, error.seconds, f"{self._why}_permit")
            case LimiterUnavailable():
                log.warning("limiter_unavailable", reason=error.message)
                return self.give_back(claim, self._in.times.unreachable, "limiter")
            case DestinationError():
                self._chunks.wait(claim, 0.0, error.code, message=False)
                return self._in.pause_destination(claim.target, error)
            case Throttled():
                seconds = self._in.permits.throttled(claim.target.account, error)
                return self.give_back(claim, seconds, error.code)
            case Renewed():
                return self.give_back(claim, 0.0, error.code)
        return None

    def give_back(self, claim: Claim, seconds: float, why: str, *, failed: bool = False) -> Step:
        """Give the claim back for some seconds; `failed` counts a read-back without use."""
        message = seconds <= self._in.times.longest_countdown
        self._chunks.wait(claim, seconds, why, message=message, read_back_failed=failed)
        return Wait(seconds, why, message)
