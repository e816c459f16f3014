"""From a row of the query's result to a profile, or to the reason why there is none.

Columns map by name: the built-in attributes of a Zendesk user by their own name,
`user_fields.<key>` into the custom fields. What a whole query does wrong is told once, when the
`Mapper` is made; what a row does wrong is that row's outcome. The mapping is total: every value of
every type is either sent in one defined way or refused by name of its column, and what is sent is
always valid JSON. docs/catalog.md has the rules as a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from orchestrations.values import (
    CannotSend,
    email_text,
    flag,
    identifier_text,
    organization,
    plain_text,
    plain_value,
    positive_number,
    tag_list,
    trimmed_text,
)
from worker.errors import RunError
from worker.profile import OutcomeKind, Profile, RejectedRow

MAX_ROW_BYTES = 64 * 1024
"""Largest JSON of one user; Zendesk's own texts end far below (notes, details: a few thousand)."""

MAX_KEPT_IDENTITY = 320
"""Longest external_id or e-mail that a rejected row keeps: RFC 5321's longest address."""

Convert = Callable[[Any], Any]

BUILT_IN: dict[str, Convert] = {
    "external_id": identifier_text,
    "email": email_text,
    "name": trimmed_text,
    "alias": plain_text,
    "details": plain_text,
    "notes": plain_text,
    "signature": plain_text,
    "phone": trimmed_text,
    "locale": trimmed_text,
    "time_zone": trimmed_text,
    "remote_photo_url": trimmed_text,
    "organization": organization,
    "tags": tag_list,
    "organization_id": positive_number,
    "locale_id": positive_number,
    "shared_phone_number": flag,
    "verified": flag,
    "skip_verify_email": flag,
}
"""The attributes of a Zendesk user that a column may set, and how its values are sent.

Source: schema UserForAdmin of Zendesk's OpenAPI description, without what `_NEVER_SENT` names.
"""

_PRIVILEGE = "it would change what a person may do in Zendesk"
_READ_ONLY = "Zendesk sets it itself; rename the column, or leave it out"
_IDENTITIES = "Deskfeed manages identities through `email`, `phone` and `external_id`"

_NEVER_SENT: dict[str, str] = {
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
        _PRIVILEGE,
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

_FIELD_PREFIX = "user_fields."
_FIELD_KEY = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9_]+")
"""Zendesk: a field's key is letters, digits and underscores, and not digits only."""


@dataclass(frozen=True, slots=True)
class _Column:
    index: int
    name: str
    key: str
    convert: Convert


