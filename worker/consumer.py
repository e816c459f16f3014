"""What a worker makes of messages before they are tasks: Celery's consumer, mended.

Imported by worker processes only (`worker_consumer` in `worker.app` names it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import structlog
from celery.worker.consumer.consumer import Consumer
from celery.worker.consumer.gossip import Gossip
from celery.worker.consumer.mingle import Mingle

from worker.broker import NO_MESSAGE

log = structlog.get_logger(__name__)


class CarefulConsumer(Consumer):
    """Outlives messages that Celery's own stumbles over, and listens to no other worker.

    Celery ends on a message of an unknown task without an id, and on one whose task is a list. What
    workers tell each other (gossip, mingle) is signed by nobody and of no use to us, for the
    ledger says who works; a garbled word of it ended whoever heard it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Gossip.compatible_transports = Mingle.compatible_transports = set()
        super().__init__(*args, **kwargs)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return what takes each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def careful(message: Any) -> Any:
            try:
                return handle(message)
            except NO_MESSAGE as error:
                log.warning("message_left_alone", why="no message", error=type(error).__name__)
                lost: Any = getattr(self, "connection_errors", ())
                message.reject_log_error(logging.getLogger(__name__), lost)
                return None

        return careful
