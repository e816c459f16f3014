"""Whether the credential's user may write end users, as far as Zendesk lets it be seen. Pure.

Administrators may. An agent may if its role does: on accounts with custom roles
`GET /api/v2/custom_roles` tells `configuration.end_user_profile_access` (OpenAPI:
CustomRoleConfigurationObject); elsewhere only a bulk upsert shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.errors import DestinationError
from worker.zendesk.replies import Identity

WRITERS = frozenset({"admin", "agent"})
"""Roles that can write users at all."""

READ_ONLY = "readonly"
WITHIN_ORGANIZATION = "edit-within-org"

_MAX_NAME_CHARS = 60


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A role that the account has made.

    Attributes:
        name: for people, of printable characters.
        profile_access: what it may do with end users: `full`, `edit`, `edit-within-org`,
            `readonly`; perhaps a newer word; empty when Zendesk does not say.
    """

    name: str
    profile_access: str


def find_role(document: Mapping[str, Any], role_id: int) -> CustomRole | None:
    """Read the answer of `GET /api/v2/custom_roles`; None: the role is not in it."""
    listed = document.get("custom_roles")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and item.get("id") == role_id:
            return _role(item)
    return None


def _role(item: Mapping[str, Any]) -> CustomRole:
    name, configuration = item.get("name"), item.get("configuration")
    access = configuration.get("end_user_profile_access") if isinstance(configuration, dict) else ""
    shown = "".join(c for c in name if c.isprintable()) if isinstance(name, str) else ""
    return CustomRole(
        name=shown[:_MAX_NAME_CHARS], profile_access=access if isinstance(access, str) else ""
    )


def refusal_of(identity: Identity, role: CustomRole | None = None) -> DestinationError | None:
    """Return why this login may not write end users; None if nothing speaks against it.

    Args:
        identity: whom Zendesk takes us for.
        role: the custom role, if there is one and it could be seen.
    """
    if identity.anonymous:
        return DestinationError(
            "Zendesk answers 200 but takes us for an anonymous visitor: the credential is wrong",
            code="anonymous_login",
        )
    if identity.suspended:
        return DestinationError(
            "the credential's user is suspended in Zendesk", code="login_suspended"
        )
    if identity.role not in WRITERS:
        return DestinationError(
            f"the credential's user has the role {identity.role or 'none'!r}; only agents and "
            "administrators may write users",
            code="login_not_allowed",
        )
    if role is not None and role.profile_access == READ_ONLY:
        return DestinationError(
            f"the credential's user has the custom role {role.name!r}, which may look at end users "
            "and not edit them",
            code="role_may_not_write",
        )
    return None


def doubts_of(identity: Identity, role: CustomRole | None) -> tuple[str, ...]:
    """Return what may still stand against writing, a sentence each.

    Args:
        identity: a login of which `refusal_of` says nothing.
        role: as there.
    """
    if role is not None and role.profile_access == WITHIN_ORGANIZATION:
        return (
            (
                f"the custom role {role.name!r} may edit end users of its own organization only; "
                "others are likely refused"
            ),
        )
    if identity.role == "agent" and identity.custom_role_id is not None and role is None:
        return (
            (
                "what the custom role of the credential's user may do could not be seen; whether "
                "it may edit end users, only sending shows"
            ),
        )
    return ()


def forbidden(identity: Identity, error: DestinationError) -> DestinationError:
    """Return what a 403 to a bulk upsert means, now that it is known who asked.

    Args:
        identity: whom Zendesk takes us for.
        error: what the 403 alone says: rights, or the account's switch.
    """
    refusal = refusal_of(identity)
    if refusal is not None:
        return refusal
    if identity.role == "admin":
        return DestinationError(
            "Zendesk refuses the bulk upsert (403) of an administrator, who may edit all users: "
            "bulk user import is not enabled for the account",
            code="bulk_import_disabled",
        )
    return error
