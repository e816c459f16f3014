"""When a schedule is due: pure arithmetic of cron, time zone and clock changes.

A schedule is five cron fields on the wall clock of a time zone. When that clock is changed:

- A *time of day* (neither the minute nor the hour begins with `*`, as in `30 2 * * *`) is due once
  each day: one that the clock skips is due at the first instant after the gap, one that the clock
  shows twice is due the first time.
- An *interval* (the minute or the hour begins with `*`, as in `*/15 * * * *`) is due whenever the
  clock shows a time that fits: never in a gap, and in both passes of an hour that comes twice.

Debian's cron tells the two apart in the same way. Days of the month and of the week must both fit
when one of the two begins with `*`; else either is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

MINUTE = timedelta(minutes=1)

LONGEST_CRON = 200
"""Characters; a schedule that is longer is a mistake."""

FIELDS = ("minute", "hour", "day of month", "month", "day of week")
RANGES = ("0-59", "0-23", "1-31 or L", "1-12 or JAN-DEC", "0-7 or SUN-SAT")

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""What other crons take; here the five fields are written, so that all read them in one way."""

_FAR = timedelta(days=1)
"""Within it a clock is changed at most once, and by less than 26 hours."""
_WIDEST = timedelta(hours=26)
_HORIZON = timedelta(days=366 * 30)
"""A schedule that is not due for so long (29 February on a Monday takes 28 years) never is."""

_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a time on a wall clock


class NotASchedule(ValueError):
    """What is wrong with an expression or the name of a time zone, and what to write instead."""


def check_cron(expression: str) -> None:
    """Raise `NotASchedule` unless an expression is five cron fields that fit some day."""
    words = expression.split()
    if len(expression) > LONGEST_CRON:
        raise NotASchedule(f"is longer than {LONGEST_CRON} characters")
    if expression.strip().startswith("@"):
        raise NotASchedule(_no_shorthand(expression.strip().lower()))
    if len(words) != len(FIELDS):
        raise NotASchedule(
            f"must be five fields (minute, hour, day of month, month, day of week), e.g. "
            f"'30 8 * * *'; found {len(words)}"
        )
    for place, word in enumerate(words):
        if not _is_field(word, place):
            raise NotASchedule(
                f"field {place + 1}, the {FIELDS[place]}, is wrong: {word[:40]!r}; it takes "
                f"{RANGES[place]}, '*', lists (1,2), spans (1-5) and steps (*/5)"
            )
    if next(_wall_times(expression, _SOME_DAY, _SOME_DAY + _HORIZON), None) is None:
        raise NotASchedule("never fires: no such day comes in any of the months named")


def _no_shorthand(name: str) -> str:
    if name in SHORTHANDS:
        return f"write the five fields: '{SHORTHANDS[name]}' is {name}"
    return "must be five fields, e.g. '30 8 * * *'; names that begin with @ are not taken"


def _is_field(word: str, place: int) -> bool:
    alone = ["*"] * len(FIELDS)
    alone[place] = word
    try:
        CronSim(" ".join(alone), _SOME_DAY)
    except (CronSimError, ValueError, AssertionError):
        return False
    return word.isascii()


def check_zone(name: str) -> None:
    """Raise `NotASchedule` unless a name is that of a time zone which this machine knows."""
    known = _zones()
    if name in known:
        return
    if not known:
        raise NotASchedule(
            "cannot be looked up: this machine has no time zone database; install the system "
            "package tzdata"
        )
    near = _near(name, known)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    raise NotASchedule(
        f"{name[:60]!r} is no time zone{hint}; names are those of the IANA database, e.g. "
        "'America/Los_Angeles'"
    )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})  # not the same everywhere


def _near(name: str, known: frozenset[str]) -> list[str]:
    """Return the zones that are meant most likely; a city's name alone is enough."""
    wanted = name.strip().replace(" ", "_").lower()
    by_word: dict[str, str] = {}
    for zone in sorted(known, key=len):
        for word in (zone.lower(), zone.lower().rpartition("/")[2]):
            by_word.setdefault(word, zone)
    near = get_close_matches(wanted, list(by_word), n=3, cutoff=0.75)
    return list(dict.fromkeys(by_word[word] for word in near))


