"""The simulation's Redis gives the limiter's scripts what a real one would."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from limiter_bench import ACCOUNT
from limiter_model import Histories

from tests.simulation.small_redis import SmallRedis


class OnASmallRedis(Histories):
    """Its clock is the test's."""

    def open_server(self):
        client = SmallRedis(lambda: self.us / 1e6)
        client.hset(f"deskfeed:{{{ACCOUNT}}}:gate", "server", client.info("server")["run_id"])
        return client


TestHistories = OnASmallRedis.TestCase
TestHistories.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
