"""The Celery tasks of orchestrations: shells around the use-cases.

A scheduler starts a run with
`app.send_task("orchestrations.start", kwargs={"orchestration": "loyalty", "key": "2026-11-24"})`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

import structlog
from celery import signals

from orchestrations import alerts, report, runs, ticking, upkeep
from orchestrations.access import SCHEDULER
from orchestrations.alert_rules import AlertRules, load_rules
from orchestrations.channels import Channels, refuse_unsendable
from orchestrations.keys import is_reserved
from orchestrations.leftovers import EXIT_GIVEN_BACK, EXIT_OVERTAKEN, remove_leftovers
from orchestrations.loader import catalog_for, read_catalog
from orchestrations.starting import read_start
from worker.app import ALERT_TASK, PLAN_TASK, app, parts, send_all, stopping
from worker.errors import CatalogError, DeskfeedError, LedgerError, UsageError
from worker.hints import Plan, Tell
from worker.ledger.pulse import note_beat
from worker.ledger.records import Run
from worker.ledger.states import RunState
from worker.messages import Unreadable
from worker.settings import settings
from worker.tasks import announce, hand_back, not_done, read

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
"""How often the task of a planning looks whether its process has ended."""

STARTS_WITHIN_S = 60.0
"""A planner that has taken nothing up by then stands still. Not scaled with the table of times: a
machine starts a process no sooner for it."""

_ASKED_TO_END = frozenset({EXIT_GIVEN_BACK, -signal.SIGTERM, -signal.SIGINT})
"""How a planner ends that was asked to; by the signal itself while it had not taken anything up."""

KEY_RESERVED = "key_reserved"
_RESERVED = (
    "a message asked for a run under a key that only schedules and `after` give: "
    "a minute in UTC (2026-11-24T16:30Z), or the id of a run"
)
_OTHER_KEY = (
    "Give the messages of your scheduler keys of another form. To make up for a run that was due: "
    "deskfeed run ORCHESTRATION --key KEY"
)

_planners: dict[str, tuple[int, float]] = {}
"""By run, of the last planner that this process started: the run's fence before it, and when."""
_planners_lock = threading.Lock()


@app.task(name="orchestrations.start", bind=True)
def start(self: Any, *args: Any, **kwargs: Any) -> str:
    """Start a run: `orchestration`, perhaps `key` and `sample`. Returns the run's id, or why not.

    The same key again is the same run. Without one the message's own id is the key: delivered
    twice, it starts one run. Neither may have the form of the keys that schedules and `after` give.
    """
    asked = read_start(args, kwargs)
    if isinstance(asked, Unreadable):
        log.warning("message_left_alone", task=self.name, why=asked.why)
        return asked.why
    key = asked.key or self.request.id
    if key and is_reserved(key):
        log.error("run_not_started", code=KEY_RESERVED, reason=_RESERVED, resolution=_OTHER_KEY)
        return KEY_RESERVED
    try:
        run, new = runs.start(
            catalog_for(settings().catalog, asked.orchestration),
            asked.orchestration,
            ledger=parts().ledger,
            principal=SCHEDULER,
            key=key,
            options=runs.Options(sample=asked.sample),
            origin="message",
        )
    except UsageError as error:  # the catalog, or a run that is still active: a person's to mend
        log.error(
            "run_not_started", code=error.code, reason=error.message, resolution=error.resolution
        )
        return error.code
    if new:
        send_all([runs.plan_hint(run)])
    log.info("run_started", run_id=run.run_id, new=new)
    return run.run_id


