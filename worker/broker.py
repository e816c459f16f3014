"""A mend of kombu's Redis transport (5.7.0): a worker must outlive its Redis.

When the connection to Redis breaks, kombu closes its channel. Whoever uses that channel afterwards,
to give back the messages that are being worked on or to acknowledge one whose work has ended
meanwhile, meets an AttributeError, which Celery does not take for a lost connection: the worker
ends for good. Nothing is lost by doing neither. Unacknowledged messages lie in Redis' own list,
are delivered again when their time is over, and find in the ledger that their work is done.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger(__name__)


class PatientQoS(redis.QoS):
    """Speaks to Redis as long as its channel is open, and lets things be afterwards."""

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what is not acknowledged; without a connection it stays where it is."""
        if self._is_open("restore"):
            super().restore_unacked(client)
        elif self._delivered:
            self._delivered.clear()

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


def install() -> None:
    """Let every channel that kombu makes from now on use it."""
    redis.Channel.QoS = PatientQoS
