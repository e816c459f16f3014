"""The account's user fields: what `user_fields.<key>` may be sent, and with which values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_CURSOR_CHARS = 1000
"""No cursor is longer; a longer one does not enter a URL."""


@dataclass(frozen=True, slots=True)
class UserField:
    """One custom field of users.

    Attributes:
        key: its name in `user_fields`.
        type: `checkbox`, `date`, `decimal`, `dropdown`, `integer`, `lookup`, `multiselect`,
            `regexp`, `text`, `textarea`; perhaps a newer one.
        active: whether Zendesk shows and takes it.
        title: its name for people.
        options: (value, label) of a dropdown or multiselect; the value is what is sent.
        regexp: what a value of type `regexp` must match, in Ruby's dialect.
        tag: what a ticked checkbox adds to the user's tags.
        system: made by Zendesk or an app, not by the account.
    """

    key: str
    type: str
    active: bool = True
    title: str = ""
    options: tuple[tuple[str, str], ...] = ()
    regexp: str | None = None
    tag: str | None = None
    system: bool = False


@dataclass(frozen=True, slots=True)
class FieldPage:
    """One page of user fields.

    Attributes:
        fields: those that have a key and a type; whatever else was there is left out.
        after_cursor: asks for the next page; None on the last one.
    """

    fields: tuple[UserField, ...]
    after_cursor: str | None = None


def parse_field_page(document: Mapping[str, Any]) -> FieldPage | None:
    """Read one page of `GET /api/v2/user_fields`; None if it is no such page.

    The next page is known by its cursor only: `links.next` is a URL, and URLs in answers may name
    another host.
    """
    listed = document.get("user_fields")
    if not isinstance(listed, list):
        return None
    fields = [_field(item) for item in listed if isinstance(item, dict)]
    known = tuple(f for f in fields if f is not None)
    meta = document.get("meta")
    if not isinstance(meta, dict) or meta.get("has_more") is not True:
        return FieldPage(known)
    cursor = _text(meta.get("after_cursor"))
    # More is there and cannot be asked for: half a list would make good columns look unknown.
    return FieldPage(known, cursor) if cursor and len(cursor) <= MAX_CURSOR_CHARS else None


def _field(item: dict[str, Any]) -> UserField | None:
    key, kind = _text(item.get("key")), _text(item.get("type"))
    if key is None or kind is None:
        return None
    return UserField(
        key=key,
        type=kind.lower(),
        active=item.get("active") is not False,
        title=_text(item.get("title")) or key,
        options=_options(item.get("custom_field_options")),
        regexp=_text(item.get("regexp_for_validation")),
        tag=_text(item.get("tag")),
        system=item.get("system") is True,
    )


def _options(listed: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(listed, list):
        return ()
    found = []
    for item in listed:
        value = _text(item.get("value")) if isinstance(item, dict) else None
        if value is not None:
            found.append((value, _text(item.get("name")) or value))
    return tuple(found)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
