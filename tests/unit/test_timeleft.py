"""The time left learns from what went, says nothing before it knows, and does not count pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrations.timeleft import LEAST_POSTS, Sent, Work, seconds_left, users_per_second


def posts(count, *, every=1.0, users=100, begin=0.0):
    return [Sent(begin + every * number, users) for number in range(count)]


def left(sent, *, unsent=10_000, budget=100, job=8.0, paused=0.0, now=None):
    return seconds_left(Work(unsent, budget, job, paused), sent, now or sent[-1].at)


@pytest.mark.parametrize("count", range(LEAST_POSTS))
def test_nothing_is_said_before_it_is_known(count):
    assert seconds_left(Work(10_000, 100, 8.0), posts(count), 5.0) is None


def test_a_first_burst_tells_nothing_of_an_hour():
    assert left(posts(20, every=0.1, users=5)) is None


def test_at_full_rate_it_is_the_rest_and_the_last_job():
    assert left(posts(60)) == pytest.approx(10_000 / 100 + 8.0)


def test_a_run_that_has_half_of_the_account_takes_twice_as_long():
    assert left(posts(60, every=2.0)) == pytest.approx(10_000 / 50 + 8.0)


def test_no_rate_above_the_budget_is_promised():
    assert left(posts(60), budget=20) == pytest.approx(10_000 / 20 + 8.0)


def test_a_pause_in_between_is_not_counted_as_slowness():
    before, after = posts(30), posts(30, begin=29.0 + 93.0)

    assert left(before + after) == pytest.approx(left(posts(60)), rel=0.01)


def test_a_pause_that_is_on_is_added_once():
    assert left(posts(60), paused=42.0) == pytest.approx(left(posts(60)) + 42.0)


def test_it_follows_when_the_run_becomes_slower():
    fast, slow = posts(300), posts(150, every=4.0, begin=303.0)

    assert left(fast + slow) == pytest.approx(10_000 / 25 + 8.0, rel=0.02)


def test_a_slow_account_is_not_one_pause_after_the_other():
    assert users_per_second(posts(6, every=60.0)) == pytest.approx(100 / 60)


def test_when_all_is_sent_it_is_what_is_left_of_the_last_job():
    assert left(posts(1), unsent=0, now=3.0) == pytest.approx(5.0)


def test_a_last_job_that_takes_longer_than_usual_is_soon_over_and_then_not_known():
    assert left(posts(1), unsent=0, now=12.0) == 1.0
    assert left(posts(1), unsent=0, now=60.0) is None


@given(
    st.lists(st.tuples(st.floats(0, 500), st.integers(1, 100)), max_size=80),
    st.integers(1, 10**8),
    st.integers(1, 1000),
)
def test_whatever_went_it_is_nothing_or_at_least_what_the_budget_takes(gaps, unsent, budget):
    at, sent = 0.0, []
    for gap, users in gaps:
        at += gap
        sent.append(Sent(at, users))

    told = seconds_left(Work(unsent, budget, 0.0), sent, at)

    assert told is None or told >= unsent / budget * 0.999
