"""Random histories against the model, on the fake server."""

from __future__ import annotations

from types import SimpleNamespace

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from limiter_bench import CLOCKS
from limiter_model import Histories
from world import warm


class OnAFakeServer(Histories):
    """The fake server's clock is patched."""

    def open_server(self):
        self.patches = pytest.MonkeyPatch()
        for module in CLOCKS:
            self.patches.setattr(f"{module}.time", SimpleNamespace(time=lambda: self.us / 1e6))
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        warm(client, "socktown.zendesk.com")
        return client

    def teardown(self):
        if hasattr(self, "patches"):
            self.patches.undo()


TestHistories = OnAFakeServer.TestCase
TestHistories.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
