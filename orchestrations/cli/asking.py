"""Asking Zendesk from the command: with the shared permits, or slowly where Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrations.cli.output import errors
from worker.errors import DeskfeedError, LimiterUnavailable, Throttled, UsageError
from worker.settings import settings

if TYPE_CHECKING:
    from worker.ledger.records import Limits
    from worker.zendesk.client import Permit
    from worker.zendesk.replies import RateHeaders

PLAIN_PACE_S = 1.0
"""Between two requests when Redis, which would say what is free, cannot be asked."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave to send requests to one account.

    Attributes:
        permit: waits for leave to send one request; returns what its answer is told to.
        failed: is told of a request that failed; returns the seconds to wait before the next.
    """

    permit: Permit
    failed: Callable[[DeskfeedError], float]


def leave_for(
    account: str, declared: Limits | None = None, patience_s: float | None = None
) -> Leave:
    """Return leave to ask an account: with permits, or slowly when Redis cannot be asked for any.

    Args:
        account: the Zendesk host.
        declared: its limits after the catalog, where the ledger may not know it yet.
        patience_s: how long to wait for one permit.
    """
    from orchestrations.planner import PERMIT_PATIENCE_S, POSTPONED_S, Asking
    from worker.app import parts

    try:
        mine = parts()
        mine.limiter.state(account)
    except (UsageError, LimiterUnavailable) as error:
        errors().print(
            f"{error.message}. Zendesk is asked without the shared rate limit, one request each "
            f"{PLAIN_PACE_S:g} s.",
            style="yellow",
            markup=False,
        )
        return Leave(_plain_pace(), _patience)
    asking = Asking(mine.delivery, account, declared, patience_s or PERMIT_PATIENCE_S)

    def failed(error: DeskfeedError) -> float:
        asking.failed(error)
        if isinstance(error, Throttled):
            return mine.delivery.permits.throttled(account, error)
        return POSTPONED_S * settings().time_scale

    return Leave(asking.permit, failed)


def _plain_pace() -> Permit:
    """Return a permit that lets one request go each second, whatever others do."""
    last = [0.0]

    def permit() -> Callable[[RateHeaders], None]:
        time.sleep(max(0.0, last[0] + PLAIN_PACE_S - time.monotonic()))
        last[0] = time.monotonic()
        return lambda _rate: None

    return permit


def _patience(error: DeskfeedError) -> float:
    from orchestrations.planner import POSTPONED_S
    from worker.delivery import patience

    return patience(error) if isinstance(error, Throttled) else POSTPONED_S