@app.task(name=PLAN_TASK)
def plan(*args: Any, **kwargs: Any) -> str:
    """Plan a run in a process of its own, then let its first chunks out."""
    message = read(PLAN_TASK, args, kwargs, chunk=False)
    if isinstance(message, Unreadable):
        return message.why
    run_id = message.run_id
    run = parts().ledger.runs.get(run_id)
    if run is None:
        return "unknown run"
    if run.state in (RunState.PLANNED, RunState.PLANNING):
        if stopping.asked:
            return hand_back(Plan(run_id))
        mine = _first_planner(run)
        if mine is None:
            return "planned here already"
        try:
            ended = _planned(run)
        finally:
            _forget_planner(run_id, mine)
        if not ended:  # only now: this worker may take its own message, and must not refuse it
            return hand_back(Plan(run_id))
    delivery = parts().delivery
    send_all([*delivery.admit(run_id), *delivery.close(run_id)])
    return _how_planned(run_id)


def _how_planned(run_id: str) -> str:
    """Return in words how a planning ended.

    Raises:
        RunError: the run failed; so the task is seen to fail in Flower.
    """
    run = parts().ledger.runs.get(run_id)
    if run is None:
        return "unknown run"
    if run.error is not None and not run.spool_complete:
        raise not_done(run_id, run.error["code"])
    return f"{run.rows_read:,} rows planned"


def _first_planner(run: Run) -> tuple[int, float] | None:
    """Note that this worker starts a planner of the run; None where one is still about to begin.

    On a machine so busy that a planner starts slowly the sweeper takes its message for lost and
    sends another. Each would start a process, and the machine would be busier still. One that
    began and was lost has raised the run's fence, and so keeps nobody from beginning anew.
    """
    now = time.monotonic()
    with _planners_lock:
        fence, since = _planners.get(run.run_id, (-1, now))
        if fence == run.plan_fence and now - since <= STARTS_WITHIN_S:
            return None
        _planners[run.run_id] = mine = (run.plan_fence, now)
        return mine


def _forget_planner(run_id: str, mine: tuple[int, float]) -> None:
    with _planners_lock:
        if _planners.get(run_id) == mine:
            del _planners[run_id]


def _planned(run: Run) -> bool:
    """Let a child plan; False when it, or this worker, was asked to end, and it gave the run back.

    Args:
        run: as it was before the child.
    """
    command = [sys.executable, "-m", "orchestrations.planner", run.run_id]
    killed = False
    look_at = time.monotonic() + STARTS_WITHIN_S
    # The pipe is never written to: its end tells the child that this process is gone, or going.
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:  # noqa: S603 - our own module
        while child.poll() is None and not stopping.asked_within(LOOK_EVERY_S):
            if not killed and time.monotonic() >= look_at:
                look_at += STARTS_WITHIN_S
                if _stands_still(run):
                    log.warning("planner_stands_still", after_seconds=STARTS_WITHIN_S)
                    killed = True
                    child.kill()
        code = child.poll()  # leaving the block closes the pipe and waits
    if code == EXIT_OVERTAKEN:
        log.info("planner_overtaken")
    elif code in _ASKED_TO_END:
        log.info("planner_asked_to_end")
    elif code and not killed:
        log.error("planner_died", exit_code=code)
    if child.returncode:
        _remove_leftovers()
    return code is not None and code not in _ASKED_TO_END


def _stands_still(run: Run) -> bool:
    """Whether a planner that should have begun long ago has nothing to do, or has not begun.

    It may be stopped (Ctrl-Z, a debugger) or hang in its first steps. Where another one has planned
    the run meanwhile, this one would have ended by itself.
    """
    try:
        found = parts().ledger.runs.get(run.run_id)
    except LedgerError as error:  # its planner waits for the ledger, too
        log.warning("planner_not_looked_after", reason=error.message)
        return False
    if found is None or found.state not in (RunState.PLANNED, RunState.PLANNING):
        return True
    return found.plan_fence == run.plan_fence


def _remove_leftovers() -> None:
    """A planner that did not end by itself leaves rows of customers, perhaps of a stopped run."""
    try:
        remove_leftovers(parts().ledger, settings().state_dir / "staging")
    except LedgerError as error:
        log.warning("leftovers_not_removed", reason=error.message)


@signals.worker_ready.connect
def _remove_what_was_left(**_: object) -> None:
    """A worker that was killed while it planned could not remove what its planner had staged."""
    _remove_leftovers()


