"""Who competes for permits: the limiter of Deskfeed, `limits` and `pyrate-limiter`.

Each waits as its own documentation says. Libraries are imported where a caller is made, after the
clock of its process was shifted.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, cast
from unittest import mock

import redis

from worker.errors import LimiterUnavailable
from worker.limiter import Budget, Denied, Go, Limiter, NotYet, Stale, connect

BUDGET = Budget(users_per_second=100, requests_per_minute=10_000)
"""Requests are plenty: users per second is what is measured."""

Kind = Literal["patient", "worker", "limits", "pyrate"]

PATIENCE_S: dict[str, float] = {"patient": 10.0, "worker": 2.0}
"""`max_wait_s`: a patient caller sleeps whatever slot it is given; workers sleep at most 2 s."""

AWAY_S = 0.1
"""How long a caller waits when Redis is away. Workers wait 5 s; returning at once is harder."""

SHORTEST_SLEEP_S = 0.001
"""For a library that says to return at once although nothing fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a caller sits.

    Attributes:
        number: its own.
        url: Redis, with password.
        account: whose budget it draws on.
        users: in each of its requests.
        clock_s: how much its clock is ahead.
        flow: what it sends for.
        share: how much its flow may have, compared with others.
    """

    number: int
    url: str = field(repr=False)
    account: str
    users: int = 100
    clock_s: float = 0.0
    flow: str = ""
    share: float = 1.0


class Counted(redis.Connection):
    """A connection that notes when something was sent over it: one sending is one round trip."""

    calls: ClassVar[list[float]] = []

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send; see redis-py."""
        Counted.calls.append(time.monotonic())
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Granted:
    """A permit to send now.

    Attributes:
        stamp_us: the time of sending on Redis' clock, if the limiter tells it.
    """

    stamp_us: int | None = None


class Caller(Protocol):
    """Somebody who wants permits, one after the other."""

    def acquire(self, until: float) -> Granted | None:
        """Wait for a permit.

        Args:
            until: give up at this time of the monotonic clock, and return None.
        """
        ...


class Ours:
    """Deskfeed's limiter, used as `docs/limiter.md` says.

    Args:
        seat: where it sits.
        max_wait_s: a slot further away is not booked.
    """

    def __init__(self, seat: Seat, max_wait_s: float) -> None:
        self._seat = seat
        self._max_wait_s = max_wait_s
        client = connect(seat.url)
        _count(client)
        self._limiter = Limiter(client)
        self._permits = (f"{seat.number}-{turn}" for turn in itertools.count())

        self._asks_at = 0.0

    def acquire(self, until: float) -> Granted | None:
        """See `Caller`."""
        # As a worker enqueues a run's next chunk: for the time that the last permit told.
        _sleep(max(0.0, self._asks_at - time.monotonic()), until)
        while time.monotonic() < until:
            try:
                go = self._ask(next(self._permits), until)
            except LimiterUnavailable:
                _sleep(AWAY_S, until)
                continue
            if go is not None:
                return Granted(go.stamp_us)
        return None

    def _ask(self, permit: str, until: float) -> Go | None:
        seat = self._seat
        booked = self._limiter.reserve(
            seat.account,
            permit,
            users=seat.users,
            requests=1,
            budget=BUDGET,
            max_wait_s=self._max_wait_s,
            flow=seat.flow,
            share=seat.share,
        )
        if isinstance(booked, Denied):
            _sleep(booked.retry_in_s, until)
            return None
        return self._confirm(permit, booked.wait_s, until)

    def _confirm(self, permit: str, wait_s: float, until: float) -> Go | None:
        while _sleep(wait_s, until):
            answer = self._limiter.confirm(
                self._seat.account,
                permit,
                budget=BUDGET,
                flow=self._seat.flow,
                share=self._seat.share,
                max_wait_s=self._max_wait_s,
            )
            match answer:
                case Go():
                    self._asks_at = time.monotonic() + answer.next_in_s
                    report(self._limiter, self._seat.account, permit, answer)
                    return answer
                case NotYet():
                    wait_s = answer.wait_s
                case Stale():
                    return None
        return None


def report(limiter: Limiter, account: str, permit: str, go: Go) -> None:
    """Say that a probe was answered: until then the account stays closed to everybody else."""
    if go.probe:
        # As Zendesk's headers would: the minute of requests is not what is measured here.
        limiter.observe(account, permit, budget=BUDGET, limit=100_000, remaining=99_999)


class Limits:
    """`limits`: the moving window, hit with the cost, asleep until the window's reset."""

    def __init__(self, seat: Seat) -> None:
        from limits import RateLimitItemPerSecond
        from limits.storage import RedisStorage
        from limits.strategies import MovingWindowRateLimiter

        storage = RedisStorage(seat.url)
        _count(cast("redis.Redis", storage.get_connection()))
        self._seat = seat
        self._item = RateLimitItemPerSecond(BUDGET.users_per_second)
        self._limiter = MovingWindowRateLimiter(storage)

    def acquire(self, until: float) -> Granted | None:
        """See `Caller`."""
        account = self._seat.account
        while time.monotonic() < until:
            if self._limiter.hit(self._item, account, cost=self._seat.users):
                return Granted()
            reset = self._limiter.get_window_stats(self._item, account).reset_time
            _sleep(max(reset - time.time(), SHORTEST_SLEEP_S), until)
        return None


class Pyrate:
    """`pyrate-limiter`: a bucket in Redis, and the limiter's own blocking acquire."""

    def __init__(self, seat: Seat) -> None:
        from pyrate_limiter import Duration, Limiter, Rate, RedisBucket

        client = redis.Redis(connection_pool=redis.ConnectionPool.from_url(seat.url))
        _count(client)
        rates = [Rate(BUDGET.users_per_second, Duration.SECOND)]
        self._seat = seat
        self._limiter = Limiter(RedisBucket.init(rates, client, seat.account))

    def acquire(self, until: float) -> Granted | None:
        """See `Caller`."""
        while (left_s := until - time.monotonic()) > 0:
            users = self._seat.users
            if self._limiter.try_acquire(self._seat.account, weight=users, timeout=left_s):
                return Granted()
        return None


def make_caller(kind: Kind, seat: Seat) -> Caller:
    """Return a caller of that kind, in the process in which it is to work."""
    match kind:
        case "limits":
            return Limits(seat)
        case "pyrate":
            return Pyrate(seat)
    return Ours(seat, PATIENCE_S[kind])


def shift_clock(seconds: float) -> None:
    """Set this process' clock ahead, as on a host whose clock is wrong; Redis' stays right."""
    if seconds == 0:
        return
    right, right_ns = time.time, time.time_ns

    def wrong() -> float:
        return right() + seconds

    def wrong_ns() -> int:
        return right_ns() + round(seconds * 1e9)

    mock.patch("time.time", wrong).start()
    mock.patch("time.time_ns", wrong_ns).start()


def _count(client: redis.Redis) -> None:
    client.connection_pool.connection_class = Counted
    client.ping()  # connect now: what a new connection says is no part of a permit


def _sleep(seconds: float, until: float) -> bool:
    """Sleep, but not beyond `until`; False when it was to be longer."""
    left_s = until - time.monotonic()
    time.sleep(max(0.0, min(seconds, left_s)))
    return seconds <= left_s
