"""Mends of kombu's Redis transport and of Celery (5.7.0): a worker must outlive what it is sent.

**Its Redis.** When the connection to Redis breaks, kombu closes its channel. Whoever uses that
channel afterwards, to give back the messages that are being worked on or to acknowledge one whose
work has ended meanwhile, meets an AttributeError, which Celery does not take for a lost connection:
the worker ends for good. Nothing is lost by doing neither. Unacknowledged messages lie in Redis'
own list, are delivered again when their time is over, and find in the ledger that their work is
done.

**Garbage.** A message whose outside is as it should be and whose body is not makes Celery's request
fail with a ValueError, which ends the worker; the message is not acknowledged, is delivered again,
and ends the next. What in Redis is no message at all ends the worker as well. Both are now left
alone: taken away, logged without their contents. So is what is larger than any message of ours
could be: to take it apart would need several times its size of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery import Task
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.transport import redis

from worker.errors import DeskfeedError

log = structlog.get_logger(__name__)

MOST_BYTES = 256 * 1024
"""Of a message as it lies in Redis. Ours, events and remote control are a few KB at most."""

LONGEST_WAIT = timedelta(days=1)
"""Until a message may be meant to be done. Ours wait for seconds; a worker holds all in memory."""

MOST_ID_CHARS = 255
"""Of the id of a message; it stands in two lines of the log."""

NO_MESSAGE = (ValueError, KeyError, TypeError, AttributeError)
"""What kombu raises on something that is no message."""

_decode = redis.loads  # type: ignore[attr-defined] # kombu's name for reading what lies in Redis


class TooLarge(ValueError):
    """A message is larger than any of ours; kombu and `CarefulChannel` leave such a one alone."""


def decode(text: Any) -> Any:
    """Read a message as it lies in Redis, unless it is too large.

    Raises:
        ValueError: it is, or it is no JSON.
    """
    if len(text) > MOST_BYTES:
        raise TooLarge
    try:
        return _decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


class PatientQoS(redis.QoS):
    """Speaks to Redis as long as its channel is open, and lets things be afterwards."""

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what is not acknowledged; without a connection it stays where it is."""
        if self._is_open("restore"):
            super().restore_unacked(client)
        elif self._delivered:
            self._delivered.clear()

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put back one that nobody acknowledged; what is no message goes for good."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except NO_MESSAGE as error:
            log.warning("message_left_alone", why="no message", error=type(error).__name__)
            with self.channel.conn_or_acquire(client) as redis_client:  # type: ignore[attr-defined]
                redis_client.hdel(self.unacked_key, tag)
                redis_client.zrem(self.unacked_index_key, tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        if self._is_open("ack"):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message."""
        if self._is_open("reject"):
            super().reject(delivery_tag, requeue)

    def _is_open(self, what: str) -> bool:
        # A closed channel has no connection, or one whose client has been taken away.
        connection: Any = self.channel.connection
        if connection is not None and connection.client is not None:
            return True
        log.warning("channel_was_closed", asked_for=what)
        return False


class CarefulChannel(redis.Channel):
    """Takes what is no message for nothing."""

    QoS = PatientQoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc] # the stubs lack it
        except NO_MESSAGE as error:
            if self.closed:
                raise
            # It is out of the queue already, and nobody could make anything of it.
            log.warning("message_left_alone", why="no message", error=type(error).__name__)
            return None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        try:
            return bool(super()._deliver_fanout_message(message, exchange))  # type: ignore[misc]
        except NO_MESSAGE as error:
            if self.closed:
                raise
            log.warning("message_left_alone", why="no message", error=type(error).__name__)
            return False


class CarefulRequest(Request):
    """Calls a message that cannot be unpacked invalid: those Celery knows to reject."""

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(message, *args, **kwargs)
            _refuse(self, message.headers, message.payload)
        except (InvalidTaskError, ContentDisallowed, DecodeError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever somebody put into the body
            raise InvalidTaskError(type(error).__name__) from None


def _refuse(request: Request, headers: Mapping[str, Any], payload: Any) -> None:
    """Raise `InvalidTaskError` for what no message of ours has; its words hold nothing of it."""
    args, kwargs, embed = payload
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidTaskError("its arguments are none")
    if embed is not None and (not isinstance(embed, dict) or any(embed.values())):
        raise InvalidTaskError("it carries other tasks")
    task_id: Any = headers.get("id")
    if not isinstance(task_id, str) or len(task_id) > MOST_ID_CHARS or not task_id.isprintable():
        raise InvalidTaskError("its id is none")
    if headers.get("shadow") or any(headers.get("timelimit") or ()):
        raise InvalidTaskError("it has a name or limits of its own")
    if not isinstance(headers.get("retries", 0), int | None):
        raise InvalidTaskError("its retries are no number")
    if request.eta is not None and request.eta > datetime.now(UTC) + LONGEST_WAIT:
        raise InvalidTaskError("it waits too long")


class CarefulTask(Task[Any, Any]):
    """What all tasks are made of.

    An error of ours that ends a task was foreseen: Celery marks the task as failed, and the line
    that tells of it is ours (`on_failure`), a sentence with its remedy and not a traceback.
    """

    Request = f"{__name__}:CarefulRequest"
    throws = (DeskfeedError,)

    def on_failure(self, exc: Exception, *_args: Any, **_kwargs: Any) -> None:
        """Say why a task could not be done; the sweeper puts its work back on its way."""
        if isinstance(exc, DeskfeedError):
            log.error("task_failed", code=exc.code, reason=exc.message, resolution=exc.resolution)


def install() -> None:
    """Let every channel that kombu makes from now on be a careful and patient one."""
    redis.Transport.Channel = CarefulChannel
    redis.loads = decode  # type: ignore[attr-defined]
