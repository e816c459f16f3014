"""How fast a run sent and how long jobs took: many measurements made into few. Pure."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence

from orchestrations.reporting.model import Bin, Bucket, Jobs, Rate, Span
from worker.ledger.records import Event, Post

MOST_BUCKETS = 90
MOST_BINS = 12
MOST_SPANS = 40

_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
"""Of a bucket, in seconds: a rate per second needs whole ones, and people read round ones."""

_ENDS_PAUSE = frozenset({"run_resumed", "run_stopping", "run_ended"})


def rate(
    posts: Sequence[Post], milestones: Sequence[Event], budget: int | None, until: float | None
) -> Rate | None:
    """Return how fast a run sent, or None when it sent nothing.

    Args:
        posts: its POSTs by the time they left.
        milestones: its events as a whole, in order.
        budget: users a second that the account may be sent.
        until: for a run that goes on: ledger time now.
    """
    if not posts:
        return None
    begins, last = posts[0].stamp, posts[-1].stamp
    seconds = max(last, until or last) - begins
    width = _width(seconds)
    spans = _spans(milestones, begins, until)
    return Rate(
        begins=begins,
        seconds=seconds,
        width=width,
        buckets=_buckets(posts, begins, seconds, width),
        budget=budget,
        peak=peak(posts),
        spans=tuple(spans[:MOST_SPANS]),
        more_spans=max(0, len(spans) - MOST_SPANS),
        refused=sum(e.data["times"] for e in milestones if e.kind == "run_throttled"),
    )


def peak(posts: Sequence[Post]) -> int:
    """Return the most users sent in any rolling second."""
    most = current = start = 0
    for post in posts:
        current += post.users
        while post.stamp - posts[start].stamp > 1.0:
            current -= posts[start].users
            start += 1
        most = max(most, current)
    return most


def _width(seconds: float) -> float:
    for width in _WIDTHS:
        if seconds / width < MOST_BUCKETS:
            return float(width)
    return float(math.ceil(seconds / MOST_BUCKETS / 86400) * 86400)


def _buckets(
    posts: Iterable[Post], begins: float, seconds: float, width: float
) -> tuple[Bucket, ...]:
    users = [0] * (int(seconds // width) + 1)
    for post in posts:
        users[int((post.stamp - begins) // width)] += post.users
    return tuple(Bucket(number * width, count, count / width) for number, count in enumerate(users))


def _spans(milestones: Iterable[Event], begins: float, until: float | None) -> list[Span]:
    spans: list[Span] = []
    paused: Event | None = None
    for event in milestones:
        if event.kind == "run_throttled":
            spans.append(_throttled(event, begins))
        elif event.kind == "run_paused":
            paused = event
        elif event.kind in _ENDS_PAUSE and paused is not None:
            spans.append(_pause(paused, event.at, begins))
            paused = None
    if paused is not None:
        spans.append(_pause(paused, until or paused.at, begins))
    return sorted(spans, key=lambda span: span.at)


def _pause(event: Event, end: float, begins: float) -> Span:
    why = event.data.get("code")
    what = f"paused: {why}" if why else "paused"
    return Span(event.at - begins, max(0.0, end - event.at), what, "paused")


def _throttled(event: Event, begins: float) -> Span:
    times = event.data["times"]
    what = "Zendesk answered 429" + (f", {times} times" if times > 1 else "")
    if event.data["scope"] == "chunk":  # else the bars that go on would look like disobedience
        what += ": one chunk waited, others went on"
    return Span(event.at - begins, event.data["seconds"], what, "throttled")


def jobs(seconds: Sequence[float]) -> Jobs | None:
    """Return how long jobs took, or None when none ended.

    Args:
        seconds: of each, the shortest first.
    """
    if not seconds:
        return None
    return Jobs(
        count=len(seconds),
        median=_quantile(seconds, 0.5),
        p95=_quantile(seconds, 0.95),
        longest=seconds[-1],
        bins=_bins(seconds),
    )


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def _bins(ordered: Sequence[float]) -> tuple[Bin, ...]:
    """Bins of one round width that hold all; a single one when all took about as long."""
    width = _round_up((ordered[-1] - ordered[0]) / (MOST_BINS - 1))
    first = math.floor(ordered[0] / width)
    last = math.floor(ordered[-1] / width)
    edges = [number * width for number in range(first, last + 2)]
    places = [bisect.bisect_left(ordered, edge) for edge in edges[1:-1]]
    bounds = [0, *places, len(ordered)]
    return tuple(
        Bin(edges[n], edges[n + 1], bounds[n + 1] - bounds[n]) for n in range(len(edges) - 1)
    )


def _round_up(width: float) -> float:
    """Return the next of 0.1, 0.2, 0.5, 1, 2, 5, 10, … that is not below."""
    width = max(width, 0.1)
    power = 10.0 ** math.floor(math.log10(width))
    step = next(step for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))
    return float(step * power)
