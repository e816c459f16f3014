"""The account's user fields: their definitions, and what each type makes of a value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from worker.sandbox.clock import iso
from worker.sandbox.settings import Misconfigured

TYPES = (
    "checkbox", "date", "decimal", "dropdown", "integer", "lookup", "multiselect", "regexp",
    "text", "textarea",
)  # fmt: skip
"""The types of Zendesk's CustomFieldObject (developer.zendesk.com, user fields)."""

_MAX_INTEGER = 2**63 - 1
_FIRST_FIELD_ID = 7_100_001


class RowRefused(Exception):
    """A row cannot be applied; the text is what its `details` say."""


@dataclass(frozen=True, slots=True)
class UserField:
    """One user field of the account.

    Attributes:
        key: its name in `user_fields`.
        type: one of `TYPES`.
        title: its name for people.
        options: the values of a dropdown or multiselect.
        tag: what a ticked checkbox adds to the user's tags.
        regexp: what a value of a `regexp` field must match.
        active: an inactive field is listed but takes no values.
    """

    key: str
    type: str
    title: str
    options: tuple[str, ...] = ()
    tag: str | None = None
    regexp: str | None = None
    active: bool = True

    @property
    def default(self) -> Any:
        """What a user has who was never given a value: false for a checkbox, else null."""
        return False if self.type == "checkbox" else None

    def accept(self, value: Any, max_chars: int) -> Any:
        """Return `value` as Zendesk stores it.

        Raises:
            RowRefused: the value does not fit the field's type.
        """
        if value is None or (value == "" and self.type not in {"text", "textarea"}):
            return self.default
        if self.type in _TEXTS:
            return self._text(value, max_chars)
        return _ACCEPT[self.type](self, value)

    def tags_of(self, value: Any) -> tuple[str, ...]:
        """Return the tags that a stored value puts on the user."""
        if self.type == "checkbox":
            return (self.tag,) if value is True and self.tag else ()
        if self.type == "dropdown":
            return (value,) if value else ()
        return tuple(value or ()) if self.type == "multiselect" else ()

    def all_tags(self) -> tuple[str, ...]:
        """Return every tag that the field may put on a user, and hence takes away again."""
        return self.options or ((self.tag,) if self.tag else ())

    def _text(self, value: Any, max_chars: int) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.refused(value)
        text = str(value)
        if len(text) > max_chars:
            raise RowRefused(f"{self.title}: is too long (maximum is {max_chars} characters)")
        if self.type == "regexp" and self.regexp and not re.search(self.regexp, text):
            raise self.refused(value)
        return text

    def refused(self, value: Any) -> RowRefused:
        """Return the refusal of `value`, in the tone of Zendesk's validation messages."""
        return RowRefused(f"{self.title}: {str(value)[:100]} is not valid")


def _checkbox(field: UserField, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "false": False, "0": False}
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word not in words:
        raise field.refused(value)
    return words[word]


def _date(field: UserField, value: Any) -> str:
    try:
        day = date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        day = None
    # fromisoformat takes 20260102 and 2026-W01-1 as well: Zendesk's form is the long one.
    if day is None or day.isoformat() != value[:10]:
        raise field.refused(value)
    return f"{day.isoformat()}T00:00:00+00:00"


