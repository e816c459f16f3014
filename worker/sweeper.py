"""The sweeper: puts back on its way whatever stands still. One runs in every worker process.

A lock in the ledger lets one of them sweep at a time; when its process dies the lock's lease ends
and the next one goes on. Losing all of Redis loses nothing but the time until the next sweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import structlog

from worker.delivery import Delivery
from worker.errors import DeskfeedError, UsageError
from worker.hints import Deliver, Finish, Hint, Plan, Poll, Tell
from worker.ledger import Ledger
from worker.ledger.states import RunState
from worker.liveness import Rounds
from worker.times import Times

log = structlog.get_logger(__name__)

Send = Callable[[Iterable[Hint]], None]


LAST_ROUND_S = 5.0
"""How long the end of a process waits for a round of its background."""


class Sweeper:
    """Finds lost work and tells what to enqueue.

    Args:
        ledger: the record of truth.
        delivery: closes runs and fills their windows.
        times: how often, and what counts as lost.
        owner: names this process.
    """

    def __init__(self, ledger: Ledger, delivery: Delivery, times: Times, owner: str) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._times = times
        self._owner = owner

    def sweep(self) -> list[Hint]:
        """Look once; returns what to enqueue, nothing when another process is sweeping."""
        if not self._ledger.recovery.lock("sweeper", self._owner, 2 * self._times.sweep):
            return []
        self._ledger.recovery.release_expired()
        found = self._ledger.recovery.find_lost()
        hints: list[Hint] = [
            *(Deliver(run_id, seq) for run_id, seq in found.deliver),
            *(Poll(run_id, seq) for run_id, seq in found.poll),
            *(Plan(run_id) for run_id in found.plan),
            *(Finish(run_id) for run_id in found.finish),
            *(Tell(run_id) for run_id in found.alert),
        ]
        for run_id, state in self._ledger.recovery.active_runs():
            hints.extend(self._go_on(run_id, state))
        if hints:
            log.info("swept", found=len(hints))
        self._tidy()
        return hints

    def _tidy(self) -> None:
        """Remove rows whose time is over. Should it fail, what was found is enqueued all the same.

        It is done here because rows of people must go also where nobody prunes.
        """
        try:
            self._ledger.forgetting.lift()
            expired = self._ledger.retention.expire()
        except DeskfeedError as error:
            log.warning("not_tidied", reason=error.message)
            return
        if expired:
            log.info("kept_rows_expired", chunks=expired)

    def let_go(self) -> None:
        """Leave the sweeping to others at once, not only when the lock's lease is over."""
        self._ledger.recovery.lock("sweeper", self._owner, 0.0)

    def _go_on(self, run_id: str, state: RunState) -> Sequence[Hint]:
        """Fill a run's window, or end it; what is wrong with one run must not stop the others."""
        try:
            admitted = self._delivery.admit(run_id) if state == RunState.SENDING else ()
            return [*admitted, *self._delivery.close(run_id)]
        except Exception:
            log.exception("run_not_swept", run_id=run_id)
            return ()


class Background:
    """Two threads of a worker process: one sweeps, one says that the process lives.

    Args:
        sweeper: what to do.
        ledger: where to say that the process lives.
        times: how often.
        owner: names this process.
        host: the machine's name.
        send: puts hints on the broker.
        rounds: is told of every round, so that a thread that hangs is noticed.
        give_up: is told when this process must not use the ledger any more.
    """

    def __init__(
        self,
        sweeper: Sweeper,
        ledger: Ledger,
        times: Times,
        owner: str,
        host: str,
        send: Send,
        rounds: Rounds | None = None,
        give_up: Callable[[UsageError], None] | None = None,
    ) -> None:
        self._sweeper = sweeper
        self._ledger = ledger
        self._times = times
        self._owner = owner
        self._host = host
        self._send = send
        self._rounds = rounds or Rounds()
        self._give_up = give_up
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=args, name=args[0], daemon=True)
            for args in (
                ("sweeper", times.sweep, self._sweep),
                ("heartbeat", times.heartbeat, self._beat),
            )
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def ask_stop(self) -> None:
        """Begin no other round."""
        self._stop.set()

    def stop(self) -> None:
        """End both threads and say in the ledger that this process is gone."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=LAST_ROUND_S)
        try:
            self._sweeper.let_go()
            self._ledger.recovery.farewell(self._owner)
        except DeskfeedError as error:
            log.warning("farewell_failed", reason=error.message)

    def _every(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self._rounds.note(name, 0.0)
        while True:
            try:
                act()
            except DeskfeedError as error:  # as when the ledger is locked or away
                log.error(
                    "background_failed",
                    thread=name,
                    reason=error.message,
                    resolution=error.resolution,
                )
            except Exception:  # this thread must outlive whatever befalls one round
                log.exception("background_failed", thread=name)
            self._rounds.note(name, seconds)
            if self._stop.wait(seconds):
                return

    def _sweep(self) -> None:
        self._send(self._sweeper.sweep())

    def _beat(self) -> None:
        try:
            self._ledger.recovery.heartbeat(self._owner, self._host)
        except UsageError as error:
            if self._give_up is None:
                raise
            self._give_up(error)
