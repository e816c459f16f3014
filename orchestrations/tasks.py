"""The Celery tasks of orchestrations: shells around the use-cases.

A scheduler starts a run with
`app.send_task("orchestrations.start", kwargs={"orchestration": "loyalty", "key": "2026-11-24"})`.
"""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

import structlog

from orchestrations import runs, upkeep
from orchestrations.access import SCHEDULER
from orchestrations.loader import load_catalog
from orchestrations.starting import read_start
from worker.app import PLAN_TASK, app, parts, send_all, stopping
from worker.errors import UsageError
from worker.hints import Plan
from worker.ledger.pulse import note_beat
from worker.messages import Unreadable
from worker.settings import settings
from worker.tasks import hand_back, read

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
"""How often the task of a planning looks whether its process has ended."""

_planners: dict[str, float] = {}
"""When this process last started a planner of a run that is not planned yet."""
_planners_lock = threading.Lock()


@app.task(name="orchestrations.start", bind=True)
def start(self: Any, *args: Any, **kwargs: Any) -> str:
    """Start a run: `orchestration`, perhaps `key` and `sample`. Returns the run's id, or why not.

    The same key again is the same run. Without one the message's own id is the key: delivered
    twice, it starts one run.
    """
    asked = read_start(args, kwargs)
    if isinstance(asked, Unreadable):
        log.warning("message_left_alone", task=self.name, why=asked.why)
        return asked.why
    try:
        run, new = runs.start(
            load_catalog(settings().catalog),
            asked.orchestration,
            ledger=parts().ledger,
            principal=SCHEDULER,
            key=asked.key or self.request.id,
            options=runs.Options(sample=asked.sample),
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
    if not _first_planner(run_id):
        return "planned here already"
    try:
        if stopping.asked or not _planned(run_id):
            return hand_back(Plan(run_id))
    finally:
        _planners.pop(run_id, None)
    delivery = parts().delivery
    send_all([*delivery.admit(run_id), *delivery.close(run_id)])
    return "done"


def _first_planner(run_id: str) -> bool:
    """Whether this worker started no planner of the run within a lease.

    On a machine so busy that a planner starts slowly the sweeper takes its message for lost and
    sends another. Each would start a process, and the machine would be busier still.
    """
    now = time.monotonic()
    with _planners_lock:
        first = now - _planners.get(run_id, -math.inf) > parts().times.lease
        if first:
            _planners[run_id] = now
        return first


def _planned(run_id: str) -> bool:
    """Let a child plan; False when this worker had to end first, and the child gave it back."""
    command = [sys.executable, "-m", "orchestrations.planner", run_id]
    # The pipe is never written to: its end tells the child that this process is gone, or going.
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:  # noqa: S603 - our own module
        while child.poll() is None and not stopping.asked_within(LOOK_EVERY_S):
            pass
        code = child.poll()  # leaving the block closes the pipe and waits
    if code:
        log.error("planner_died", exit_code=code)
    return code is not None


@app.task(name="orchestrations.finish")
def finish(*args: Any, **kwargs: Any) -> str:
    """Tell of a run that has ended, once, however often the message comes."""
    message = read("orchestrations.finish", args, kwargs, chunk=False)
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
    return str(view.run.state)


@app.task(name="orchestrations.tick")
def tick(*_args: Any, **_kwargs: Any) -> str:
    """Beat's heartbeat: look for work that stands still, even if no worker's own sweeper does.

    What a message of it holds is of no interest; taken as arguments it would end as a traceback.

    Once a day it also removes from the ledger what is old enough.
    """
    note_beat(parts().ledger.recovery)
    hints = parts().sweeper.sweep()
    send_all(hints)
    kept = settings().retention
    ages = upkeep.ages_of(outcomes=kept.outcomes, events=kept.events, runs=kept.runs)
    pruned = upkeep.prune_daily(parts().ledger, ages)
    if pruned is not None and pruned.anything:
        log.info("pruned", **asdict(pruned))
    return f"{len(hints)} found"
