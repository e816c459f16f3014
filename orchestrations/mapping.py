"""From a row of the query's result to a profile, or to the reason why there is none.

Columns map by name (`columns` says how). What a whole query does wrong is told once, when the
`Mapper` is made; what a row does wrong is that row's outcome. The mapping is total: every value of
every type is either sent in one defined way or refused by name of its column, and what is sent is
always valid JSON. docs/catalog.md has the rules as a table.

A million rows pass here, so everything that can be known before the first row is: which converter
a column has, what stands for NULL, what is sent with every row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import orjson

from orchestrations.attributes import FIELD_PREFIX
from orchestrations.coercion import converter_for
from orchestrations.columns import Fields, lay_out
from orchestrations.formats import format_named, phone_text
from orchestrations.rules import MappingRules
from orchestrations.values import (
    CannotSend,
    Convert,
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
from worker.profile import OutcomeKind, Profile, RejectedRow, key_of

MAX_ROW_BYTES = 64 * 1024
"""Largest JSON of one user; Zendesk's own texts end far below (notes, details: a few thousand)."""

MAX_KEPT_IDENTITY = 320
"""Longest external_id or e-mail that a rejected row keeps: RFC 5321's longest address."""

BUILT_IN: dict[str, Convert] = {
    "external_id": identifier_text,
    "email": email_text,
    "name": trimmed_text,
    "alias": plain_text,
    "details": plain_text,
    "notes": plain_text,
    "signature": plain_text,
    "phone": phone_text(None),
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
"""How the values of each attribute are sent."""

_OMIT = object()
"""Stands for: NULL is left out."""

_NOT_CLEARED = frozenset(
    {"name", "external_id", "email", "organization", "shared_phone_number", "verified"}
    | {"skip_verify_email"}
)
"""Attributes whose NULL is left out in any case: a person keeps them, or there is no way."""

_NEEDED = frozenset({"name", "external_id"})
"""A value of these that cannot be sent fails its row in any case."""


class _Step(NamedTuple):
    """What is done with one column: plain as a tuple, because it is unpacked for each value."""

    place: int
    key: str
    convert: Convert
    blank: Any
    name: str


class Mapper:
    """Maps the rows of one query result. May be pickled: then it is built anew from its arguments.

    Args:
        columns: the result's column names, in order.
        rules: the orchestration's.
        fields: the account's user fields; None when they are not known: then no key is refused and
            values are sent by their own type.
        staff: keys (`worker.profile.key_of`) of the account's agents and admins; a row that is one
            of them is not sent.
        allow_pii: what the orchestration marks as personal data is sent.

    Attributes:
        warnings: one sentence for each column that is not sent; names only.
        withheld: what is marked as personal data and not sent, by the name it would be sent under.
        dropped: column -> values that were left out because they could not be sent, so far.

    Raises:
        RunError: as `columns.lay_out`; also `invalid_columns` when a constant or a default cannot
            be sent.
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        rules: MappingRules | None = None,
        fields: Fields = None,
        staff: AbstractSet[str] = frozenset(),
        allow_pii: bool = False,
    ) -> None:
        rules = rules or MappingRules()
        self._arguments = (tuple(columns), rules, fields, staff, allow_pii)
        layout = lay_out(columns, rules, fields, allow_pii=allow_pii)
        made = _Maker(rules, fields)
        steps = [
            _Step(
                column.index,
                column.target.removeprefix(FIELD_PREFIX),
                made.converter(column.target),
                made.blank(column.target),
                column.name,
            )
            for column in layout.placed
        ]
        is_field = [column.target.startswith(FIELD_PREFIX) for column in layout.placed]
        self._attributes = [s for s, nests in zip(steps, is_field, strict=True) if not nests]
        self._fields = [s for s, nests in zip(steps, is_field, strict=True) if nests]
        self._user_base, self._fields_base = made.bases(frozenset(layout.withheld))
        self._index = {column.target: column.index for column in layout.placed}
        self._staff = staff
        self._fails = rules.on_invalid_value == "fail_row"
        self._adds_tags = rules.tags == "add"
        self.warnings = layout.warnings
        self.withheld = layout.withheld
        self.dropped: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, self._arguments

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
        user = self._user_base.copy()
        self._fill(user, self._attributes, values, needed=_NEEDED)
        if "name" not in user:
            raise CannotSend("name is empty", code="missing_name")
        if "external_id" not in user:
            if "email" not in user:
                raise CannotSend("external_id and email are empty", code="missing_identifier")
            if self._adds_tags and "tags" in user:
                detail = "`tags: add` finds the tags that a person has by external_id"
                raise CannotSend(detail, code="missing_external_id")
        if self._staff and (theirs := who_of_staff(user, self._staff)):
            raise CannotSend(theirs, code="staff_member")
        fields = self._fields_base.copy()
        self._fill(fields, self._fields, values)
        if fields:
            user["user_fields"] = fields
        return user

    def _fill(
        self,
        sent: dict[str, Any],
        steps: Sequence[_Step],
        values: Sequence[Any],
        needed: frozenset[str] = frozenset(),
    ) -> None:
        """Put into `sent` what is sent of some columns; those in `needed` are never dropped."""
        for place, key, convert, blank, name in steps:
            value = values[place]
            if value is not None:
                try:
                    value = convert(value)
                except CannotSend as problem:
                    if self._fails or key in needed:
                        detail = f"column {name[:60]!r}: {problem.detail}"
                        raise CannotSend(detail, problem.code) from None
                    self.dropped[name] += 1
                    continue
            if value is not None:
                sent[key] = value
            elif blank is not _OMIT:
                sent[key] = blank

    def _rejected(self, row: int, values: Sequence[Any], code: str, detail: str) -> RejectedRow:
        return RejectedRow(
            row,
            OutcomeKind.FAILED,
            code,
            detail,
            external_id=self._identity("external_id", identifier_text, values),
            email=self._identity("email", trimmed_text, values),
        )

    def _identity(self, target: str, convert: Convert, values: Sequence[Any]) -> str | None:
        """Return what `failures` may name the row by, if it is clean text of a sane length."""
        index = self._index.get(target)
        if index is None or values[index] is None:
            return None
        try:
            text: str | None = convert(values[index])
        except CannotSend:
            return None
        return text if text and len(text) <= MAX_KEPT_IDENTITY else None


def who_of_staff(user: Mapping[str, Any], staff: AbstractSet[str]) -> str | None:
    """Return why a user object is somebody of the account's staff, or None if it is not.

    Args:
        user: what would be sent.
        staff: keys (`worker.profile.key_of`) of the account's agents and admins.
    """
    external_id, email = user.get("external_id"), user.get("email")
    if external_id and key_of(external_id, None) in staff:
        return "an agent or admin of the account has this external_id"
    if email and key_of(None, email) in staff:
        return "an agent or admin of the account has this e-mail"
    return None


def mapper_for(
    rules: MappingRules,
    columns: Sequence[str],
    fields: Fields = None,
    staff: AbstractSet[str] = frozenset(),
    *,
    allow_pii: bool = False,
) -> Mapper:
    """Return the mapper of an orchestration's query; the one place that all go through.

    Args:
        rules: the orchestration.
        columns: the result's column names, in order.
        fields: as `Mapper`.
        staff: as `Mapper`; left out when the orchestration allows staff.
        allow_pii: as the destination says; who forgets to ask it sends less, not more.

    Raises:
        RunError: as `Mapper`.
    """
    guarded = frozenset() if rules.allow_staff else frozenset(staff)
    return Mapper(columns, rules=rules, fields=fields, staff=guarded, allow_pii=allow_pii)


def _rebuilt(
    columns: Sequence[str],
    rules: MappingRules,
    fields: Fields,
    staff: AbstractSet[str],
    allow_pii: bool,
) -> Mapper:
    return Mapper(columns, rules=rules, fields=fields, staff=staff, allow_pii=allow_pii)


class _Maker:
    """Makes converters and what stands in for values, once for a query.

    Args:
        rules: the orchestration's.
        fields: the account's user fields, or None.
    """

    def __init__(self, rules: MappingRules, fields: Fields) -> None:
        self._rules = rules
        self._fields = {known.key: known for known in fields or ()}

    def converter(self, target: str) -> Convert:
        """Return the converter of a target: its format, then its type."""
        chosen = self._rules.formats.get(target)
        if target == "phone" and chosen is None:
            return phone_text(self._rules.phone_region)
        formatted = format_named(chosen, self._rules.phone_region) if chosen else None
        if not target.startswith(FIELD_PREFIX):
            return formatted or BUILT_IN[target]
        known = self._fields.get(target.removeprefix(FIELD_PREFIX))
        typed = converter_for(known) if known else plain_value
        return _both(formatted, typed) if formatted else typed

    def blank(self, target: str) -> Any:
        """Return what is sent where a row has no value; defaults are there already."""
        stays = target in self._rules.defaults or target in _NOT_CLEARED
        if stays or self._rules.nulls == "omit":
            return _OMIT
        if target == "tags":
            return _OMIT if self._rules.tags == "add" else []
        return None

    def bases(self, withheld: AbstractSet[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is sent of a row without values: attributes, and user fields.

        A default of what is withheld must not go over what Zendesk has of everybody.
        """
        user: dict[str, Any] = {"verified": True} if self._rules.verified else {}
        user["skip_verify_email"] = True
        fields: dict[str, Any] = {}
        for key, values in (
            ("defaults", self._rules.defaults),
            ("constants", self._rules.constants),
        ):
            for target, value in values.items():
                if target in withheld:
                    continue
                place = fields if target.startswith(FIELD_PREFIX) else user
                place[target.removeprefix(FIELD_PREFIX)] = self._sent(key, target, value)
        return user, fields

    def _sent(self, key: str, target: str, value: Any) -> Any:
        try:
            sent = self.converter(target)(value)
        except CannotSend as problem:
            raise _wrong_value(key, target, problem.detail) from None
        if sent is None:
            raise _wrong_value(key, target, "must not be blank")
        return sent


def _wrong_value(key: str, target: str, why: str) -> RunError:
    return RunError(
        f"{key}.{target}: {why}",
        code="invalid_columns",
        resolution=f"Correct the value of {target} under `{key}:` in the orchestration's file, "
        "then start the run again.",
    )


def _both(first: Convert, second: Convert) -> Convert:
    def convert(value: Any) -> Any:
        text = first(value)
        return None if text is None else second(text)

    return convert
