"""A file by which a worker shows that it gets on, for whoever must start it anew if it does not.

The worker writes it each time that it looked at itself and found no stall (worker.liveness), and
removes it when it ends. To ask a worker through the broker, as `celery inspect ping` does, costs
messages and proves less: a worker whose consumer is stuck still answers.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = "alive"
"""In the state folder: a file for each worker process, named by its process id."""


class AliveFile:
    """The file of this process.

    Args:
        folder: of all such files.
        pid: whose.
        clock: seconds since the machine was started: the same for all processes of it, and not set
            by anybody.
    """

    def __init__(
        self, folder: Path, pid: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = folder / str(pid or os.getpid())
        self._clock = clock

    def note(self) -> None:
        """Write that the process gets on.

        Raises:
            OSError: it cannot be written.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        # Rounded down: what is dated ahead of the clock counts as of before the machine's start.
        new.write_text(f"{math.floor(self._clock() * 1000) / 1000:.3f}\n", encoding="ascii")
        new.replace(self._path)  # nobody reads half of it

    def remove(self) -> None:
        """Take it away: the process ends."""
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Sign:
    """What a worker process of this machine showed last.

    Attributes:
        pid: of the process.
        age_seconds: how long ago; None if the file cannot be understood.
    """

    pid: int
    age_seconds: float | None

    def is_good(self, patience: float) -> bool:
        """Whether it is not older than that, and not of before the machine was started."""
        return self.age_seconds is not None and 0 <= self.age_seconds <= patience


def signs(folder: Path, clock: Callable[[], float] = time.monotonic) -> list[Sign]:
    """Return the signs of the processes that run; those of others count for nothing."""
    if not folder.is_dir():
        return []
    pids = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    return [Sign(pid, _age(folder / str(pid), clock)) for pid in pids if _runs(pid)]


def _age(path: Path, clock: Callable[[], float]) -> float | None:
    try:
        return clock() - float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as somebody else
        return True
    return True
