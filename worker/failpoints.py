"""Failpoints: named steps of the journey at which a test lets something go wrong. Off by default.

`reach("post.before")` costs one test of a variable unless `DESKFEED_FAILPOINTS` is set, which only
tests do. It names what happens where, and at which time it is reached by a process:

    DESKFEED_FAILPOINTS=post.before=kill@2,job.saved=stop@1

`DESKFEED_FAILPOINTS_DIR` names a folder in which a failpoint leaves a file when it acts, with the
process id and the time; one whose file is there does not act again in any process. The environment
is read once, at import: whoever reaches a failpoint reads no settings.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

VARIABLE = "DESKFEED_FAILPOINTS"
FOLDER_VARIABLE = "DESKFEED_FAILPOINTS_DIR"

NAMES = (
    "run.created",  # the run is in the ledger, its plan is not enqueued (app.enqueue)
    "plan.claimed",  # a planner holds the run (planner)
    "plan.spooling",  # one batch of chunks is in the ledger, others are not (Planner._spool)
    "plan.complete",  # all is spooled, no chunk is let out (planner)
    "chunk.claimed",  # a worker holds the chunk (Submitter.submit)
    "permit.booked",  # a slot is booked, nothing is written yet (Submitter._send)
    "submitting.committed",  # the intent is in the ledger, the permit not confirmed
    "permit.confirmed",  # the send is stamped, the POST has not left
    "post.before",  # in the client, just before the request
    "post.after",  # Zendesk has answered, the job's id is not saved
    "job.saved",  # the job's id is in the ledger, the next hints are not sent
    "poll.taken",  # a poller holds the due jobs (Poller.poll)
    "poll.answered",  # Zendesk has told of the jobs, nothing is written
    "outcome.before",  # within the transaction that ends a chunk, before its commit
    "outcome.committed",  # the chunk has ended in the ledger
    "ack.before",  # the task's work is done, its message is not acknowledged
    "run.closed",  # the run has ended in the ledger, nobody was told
    "finish.sent",  # `orchestrations.finish` is on the broker
)
"""Every failpoint, in the order of the journey."""


class FailpointReached(Exception):
    """What `raise` raises: an error that no code expects."""


@dataclass(slots=True)
class _Armed:
    """What was asked for, and how often each failpoint was reached by this process."""

    actions: Mapping[str, tuple[str, int]]
    folder: Path | None
    reached: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, name: str) -> None:
        action, nth = self.actions.get(name, ("", 0))
        with self.lock:
            self.reached[name] += 1
            due = self.reached[name] == nth
        if due and self._first(name):
            ACTIONS[action]()

    def _first(self, name: str) -> bool:
        if self.folder is None:
            return True
        try:
            with (self.folder / name).open("x") as file:
                file.write(f"{os.getpid()} {time.time()!r}")
        except FileExistsError:
            return False
        return True


def _signal(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _raise() -> None:
    raise FailpointReached


ACTIONS: Mapping[str, Callable[[], None]] = {
    "kill": _signal(signal.SIGKILL),
    "term": _signal(signal.SIGTERM),
    "stop": _signal(signal.SIGSTOP),
    "exit": lambda: os._exit(70),
    "raise": _raise,
}
"""What a failpoint can do to its process; after `stop` somebody sends SIGCONT."""


def parse(words: str, folder: str | None = None) -> _Armed | None:
    """Read `name=action@n,…`; None when there is nothing to do.

    Raises:
        ValueError: there is no such failpoint or action.
    """
    actions: dict[str, tuple[str, int]] = {}
    for word in filter(None, words.split(",")):
        name, _, what = word.partition("=")
        action, _, nth = what.partition("@")
        if name not in NAMES or action not in ACTIONS:
            raise ValueError(f"{VARIABLE}: {word!r} is not NAME=ACTION@N of worker.failpoints")
        actions[name] = (action, int(nth or 1))
    return _Armed(actions, Path(folder) if folder else None) if actions else None


_armed = parse(os.environ.get(VARIABLE, ""), os.environ.get(FOLDER_VARIABLE))


def reach(name: str) -> None:
    """Say that a step was reached; nothing happens unless a test wants it to."""
    if _armed is not None:
        _armed.act(name)


def reached(folder: Path, name: str) -> tuple[int, float] | None:
    """Return the process in which a failpoint acted, and when; None if it did not yet."""
    with suppress(FileNotFoundError, ValueError):
        pid, at = (folder / name).read_text().split()
        return int(pid), float(at)
    return None
