"""The keys of an orchestration that say how a row becomes a profile: `MappingRules`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from orchestrations.attributes import ATTRIBUTES, FIELD_PREFIX, did_you_mean, is_known, refusal_of
from orchestrations.model import CatalogModel, refusal

_REGION = re.compile(r"[A-Z]{2}")
_PERSON = ("external_id", "email")
_TARGET_SCHEMA = {
    "type": "string",
    "anyOf": [{"enum": list(ATTRIBUTES)}, {"pattern": r"^user_fields\.[A-Za-z0-9_]+$"}],
}


def _target(value: str) -> str:
    reason = refusal_of(value)
    if reason is not None:
        raise refusal(reason)
    if not is_known(value):
        hint = did_you_mean(value, ATTRIBUTES)
        raise refusal(
            f"{value[:60]!r} is not an attribute of a Zendesk user{hint}; a user field is written "
            f"'{FIELD_PREFIX}<key>'"
        )
    return value


def _column_target(value: str | None) -> str | None:
    return None if value is None else _target(value)


def _format_target(value: str) -> str:
    if value != "phone" and not value.startswith(FIELD_PREFIX):
        raise refusal("only `phone` and user fields (user_fields.<key>) have a format to choose")
    return _target(value)


def _constant(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, str | bool | int | float) and finite:
        return value
    raise refusal("must be text, a number, true or false, or a list of texts")


def _region(value: str) -> str:
    # Imported where it is needed: it takes a tenth of a second.
    from phonenumbers import SUPPORTED_REGIONS

    if not _REGION.fullmatch(value) or value not in SUPPORTED_REGIONS:
        raise refusal("must be the two capital letters of a country, e.g. 'US'")
    return value


Target = Annotated[str, AfterValidator(_target), WithJsonSchema(_TARGET_SCHEMA)]
ColumnTarget = Annotated[
    str | None,
    AfterValidator(_column_target),
    WithJsonSchema({"anyOf": [_TARGET_SCHEMA, {"type": "null"}]}),
]
FormatTarget = Annotated[str, AfterValidator(_format_target)]
Constant = Annotated[
    Any,
    AfterValidator(_constant),
    WithJsonSchema(
        {
            "type": ["string", "number", "boolean", "array"],
            "items": {"type": "string"},
        }
    ),
]
Format = Literal["phone", "state", "email", "text"]


class MappingRules(CatalogModel):
    """How the rows of a query become profiles.

    Attributes:
        columns: column of the query -> the attribute or `user_fields.<key>` it is sent as; null:
            not sent, and no warning about it.
        constants: attribute or `user_fields.<key>` -> the value that is sent with every row.
        defaults: attribute or `user_fields.<key>` -> what is sent where a row has no value.
        formats: `phone` or `user_fields.<key>` -> how its text is checked and written: `phone`
            (E.164), `state` (two capital letters), `email`, or `text` for a phone as it is.
        strict: a column that Zendesk knows no attribute for fails the run; else it is a warning.
        on_invalid_value: what a value that cannot be sent does: fail its row, or stay out.
        nulls: NULL leaves what Zendesk has (`omit`), or clears it.
        tags: the column `tags` replaces all tags of a person, or adds to them.
        phone_region: country of phone numbers that are written without one, e.g. US.
        allow_staff: rows that are agents or admins of the account are sent as well.
        verified: False leaves `verified` out of what is sent (see docs/catalog.md: the risk).
        pii: attributes and `user_fields.<key>` that are personal data beyond what it takes to find
            a person; they are sent only to a destination that says `allow_pii: true`.
    """

    columns: dict[str, ColumnTarget] = Field(default_factory=dict)
    constants: dict[Target, Constant] = Field(default_factory=dict)
    defaults: dict[Target, Constant] = Field(default_factory=dict)
    formats: dict[FormatTarget, Format] = Field(default_factory=dict)
    strict: bool = False
    on_invalid_value: Literal["fail_row", "drop_field"] = "fail_row"
    nulls: Literal["omit", "clear"] = "omit"
    tags: Literal["replace", "add"] = "replace"
    phone_region: Annotated[str, AfterValidator(_region)] | None = None
    allow_staff: bool = False
    verified: bool = True
    pii: tuple[Target, ...] = ()

    @field_validator("pii", mode="before")
    @classmethod
    def _list_of_names(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_value_each(self) -> MappingRules:
        for key, values in (("constants", self.constants), ("defaults", self.defaults)):
            for name in _PERSON:
                if name in values:
                    raise refusal(f"{name!r} would make everybody the same person", key=key)
        both = sorted(self.constants.keys() & self.defaults.keys())
        if both:
            raise refusal(f"{both[0]!r} stands in `constants`, too", key="defaults")
        return self
