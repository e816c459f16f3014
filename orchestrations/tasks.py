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
from typing import Any

import structlog

from orchestrations import runs
from orchestrations.loader import load_catalog
from worker.app import app, parts, send_all
from worker.settings import settings
from worker.tasks import understood

log = structlog.get_logger(__name__)

_planners: dict[str, float] = {}
"""When this process last started a planner of a run that is not planned yet."""
_planners_lock = threading.Lock()


@app.task(name="orchestrations.start", bind=True)
def start(self: Any, orchestration: str, key: str | None = None, sample: int | None = None) -> str:
    """Start a run; the same key again is the same run. Returns the run's id.

    Without a key the message's own id is the key: delivered twice, it starts one run.
    """
    run, new = runs.start(
        load_catalog(settings().catalog),
        orchestration,
        ledger=parts().ledger,
        principal="scheduler",
        key=key or self.request.id,
        options=runs.Options(sample=sample),
    )
    if new:
        send_all([runs.plan_hint(run)])
    log.info("run_started", run_id=run.run_id, new=new)
    return run.run_id


@app.task(name="orchestrations.plan")
def plan(*, v: int, run_id: str) -> str:
    """Plan a run in a process of its own, then let its first chunks out."""
    if not understood(v):
        return "unknown version"
    if not _first_planner(run_id):
        return "planned here already"
    try:
        return _plan(run_id)
    finally:
        _planners.pop(run_id, None)


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


def _plan(run_id: str) -> str:
    command = [sys.executable, "-m", "orchestrations.planner", run_id]
    # The pipe is never written to: its end tells the child that this process is gone.
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:  # noqa: S603 - our own module
        code = child.wait()
    if code != 0:
        log.error("planner_died", exit_code=code)
    delivery = parts().delivery
    send_all([*delivery.admit(run_id), *delivery.close(run_id)])
    return "done"


@app.task(name="orchestrations.finish")
def finish(*, v: int, run_id: str) -> str:
    """Tell of a run that has ended."""
    if not understood(v):
        return "unknown version"
    view = parts().ledger.views.run(run_id)
    if view is None:
        return "unknown run"
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
def tick() -> str:
    """Beat's heartbeat: look for work that stands still, even if no worker's own sweeper does."""
    hints = parts().sweeper.sweep()
    send_all(hints)
    return f"{len(hints)} found"
