"""How long a run still takes, learned from how it went so far. Pure; says nothing before it knows.

The rate is that of the run's own POSTs, in the time in which something could go: a pause of the
destination, a Retry-After or a stopped worker is time in which nothing was learned. So a run that
shares its account, waits for job slots or meets a slow Zendesk gets the time that it really needs,
and no budget that it never reaches is promised to it. Never faster than the budget that holds now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

LEARN_FROM_S = 600.0
"""POSTs of the last ten minutes count; those before tell of another time of day."""

LEAST_POSTS = 4
LEAST_ACTIVE_S = 3.0
"""Before both nothing is said: a first second tells nothing of an hour."""

QUIET_TIMES = 8.0
QUIET_LEAST_S = 5.0
"""A gap between two POSTs is a pause if it is longer than this, and than so many usual gaps."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A POST that was accepted.

    Attributes:
        at: seconds, on any clock.
        users: in it.
    """

    at: float
    users: int


@dataclass(frozen=True, slots=True)
class Work:
    """What is still to be done.

    Attributes:
        unsent: users that are still to be sent.
        budget: users per second that the account may have now.
        job_seconds: how long a full chunk's job takes.
        paused_seconds: for so long nothing can be sent; 0 while something can.
    """

    unsent: int
    budget: int
    job_seconds: float
    paused_seconds: float = 0.0


def seconds_left(work: Work, sent: Sequence[Sent], now: float) -> float | None:
    """Return the seconds until the last row has an outcome, or None while nobody can tell.

    Args:
        work: what is left.
        sent: the run's POSTs, the oldest first.
        now: on the clock of the POSTs.
    """
    if not sent:
        return None
    if work.unsent <= 0:
        return _last_job(work, now - sent[-1].at)
    rate = users_per_second(sent)
    if rate is None:
        return None
    return work.paused_seconds + work.unsent / min(rate, work.budget) + work.job_seconds


def _last_job(work: Work, since_last: float) -> float | None:
    """All is sent: until the last job ends. None for one that takes much longer than any before."""
    if since_last > 2 * work.job_seconds + 10.0:
        return None
    return max(work.job_seconds - since_last, 1.0)


def users_per_second(sent: Sequence[Sent]) -> float | None:
    """Return how many users went a second while something could go; None before that is known."""
    recent = [one for one in sent if one.at >= sent[-1].at - LEARN_FROM_S]
    if len(recent) < LEAST_POSTS:
        return None
    gaps = [after.at - before.at for before, after in pairwise(recent)]
    usual = median(gaps)
    quiet = max(QUIET_LEAST_S, QUIET_TIMES * usual)
    # Where something stood in the way the usual gap is what would have passed without it.
    active = sum(usual if gap > quiet else gap for gap in gaps)
    if active < LEAST_ACTIVE_S:
        return None
    return sum(one.users for one in recent[1:]) / active
