"""The same random histories as on the fake server, on a real one: the scripts as Redis runs them.

A real server's clock cannot be moved, so the scripts read a clock that lies among its data; the
one line that asks for TIME is replaced, everything else is what production runs.
"""

from __future__ import annotations

import pytest
import redis
from hypothesis import HealthCheck, settings
from limiter_model import Histories
from stage import Redis
from world import warm

from worker.limiter import limiter as module


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    server = Redis(tmp_path_factory.mktemp("server") / "redis")
    OnARealServer.url = server.url
    yield server
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def clock_among_the_data():
    original = module._script

    def with_test_clock(client, *names):
        script = original(client, *names)
        asked = "redis.call('TIME')"
        assert script.script.count(asked) == 1
        text = script.script.replace(asked, "redis.call('HMGET', 'test:clock', 's', 'us')")
        return client.register_script(text)

    patches = pytest.MonkeyPatch()
    patches.setattr(module, "_script", with_test_clock)
    yield
    patches.undo()


class OnARealServer(Histories):
    """The clock is a key that follows `self.us`."""

    url = ""

    @property
    def us(self):
        return self._us

    @us.setter
    def us(self, value):
        self._us = value
        self.set_server_clock()

    def set_server_clock(self):
        if hasattr(self, "client"):
            seconds, micros = divmod(self._us, 1_000_000)
            self.client.hset("test:clock", mapping={"s": seconds, "us": micros})

    def open_server(self):
        self.client = redis.Redis.from_url(self.url)
        self.client.flushall()
        warm(self.client, "socktown.zendesk.com")
        self.set_server_clock()
        return self.client

    def teardown(self):
        if hasattr(self, "client"):
            self.client.close()


TestHistories = OnARealServer.TestCase
TestHistories.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
