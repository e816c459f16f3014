"""`python -m worker.health`: whether the worker processes here get on. For healthchecks.

Exit code 0 when every worker process of this state folder does, 1 when one does not or none runs.
It asks no broker and no ledger; what it knows is what the workers found when they looked at
themselves (worker.alive). While Redis is away a worker is healthy: to start it anew would not help.
"""

from __future__ import annotations

import sys
from pathlib import Path

from worker.alive import FOLDER, signs
from worker.errors import DeskfeedError
from worker.liveness import LEAST_PATIENCE_S
from worker.settings import load_settings
from worker.times import Times


def main() -> int:
    """Look, say in one line what was found, and return the exit code."""
    try:
        config = load_settings()
    except DeskfeedError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    patience = max(Times().scaled(config.time_scale).stalled, LEAST_PATIENCE_S)
    return say(config.state_dir / FOLDER, patience)


def say(folder: Path, patience: float) -> int:
    """Say whether the processes that leave their signs in a folder get on.

    Args:
        folder: where.
        patience: seconds; an older sign is none.
    """
    found = signs(folder)
    ill = [sign for sign in found if not sign.is_good(patience)]
    if not found:
        sys.stdout.write(f"no worker runs here (no sign of one in {folder})\n")
    for sign in ill:
        since = "" if sign.age_seconds is None else f" for {max(sign.age_seconds, 0):.0f} s"
        sys.stdout.write(f"worker process {sign.pid} shows no progress{since}\n")
    if found and not ill:
        oldest = max(sign.age_seconds or 0.0 for sign in found)
        sys.stdout.write(f"{len(found)} worker(s) get on; looked {oldest:.0f} s ago or later\n")
    return 1 if ill or not found else 0


if __name__ == "__main__":
    sys.exit(main())
