"""Watching a run: a live picture in a terminal, plain lines elsewhere. Ctrl-C only detaches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from orchestrations import report, timeleft
from orchestrations.cli.output import errors, is_live
from orchestrations.cli.picture import Pace, Pause, line, panel
from worker.hints import WAITS
from worker.ledger import Ledger
from worker.ledger.records import Account, Event, Run, RunView
from worker.ledger.states import RunState

if TYPE_CHECKING:
    from worker.limiter import State

LOOK_EVERY_S = 0.5
LINE_EVERY_S = 5.0
RATE_OVER_S = 10.0
"""The rate shown is that of the last ten seconds."""

WORKER_PATIENCE_S = 8.0
"""A worker that just starts needs a moment to say so."""

NO_WORKER = (
    "no worker is alive, so nothing happens yet. Start one: deskfeed up   "
    "(or: celery -A worker.app worker). The run is safe in the ledger and starts by itself."
)

Gate = Callable[[str], "State | None"]
"""Tells what an account uses at this moment; None when Redis does not answer."""


class Watcher:
    """Follows a run to its end.

    Args:
        ledger: what to look at.
        run_id: which run.
        notice: says a sentence to the person, once each.
        gate: what keeps the account from sending is asked there.
    """

    def __init__(
        self,
        ledger: Ledger,
        run_id: str,
        notice: Callable[[str], None],
        gate: Gate = lambda _account: None,
    ) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._notice = notice
        self._gate = gate
        self._said: set[str] = set()
        self._started = time.monotonic()

    def follow(self) -> RunView:
        """Show the run until it has ended; returns how it ended."""
        with _picture() as show:
            while True:
                view = self._look()
                show(view, self.pace(view))
                if report.ended(view.run):
                    return view
                self._say_what_is_wrong(view)
                time.sleep(LOOK_EVERY_S)

    def _look(self) -> RunView:
        view = self._ledger.views.run(self._run_id)
        if view is None:  # pruned while we watched
            raise LookupError(self._run_id)
        return view

    def pace(self, view: RunView) -> Pace:
        """Return how fast the run goes now, and how long it will take."""
        account = self._ledger.polling.account(view.run.target.account)
        seen = self._ledger.views.account(view.run.target.account)
        now = seen.at if seen else time.time()  # the events' clock is the ledger's
        learned = timeleft.LEARN_FROM_S
        sent = self._ledger.views.events(self._run_id, "chunk_submitted", learned)
        begun = view.run.started_at or now
        users = sum(event.data["users"] for event in sent if event.at >= now - RATE_OVER_S)
        pause = pause_of(view, self._gate(view.run.target.account))
        return Pace(
            users_per_second=users / min(RATE_OVER_S, max(now - begun, 1.0)),
            budget=account.limits.users_per_second,
            seconds_left=_seconds_left(view, account, sent, pause, now),
            pause=pause,
        )

    def _say_what_is_wrong(self, view: RunView) -> None:
        patience = self._started + WORKER_PATIENCE_S
        if time.monotonic() > patience and not self._ledger.recovery.living_workers():
            self._say(NO_WORKER)
        if view.run.state == RunState.PAUSED:
            self._say(_paused(view.run))

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._notice(sentence)


def pause_of(view: RunView, use: State | None) -> Pause | None:
    """Return what keeps a run from sending, from its own state and its account's gate.

    Args:
        view: the run.
        use: what the limiter says of the account; None when Redis does not answer.
    """
    if view.run.state == RunState.PAUSED:
        error = view.run.error
        return Pause(report.title_of(error["code"]) if error else "by a person")
    if view.run.state != RunState.SENDING or use is None or use.gate in ("open", "probe"):
        return None
    if use.gate == "cold":
        return Pause(WAITS["cold"], use.paused_s)
    return Pause(report.title_of(use.pause_reason), use.paused_s)


def _seconds_left(
    view: RunView, account: Account, sent: list[Event], pause: Pause | None, now: float
) -> float | None:
    """Return the time left, once all is spooled and as long as somebody knows when it goes on."""
    if view.run.state != RunState.SENDING or (pause and pause.seconds is None):
        return None
    buckets = report.chunk_buckets(view)
    unsent = buckets["planned"] + buckets["waiting"] + buckets["sending"]
    work = timeleft.Work(
        unsent=min(unsent * 100, view.rows.pending),
        budget=account.limits.users_per_second,
        job_seconds=account.job_seconds,
        paused_seconds=(pause.seconds or 0.0) if pause else 0.0,
    )
    posts = [timeleft.Sent(event.at, event.data["users"]) for event in sent]
    return timeleft.seconds_left(work, posts, now)


Show = Callable[[RunView, Pace], None]


@contextmanager
def _picture() -> Iterator[Show]:
    out = errors()
    if is_live(out):
        with Live(console=out, refresh_per_second=4, transient=True) as live:
            yield lambda view, pace: live.update(panel(view, pace))
    else:
        yield _Lines(out)


class _Lines:
    """One line now and then, for logs and pipes."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._last = 0.0
        self._said: tuple[str, str | None] = ("", None)

    def __call__(self, view: RunView, pace: Pace) -> None:
        said = (str(view.run.state), pace.pause.why if pace.pause else None)
        changed = said != self._said
        if not changed and time.monotonic() - self._last < LINE_EVERY_S:
            return
        self._last, self._said = time.monotonic(), said
        self._out.print(line(view, pace), markup=False, soft_wrap=True)


def say_detached(run_id: str) -> None:
    """Tell a person who pressed Ctrl-C that the run goes on, and how to come back or stop it."""
    sys.stderr.write(
        f"\nDetached; the run goes on.\n  Watch it: deskfeed watch {run_id}\n"
        f"  Stop it:  deskfeed stop {run_id}\n"
    )


def _paused(run: Run) -> str:
    """Return why a run is paused, what to do, and how it goes on afterwards."""
    error = report.error_of(run)
    resume = f"deskfeed resume {run.run_id}"
    if error is None:
        return f"the run is paused. It goes on with: {resume}"
    words = [f"the run is paused: {error['message']}.", error["resolution"]]
    if resume not in error["resolution"]:
        words.append(f"Then: {resume}")
    return " ".join(words) + f"   (More: deskfeed explain {error['code']})"
