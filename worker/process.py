"""A running worker process: what goes on in its background, how it notices a stall, how it ends.

    SIGTERM            takes nothing more up, gives back what only waits for its slot, finishes the
                       POSTs that are being sent, ends with 0 inside the grace period
    again, or SIGQUIT  the same, within a few seconds
    another host       (of a SQLite ledger) ends at once with 1, as whoever may not begin does
    a stall            the same, and ends with 70, so that its supervisor starts it again

Celery's soft shutdown is left off: it exists to interrupt tasks that take longer than the grace
period, threads cannot be interrupted, and ours end in time by themselves.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import redis
import structlog
from celery.worker import state
from kombu.exceptions import OperationalError

from worker.alive import AliveFile
from worker.errors import DeskfeedError
from worker.liveness import Consumption, Rounds, Stall
from worker.stopping import Stopping
from worker.sweeper import Background
from worker.times import Times

log = structlog.get_logger(__name__)

EXIT_STALLED = 70
"""EX_SOFTWARE: the process did not get on, and starting it anew is the remedy."""

EXIT_IN_A_HURRY = 1
"""Something was still being sent when the time was over; the ledger knows that it is unclear."""

EXIT_REFUSED = 1
"""This process may not work, or not any more; a person reads why in its log."""

HURRY_S = 3.0
"""How long a worker has that was asked to end twice."""

LEAST_GRACE_S = 10.0
"""No worker is cut off sooner, however tests scale their times."""

GRACE_PART = 0.9
"""The part of the grace period after which a worker ends by itself: before it is killed."""

SELF_ADDRESSED_S = 3600
"""When Redis forgets the queue that a dead worker sent messages to itself through."""


def leave_at_once(error: DeskfeedError) -> NoReturn:
    """End this process without another write to the ledger, whatever it holds.

    For a ledger that is another host's now: a last word to it could damage the file, and what this
    process held was taken over there.
    """
    log.critical("worker_cannot_work", reason=error.message, resolution=error.resolution)
    os._exit(EXIT_REFUSED)


@dataclass(frozen=True, slots=True)
class CeleryConsumer:
    """Celery's consumer in this process, asked about from outside of it.

    Attributes:
        celery: Celery's own object.
        client: a connection to Redis that the consumer has no part in.
        send: puts a message into the consumer's own queue.
        queue_key: the Redis key of that queue.
        patience: seconds after which a slot is not busy any more but stuck.
        long_tasks: names of tasks that rightly take long.
    """

    celery: Any
    client: redis.Redis
    send: Callable[[], None]
    queue_key: str
    patience: float
    long_tasks: frozenset[str]

    def redis_answers(self) -> bool:
        """Ask Redis."""
        try:
            return bool(self.client.ping())
        except (redis.RedisError, OSError):
            return False

    def send_probe(self) -> bool:
        """Send the message; it goes with its queue should nobody ever take it."""
        try:
            self.send()
            self.client.expire(self.queue_key, SELF_ADDRESSED_S)
        except (OperationalError, redis.RedisError, OSError) as error:
            log.warning("probe_not_sent", reason=type(error).__name__)
            return False
        return True

    def is_connected(self) -> bool:
        """Celery has none while it tries to connect again."""
        connected: bool = self.celery.connection is not None
        return connected

    def is_occupied(self) -> bool:
        """Whether every slot is taken, and not all of them by tasks that never end."""
        running = list(state.active_requests)
        if len(running) < int(self.celery.pool.num_processes):
            return False
        return not all(self._is_stuck(request) for request in running)

    def _is_stuck(self, request: Any) -> bool:
        began: float | None = request.time_start
        if began is None or request.name in self.long_tasks:
            return False
        return time.time() - began > self.patience


class Process:
    """This worker process.

    Args:
        background: sweeps and says that the process lives.
        rounds: whether it does.
        consumer: takes messages.
        times: the table of times.
        stopping: wakes those who sleep when the process is to end.
        alive: is told whenever the process gets on.
    """

    def __init__(
        self,
        background: Background,
        rounds: Rounds,
        consumer: CeleryConsumer,
        times: Times,
        stopping: Stopping,
        alive: AliveFile,
    ) -> None:
        self._background = background
        self._rounds = rounds
        self._consumption = Consumption(consumer, times)
        self._times = times
        self._stopping = stopping
        self._alive = alive
        self._asked = 0

    def start(self) -> None:
        """Start what goes on in the background."""
        self._background.start()
        self._show_progress()
        threading.Thread(target=self._watch, name="liveness", daemon=True).start()

    def took(self) -> None:
        """The consumer has taken a message."""
        self._consumption.took()

    def ask_stop(self, *, now: bool) -> None:
        """Begin to end. May be a signal's handler: it takes no lock, a thread does the rest.

        Args:
            now: whether to wait for nothing but a few seconds; so does asking again.
        """
        self._asked += 1
        hurry = now or self._asked > 1
        seconds = HURRY_S if hurry else self._grace()
        threading.Thread(
            target=self._end_within, args=(seconds, EXIT_IN_A_HURRY), daemon=True
        ).start()

    def stop(self) -> None:
        """The last thing: end the background and say in the ledger that this process is gone."""
        self._alive.remove()
        self._background.stop()

    def _grace(self) -> float:
        return max(GRACE_PART * self._times.grace, LEAST_GRACE_S)

    def _end_within(self, seconds: float, code: int) -> None:
        """Give back what only waits; whatever still runs when the time is over is cut off."""
        self._stopping.ask()
        self._background.ask_stop()
        time.sleep(seconds)
        log.error("worker_cut_off", after_seconds=seconds, running=len(state.active_requests))
        os._exit(code)

    def _watch(self) -> None:
        while not self._stopping.asked_within(self._times.probe):
            try:
                stall = self._consumption.check() or self._rounds.check()
            except Exception:  # a defect in here must not end what it watches over
                log.exception("liveness_not_checked")
                continue
            if stall is not None:
                self._give_up(stall)
                return
            self._show_progress()

    def _show_progress(self) -> None:
        try:
            self._alive.note()
        except OSError as error:  # a full disk is no reason to end a worker that delivers
            log.warning("progress_not_noted", reason=error.strerror)

    def _give_up(self, stall: Stall) -> None:
        log.critical(
            "worker_stalled",
            reason=stall.what,
            seconds=round(stall.seconds, 1),
            resolution="The worker ends with exit code 70 and gives back what it holds; its "
            "supervisor must start it again (docs/deploy.md).",
        )
        # Celery's own way out, for as long as its main loop still turns ...
        state.should_stop = EXIT_STALLED  # type: ignore[assignment]
        # ... and ours, for when it does not.
        self._end_within(self._grace(), EXIT_STALLED)
