"""When a schedule is due, also where the clock is changed."""

# ruff: noqa: DTZ001 - what a clock on the wall shows has no zone

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrations.schedule import (
    MINUTE,
    NotASchedule,
    check_cron,
    check_zone,
    clock_changes,
    due_minutes,
    next_minutes,
)

# Where the clock is changed: zone, a moment near it (UTC).
CHANGES = {
    "an hour is skipped in Los Angeles": ("America/Los_Angeles", datetime(2027, 3, 14, 10)),
    "an hour comes twice in Los Angeles": ("America/Los_Angeles", datetime(2026, 11, 1, 9)),
    "an hour is skipped in London": ("Europe/London", datetime(2027, 3, 28, 1)),
    "an hour comes twice in London": ("Europe/London", datetime(2026, 10, 25, 1)),
    "half an hour is skipped on Lord Howe": ("Australia/Lord_Howe", datetime(2026, 10, 3, 15)),
    "half an hour comes twice on Lord Howe": ("Australia/Lord_Howe", datetime(2027, 4, 3, 15)),
    "a day is skipped in Apia": ("Pacific/Apia", datetime(2011, 12, 30, 10)),
    "a day is skipped on Kiritimati": ("Pacific/Kiritimati", datetime(1994, 12, 31, 10)),
    "midnight is skipped in Santiago": ("America/Santiago", datetime(2027, 9, 5, 4)),
    "nothing is changed in Kathmandu": ("Asia/Kathmandu", datetime(2027, 3, 14)),
}


class Fields:
    """A schedule of lists of numbers, matched as plainly as can be; `None` is `*`."""

    def __init__(self, minute, hour, day, month, weekday):
        self.sets = (minute, hour, day, month, weekday)

    @property
    def text(self):
        return " ".join("*" if one is None else ",".join(map(str, one)) for one in self.sets)

    def fits(self, shown):
        minute, hour, day, month, weekday = self.sets
        of_month = day is None or shown.day in day
        of_week = weekday is None or shown.isoweekday() % 7 in weekday
        both = day is None or weekday is None
        return (
            (minute is None or shown.minute in minute)
            and (hour is None or shown.hour in hour)
            and (month is None or shown.month in month)
            and (of_month and of_week if both else of_month or of_week)
        )

    @property
    def is_interval(self):
        return self.sets[0] is None or self.sets[1] is None


def numbers(low, high):
    return st.lists(st.integers(low, high), min_size=1, max_size=3, unique=True)


FIELDS = st.builds(
    Fields,
    st.none() | numbers(0, 59),
    st.none() | numbers(0, 5) | numbers(0, 23),
    st.none() | numbers(1, 31),
    st.none(),
    st.none() | numbers(0, 6),
)


def walked(fields, zone, after, until):
    """What is due, found by walking through every minute with an eye on the clock.

    An interval is due whenever the clock fits. A time of day is due as soon as the clock has come
    to it or past it for the first time.
    """
    furthest = after.astimezone(zone).replace(tzinfo=None)
    for back in range(26 * 60):  # what the clock showed before does not come for the first time
        earlier = (after - back * MINUTE).astimezone(zone).replace(tzinfo=None)
        furthest = max(furthest, earlier)
    moment, found = after, []
    while moment < until:
        moment += MINUTE
        shown = moment.astimezone(zone).replace(tzinfo=None)
        if fields.is_interval:
            if fields.fits(shown):
                found.append(moment)
            continue
        reached = False
        while furthest < shown:
            furthest += MINUTE
            reached = reached or fields.fits(furthest)
        if reached:
            found.append(moment)
    return found


@settings(max_examples=60, deadline=None)
@given(
    FIELDS,
    st.sampled_from(sorted(CHANGES)),
    st.integers(-180, 60),
    st.integers(1, 8 * 60),
)
def test_what_is_due_is_what_a_walk_through_every_minute_finds(fields, change, begin, length):
    name, near = CHANGES[change]
    after = near.replace(tzinfo=UTC) + begin * MINUTE
    until = after + length * MINUTE

    found = list(due_minutes(fields.text, name, after, until))

    assert found == walked(fields, ZoneInfo(name), after, until)


@settings(max_examples=40, deadline=None)
@given(FIELDS, st.sampled_from(sorted(CHANGES)), st.lists(st.integers(0, 4000), max_size=6))
def test_however_the_time_is_cut_into_ticks_the_same_is_due_once(fields, change, cuts):
    name, near = CHANGES[change]
    begin = near.replace(tzinfo=UTC) - timedelta(days=1)
    whole = list(due_minutes(fields.text, name, begin, begin + 4000 * MINUTE))

    found, after = [], begin
    for cut in [*sorted(cuts), 4000]:
        until = begin + cut * MINUTE + timedelta(seconds=17 if cut < 4000 else 0)
        found += due_minutes(fields.text, name, after, until)
        after = until
    assert found == whole


def in_los_angeles(expression, first, last):
    after = datetime.fromisoformat(first).replace(tzinfo=UTC)
    until = datetime.fromisoformat(last).replace(tzinfo=UTC)
    due = due_minutes(expression, "America/Los_Angeles", after, until)
    return [f"{moment:%d %H:%M}" for moment in due]