@app.task(name="orchestrations.finish", bind=True)
def finish(self: Any, *args: Any, **kwargs: Any) -> str:
    """Tell of a run that has ended, once, however often the message comes."""
    message = read(self.name, args, kwargs, chunk=False)
    if isinstance(message, Unreadable):
        return message.why
    view = parts().ledger.views.run(message.run_id)
    if view is None:
        return "unknown run"
    if not parts().ledger.reports.take(message.run_id):
        return "nothing to tell"
    rows: Any = view.rows
    log.info(
        "run_finished",
        state=view.run.state,
        read=rows.read,
        created=rows.created,
        updated=rows.updated,
        failed=rows.failed,
        skipped=rows.skipped,
        unconfirmed=rows.unconfirmed,
    )
    _follow(message.run_id)
    send_all([Tell(message.run_id)])
    announce(self, "run-ended", run_id=message.run_id, state=str(view.run.state))
    return report.verdict(view)


def _follow(run_id: str) -> None:
    """Start what comes after a run; where that fails, a tick does it later."""
    try:
        started = ticking.follow(parts().ledger, read_catalog(settings().catalog), run_id)
    except DeskfeedError as error:
        log.error("left_to_the_next_tick", code=error.code, reason=error.message)
        return
    send_all([runs.plan_hint(run) for run in started])


@app.task(name=ALERT_TASK)
def alert(*args: Any, **kwargs: Any) -> str:
    """Send the alerts about a run that are due; however often the message comes, each once."""
    message = read(ALERT_TASK, args, kwargs, chunk=False)
    if isinstance(message, Unreadable):
        return message.why
    if stopping.asked:
        return hand_back(Tell(message.run_id))
    mine = parts()
    told = alerts.tell(
        message.run_id,
        ledger=mine.ledger,
        rules=_rules(),
        channels=Channels(settings().alerts, mine.times.post_deadline),
        seconds=mine.times.post_deadline,
    )
    return f"{told.sent} sent, {told.failed} not"


def _rules() -> AlertRules:
    """Return who shall be told; when the file is broken, everybody of what they are told of else.

    A mistake in a file must keep nobody from hearing that something is wrong.
    """
    try:
        return load_rules(settings().catalog)
    except CatalogError as error:
        log.error("alert_rules_unusable", reason=error.message, resolution=error.resolution)
        return AlertRules()


@signals.worker_ready.connect
def _say_if_alerts_cannot_be_sent(**_: object) -> None:
    try:
        refuse_unsendable(settings().alerts)
    except UsageError as error:  # sending rows is worth more than telling of it: go on
        log.error("alerts_unsendable", reason=error.message, resolution=error.resolution)


@app.task(name="orchestrations.tick")
def tick(*_args: Any, **_kwargs: Any) -> str:
    """Beat's heartbeat: start what is due, and look for work that stands still.

    What a message of it holds is of no interest; taken as arguments it would end as a traceback.

    Once a day it also removes from the ledger what is old enough.
    """
    note_beat(parts().ledger.recovery)
    started = _start_due()
    hints = parts().sweeper.sweep()
    send_all(hints)
    kept = settings().retention
    ages = upkeep.ages_of(
        outcomes=kept.outcomes, events=kept.events, runs=kept.runs, audit=kept.audit
    )
    pruned = upkeep.prune_daily(parts().ledger, ages)
    if pruned is not None and pruned.anything:
        log.info("pruned", **asdict(pruned))
    return f"{started} started, {len(hints)} found"


def _start_due() -> int:
    """Start the runs that are due; returns how many. No catalog costs nothing but these."""
    try:
        started = ticking.tick(parts().ledger, read_catalog(settings().catalog))
    except CatalogError as error:
        log.error("catalog_unreadable", reason=error.message, resolution=error.resolution)
        return 0
    send_all([runs.plan_hint(run) for run in started])
    return len(started)
