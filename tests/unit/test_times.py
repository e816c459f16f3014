"""The table of times holds together."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

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
        ("stalled", 20.0, "stalled .* probe"),
        ("grace", 22.0, "grace .* post_deadline"),
        ("overdue", 8.0, "overdue .* sweep"),
        ("unreachable", 31.0, "longest_countdown .* unreachable"),
    ],
)
def test_times_that_contradict_each_other_are_named(name, seconds, words):
    with pytest.raises(UsageError, match=words):
        replace(Times(), **{name: seconds}).check()


def test_recovery_ends_within_a_minute():
    """The arithmetic of docs/architecture.md: a dead worker, a dead poller, a lost message."""
    times = Times()
    lock_of_the_dead = 2 * times.sweep
    assert max(times.lease, lock_of_the_dead) + times.sweep <= 60
    assert max(times.poll_lease, lock_of_the_dead) + times.sweep <= 60
    assert times.longest_countdown + times.overdue + times.sweep <= 60


def test_the_table_of_times_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    for field in fields(Times):
        assert f"`{field.name}`" in text, field.name
        assert f"{field.default:g}" in text
