"""Fixtures of the unit tests."""

from __future__ import annotations

import fakeredis
import pytest
from limiter_bench import Bench, ServerClock
from scripted import Zendesk
from world import warm

from worker.delivery import Context, Delivery
from worker.limiter import Limiter


@pytest.fixture
def bench(monkeypatch):
    """A limiter with its memory in order, on a clock that stands still."""
    made = Bench()
    made.set(monkeypatch)
    made.warm()
    return made


@pytest.fixture
def zendesk():
    """A Zendesk by script."""
    return Zendesk()


@pytest.fixture
def redis_clock(monkeypatch):
    """The clock of that Redis, which stands still but for slots that are slept.

    The machine's own would let a permit lapse where a test is held up for a second.
    """
    made = ServerClock()
    made.set(monkeypatch)
    return made


@pytest.fixture
def redis(redis_clock):
    """A Redis on which the limiter finds its memory in order."""
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    warm(client)
    return client


@pytest.fixture
def limiter(redis):
    """A limiter on that Redis."""
    return Limiter(redis)


@pytest.fixture
def delivery(ledger, limiter, zendesk, times, redis_clock):
    """The use-cases of a worker, over a ledger of one's own and the scripted Zendesk."""
    return Delivery(
        Context(
            ledger=ledger,
            limiter=limiter,
            clients=lambda _target: zendesk,
            times=times,
            owner="w",
            sleep=redis_clock.sleep,
        )
    )


@pytest.fixture
def ready(sending, delivery):
    """Return a function that makes a run with chunks of these sizes, the first ones queued."""

    def make(*sizes, **kwargs):
        run = sending(*sizes, **kwargs)
        delivery.admit(run.run_id)
        return run

    return make
