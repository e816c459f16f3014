"""The worker's Celery tasks: shells of a few lines around the use-cases."""

from __future__ import annotations

from typing import Any

import structlog

from worker import messages
from worker.app import PROBE_TASK, app, parts, send_all, stopping
from worker.failpoints import reach
from worker.hints import Deliver, Done, Failed, Hint, Poll, Step, Wait
from worker.messages import Message, Unreadable

log = structlog.get_logger(__name__)

HANDED_BACK = "handed back"


@app.task(name="worker.deliver_chunk", bind=True, max_retries=None)
def deliver_chunk(self: Any, *args: Any, **kwargs: Any) -> str:
    """Send one chunk, or come back when it can be sent."""
    message = read(self.name, args, kwargs, chunk=True)
    if isinstance(message, Unreadable):
        return message.why
    if stopping.asked:
        return hand_back(Deliver(message.run_id, message.seq))
    return _answer(self, parts().delivery.submit(message.run_id, message.seq))


@app.task(name="worker.poll_job", bind=True, max_retries=None)
def poll_job(self: Any, *args: Any, **kwargs: Any) -> str:
    """Look at all due jobs of the account that this chunk belongs to."""
    message = read(self.name, args, kwargs, chunk=True)
    if isinstance(message, Unreadable):
        return message.why
    if stopping.asked:
        return hand_back(Poll(message.run_id, message.seq))
    return _answer(self, parts().delivery.poll(message.run_id, message.seq))


@app.task(name=PROBE_TASK, send_events=False)
def probe(*_args: Any, **_kwargs: Any) -> None:
    """Nothing: that this worker took its own message is what it wanted to know."""


def read(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, chunk: bool
) -> Message | Unreadable:
    """Read a message; one that cannot be read is logged by its task's name, without its values."""
    message = messages.read(args, kwargs, chunk=chunk)
    if isinstance(message, Unreadable):
        log.warning("message_left_alone", task=name, why=message.why)
    return message


def hand_back(hint: Hint) -> str:
    """Leave to another worker what this one, which is about to end, has not begun."""
    send_all([hint])
    return HANDED_BACK


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
