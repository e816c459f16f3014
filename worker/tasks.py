"""The worker's Celery tasks: shells of a few lines around the use-cases."""

from __future__ import annotations

from typing import Any

import structlog

from worker import messages
from worker.app import PROBE_TASK, app, parts, send_all, stopping
from worker.errors import RunError
from worker.explanations import explain
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
    step = parts().delivery.submit(message.run_id, message.seq)
    if stopping.asked_within(0.0) and step == Done() and step.job_id is None:
        # It may have been woken in the moment before the chunk was due. If not, nobody minds.
        return hand_back(Deliver(message.run_id, message.seq))
    return _answer(self, message, step)


@app.task(name="worker.poll_job", bind=True, max_retries=None)
def poll_job(self: Any, *args: Any, **kwargs: Any) -> str:
    """Look at all due jobs of the account that this chunk belongs to."""
    message = read(self.name, args, kwargs, chunk=True)
    if isinstance(message, Unreadable):
        return message.why
    if stopping.asked:
        return hand_back(Poll(message.run_id, message.seq))
    return _answer(self, message, parts().delivery.poll(message.run_id, message.seq))


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


class Waiting(Exception):
    """Not an error: Celery shows the exception of a retry, and this one says what is waited for."""

    def __repr__(self) -> str:
        return str(self)


def _answer(task: Any, message: Message, step: Step) -> str:
    """Turn the value of a use-case into what Celery understands; returns words for Flower."""
    match step:
        case Done(hints):
            send_all(hints)
            if step.job_id is not None:
                announce(
                    task,
                    "task-job-submitted",
                    run_id=message.run_id,
                    seq=message.seq,
                    job_id=step.job_id,
                )
            reach("ack.before")
            return step.what
        case Failed(code):
            raise not_done(message.run_id, code)
        case Wait(seconds, _, again):
            if not again:
                return step.what
            # The same message again, later: one line per chunk in Flower, and no attempt used.
            raise task.retry(countdown=seconds, exc=Waiting(step.what))


def not_done(run_id: str, code: str) -> RunError:
    """Return an error for Flower's eyes: the run tells the rest to those who may know it."""
    return RunError(f"{explain(code).title}. See: deskfeed show {run_id}", code=code)


def announce(task: Any, kind: str, **fields: Any) -> None:
    """Send an event of ours to whoever looks on (Flower); without customer data.

    It is a courtesy: the ledger has it, and nothing depends on anybody hearing of it.
    """
    if task.request.called_directly:
        return
    try:
        task.send_event(kind, retry=False, **fields)
    except Exception as error:  # noqa: BLE001 - whatever the broker answers
        log.debug("event_not_sent", kind=kind, error=type(error).__name__)
