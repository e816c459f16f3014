"""What planners leave in the folder for staging files, and the exit codes of those that end early.

The files hold rows of customers. A planner removes its own. What one left that was cut off, its
worker removes, or a worker that starts on this host, or the next planner.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from worker.ledger import Ledger
from worker.ledger.states import RunState

EXIT_GIVEN_BACK = 3
"""A planner was asked to end, or its worker has gone: what it planned is for another one."""

EXIT_OVERTAKEN = 4
"""A planner that stood in a query ended, because its run was stopped or is planned by another."""


def remove_leftovers(ledger: Ledger, scratch: Path, besides: str | None = None) -> None:
    """Remove the files of runs that nobody plans now.

    Args:
        ledger: it knows which runs are being planned.
        scratch: the folder in which each planning has one of its own, named after the run.
        besides: a run of which files are removed, too: whoever asks is about to plan it.

    Raises:
        LedgerError: it does not answer; whoever comes next removes them.
    """
    if not scratch.is_dir():
        return
    for left in scratch.iterdir():
        run_id = left.name.rpartition("-")[0]
        found = ledger.runs.get(run_id)
        if run_id == besides or found is None or found.state != RunState.PLANNING:
            shutil.rmtree(left, ignore_errors=True)
