"""What a line of the log is about: run, chunk and attempt, whoever writes the line.

A task binds what its message says (`worker.app`), a use-case what it finds out, and both reach the
lines of libraries in the same thread, because all lines go through one chain (`worker.logs`). A
process that works for one run alone binds it for all of its threads. Lines that Celery writes of a
task outside of it, as when it takes the message, are told by the task's id.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_TASK_ID = re.compile(r"([A-Za-z0-9-]{1,40})\.(?:([0-9]{6,10})\.)?[a-z]+\.[0-9a-f]{4}", re.ASCII)
"""Task ids of ours: the run, perhaps the chunk, what is to be done, and a suffix (`worker.app`)."""

_of_process: dict[str, Any] = {}


def of_process(**values: Any) -> None:
    """Bind values to every line of this process, whichever thread writes it."""
    _of_process.update(values)


def of_attempt(attempt: int) -> None:
    """Bind the attempt to the lines of this task from now on, the last ones of Celery included."""
    structlog.contextvars.bind_contextvars(attempt=attempt)


@contextmanager
def about(run_id: str, seq: int, attempt: int) -> Iterator[None]:
    """Bind a chunk for a while: a poller looks at many, of several runs."""
    with structlog.contextvars.bound_contextvars(run_id=run_id, seq=seq, attempt=attempt):
        yield


def add_context(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Structlog processor: add what a line is about, where it does not say so itself."""
    found = {**_of_process, **_named_by_celery(event.get("_record"))}
    for name, value in found.items():
        event.setdefault(name, value)
    return event


def _named_by_celery(record: logging.LogRecord | None) -> dict[str, Any]:
    data = getattr(record, "data", None)
    task_id = data.get("id") if isinstance(data, Mapping) else None
    match = _TASK_ID.fullmatch(task_id) if isinstance(task_id, str) else None
    if match is None:
        return {}
    run: dict[str, Any] = {"task_id": task_id, "run_id": match[1]}
    return run if match[2] is None else {**run, "seq": int(match[2])}
