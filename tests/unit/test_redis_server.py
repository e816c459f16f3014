"""Which Redis a worker works with."""

from __future__ import annotations

import pytest
import redis

from worker.errors import LimiterUnavailable, UsageError
from worker.redis_server import RedisServer, inspect_server, measure


class Server:
    """Answers as a server would; CONFIG is forbidden, as on managed ones."""

    def __init__(self, **info):
        self._info = info

    def info(self):
        return self._info

    def time(self):
        return 105, 500_000

    def config_get(self, *_):
        raise redis.ResponseError("unknown command 'CONFIG'")


class Away(Server):
    """Does not answer."""

    def info(self):
        raise redis.ConnectionError("redis://:hunter2@host")

    time = info


def test_everything_is_read_without_config():
    server = inspect_server(
        Server(redis_version="7.2.4", maxmemory_policy="noeviction", aof_enabled=1)
    )
    assert server == RedisServer("7.2.4", "noeviction", append_only=True)
    server.refuse_eviction()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
def test_a_server_that_may_evict_is_refused_with_a_remedy(policy):
    with pytest.raises(UsageError, match=policy) as caught:
        inspect_server(Server(maxmemory_policy=policy, maxmemory=0)).refuse_eviction()
    assert caught.value.code == "redis_may_evict"
    assert "noeviction" in caught.value.resolution


def test_what_a_server_does_not_tell_is_not_held_against_it():
    server = inspect_server(Server())
    assert server == RedisServer(None, None, None)
    server.refuse_eviction()


def test_the_clock_is_compared_in_the_middle_of_the_round_trip():
    moments = iter([100.0, 101.0])
    latency, ahead = measure(Server(), lambda: next(moments))
    assert latency == 1.0
    assert ahead == pytest.approx(5.0)


def test_a_server_that_is_away_is_named_without_its_password():
    for ask in (lambda: inspect_server(Away()), lambda: measure(Away(), lambda: 0.0)):
        with pytest.raises(LimiterUnavailable) as caught:
            ask()
        assert "hunter2" not in str(caught.value)
