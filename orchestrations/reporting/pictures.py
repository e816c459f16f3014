"""The shapes of the report's pictures: numbers in, coordinates out; colours are the page's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrations.reporting.model import Jobs, Journey, Part, Rate, Span, Tone

FLOW_WIDTH = 360
BAR_LEFT, BAR_WIDTH, BAR_HEIGHT = 82.0, 130.0, 20.0
STEP, TOP = 74.0, 12.0
LABEL_LEFT = BAR_LEFT + BAR_WIDTH + 14
LINE = 14.0

CHART_WIDTH, CHART_HEIGHT = 720.0, 160.0
LEAST = 1.5
"""Whatever there is can be seen, however little it is."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Label:
    """Words at a place; a second line is smaller."""

    x: float
    y: float
    text: str
    number: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """Rows that leave: a path, and the words where it ends."""

    path: str
    label: Label
    tone: Tone


@dataclass(frozen=True, slots=True)
class Flow:
    """The journey of rows as a picture."""

    width: float
    height: float
    bars: tuple[Box, ...]
    streams: tuple[Box, ...]
    branches: tuple[Branch, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time or over classes, stretched to the width of the page.

    Attributes:
        top: the value at the upper edge.
        line: y of the budget; None without.
        marks: pauses and 429s, behind the bars.
    """

    width: float
    height: float
    top: float
    bars: tuple[Box, ...]
    line: float | None = None
    marks: tuple[Box, ...] = ()


def flow(journey: Journey) -> Flow:
    """Return the picture of a journey: a bar for each stage, as wide as rows got there."""
    most = max(1, journey.stages[0].rows)
    bars: list[Box] = []
    streams: list[Box] = []
    branches: list[Branch] = []
    labels: list[Label] = []
    for number, stage in enumerate(journey.stages):
        y = TOP + number * STEP
        bars.append(Box(BAR_LEFT, y, _wide(stage.rows, most), BAR_HEIGHT))
        labels.append(Label(BAR_LEFT - 8, y + 9, stage.name, f"{stage.rows:,}"))
        branches += _branches(stage.left, stage.went_on, most, y)
        if number < len(journey.stages) - 1 and stage.went_on:
            width = _wide(stage.went_on, most)
            streams.append(Box(BAR_LEFT, y + BAR_HEIGHT, width, STEP - BAR_HEIGHT))
    y = TOP + (len(journey.stages) - 1) * STEP
    ends = [part for part in journey.ends if part.rows]
    streams += [
        Box(box.x, y + BAR_HEIGHT, box.width, STEP - 2 * BAR_HEIGHT) for box in _row(ends, most, 0)
    ]
    ending = y + STEP - BAR_HEIGHT
    bars += _row(ends, most, ending)
    return Flow(
        width=FLOW_WIDTH,
        height=ending + BAR_HEIGHT + 8,
        bars=tuple(bars),
        streams=tuple(streams),
        branches=tuple(branches),
        labels=tuple(labels),
    )


def _wide(rows: int, most: int) -> float:
    return max(LEAST, round(BAR_WIDTH * rows / most, 2)) if rows else 0.0


def _row(parts: list[Part], most: int, y: float) -> list[Box]:
    """Parts side by side."""
    boxes: list[Box] = []
    x = BAR_LEFT
    for part in parts:
        boxes.append(Box(round(x, 2), y, _wide(part.rows, most), BAR_HEIGHT, part.tone))
        x += boxes[-1].width
    return boxes


def _branches(left: tuple[Part, ...], went_on: int, most: int, y: float) -> Iterator[Branch]:
    """Rows that leave bend to the right, the last of the bar first."""
    x = BAR_LEFT + _wide(went_on, most)
    for number, part in enumerate(left):
        width = _wide(part.rows, most)
        middle = y + BAR_HEIGHT + 10 + number * LINE
        path = _bend(x, x + width, y + BAR_HEIGHT, LABEL_LEFT - 4, middle)
        text = Label(LABEL_LEFT, middle + 4, part.name, f"{part.rows:,}")
        yield Branch(path, text, part.tone)
        x += width


def _bend(x0: float, x1: float, y: float, to: float, middle: float) -> str:
    """A ribbon from [x0, x1] on a bar's lower edge to a narrow end at the right."""
    up, down = middle - 1.5, middle + 1.5
    points = [
        f"M{x0:.1f} {y:.1f}",
        f"Q{x0:.1f} {down:.1f} {to:.1f} {down:.1f}",
        f"L{to:.1f} {up:.1f}",
        f"Q{x1:.1f} {up:.1f} {x1:.1f} {y:.1f}Z",
    ]
    return "".join(points)


def rate_chart(rate: Rate) -> Chart:
    """Return the picture of a rate over time against the budget."""
    highest = max([bucket.per_second for bucket in rate.buckets] + [float(rate.budget or 0)])
    top = 1.15 * max(highest, 1.0)
    whole = max(len(rate.buckets) * rate.width, rate.width)
    scale = CHART_WIDTH / whole
    bars = tuple(
        Box(
            round(bucket.at * scale, 2),
            round(CHART_HEIGHT * (1 - bucket.per_second / top), 2),
            round(max(LEAST, rate.width * scale - 1), 2),
            round(CHART_HEIGHT * bucket.per_second / top, 2),
        )
        for bucket in rate.buckets
        if bucket.users
    )
    line = None if rate.budget is None else round(CHART_HEIGHT * (1 - rate.budget / top), 2)
    marks = tuple(mark for span in rate.spans for mark in _mark(span, scale))
    return Chart(CHART_WIDTH, CHART_HEIGHT, top, bars, line, marks)


def _mark(span: Span, scale: float) -> Iterator[Box]:
    start = min(max(0.0, span.at * scale), CHART_WIDTH)
    end = min(max(0.0, (span.at + span.seconds) * scale), CHART_WIDTH)
    if start < CHART_WIDTH and (end > 0 or span.at >= 0):
        tone: Tone = "bad" if span.kind == "throttled" else "warning"
        yield Box(round(start, 2), 0.0, round(max(3.0, end - start), 2), CHART_HEIGHT, tone)


def jobs_chart(jobs: Jobs) -> Chart:
    """Return the picture of how long jobs took."""
    most = max(found.jobs for found in jobs.bins)
    top, wide = 1.1 * most, CHART_WIDTH / len(jobs.bins)
    bars = tuple(
        Box(
            round(number * wide + 2, 2),
            round(CHART_HEIGHT * (1 - found.jobs / top), 2),
            round(wide - 4, 2),
            round(CHART_HEIGHT * found.jobs / top, 2),
        )
        for number, found in enumerate(jobs.bins)
        if found.jobs
    )
    return Chart(CHART_WIDTH, CHART_HEIGHT, top, bars)