def _decimal(field: UserField, value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise field.refused(value)
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        raise field.refused(value) from None
    if not math.isfinite(number):
        raise field.refused(value)
    return number


def _integer(field: UserField, value: Any) -> int:
    number = _decimal(field, value)
    if number != int(number) or abs(number) > _MAX_INTEGER:
        raise field.refused(value)
    return int(number)


def _dropdown(field: UserField, value: Any) -> str:
    if not isinstance(value, str) or value not in field.options:
        raise field.refused(value)
    return value


def _multiselect(field: UserField, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    for item in values:
        _dropdown(field, item)
    return list(dict.fromkeys(values))


def _lookup(field: UserField, value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise field.refused(value)
    return text


_TEXTS = frozenset({"text", "textarea", "regexp"})
_ACCEPT: Mapping[str, Callable[[UserField, Any], Any]] = {
    "checkbox": _checkbox,
    "date": _date,
    "decimal": _decimal,
    "integer": _integer,
    "dropdown": _dropdown,
    "multiselect": _multiselect,
    "lookup": _lookup,
}

DEFAULT_FIELDS = (
    UserField("loyalty_tier", "dropdown", "Loyalty tier", ("bronze", "silver", "gold", "platinum")),
    UserField("loyalty_points", "integer", "Loyalty points"),
    UserField("lifetime_value", "decimal", "Lifetime value"),
    UserField("orders_count", "integer", "Orders"),
    UserField("last_order_on", "date", "Last order on"),
    UserField("survey_score", "integer", "Survey score"),
    UserField("prefers_email", "checkbox", "Prefers e-mail", tag="prefers_email"),
    UserField("favorite_category", "text", "Favorite category"),
    UserField("churn_risk", "decimal", "Churn risk"),
    UserField("next_best_action", "text", "Next best action"),
    UserField("city", "text", "City"),
    UserField("preferences", "multiselect", "Preferences", ("email", "sms", "push", "post")),
)
"""The fields of the account that the demo delivers to."""


def parse_field(spec: Mapping[str, Any]) -> UserField:
    """Read a field of the configuration file.

    Args:
        spec: `{"key", "type", "title"?, "options"?, "tag"?, "regexp"?, "active"?}`.

    Raises:
        Misconfigured: something is missing, unknown or of the wrong kind.
    """
    unknown = set(spec) - {"key", "type", "title", "options", "tag", "regexp", "active"}
    if unknown:
        raise Misconfigured(f"user field has unknown keys: {', '.join(sorted(unknown))}")
    key, kind = spec.get("key"), spec.get("type")
    if not isinstance(key, str) or not re.fullmatch(r"\w+", key) or key.isdigit():
        raise Misconfigured("user field needs a `key` of letters, digits and _, not digits only")
    if kind not in TYPES:
        raise Misconfigured(f"user field {key!r}: `type` must be one of {', '.join(TYPES)}")
    options = spec.get("options", [])
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise Misconfigured(f"user field {key!r}: `options` must be a list of texts")
    if (kind in {"dropdown", "multiselect"}) != bool(options):
        raise Misconfigured(
            f"user field {key!r}: dropdown and multiselect, and no other, need options"
        )
    try:
        re.compile(spec.get("regexp") or "")
    except (re.error, TypeError):
        raise Misconfigured(f"user field {key!r}: `regexp` is no regular expression") from None
    return UserField(
        key=key,
        type=kind,
        title=str(spec.get("title", key)),
        options=tuple(options),
        tag=spec.get("tag"),
        regexp=spec.get("regexp"),
        active=bool(spec.get("active", True)),
    )


def field_document(position: int, field: UserField, base_url: str, at: float) -> dict[str, Any]:
    """Return a field as `GET /api/v2/user_fields` shows it (OpenAPI: CustomFieldObject)."""
    field_id = _FIRST_FIELD_ID + position
    document: dict[str, Any] = {
        "url": f"{base_url}/api/v2/user_fields/{field_id}.json",
        "id": field_id,
        "type": field.type,
        "key": field.key,
        "title": field.title,
        "raw_title": field.title,
        "description": "",
        "raw_description": "",
        "position": position,
        "active": field.active,
        "system": False,
        "regexp_for_validation": field.regexp,
        "created_at": iso(at),
        "updated_at": iso(at),
    }
    if field.type == "checkbox":
        document["tag"] = field.tag
    if field.type == "lookup":
        document["relationship_target_type"] = "zen:user"
    if field.options:
        document["custom_field_options"] = [
            {"id": field_id * 100 + n, "name": value.title(), "raw_name": value.title(),
             "value": value}
            for n, value in enumerate(field.options)
        ]  # fmt: skip
    return document
