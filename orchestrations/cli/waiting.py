"""Watching a run: a live picture in a terminal, plain lines elsewhere. Ctrl-C only detaches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrations import report
from orchestrations.cli.output import duration, errors
from worker.ledger import Ledger
from worker.ledger.records import Account, Run, RunView
from worker.ledger.states import RunState

LOOK_EVERY_S = 0.5
LINE_EVERY_S = 5.0
RATE_OVER_S = 10.0
"""The rate shown is that of the last ten seconds."""

NO_WORKER = (
    "no worker is alive, so nothing happens yet. Start one: deskfeed up   "
    "(or: celery -A worker.app worker). The run is safe in the ledger and starts by itself."
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run goes.

    Attributes:
        users_per_second: over the last seconds.
        budget: what the account allows.
        seconds_left: until the last row has an outcome, as far as can be told; None when not.
    """

    users_per_second: float
    budget: int
    seconds_left: float | None


class Watcher:
    """Follows a run to its end.

    Args:
        ledger: what to look at.
        run_id: which run.
        notice: says a sentence to the person, once each.
    """

    def __init__(self, ledger: Ledger, run_id: str, notice: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._notice = notice
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
        now = time.time()
        recent = self._ledger.views.events(self._run_id, "chunk_submitted", RATE_OVER_S)
        begun = view.run.started_at or now
        users = sum(event.data["users"] for event in recent)
        return Pace(
            users_per_second=users / min(RATE_OVER_S, max(now - begun, 1.0)),
            budget=account.limits.users_per_second,
            seconds_left=_seconds_left(view, account, now - recent[-1].at if recent else 0.0),
        )

    def _say_what_is_wrong(self, view: RunView) -> None:
        patience = self._started + 8.0  # a worker that just starts needs a moment to say so
        if time.monotonic() > patience and not self._ledger.recovery.living_workers():
            self._say(NO_WORKER)
        if view.run.state == RunState.PAUSED:
            self._say(_paused(view.run))

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._notice(sentence)


def _seconds_left(view: RunView, account: Account, since_last: float) -> float | None:
    """Until the last row has an outcome: the rest at full rate, and then the last job."""
    if view.run.state != RunState.SENDING:
        return None
    buckets = report.chunk_buckets(view)
    unsent = buckets["planned"] + buckets["waiting"] + buckets["sending"]
    if unsent == 0:
        return max(account.job_seconds - since_last, 1.0)
    return unsent * 100 / account.limits.users_per_second + account.job_seconds


Show = Callable[[RunView, Pace], None]


@contextmanager
def _picture() -> Iterator[Show]:
    out = errors()
    if out.is_terminal:
        with Live(console=out, refresh_per_second=4, transient=True) as live:
            yield lambda view, pace: live.update(_panel(view, pace))
    else:
        yield _Lines(out)


class _Lines:
    """One line now and then, for logs and pipes."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._last = 0.0
        self._state = ""

    def __call__(self, view: RunView, pace: Pace) -> None:
        changed = view.run.state != self._state
        if not changed and time.monotonic() - self._last < LINE_EVERY_S:
            return
        self._last, self._state = time.monotonic(), view.run.state
        self._out.print(line(view, pace), markup=False)


def line(view: RunView, pace: Pace) -> str:
    """Return a run's progress in one line."""
    rows, chunks = view.rows, report.chunk_buckets(view)
    done = rows.read - rows.pending
    left = f", about {duration(pace.seconds_left)} left" if pace.seconds_left else ""
    return (
        f"{view.run.run_id} {view.run.state}: {done:,}/{rows.read:,} rows "
        f"({rows.created:,} created, {rows.updated:,} updated, {rows.failed:,} failed, "
        f"{rows.skipped:,} skipped), chunks {chunks['waiting']} waiting "
        f"{chunks['sending']} sending {chunks['polling']} polling {chunks['done']} done, "
        f"{pace.users_per_second:.0f} of {pace.budget} users/s{left}"
    )


def _panel(view: RunView, pace: Pace) -> Group:
    rows, chunks = view.rows, report.chunk_buckets(view)
    done = rows.read - rows.pending
    head = Text.assemble(
        (f"{view.run.orchestration} -> {view.run.target.destination}", "bold"),
        f"   {view.run.run_id}   {view.run.state}",
    )
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        "rows",
        ProgressBar(total=max(rows.read, 1), completed=done, width=40),
        f"{done:,} of {rows.read:,}",
    )
    bar.add_row(
        "rate",
        ProgressBar(total=pace.budget, completed=min(pace.users_per_second, pace.budget), width=40),
        f"{pace.users_per_second:.0f} of {pace.budget} users/s",
    )
    counts = (
        f"created {rows.created:,}  updated {rows.updated:,}  failed {rows.failed:,}  "
        f"skipped {rows.skipped:,}  unconfirmed {rows.unconfirmed:,}"
    )
    states = "  ".join(
        f"{name} {chunks[name]}"
        for name in ("planned", "waiting", "sending", "polling", "done", "quarantined", "cancelled")
        if chunks[name] or name == "done"
    )
    left = duration(pace.seconds_left) if pace.seconds_left else "-"
    waits = ", ".join(report.WAITS.get(why, why) for why in view.waits)
    tail = f"time left about {left}" + (f"   waiting for: {waits}" if waits else "")
    return Group(head, bar, Text(counts), Text(f"chunks: {states}"), Text(tail, style="dim"))


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
