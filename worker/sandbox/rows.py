"""A row of a bulk upsert, read: what of it is used, and whether its values are acceptable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.sandbox.config import ROLES
from worker.sandbox.fields import RowRefused, UserField
from worker.sandbox.settings import Settings

_EMAIL = re.compile(r"[^@\s,;:<>()\[\]\"\\]+@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
_TEXTS = (
    "alias",
    "details",
    "notes",
    "signature",
    "locale",
    "time_zone",
    "phone",
    "ticket_restriction",
)
_BLANK_FOR_NULL = frozenset({"alias", "details", "notes", "signature"})
_SWITCHES = (
    "moderator", "suspended", "only_private_comments", "restricted_agent", "shared_phone_number",
)  # fmt: skip
_NUMBERS = ("custom_role_id", "default_group_id", "locale_id")


class _Unset:
    """Stands for an attribute that the row does not mention; null is a value."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True)
class Row:
    """One user of a bulk upsert, normalized. Whatever else the row held is ignored.

    Attributes:
        external_id: None if absent or blank.
        email: lower-cased and trimmed; None if absent or blank.
        name: None if the row does not mention it.
        role: None if the row does not mention it.
        attributes: plain attributes to set.
        tags: the new set of tags; None leaves the old one.
        user_fields: values to set, by key, as they are stored.
        organization: a name, an id, None for no organization, or `UNSET`.
        other_emails: further addresses, honoured at creation only.
        verified: whether the row says that its addresses are verified.
        skip_verify_email: whether the row asks for no welcome or verification mail.
    """

    external_id: str | None = field(repr=False)
    email: str | None = field(repr=False)
    name: str | None = field(repr=False)
    role: str | None
    attributes: Mapping[str, Any] = field(repr=False)
    tags: tuple[str, ...] | None = field(repr=False)
    user_fields: Mapping[str, Any] = field(repr=False)
    organization: str | int | _Unset | None = field(repr=False)
    other_emails: tuple[str, ...] = field(repr=False)
    verified: bool
    skip_verify_email: bool


def read_row(raw: Mapping[str, Any], known: Mapping[str, UserField], settings: Settings) -> Row:
    """Read one user object of a bulk upsert.

    Args:
        raw: the object as it came.
        known: the account's user fields by key; unknown keys are ignored, as Zendesk is believed
            to do.
        settings: the greatest lengths.

    Raises:
        RowRefused: a value is not acceptable.
    """
    return Row(
        external_id=_external_id(raw.get("external_id"), settings),
        email=_email(raw.get("email"), settings),
        name=_name(raw, settings),
        role=_role(raw),
        attributes=_attributes(raw, settings),
        tags=_tags(raw),
        user_fields=_user_fields(raw.get("user_fields"), known, settings),
        organization=_organization(raw),
        other_emails=_other_emails(raw.get("identities"), settings),
        verified=raw.get("verified") is True,
        skip_verify_email=raw.get("skip_verify_email") is True,
    )


def _external_id(value: Any, settings: Settings) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowRefused("External: is not valid")
    return _short(str(value), "External", settings.max_key_chars)


def _email(value: Any, settings: Settings) -> str | None:
    if value is None:
        return None
    email = value.strip().lower() if isinstance(value, str) else str(value)
    if not email:
        return None
    if not _EMAIL.fullmatch(email):
        # The words of a result that a customer of Zendesk showed in its community forum.
        raise RowRefused(f"Name: Email: {email} is not properly formatted")
    return _short(email, "Email", settings.max_key_chars)


def _name(raw: Mapping[str, Any], settings: Settings) -> str | None:
    if "name" not in raw:
        return None
    name = raw["name"]
    if not isinstance(name, str) or not name.strip():
        raise RowRefused("Name: cannot be blank")
    return _short(name.strip(), "Name", settings.max_name_chars)


def _short(text: str, title: str, max_chars: int) -> str:
    if len(text) > max_chars:
        raise RowRefused(f"{title}: is too long (maximum is {max_chars} characters)")
    return text


def _role(raw: Mapping[str, Any]) -> str | None:
    role = raw.get("role")
    if role is None:
        return None
    if role not in ROLES:
        raise RowRefused("Role: is not valid")
    # Documented: an end-user with a custom role becomes an agent.
    return "agent" if role == "end-user" and raw.get("custom_role_id") else str(role)


def _attributes(raw: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    texts = {name: _text(name, raw[name], settings) for name in _TEXTS if name in raw}
    switches = {name: _switch(name, raw[name]) for name in _SWITCHES if raw.get(name) is not None}
    numbers = {name: _number(name, raw[name]) for name in _NUMBERS if name in raw}
    return texts | switches | numbers


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _invalid(name)
    return value


def _number(name: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise _invalid(name)
    return value


def _invalid(name: str) -> RowRefused:
    return RowRefused(f"{name.replace('_', ' ').capitalize()}: is not valid")


def _text(name: str, value: Any, settings: Settings) -> str | None:
    if value is None:
        return "" if name in _BLANK_FOR_NULL else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _invalid(name)
    return _short(str(value), name.replace("_", " ").capitalize(), settings.max_text_chars)


def _tags(raw: Mapping[str, Any]) -> tuple[str, ...] | None:
    tags = raw.get("tags")
    if tags is None:
        return () if "tags" in raw else None
    if isinstance(tags, str):
        tags = [tags]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RowRefused("Tags: is not valid")
    # Blanks part tags: Zendesk keeps a user's tags as one text with blanks between them.
    return tuple(dict.fromkeys(part for tag in tags for part in tag.lower().split()))


def _user_fields(value: Any, known: Mapping[str, UserField], settings: Settings) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowRefused("User fields: is not valid")
    return {
        key: known[key].accept(item, settings.max_text_chars)
        for key, item in value.items()
        if key in known and known[key].active
    }


def _organization(raw: Mapping[str, Any]) -> str | int | _Unset | None:
    named = raw.get("organization")
    if named is not None:
        name = named.get("name") if isinstance(named, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise RowRefused("Organization: is not valid")
        return name.strip()
    if "organization_id" not in raw:
        return UNSET
    return _number("organization", raw["organization_id"])


def _other_emails(value: Any, settings: Settings) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowRefused("Identities: is not valid")
    found = [_email(item.get("value"), settings) for item in value if item.get("type") == "email"]
    return tuple(email for email in found if email)
