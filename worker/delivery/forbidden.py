"""A bulk upsert was forbidden (403): for want of rights, or because the account has it off?

The status is the same and the words are documented nowhere, so Zendesk is asked who we are. An
administrator has every right; for anybody else both reasons are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import DeskfeedError, DestinationError, LimiterUnavailable
from worker.zendesk.roles import forbidden

if TYPE_CHECKING:
    from worker.delivery.context import Client, Context
    from worker.ledger.records import Target


def told_apart(
    context: Context, target: Target, client: Client, error: DestinationError
) -> DestinationError:
    """Return the error that says what a person has to mend; the same one if it cannot be told.

    Args:
        context: the parts to work with.
        target: the destination.
        client: whose upsert was refused.
        error: what the refusal says by itself.
    """
    if error.code != "authorization_error":
        return error
    try:
        ticket = context.request_permit(target.account)
    except LimiterUnavailable:
        return error
    if isinstance(ticket, float):  # nothing may be asked now; the run is not kept waiting for it
        return error
    try:
        identity = client.whoami()
    except DeskfeedError as failed:
        context.permits.failed(ticket, failed)
        return error
    context.permits.answered(ticket, identity.rate)
    return forbidden(identity, error)
