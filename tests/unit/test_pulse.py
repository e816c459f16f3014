"""What the ledger tells of the health of it all."""

from __future__ import annotations

import pytest

from worker.ledger.pulse import BEAT_SEEN_S, Pulse, note_beat


@pytest.fixture
def pulse(ledger):
    return Pulse(ledger.database)


def test_workers_are_told_with_their_ages(ledger, pulse, clock):
    ledger.recovery.heartbeat("first", "host")
    clock.advance(100)
    ledger.recovery.heartbeat("second", "host")
    clock.advance(3)

    told = [(one.worker, one.age_seconds, one.silent_seconds) for one in pulse.workers()]
    assert told == [("first", 103, 103), ("second", 3, 3)]


def test_nothing_is_late_while_everything_goes_its_way(sending, ledger, pulse):
    sending(2, 2)
    ledger.chunks.admit("df-1", 8)
    assert pulse.backlog().late == 0


def test_what_is_late_is_counted_with_how_late_it_is(sending, ledger, pulse, clock, times):
    sending(2, 2)
    ledger.chunks.admit("df-1", 8)
    clock.advance(times.overdue + 7)

    assert pulse.backlog().late == 2
    assert pulse.backlog().longest_seconds == pytest.approx(7)


def test_chunks_of_a_paused_run_are_not_late(sending, ledger, pulse, clock):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    ledger.runs.pause("df-1")
    clock.advance(1000)
    assert pulse.backlog().late == 0


def test_a_plan_that_nobody_takes_up_is_late(new_run, ledger, pulse, clock, times):
    ledger.runs.start(new_run())
    clock.advance(times.overdue + 1)
    assert pulse.backlog().late == 1


def test_beat_is_seen_by_its_ticks(ledger, pulse, clock):
    assert pulse.beat_silent_seconds() is None
    note_beat(ledger.recovery)
    clock.advance(40)
    assert pulse.beat_silent_seconds() == pytest.approx(40)
    note_beat(ledger.recovery)
    assert pulse.beat_silent_seconds() == pytest.approx(0)
    clock.advance(BEAT_SEEN_S + 1)
    assert pulse.beat_silent_seconds() is None


def test_the_revision_is_the_one_of_this_version(pulse):
    found, wanted = pulse.revision()
    assert found == wanted
