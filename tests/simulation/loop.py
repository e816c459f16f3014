"""Virtual time, and fibers that sleep in it: one runs at a time, so a seed fixes everything.

A fiber is a thread that holds the baton only while the loop waits for it. Threads are kept and
used again, as making one costs more than most steps of the simulation.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import Any, ClassVar

MOST_EVENTS = 60_000
"""A run with more is in a busy loop."""


class Crash(BaseException):
    """The process of this fiber is dead. Not an `Exception`: nothing survives a SIGKILL."""


class Stuck(AssertionError):
    """The loop ran out of events, of time or of patience before what it waits for."""


class _Runner:
    """A thread that runs one fiber after the other."""

    idle: ClassVar[list[_Runner]] = []

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.act: Callable[[], None] = lambda: None
        threading.Thread(target=self._run, daemon=True, name="fiber").start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            self.act()


class Fiber:
    """One course of calls; `sleep` gives the others their turn."""

    def __init__(self, loop: Loop, act: Callable[[], None]) -> None:
        self.loop = loop
        self.act = act
        self.done = False
        self.failure: BaseException | None = None
        self.claim: Any = None  # what the fiber holds, for whoever keeps a journal
        self.stamp: Any = None  # of its last permit, likewise
        self.held: set[tuple[str, int]] = set()  # the chunks that it believes to be its own
        self.sleeps = 0  # how often it has slept: only the newest sleep is ended
        self.runner = _Runner.idle.pop() if _Runner.idle else _Runner()
        self.runner.act = self._body

    def _body(self) -> None:
        try:
            self.act()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - the loop's thread raises it again
            self.failure = error
        self.done = True
        self.loop.baton.release()

    def resume(self) -> None:
        """From the loop: let the fiber run until it sleeps or ends."""
        if self.done:
            return
        before, self.loop.current = self.loop.current, self
        self.runner.go.release()
        self.loop.baton.acquire()
        self.loop.current = before
        if self.done:
            self.loop.fibers.discard(self)
            _Runner.idle.append(self.runner)
            if self.failure is not None:
                raise self.failure

    def wake(self, sleep: int) -> None:
        """From the loop: end a sleep, unless it was ended before."""
        if sleep == self.sleeps:
            self.sleeps += 1
            self.resume()

    def suspend(self) -> None:
        """From the fiber: give the baton back until `resume`."""
        self.loop.baton.release()
        self.runner.go.acquire()


class Loop:
    """The clock and what will happen."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.start = start
        self.now = start
        self.baton = threading.Semaphore(0)
        self.current: Fiber | None = None
        self.fibers: set[Fiber] = set()
        self.closing = False
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def clock(self) -> float:
        """Seconds since the epoch, for whoever wants a clock."""
        return self.now

    def call_in(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later; it must not sleep."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + max(0.0, seconds), self._count, act))

    def spawn(self, act: Callable[[], None]) -> Fiber:
        """Begin a fiber at once."""
        fiber = Fiber(self, act)
        self.fibers.add(fiber)
        self.call_in(0.0, fiber.resume)
        return fiber

    def sleep(self, seconds: float) -> None:
        """From a fiber: let time pass."""
        if self.closing:
            raise Crash
        until = self.now + max(0.0, seconds)
        if self._heap and self._heap[0][0] <= until:
            fiber = self.current
            assert fiber is not None, "only fibers sleep"
            self.wake_in(seconds, fiber)
            fiber.suspend()
            if self.closing:
                raise Crash
        else:  # nothing happens meanwhile: no need to change threads
            self.now = until

    def wake_in(self, seconds: float, fiber: Fiber) -> None:
        """Let a sleeping fiber (or one about to sleep) go on after some seconds, if not before."""
        sleep = fiber.sleeps
        self.call_in(seconds, lambda: fiber.wake(sleep))

    def run(self, until: Callable[[], bool], most_seconds: float) -> None:
        """Let things happen until a condition holds.

        Raises:
            Stuck: it did not within the time, or everything stands still, or nothing ever rests.
        """
        while not until():
            if not self._heap:
                raise Stuck("nothing will ever happen again")
            at, _, act = heapq.heappop(self._heap)
            self.now = max(self.now, at)
            if self.now > self.start + most_seconds:
                raise Stuck(f"not ended after {most_seconds:g} s")
            if self._count > MOST_EVENTS:
                raise Stuck(f"a busy loop: {MOST_EVENTS:,} events")
            act()

    def close(self) -> None:
        """End every fiber where it is."""
        self.closing = True
        while self.fibers:
            fiber = min(self.fibers, key=id)
            fiber.failure = None
            fiber.resume()
