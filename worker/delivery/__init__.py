"""Delivering a chunk, without Celery: `Delivery.submit(chunk)` and `Delivery.poll(account)`.

Having to wait is a value (`Wait`), not a failure; what to enqueue next is a value too (`Done`).
"""

from __future__ import annotations

from worker.delivery.context import Client, Context
from worker.delivery.permits import Permits, Ticket, patience
from worker.delivery.poll import Poller
from worker.delivery.submit import Submitter
from worker.hints import Hint, Step
from worker.ledger.records import Limits

__all__ = ["Client", "Context", "Delivery", "Permits", "Ticket", "patience"]


class Delivery:
    """The use-cases of a worker.

    Args:
        context: the parts to work with.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._submitter = Submitter(context)
        self._poller = Poller(context)

    def submit(self, run_id: str, seq: int) -> Step:
        """Send one chunk, or say what it waits for."""
        return self._submitter.submit(run_id, seq)

    def poll(self, run_id: str, seq: int) -> Step:
        """Look at all due jobs of the account that this chunk belongs to."""
        return self._poller.poll(run_id, seq)

    def admit(self, run_id: str) -> tuple[Hint, ...]:
        """Let the next planned chunks of a run into its window."""
        return self._context.admit(run_id)

    def close(self, run_id: str) -> tuple[Hint, ...]:
        """End the run if all its chunks have ended."""
        return self._context.close(run_id)

    def request_permit(self, account: str, declared: Limits | None = None) -> Ticket | float:
        """Take leave for one request without users, or return the seconds to wait for it."""
        return self._context.request_permit(account, declared)

    @property
    def permits(self) -> Permits:
        """Where answers to such requests are reported."""
        return self._context.permits
