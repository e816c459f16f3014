"""Progress, and nothing else, decides whether a worker is given up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from worker.liveness import HUNG_S, RECONNECT_S, Consumption, Rounds
from worker.times import Times


@dataclass
class Consumer:
    """What a test says of the worker's side."""

    answers: bool = True
    connected: bool = True
    occupied: bool = False
    sendable: bool = True
    sent: int = 0

    def redis_answers(self):
        return self.answers

    def send_probe(self):
        self.sent += self.sendable
        return self.sendable

    def is_connected(self):
        return self.connected

    def is_occupied(self):
        return self.occupied


@pytest.fixture
def consumer():
    return Consumer()


@pytest.fixture
def consumption(consumer, clock, times):
    return Consumption(consumer, times, clock)


def look(consumption, clock, seconds, every=10.0):
    """Look every so often for a while; return what the last look found."""
    found = None
    while seconds > 0 and found is None:
        found = consumption.check()
        clock.advance(every)
        seconds -= every
    return found or consumption.check()


def test_a_worker_that_takes_its_own_messages_is_never_given_up(consumption, clock, consumer):
    for _ in range(100):
        assert look(consumption, clock, 10) is None
        consumption.took()
    assert consumer.sent >= 100


def test_a_connected_worker_that_takes_nothing_is_given_up(consumption, clock, times):
    found = look(consumption, clock, 200)
    assert found is not None
    assert times.stalled < found.seconds <= times.stalled + 2 * times.probe


def test_a_message_of_any_kind_is_progress(consumption, clock, times):
    assert look(consumption, clock, times.stalled - 10) is None
    consumption.took()
    assert look(consumption, clock, times.stalled - 10) is None


def test_while_redis_is_away_nothing_is_expected(consumption, clock, consumer):
    consumer.answers = False
    assert look(consumption, clock, 100_000, every=100) is None


def test_patience_begins_anew_when_redis_is_back(consumption, clock, consumer, times):
    look(consumption, clock, times.stalled - 10)
    consumer.answers = False
    look(consumption, clock, 300)
    consumer.answers = True
    assert look(consumption, clock, times.stalled - 10) is None
    assert look(consumption, clock, 100) is not None


def test_a_worker_whose_slots_are_all_at_work_is_not_given_up(consumption, clock, consumer):
    consumer.occupied = True
    assert look(consumption, clock, 10_000) is None


def test_a_redis_that_takes_no_messages_is_no_fault_of_the_worker(consumption, clock, consumer):
    consumer.sendable = False
    assert look(consumption, clock, 10_000) is None


def test_a_worker_that_connects_again_has_the_time_that_celery_takes_for_it(clock, consumer):
    consumer.connected = False
    consumption = Consumption(consumer, Times().scaled(0.01), clock)
    assert look(consumption, clock, RECONNECT_S - 2, every=1) is None
    assert look(consumption, clock, 10, every=1) is not None


def test_a_probe_is_sent_again_because_redis_may_have_lost_it(consumption, clock, consumer):
    look(consumption, clock, 30)
    assert consumer.sent >= 3


def test_a_thread_that_hangs_is_named(clock):
    rounds = Rounds(clock)
    rounds.note("sweeper", 10)
    rounds.note("heartbeat", 3)
    clock.advance(HUNG_S)
    rounds.note("heartbeat", 3)
    assert rounds.check() is None
    clock.advance(11)
    assert "sweeper" in rounds.check().what


def test_a_thread_that_comes_round_is_well(clock):
    rounds = Rounds(clock)
    for _ in range(100):
        rounds.note("sweeper", 10)
        clock.advance(10)
        assert rounds.check() is None
