"""The names that a value may be sent under: attributes of a Zendesk user, and user fields.

Source: schema UserForAdmin of Zendesk's OpenAPI description, without what `NEVER_SENT` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

ATTRIBUTES = (
    "external_id",
    "email",
    "name",
    "alias",
    "details",
    "notes",
    "signature",
    "phone",
    "locale",
    "time_zone",
    "remote_photo_url",
    "organization",
    "tags",
    "organization_id",
    "locale_id",
    "shared_phone_number",
    "verified",
    "skip_verify_email",
)
"""The attributes of a Zendesk user that may be sent."""

PRIVILEGE = "it would change what a person may do in Zendesk"
_READ_ONLY = "Zendesk sets it itself; rename the column, or leave it out"
_IDENTITIES = "Deskfeed manages identities through `email`, `phone` and `external_id`"

NEVER_SENT: dict[str, str] = {
    **dict.fromkeys(
        (
            "role",
            "custom_role_id",
            "role_type",
            "suspended",
            "password",
            "moderator",
            "ticket_restriction",
            "only_private_comments",
            "restricted_agent",
            "default_group_id",
            "agent_brand_ids",
        ),
        PRIVILEGE,
    ),
    **dict.fromkeys(
        (
            "id",
            "url",
            "active",
            "created_at",
            "updated_at",
            "last_login_at",
            "chat_only",
            "iana_time_zone",
            "report_csv",
            "shared",
            "shared_agent",
            "two_factor_auth_enabled",
        ),
        _READ_ONLY,
    ),
    "identities": _IDENTITIES,
    "photo": "use `remote_photo_url`",
    "user_fields": 'name the field: AS "user_fields.<key>"',
}
"""Attributes that exist and are never sent, each with the reason."""

FIELD_PREFIX = "user_fields."
_FIELD_KEY = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9_]+")
"""Zendesk: a field's key is letters, digits and underscores, and not digits only."""


def refusal_of(name: str) -> str | None:
    """Return why nothing may be sent under a name, or None; unknown names are not refused here."""
    plain = name.strip().lower()
    if plain.startswith(FIELD_PREFIX):
        if not name.startswith(FIELD_PREFIX):
            return f'{quoted(name)} must be written AS "{FIELD_PREFIX}…", in lower case'
        if not _FIELD_KEY.fullmatch(name.removeprefix(FIELD_PREFIX)):
            return (
                f"{quoted(name)}: the key of a user field is letters, digits and '_', "
                "not digits only"
            )
        return None
    if plain in NEVER_SENT:
        return f"{quoted(name)} is never sent: {NEVER_SENT[plain]}"
    if plain in ATTRIBUTES and name != plain:
        return f"{quoted(name)} must be written in lower case: AS {plain}"
    return None


def is_known(name: str) -> bool:
    """Say whether a name is an attribute, or a user field of whatever key."""
    return name in ATTRIBUTES or name.startswith(FIELD_PREFIX)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)` with the nearest names, or nothing."""
    near = get_close_matches(name, sorted(known), n=3)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def quoted(name: str) -> str:
    """Return a column's name for a sentence: short, and on one line."""
    return repr(name if len(name) <= 60 else name[:59] + "…")
