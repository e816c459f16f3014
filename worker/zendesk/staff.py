"""The account's agents and admins: who must not be overwritten by a list of customers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.profile import key_of
from worker.zendesk.fields import MAX_CURSOR_CHARS

STAFF_ROLES = ("agent", "admin")
"""Roles of people who are no customers; light agents and custom roles are agents."""


@dataclass(frozen=True, slots=True)
class StaffPage:
    """One page of agents and admins.

    Attributes:
        keys: `worker.profile.key_of` of each one's external_id and of the primary e-mail.
        after_cursor: asks for the next page; None on the last one.
    """

    keys: frozenset[str] = field(repr=False)
    after_cursor: str | None = None


def parse_staff_page(document: Mapping[str, Any]) -> StaffPage | None:
    """Read one page of `GET /api/v2/users` with a filter of roles; None if it is no such page."""
    listed = document.get("users")
    if not isinstance(listed, list):
        return None
    keys = frozenset(key for user in listed if isinstance(user, dict) for key in _keys(user))
    meta = document.get("meta")
    if not isinstance(meta, dict) or meta.get("has_more") is not True:
        return StaffPage(keys)
    cursor = meta.get("after_cursor")
    # More is there and cannot be asked for: half a list would let staff be overwritten.
    usable = isinstance(cursor, str) and 0 < len(cursor) <= MAX_CURSOR_CHARS
    return StaffPage(keys, cursor) if usable else None


def _keys(user: Mapping[str, Any]) -> tuple[str, ...]:
    if user.get("role") == "end-user":  # a server that does not know the filter
        return ()
    external_id, email = user.get("external_id"), user.get("email")
    found = (
        key_of(str(external_id).strip(), None) if external_id else None,
        key_of(None, email) if isinstance(email, str) else None,
    )
    return tuple(key for key in found if key is not None)
