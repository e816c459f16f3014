"""Whether a worker gets on. Decided by progress: that a process runs and answers proves nothing.

After a reconnection to Redis a worker may stay connected, answer pings and consume nothing
(celery issues 8091, 10205, 10302). So each worker sends itself a message, through the queue that
its own consumer must take it from, and expects to see it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worker.times import Times

LEAST_PATIENCE_S = 15.0
"""No consumer is given up sooner, however tests scale their times: a busy machine is slow."""

RECONNECT_S = 45.0
"""As long a consumer without a connection has at least: Celery's own pauses between two attempts
grow to 30 s while Redis is away, and the last one may have begun just before it came back."""

HUNG_S = 120.0
"""A round of a background thread that takes so long hangs. SQLite alone may keep one waiting for
another writer for 30 s, several times in a round."""


class Consumer(Protocol):
    """What is asked of the worker's side."""

    def redis_answers(self) -> bool:
        """Whether Redis answers somebody else than the consumer."""
        ...

    def send_probe(self) -> bool:
        """Put a message into the consumer's own queue; False when that was not possible."""
        ...

    def is_connected(self) -> bool:
        """Whether the consumer thinks that it has a connection."""
        ...

    def is_occupied(self) -> bool:
        """Whether every slot works on something, so that nothing more can be taken."""
        ...


@dataclass(frozen=True, slots=True)
class Stall:
    """Something stands still.

    Attributes:
        what: what does, in words.
        seconds: since when.
    """

    what: str
    seconds: float


class Consumption:
    """Whether messages are still taken from Redis.

    Args:
        consumer: whom to ask.
        times: how long is too long.
        clock: seconds, monotonic.
    """

    def __init__(
        self, consumer: Consumer, times: Times, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._patience = max(times.stalled, LEAST_PATIENCE_S)
        self._clock = clock
        self._taken = True
        self._since = clock()

    def took(self) -> None:
        """The consumer has taken a message, of any kind."""
        self._taken = True

    def check(self) -> Stall | None:
        """Look once. Without Redis, or with every slot at work, nothing taken is no failure."""
        now = self._clock()
        if not self._consumer.redis_answers() or self._consumer.is_occupied():
            self._since = now
            return None
        if self._taken:
            self._since = now
            self._taken = False
        waited = now - self._since
        if waited > self._patience_now():
            return Stall("Redis answers, and yet no message was taken from it", waited)
        if not self._consumer.send_probe():  # sent each time: Redis may have lost the one before
            self._since = now
        return None

    def _patience_now(self) -> float:
        if self._consumer.is_connected():
            return self._patience
        return max(self._patience, RECONNECT_S)


class Rounds:
    """Whether the threads in the background still come round.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended: dict[str, tuple[float, float]] = {}

    def note(self, name: str, pause: float) -> None:
        """A round of a thread has ended, or its first begins.

        Args:
            name: which thread.
            pause: seconds until its next round.
        """
        self._ended[name] = (self._clock(), pause)

    def check(self) -> Stall | None:
        """Return what hangs or has ended unnoticed, if anything."""
        now = self._clock()
        for name, (ended, pause) in list(self._ended.items()):
            if now - ended > pause + HUNG_S:
                return Stall(f"the thread {name!r} does not come round", now - ended)
        return None
