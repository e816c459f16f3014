"""One race: processes that want permits of one account for a while, and all that they got."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier

import redis

from benchmarks.contestants import Caller, Counted, Kind, Seat, make_caller, shift_clock
from benchmarks.figures import Grant
from worker.limiter import connect

START_S = 60.0
"""How long the processes may take to start."""

OVERTIME_S = 15.0
"""How long they may take to end after the time is over."""

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Result:
    """What happened in a race.

    Attributes:
        grants: every permit.
        calls: when somebody called Redis, on the monotonic clock.
    """

    grants: Sequence[Grant]
    calls: Sequence[float]


def race(
    kind: Kind,
    seats: Sequence[Seat],
    seconds: float,
    on_grant: Callable[[Grant], None] = lambda _grant: None,
) -> Result:
    """Let a process for each seat get permits for so long.

    Args:
        kind: of every caller.
        seats: one for each.
        seconds: how long.
        on_grant: is told of each grant as it happens.

    Raises:
        RuntimeError: a process ended too early, or not in time.
    """
    grants: list[Grant] = []
    calls: list[float] = []
    with _started(kind, seats, seconds) as links:
        for news in _news(links, time.monotonic() + seconds + OVERTIME_S):
            if isinstance(news, Grant):
                grants.append(news)
                on_grant(news)
            else:
                calls += news
    return Result(grants, calls)


def warm_up(seat: Seat) -> None:
    """Take the first permit of an account: its limiter knows the server from then on."""
    usher = replace(seat, number=-1)  # its permits have names of their own
    if make_caller("worker", usher).acquire(time.monotonic() + OVERTIME_S) is None:
        raise RuntimeError(f"no permit for {seat.account} within {OVERTIME_S:g} s")


@contextmanager
def _started(kind: Kind, seats: Sequence[Seat], seconds: float) -> Iterator[list[Connection]]:
    gate = _spawn.Barrier(len(seats) + 1)
    links: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        for seat in seats:
            ours, theirs = _spawn.Pipe(duplex=False)
            arguments = (kind, seat, seconds, gate, theirs)
            process = _spawn.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()  # else its end would not be noticed
            links.append(ours)
            processes.append(process)
        gate.wait(START_S)
        yield links
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for link in links:
            link.close()


def _news(links: Sequence[Connection], deadline: float) -> Iterator[Grant | list[float]]:
    """Yield what the processes say, until each has said its last: its calls."""
    talking = list(links)
    while talking:
        ready = wait(talking, max(0.0, deadline - time.monotonic()))
        if not ready:
            raise RuntimeError(f"{len(talking)} callers did not end in time")
        for link in ready:
            assert isinstance(link, Connection)
            try:
                news = link.recv()
            except EOFError:
                raise RuntimeError("a caller ended too early; see its error above") from None
            if not isinstance(news, Grant):
                talking.remove(link)
            yield news


def _work(kind: Kind, seat: Seat, seconds: float, gate: Barrier, link: Connection) -> None:
    """What each process does; a Ctrl-C is for the parent, which ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shift_clock(seat.clock_s)
    caller = make_caller(kind, seat)
    with connect(seat.url) as judge:
        judge.ping()
        gate.wait(START_S)
        until = time.monotonic() + seconds
        while (grant := _next(caller, seat, judge, until)) is not None:
            link.send(grant)
    link.send(Counted.calls)


def _next(caller: Caller, seat: Seat, judge: redis.Redis, until: float) -> Grant | None:
    began = time.monotonic()
    granted = caller.acquire(until)
    if granted is None:
        return None
    seen_us = _redis_time_us(judge) or granted.stamp_us or 0
    at = time.monotonic()
    stamp_us = granted.stamp_us or seen_us
    return Grant(seat.number, stamp_us, seen_us, at, at - began, seat.users)


def _redis_time_us(judge: redis.Redis) -> int | None:
    """Return Redis' time; None when it was killed since the grant."""
    try:
        seconds, microseconds = judge.time()
    except redis.RedisError:
        return None
    return int(seconds) * 1_000_000 + int(microseconds)
