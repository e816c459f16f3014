"""From grants to figures; nothing here knows a clock, a process or Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Grant:
    """One permit that a caller got.

    Attributes:
        caller: its number.
        stamp_us: when it may send, on Redis' clock, in microseconds.
        seen_us: Redis' clock when the caller, back from the limiter, asked for it.
        at: the same moment on this host's monotonic clock, in seconds.
        waited_s: how long it had waited.
        users: in the request.
    """

    caller: int
    stamp_us: int
    seen_us: int
    at: float
    waited_s: float
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a row of a table shows.

    Attributes:
        permits: how many were granted.
        round_trips: to Redis, a permit.
        use: part of the budget that was used, 1 being all of it.
        worst: most users in any second, judged on the stamps.
        worst_seen: likewise, judged on Redis' clock right after the grant.
        gap_ms: shortest time between two stamps.
        fewest: permits of the caller with the fewest.
        most: permits of the caller with the most.
        jain: Jain's index of the callers' permits; 1 is perfectly even, 1/n is one takes all.
        p50_s: median wait.
        p99_s: wait that 99 % did not exceed.
    """

    permits: int
    round_trips: float
    use: float
    worst: int
    worst_seen: int
    gap_ms: float
    fewest: int
    most: int
    jain: float
    p50_s: float
    p99_s: float


def figures(grants: Sequence[Grant], calls: Sequence[float], callers: int, budget: int) -> Figures:
    """Work out the figures of a row.

    Args:
        grants: in any order.
        calls: when somebody called Redis, in seconds of the monotonic clock.
        callers: how many there were.
        budget: users per second.
    """
    ordered = sorted(grants, key=lambda grant: grant.stamp_us)
    stamps = [grant.stamp_us for grant in ordered]
    each = list(by_caller(ordered, callers).values())
    waits = sorted(grant.waited_s for grant in ordered)
    return Figures(
        permits=len(ordered),
        round_trips=_round_trips(ordered, calls),
        use=_use(ordered, budget),
        worst=worst_second([(grant.stamp_us, grant.users) for grant in ordered]),
        worst_seen=worst_second([(grant.seen_us, grant.users) for grant in ordered]),
        gap_ms=min((later - earlier for earlier, later in pairwise(stamps)), default=0) / 1000,
        fewest=min(each),
        most=max(each),
        jain=_jain(each),
        p50_s=_percentile(waits, 50),
        p99_s=_percentile(waits, 99),
    )


def by_caller(grants: Sequence[Grant], callers: int) -> Mapping[int, int]:
    """Return how many permits each caller got, those with none included."""
    counted = Counter(grant.caller for grant in grants)
    return {caller: counted[caller] for caller in range(callers)}


def worst_second(sent: Sequence[tuple[int, int]]) -> int:
    """Return the most users in any second, both of its ends included.

    Args:
        sent: (time in microseconds, users), in any order.
    """
    ordered = sorted(sent)
    worst = current = start = 0
    for at, users in ordered:
        current += users
        while at - ordered[start][0] > SECOND_US:
            current -= ordered[start][1]
            start += 1
        worst = max(worst, current)
    return worst


def silence_s(grants: Sequence[Grant], moment: float) -> float:
    """Return the time between the last grant before a moment and the first after it.

    Args:
        grants: in any order.
        moment: on the monotonic clock.
    """
    before = [grant.at for grant in grants if grant.at <= moment]
    after = [grant.at for grant in grants if grant.at > moment]
    if not before or not after:
        return float("inf")
    return min(after) - max(before)


def _round_trips(ordered: Sequence[Grant], calls: Sequence[float]) -> float:
    """Calls from one second after the first grant to the last grant, a permit granted meanwhile.

    So neither the start, where everybody asks at once, nor the end, where everybody waits for a
    permit that does not come any more, is taken for what a permit costs.
    """
    times = sorted(grant.at for grant in ordered)
    later = [at for at in times if at > times[0] + 1.0]
    if len(later) < 2:
        return float("nan")
    return sum(later[0] < call <= later[-1] for call in calls) / (len(later) - 1)


def _use(ordered: Sequence[Grant], budget: int) -> float:
    """Users after those of the first second (a full budget), by the time that they took."""
    if not ordered:
        return float("nan")
    begin_us = ordered[0].stamp_us
    users = sum(grant.users for grant in ordered if grant.stamp_us - begin_us >= SECOND_US // 2)
    span_us = ordered[-1].stamp_us - begin_us
    return users * SECOND_US / span_us / budget if span_us else float("nan")


def _jain(each: Sequence[int]) -> float:
    squares = sum(count * count for count in each)
    return sum(each) ** 2 / (len(each) * squares) if squares else float("nan")


def _percentile(ordered: Sequence[float], percent: int) -> float:
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
