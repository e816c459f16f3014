"""The table of times holds together."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from worker.errors import UsageError
from worker.times import Times


def test_the_default_times_hold_together():
    Times().check()


def test_a_scaled_table_holds_together_too():
    scaled = Times().scaled(0.1)
    scaled.check()
    assert all(
        getattr(scaled, f.name) == pytest.approx(getattr(Times(), f.name) * 0.1)
        for f in fields(scaled)
    )


@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [
        ("lease", 25.0, "lease .* post_deadline"),
        ("visibility", 100.0, "visibility .* longest_countdown"),
        ("slept_slot", 10.0, "lease .* slept_slot"),
        ("poll_lease", 20.0, "poll_lease .* post_deadline"),
        ("worker_dead", 5.0, "worker_dead .* heartbeat"),
    ],
)
def test_times_that_contradict_each_other_are_named(name, seconds, words):
    with pytest.raises(UsageError, match=words):
        replace(Times(), **{name: seconds}).check()


def test_recovery_from_a_dead_worker_ends_within_a_minute():
    times = Times()
    assert times.lease + times.sweep <= 60
    assert times.poll_lease + times.sweep <= 60
    assert times.overdue + times.sweep <= 60