def is_interval(expression: str) -> bool:
    """Whether a schedule is an interval; else it is a time of day (see the module)."""
    minute, hour = expression.split()[:2]
    return minute.startswith("*") or hour.startswith("*")


def due_minutes(
    expression: str, timezone: str, after: datetime, until: datetime
) -> Iterator[datetime]:
    """Yield the minutes at which a schedule is due, in order.

    Args:
        expression: five cron fields.
        timezone: the zone whose clock they speak of.
        after: aware; itself not among them.
        until: aware; itself perhaps among them.

    Yields:
        Whole minutes, in UTC.
    """
    zone, interval = ZoneInfo(timezone), is_interval(expression)
    first, last = _on_the_wall(zone, after.astimezone(UTC), until.astimezone(UTC))
    found = {
        moment
        for shown in _wall_times(expression, first, last)
        for moment in _instants(shown, zone, interval=interval)
        if after < moment <= until
    }
    yield from sorted(found)


def next_minutes(expression: str, timezone: str, after: datetime, count: int) -> list[datetime]:
    """Return the next minutes at which a schedule is due, in UTC; fewer if no more come."""
    found: list[datetime] = []
    begin, width = after, timedelta(days=2)
    while len(found) < count and begin - after < _HORIZON:
        for moment in due_minutes(expression, timezone, begin, begin + width):
            found.append(moment)
            if len(found) == count:
                break
        begin, width = begin + width, min(2 * width, timedelta(days=366))
    return found


def clock_changes(
    expression: str, timezone: str, after: datetime, days: int = 366
) -> list[tuple[datetime, datetime]]:
    """Return where a time of day falls into a gap, or into an hour that comes twice.

    Returns:
        (what the clock was to show, the moment in UTC when it is due), in order.
    """
    if is_interval(expression):
        return []
    zone, end = ZoneInfo(timezone), after + timedelta(days=days)
    first = after.astimezone(zone).replace(tzinfo=None)
    last = end.astimezone(zone).replace(tzinfo=None)
    return [
        (shown, _instants(shown, zone, interval=False)[0])
        for shown in _wall_times(expression, first, last)
        if is_skipped(shown, zone) or len(_instants(shown, zone, interval=True)) > 1
    ]


def is_skipped(shown: datetime, zone: ZoneInfo) -> bool:
    """Whether a zone's clock never shows this time."""
    back = shown.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    return back.replace(tzinfo=None) != shown


def _on_the_wall(zone: ZoneInfo, after: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Return a span of the wall clock that holds whatever is due between two instants."""
    bare = after.replace(tzinfo=None), until.replace(tzinfo=None)
    offsets = [_offset(zone, moment) for moment in (after, until)]
    spare = timedelta(0) if until - after <= _FAR else _WIDEST
    return bare[0] + min(offsets) - spare, bare[1] + max(offsets) + spare


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _wall_times(expression: str, first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield the times from first to last that fit, as a clock shows them that is never changed."""
    try:
        for shown in CronSim(expression, first - timedelta(seconds=1)):
            if shown > last:
                return
            yield shown
    except CronSimError:  # cronsim says of 30 February that it is no expression
        return


def _instants(shown: datetime, zone: ZoneInfo, *, interval: bool) -> list[datetime]:
    """Return the moments, in UTC, at which what a clock shows makes a schedule due."""
    once, again = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if is_skipped(shown, zone):
        return [] if interval else [_end_of_gap(zone, again, once)]
    return [once, again] if interval and again != once else [once]


def _end_of_gap(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the first minute on the new time, between an instant before and one after it."""
    old = _offset(zone, before)
    low = before.replace(second=0, microsecond=0)
    high = (after + MINUTE - timedelta(microseconds=1)).replace(second=0, microsecond=0)
    while high - low > MINUTE:
        middle = low + (high - low) / 2
        middle = middle.replace(second=0, microsecond=0)
        low, high = (middle, high) if _offset(zone, middle) == old else (low, middle)
    return high
