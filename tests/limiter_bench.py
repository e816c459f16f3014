"""A limiter on a fake Redis whose TIME stands still until it is moved, and which can restart."""

from __future__ import annotations

import math
from types import SimpleNamespace

import fakeredis
from fakeredis._commands import command
from fakeredis.commands_mixins.server_mixin import ServerCommandsMixin
from world import warm

from worker.limiter import Booked, Budget, Go, Limiter

START = 1_790_000_000_000_000
GUARD = 12_000
SECOND = 1_000_000 + GUARD
MINUTE = 60_000_000 + GUARD
BUDGET = Budget(users_per_second=100, requests_per_minute=4)
WIDE = Budget(users_per_second=100, requests_per_minute=400)
ACCOUNT = "socktown.zendesk.com"
CLOCKS = ("fakeredis.commands_mixins.server_mixin", "fakeredis._socket._base", "fakeredis._helpers")


def info(self, *_sections: bytes) -> bytes:
    """The one line of INFO that the limiter reads."""
    return f"# Server\r\nrun_id:{getattr(self._server, 'run_id', 'a0')}\r\n".encode()


# The fake server has no INFO; with it, a test can give the server another identity.
ServerCommandsMixin.info = command((), (bytes,))(info)


class ServerClock:
    """The clock of fake servers, in microseconds: it moves when told to, or slept."""

    def __init__(self) -> None:
        self.us = START

    def set(self, monkeypatch) -> None:
        """Let the TIME of fake servers be this clock's."""
        clock = SimpleNamespace(time=lambda: self.us / 1e6)
        for module in CLOCKS:
            monkeypatch.setattr(f"{module}.time", clock)

    def sleep(self, seconds: float) -> None:
        """Let so much time pass at once; rounded up, as nobody wakes up before his time."""
        self.us += math.ceil(seconds * 1e6)


class Bench(ServerClock):
    """A limiter, its fake server, and the clock of both."""

    def __init__(self, slack_s=0.0, **options) -> None:
        super().__init__()
        self.server = fakeredis.FakeServer()
        self.client = fakeredis.FakeRedis(server=self.server)
        self.limiter = Limiter(self.client, slack_s=slack_s, **options)

    def warm(self) -> None:
        """No cold start: the limiter finds its memory in order."""
        for account in (ACCOUNT, "other.zendesk.com"):
            warm(self.client, account)

    def restart(self) -> None:
        """Another server process with the same data."""
        self.server.run_id = f"{int(getattr(self.server, 'run_id', 'a0'), 16) + 1:x}"

    def reserve(self, permit, users=100, requests=1, max_wait_s=2.0, budget=BUDGET, **flow):
        return self.limiter.reserve(
            ACCOUNT,
            permit,
            users=users,
            requests=requests,
            budget=budget,
            max_wait_s=max_wait_s,
            **flow,
        )

    def confirm(self, permit, budget=BUDGET, **flow):
        return self.limiter.confirm(ACCOUNT, permit, budget=budget, **flow)

    def observe(self, permit, budget=WIDE, **told):
        return self.limiter.observe(ACCOUNT, permit, budget=budget, **told)

    def send(self, permit, **costs):
        """Book a permit, let its slot come, send under it."""
        booked = self.reserve(permit, **costs)
        assert isinstance(booked, Booked), booked
        self.us = booked.slot_us
        go = self.confirm(permit, costs.get("budget", BUDGET))
        assert isinstance(go, Go), go
        return go

    def log(self, name):
        """The entries of one key: member -> microseconds since the start."""
        entries = self.client.zrange(f"deskfeed:{{{ACCOUNT}}}:{name}", 0, -1, withscores=True)
        return {member.decode(): int(slot) - START for member, slot in entries}

    def logs(self):
        return [self.log(name) for name in ("users", "requests", "booked")]
