"""The worker's Celery tasks: shells of a few lines around the use-cases."""

from __future__ import annotations

from typing import Any

import structlog

from worker.app import MESSAGE_VERSION, app, parts, send_all
from worker.failpoints import reach
from worker.hints import Done, Failed, Step, Wait

log = structlog.get_logger(__name__)


@app.task(name="worker.deliver_chunk", bind=True, max_retries=None)
def deliver_chunk(self: Any, *, v: int, run_id: str, seq: int) -> str:
    """Send one chunk, or come back when it can be sent."""
    if not understood(v):
        return "unknown version"
    return _answer(self, parts().delivery.submit(run_id, seq))


@app.task(name="worker.poll_job", bind=True, max_retries=None)
def poll_job(self: Any, *, v: int, run_id: str, seq: int) -> str:
    """Look at all due jobs of the account that this chunk belongs to."""
    if not understood(v):
        return "unknown version"
    return _answer(self, parts().delivery.poll(run_id, seq))


def understood(version: int) -> bool:
    """Whether a message is of this version; another one is left to a newer worker's sweeper."""
    if version == MESSAGE_VERSION:
        return True
    log.warning("message_of_unknown_version", version=version)
    return False


def _answer(task: Any, step: Step) -> str:
    """Turn the value of a use-case into what Celery understands; returns a word for Flower."""
    match step:
        case Done(hints):
            send_all(hints)
            reach("ack.before")
            return "done"
        case Failed(code):
            return code
        case Wait(seconds, why, message):
            if not message:
                return why
            # The same message again, later: one line per chunk in Flower, and no attempt used.
            raise task.retry(countdown=seconds, exc=None)