class Mapper:
    """Maps the rows of one query result.

    Args:
        columns: the result's column names, in order.
        verified: send `verified: true` unless a column of that name says otherwise, so that
            Zendesk sends no welcome mail; False leaves it out.

    Attributes:
        warnings: one sentence for each column that is not sent because Zendesk knows no such
            attribute; names only.

    Raises:
        RunError: `missing_required_field` when no row could be sent; `invalid_columns` when a
            column must not be sent, is misspelt or stands twice.
    """

    def __init__(self, columns: Sequence[str], *, verified: bool = True) -> None:
        problems = [why for name in columns if (why := _refusal(name))]
        problems += [f"{_quoted(name)} stands twice" for name in _repeated(columns)]
        if problems:
            raise RunError("columns: " + "; ".join(problems), code="invalid_columns")
        _check_required(columns)
        known = [_column(index, name) for index, name in enumerate(columns)]
        self._attributes = [column for column in known if column and column.key in BUILT_IN]
        self._fields = [
            column for column in known if column and column.name.startswith(_FIELD_PREFIX)
        ]
        self._defaults = {"verified": True} if verified else {}
        self._defaults["skip_verify_email"] = True
        self._index = {name: index for index, name in enumerate(columns)}
        self.warnings = tuple(
            f"column {_quoted(name)} is not an attribute of a Zendesk user and is not sent"
            for name, column in zip(columns, known, strict=True)
            if column is None
        )

    def map(self, row: int, values: Sequence[Any]) -> Profile | RejectedRow:
        """Return the profile of a row, or why there is none; raises nothing.

        Args:
            row: 1-based position in the query's result.
            values: one per column.
        """
        try:
            user = self._user(values)
        except CannotSend as problem:
            return self._rejected(row, values, problem.code, problem.detail)
        size = len(orjson.dumps(user))
        if size > MAX_ROW_BYTES:
            detail = f"the row is {size // 1024 + 1} KiB of JSON; at most {MAX_ROW_BYTES // 1024}"
            return self._rejected(row, values, "row_too_large", detail)
        return Profile(row, user)

    def _user(self, values: Sequence[Any]) -> dict[str, Any]:
        user: dict[str, Any] = dict(self._defaults)
        user.update(_converted(self._attributes, values))
        if "name" not in user:
            raise CannotSend("name is empty", code="missing_name")
        if "external_id" not in user and "email" not in user:
            raise CannotSend("external_id and email are empty", code="missing_identifier")
        fields = _converted(self._fields, values)
        if fields:
            user["user_fields"] = fields
        return user

    def _rejected(self, row: int, values: Sequence[Any], code: str, detail: str) -> RejectedRow:
        return RejectedRow(
            row,
            OutcomeKind.FAILED,
            code,
            detail,
            external_id=self._identity("external_id", identifier_text, values),
            email=self._identity("email", trimmed_text, values),
        )

    def _identity(self, column: str, convert: Convert, values: Sequence[Any]) -> str | None:
        """Return what `failures` may name the row by, if it is clean text of a sane length."""
        index = self._index.get(column)
        if index is None or values[index] is None:
            return None
        try:
            text: str | None = convert(values[index])
        except CannotSend:
            return None
        return text if text and len(text) <= MAX_KEPT_IDENTITY else None


def _converted(columns: Sequence[_Column], values: Sequence[Any]) -> dict[str, Any]:
    """Return what is sent of some columns; NULLs and what counts as NULL are left out."""
    sent: dict[str, Any] = {}
    for column in columns:
        value = values[column.index]
        if value is None:
            continue
        try:
            converted = column.convert(value)
        except CannotSend as problem:
            raise CannotSend(f"column {_quoted(column.name)}: {problem.detail}") from None
        if converted is not None:
            sent[column.key] = converted
    return sent


def _column(index: int, name: str) -> _Column | None:
    """Return how a column is sent, or None when Zendesk knows no such attribute."""
    if name.startswith(_FIELD_PREFIX):
        return _Column(index, name, name.removeprefix(_FIELD_PREFIX), plain_value)
    convert = BUILT_IN.get(name)
    return _Column(index, name, name, convert) if convert else None


def _refusal(name: str) -> str | None:
    """Return why a column must not be in the query at all, or None."""
    plain = name.strip().lower()
    if plain.startswith(_FIELD_PREFIX):
        if not name.startswith(_FIELD_PREFIX):
            return f'{_quoted(name)} must be written AS "{_FIELD_PREFIX}…", in lower case'
        if not _FIELD_KEY.fullmatch(name.removeprefix(_FIELD_PREFIX)):
            return (
                f"{_quoted(name)}: the key of a user field is letters, digits and '_', "
                "not digits only"
            )
        return None
    if plain in _NEVER_SENT:
        return f"{_quoted(name)} is never sent: {_NEVER_SENT[plain]}"
    if plain in BUILT_IN and name != plain:
        return f"{_quoted(name)} must be written in lower case: AS {plain}"
    return None


def _repeated(columns: Sequence[str]) -> list[str]:
    return sorted({name for name in columns if columns.count(name) > 1})


def _check_required(columns: Sequence[str]) -> None:
    """Raise `RunError` unless the columns can make a profile at all."""
    missing = [] if "name" in columns else ["`name`"]
    if "email" not in columns and "external_id" not in columns:
        missing.append("one of `email`, `external_id`")
    if missing:
        seen = ", ".join(_quoted(name) for name in columns)
        raise RunError(
            f"the query has no column {' and no '.join(missing)}; its columns are: {seen}",
            code="missing_required_field",
        )


def _quoted(name: str) -> str:
    """Return a column's name for a sentence: short, and on one line."""
    return repr(name if len(name) <= 60 else name[:59] + "…")
