"""Before anything is sent: is the destination there, and does it let us write users?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from worker.errors import DestinationError
from worker.zendesk.client import Permit
from worker.zendesk.fields import UserField
from worker.zendesk.replies import Identity

WRITERS = frozenset({"admin", "agent"})
"""Roles that can write users at all; whether an agent's custom role may, only a POST shows."""


class Probe(Protocol):
    """What pre-flight needs of Zendesk; `worker.zendesk.client.ZendeskClient` is one."""

    def whoami(self) -> Identity:
        """Return who the credential is."""
        ...

    def user_fields(self, permit: Permit) -> tuple[UserField, ...]:
        """Return the account's user fields; `permit` is called before each request."""
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """What pre-flight found.

    Attributes:
        role: the role of the credential's user.
        fields: the account's user fields.
    """

    role: str
    fields: tuple[UserField, ...]


def check_connection(probe: Probe, permit: Permit) -> Connection:
    """Ask the destination who we are and which user fields it has.

    Args:
        probe: the destination.
        permit: blocks until one more request may be sent; returns what its answer is told to.

    Raises:
        DestinationError: the credential is wrong, or its user may not write users.
        NotSent: the destination cannot be reached.
    """
    report = permit()
    identity = probe.whoami()
    report(identity.rate)
    _refuse(identity)
    return Connection(role=identity.role or "", fields=probe.user_fields(permit))


def _refuse(identity: Identity) -> None:
    if identity.anonymous:
        raise DestinationError(
            "Zendesk answers 200 but takes us for an anonymous visitor: the credential is wrong",
            code="anonymous_login",
        )
    if identity.suspended:
        raise DestinationError(
            "the credential's user is suspended in Zendesk", code="login_not_allowed"
        )
    if identity.role not in WRITERS:
        raise DestinationError(
            f"the credential's user has the role {identity.role or 'none'!r}; only agents and "
            "administrators may write users",
            code="login_not_allowed",
        )