def test_a_time_that_the_clock_skips_is_due_at_the_first_instant_after_the_gap():
    span = "2027-03-13T12:00", "2027-03-15T12:00"
    assert in_los_angeles("30 2 * * *", *span) == ["14 10:00", "15 09:30"]
    assert in_los_angeles("0,30 2,3 * * *", *span)[:3] == ["14 10:00", "14 10:30", "15 09:00"]


def test_a_time_that_the_clock_shows_twice_is_due_the_first_time():
    span = "2026-11-01T00:00", "2026-11-02T12:00"
    assert in_los_angeles("30 1 * * *", *span) == ["01 08:30", "02 09:30"]


def test_an_interval_follows_the_clock_through_both_passes_and_over_the_gap():
    assert in_los_angeles("*/30 * * * *", "2026-11-01T07:59", "2026-11-01T10:00") == [
        "01 08:00", "01 08:30", "01 09:00", "01 09:30", "01 10:00",
    ]  # fmt: skip
    assert in_los_angeles("*/30 2 * * *", "2027-03-13T12:00", "2027-03-15T09:10") == ["15 09:00"]


def test_the_beginning_is_not_due_and_the_end_is():
    nine = datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert list(due_minutes("0 9 * * *", "UTC", nine, nine + MINUTE)) == []
    assert list(due_minutes("0 9 * * *", "UTC", nine - MINUTE, nine)) == [nine]
    assert list(due_minutes("0 9 * * *", "UTC", nine + MINUTE, nine - MINUTE)) == []


def test_the_next_minutes_are_found_however_far_they_are():
    now = datetime(2026, 11, 24, tzinfo=UTC)
    leap = next_minutes("0 12 29 2 *", "Europe/London", now, 3)
    assert [moment.year for moment in leap] == [2028, 2032, 2036]
    assert next_minutes("* * * * *", "UTC", now, 2) == [now + MINUTE, now + 2 * MINUTE]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("60 * * * *", "field 1, the minute, is wrong: '60'"),
        ("0 24 * * *", "field 2, the hour, is wrong: '24'"),
        ("0 0 32 * 1", "field 3, the day of month, is wrong"),
        ("0 0 * 13 *", "field 4, the month, is wrong"),
        ("0 0 * * MONDAY", "field 5, the day of week, is wrong"),
        ("0 0 \u0661 * *", "field 3"),
        ("*/0 * * * *", "field 1"),
        ("8:30", "must be five fields"),
        ("0 30 8 * * *", "found 6"),
        ("", "found 0"),
        ("@daily", "'0 0 * * *' is @daily"),
        ("@reboot", "are not taken"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 " * 150, "longer"),
    ],
)
def test_what_is_no_schedule_is_told_with_the_field_at_fault(expression, told):
    with pytest.raises(NotASchedule, match=told.replace("*", r"\*")):
        check_cron(expression)


@pytest.mark.parametrize(
    "expression", ["30 8 * * *", "0 0 29 2 *", "0 0 L * *", "0 9 * * mon-fri", "0 0 * * 7"]
)
def test_what_cron_takes_is_taken(expression):
    check_cron(expression)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="0123456789*/,-L#WMONJAN @\u00b2", max_size=25))
def test_whatever_is_written_it_is_a_schedule_or_told(expression):
    try:
        check_cron(expression)
    except NotASchedule:
        return
    assert next_minutes(expression, "UTC", datetime(2026, 11, 24, tzinfo=UTC), 1)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("America/Los_Angles", "America/Los_Angeles"),
        ("los angeles", "America/Los_Angeles"),
        ("Europe/Lundon", "Europe/London"),
    ],
)
def test_a_zone_that_there_is_not_is_told_with_the_nearest(name, near):
    with pytest.raises(NotASchedule, match=f"did you mean '{near}'"):
        check_zone(name)


@pytest.mark.parametrize("name", ["", "PST", "../etc/passwd", "localtime", "+02:00", "x" * 5000])
def test_no_other_name_is_a_zone(name):
    with pytest.raises(NotASchedule, match="is no time zone"):
        check_zone(name)


def test_clock_changes_that_a_time_of_day_meets_are_known_beforehand():
    now = datetime(2026, 11, 24, tzinfo=UTC)
    [(shown, due)] = clock_changes("30 2 * * *", "America/Los_Angeles", now)
    assert (shown, due) == (datetime(2027, 3, 14, 2, 30), datetime(2027, 3, 14, 10, tzinfo=UTC))
    assert clock_changes("30 1 * * *", "Europe/London", now) == [
        (datetime(2027, 3, 28, 1, 30), datetime(2027, 3, 28, 1, tzinfo=UTC)),
        (datetime(2027, 10, 31, 1, 30), datetime(2027, 10, 31, 0, 30, tzinfo=UTC)),
    ]
    assert clock_changes("30 8 * * *", "America/Los_Angeles", now) == []
    assert clock_changes("*/5 2 * * *", "America/Los_Angeles", now) == []
