"""Whether a user at Zendesk is as it was sent, after what Zendesk makes of values. Pure.

What Zendesk does to a value, and what therefore counts as the same. Sources: Zendesk's reference of
users, identities and user fields; traffic recorded by clients that read back what they wrote.

    any field           null reads back as "" or the other way round, an unset checkbox as false:
                        null, "", an empty list, false and absent are all blank
    email               lower-cased and trimmed; a changed address becomes a secondary one, which
                        the user as shown does not have: another primary address is unseen, unless
                        the record holds the identities
    external_id         keeps the case that was sent last: compared letter by letter
    tags                the whole set is replaced, lower-cased, parted by blanks; fields add their
                        own: a tag more is explained by a dropdown or multiselect of that value,
                        and perhaps by a ticked checkbox (unseen). With `tags: add` only those
                        that were sent count
    organization        named in the request and shown as an id: unseen if there is one
    remote_photo_url    fetched later and shown as `photo`: unseen
    skip_verify_email   an instruction that is not stored: not compared
    verified            whether any address is; so only true says something
    locale              BCP 47, which knows no case
    time_zone           Rails' name, shown beside the IANA name: either of them
    user_fields.*       compared by the type that is shown: a date has lost its time, numbers are
                        numbers, a multiselect has no order, a checkbox takes true and 1, and their
                        texts
    anything else       left alone, phone numbers too: compared letter by letter

`unseen` is neither proof nor contradiction: a read-back must not call it delivered, `verify` must
not call it different.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import Any

USER_FIELDS = "user_fields"
"""What nests; its members are named `user_fields.<key>`."""

_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)T00:00:00(?:\.0+)?(?:Z|\+00:00)", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ].*)?", re.ASCII)
_TRUE = frozenset({"true", "1"})
_FALSE = frozenset({"false", "0"})


class _Verdict(Enum):
    SAME = auto()
    DIFFERENT = auto()
    UNSEEN = auto()


_Rule = Callable[[Any, Mapping[str, Any]], _Verdict]
"""Judges a sent value by the whole user that was found."""


def differences(
    sent: Mapping[str, Any], found: Mapping[str, Any], *, adds_tags: bool = False
) -> tuple[str, ...]:
    """Return the names of the sent fields that the user at Zendesk contradicts, in their order.

    Args:
        sent: the user object as it was sent.
        found: the user object as Zendesk shows it; may hold `identities`, a list of
            `{"type": "email", "value": …}`.
        adds_tags: whether the tags were sent with those that the user had.
    """
    return _named(sent, found, _Verdict.DIFFERENT, adds_tags=adds_tags)


def unseen(
    sent: Mapping[str, Any], found: Mapping[str, Any], *, adds_tags: bool = False
) -> tuple[str, ...]:
    """Return the names of the sent fields of which the user as shown proves nothing.

    Args:
        sent: the user object as it was sent.
        found: the user object as Zendesk shows it.
        adds_tags: as `differences`.
    """
    return _named(sent, found, _Verdict.UNSEEN, adds_tags=adds_tags)


def _named(
    sent: Mapping[str, Any], found: Mapping[str, Any], wanted: _Verdict, *, adds_tags: bool
) -> tuple[str, ...]:
    rules = {**_RULES, "tags": _added_tags} if adds_tags else _RULES
    names = [
        name
        for name, value in sent.items()
        if name != USER_FIELDS and rules.get(name, _plain(name))(value, found) is wanted
    ]
    fields = sent.get(USER_FIELDS) or {}
    shown = found.get(USER_FIELDS) or {}
    if wanted is _Verdict.DIFFERENT:
        names += [
            f"{USER_FIELDS}.{key}"
            for key, value in fields.items()
            if not _field_same(value, shown.get(key))
        ]
    return tuple(names)


def _verdict(same: bool) -> _Verdict:
    return _Verdict.SAME if same else _Verdict.DIFFERENT


def _plain(name: str) -> _Rule:
    return lambda value, found: _verdict(_field_same(value, found.get(name)))


def _is_blank(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


# --- built-in attributes --------------------------------------------------------------------------


def _external_id(value: Any, found: Mapping[str, Any]) -> _Verdict:
    return _verdict(str(value) == str(found.get("external_id")))


def _email(value: Any, found: Mapping[str, Any]) -> _Verdict:
    primary = _folded(found.get("email"))
    identities = found.get("identities")
    if _is_blank(value) or _folded(value) == primary:
        return _Verdict.SAME
    if isinstance(identities, list):
        emails = [i.get("value") for i in identities if isinstance(i, dict)]
        return _verdict(_folded(value) in [_folded(email) for email in emails])
    return _Verdict.UNSEEN if primary else _Verdict.DIFFERENT


def _tags(value: Any, found: Mapping[str, Any]) -> _Verdict:
    sent, shown = _tag_set(value), _tag_set(found.get("tags"))
    values = list((found.get(USER_FIELDS) or {}).values())
    # Values of dropdowns and multiselects have no blanks: a text with some explains no tag.
    options = [item for v in values for item in (v if isinstance(v, list) else [v])]
    by_fields = {item.lower() for item in options if isinstance(item, str)}
    more = shown - sent - by_fields
    if sent - shown or len(more) > sum(v is True for v in values):
        return _Verdict.DIFFERENT
    return _Verdict.UNSEEN if more else _Verdict.SAME


def _added_tags(value: Any, found: Mapping[str, Any]) -> _Verdict:
    """Other tags are those that the user had before."""
    return _verdict(_tag_set(value) <= _tag_set(found.get("tags")))


def _tag_set(value: Any) -> frozenset[str]:
    tags = value if isinstance(value, list | tuple) else [value]
    texts = [tag for tag in tags if isinstance(tag, str)]
    return frozenset(part for tag in texts for part in tag.lower().split())


def _organization(value: Any, found: Mapping[str, Any]) -> _Verdict:
    if _is_blank(value):
        return _Verdict.SAME
    return _Verdict.UNSEEN if found.get("organization_id") else _Verdict.DIFFERENT


def _photo(value: Any, _found: Mapping[str, Any]) -> _Verdict:
    return _Verdict.SAME if _is_blank(value) else _Verdict.UNSEEN


def _instruction(_value: Any, _found: Mapping[str, Any]) -> _Verdict:
    return _Verdict.SAME


def _verified(value: Any, found: Mapping[str, Any]) -> _Verdict:
    return _verdict(value is not True or found.get("verified") is True)


def _locale(value: Any, found: Mapping[str, Any]) -> _Verdict:
    return _verdict(_folded(value) == _folded(found.get("locale")))


def _time_zone(value: Any, found: Mapping[str, Any]) -> _Verdict:
    shown = (found.get("time_zone"), found.get("iana_time_zone"))
    return _verdict(_is_blank(value) or value in shown)


def _folded(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


_RULES: Mapping[str, _Rule] = {
    "external_id": _external_id,
    "email": _email,
    "tags": _tags,
    "organization": _organization,
    "remote_photo_url": _photo,
    "skip_verify_email": _instruction,
    "verified": _verified,
    "locale": _locale,
    "time_zone": _time_zone,
}


# --- values of fields -----------------------------------------------------------------------------


def _field_same(sent: Any, shown: Any) -> bool:
    """Compare by the type of what was found: that is the type of the field."""
    if _is_blank(sent) and _is_blank(shown):
        return True
    if isinstance(shown, bool):
        return _as_flag(sent) is shown
    if isinstance(shown, list):
        return _as_set(sent) == _as_set(shown)
    if isinstance(shown, int | float) or _is_number(sent):
        number = _as_number(sent)
        return number is not None and number == _as_number(shown)
    return bool(sent == shown) or _same_day(sent, shown)


def _as_flag(value: Any) -> bool | None:
    word = str(value).lower()
    return word in _TRUE if word in _TRUE | _FALSE else None


def _as_set(value: Any) -> frozenset[str]:
    return frozenset(str(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _same_day(sent: Any, shown: Any) -> bool:
    if not isinstance(sent, str) or not isinstance(shown, str):
        return False
    kept, meant = _MIDNIGHT.fullmatch(shown), _DATE.fullmatch(sent)
    return kept is not None and meant is not None and kept[1] == meant[1]
