"""How one value of a column is sent: from DuckDB's Python values to values of JSON.

A converter gets any value but None and returns what is sent, or None when the value counts as
empty, or raises `CannotSend`; it raises nothing else. Types are matched exactly, so that no method
of a foreign class runs: an unknown type is refused, never guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

SAFE_INTEGER = 2**53 - 1
"""Beyond it JSON readers that use doubles round; such whole numbers are sent as text."""

MAX_DIGITS = 100
"""Numbers with more digits are refused; DuckDB's own end at 77 (DECIMAL and UHUGEINT at 39)."""

Convert = Callable[[Any], Any]
"""Any value but None -> what is sent, or None for empty; or it raises `CannotSend`."""

_MAX_ID = 2**63 - 1
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_TRUE = frozenset({"true", "t", "yes", "1"})
_FALSE = frozenset({"false", "f", "no", "0"})
_MINUTE = 60
_HOUR = 3600


class CannotSend(Exception):
    """The value, or the row, is refused: an answer, not a failure of the program.

    Args:
        detail: why, without the value.
        code: the outcome's code.
    """

    def __init__(self, detail: str, code: str = "invalid_value") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class WrongType(CannotSend):
    """The value is of another type than what it is sent as: a list for a text, a word for a date.

    A value of the right type that is not good, such as a day that there is not, is `CannotSend`.

    Args:
        detail: which type is wanted, without the value.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail, "mismatched_datatype")


def plain_value(value: Any) -> Any:
    """Return what is sent for a user field: text, number, boolean, or a list of texts."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is list or kind is tuple:
        return [_list_item(item) for item in value]
    scalar = _SCALARS.get(kind)
    if scalar is None:
        raise WrongType(f"a value of type {_type_name(kind)} cannot be sent")
    return scalar(value)


def plain_text(value: Any) -> str:
    """Return the text of any single value."""
    if type(value) is str:
        return _text(value)
    sent = plain_value(value)
    if type(sent) is list:
        raise WrongType("a list cannot be sent here; join it in the query")
    if type(sent) is bool:
        return "true" if sent else "false"
    # A decimal is written with the places it has: 12.50, never 1e-07.
    return format(value, "f") if type(value) is Decimal else str(sent)


def trimmed_text(value: Any) -> str | None:
    """Return the text without spaces around it; blank counts as empty."""
    if type(value) is str:
        return _text(value).strip() or None
    return plain_text(value).strip() or None


def identifier_text(value: Any) -> str | None:
    """Return an external_id: text without spaces around it, a whole number's digits, or a UUID.

    Anything else has more than one way to be written (12.0 and 12, dates), and an id that changes
    its writing makes a second user.
    """
    kind = type(value)
    if kind is str:
        return _text(value).strip() or None
    whole = kind is int or (kind is Decimal and _is_id(value))
    if kind is UUID or whole:
        return trimmed_text(value)
    raise WrongType("an id must be text, a whole number or a UUID; CAST it in the query")


def email_text(value: Any) -> str | None:
    """Return an e-mail address without spaces around it.

    The check is for slips, not for RFC 5321: one @ with something on both sides, no spaces, no
    control characters. Zendesk judges the rest, and says so per row.
    """
    if type(value) is not str:
        raise WrongType("an e-mail address must be text")
    text = _text(value).strip() or None
    if text is not None and not _EMAIL.fullmatch(text):
        raise CannotSend("this is not an e-mail address")
    return text


def organization(value: Any) -> dict[str, str] | None:
    """Return the organization that has this name; blank counts as empty."""
    name = trimmed_text(value)
    return {"name": name} if name else None


def tag_list(value: Any) -> list[str] | None:
    """Return tags from a list of texts, or from one text separated by commas or spaces.

    An empty list is sent and takes all tags away; blank text counts as empty.
    """
    kind = type(value)
    if kind is list or kind is tuple:
        tags = [_list_item(item) for item in value]
        if not all(tags):
            raise CannotSend("a tag must not be blank")
        return tags
    if kind is not str:
        raise WrongType("tags must be a list of texts, or one text")
    return _text(value).replace(",", " ").split() or None


def positive_number(value: Any) -> int | None:
    """Return Zendesk's id of something: a whole number above zero, or its digits as text."""
    number = value
    if type(value) is str:
        text = value.strip()
        if not text:
            return None
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None
    elif type(value) is Decimal and _is_id(value):
        number = int(value)
    if type(number) is not int or not 0 < number <= _MAX_ID:
        raise WrongType("must be a whole number above zero")
    return number


def flag(value: Any) -> bool | None:
    """Return a boolean from true or false, 1 or 0, or these as text; blank counts as empty."""
    if type(value) is bool:
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    if type(value) is str:
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE or not word:
            return word in _TRUE if word else None
    raise WrongType("must be true or false")


def _text(value: str) -> str:
    if "\x00" in value:
        raise CannotSend("the text has a NUL character")
    if value.isascii():  # known without looking, and then there is nothing to try
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CannotSend("the text has half a character (a lone surrogate)") from None
    return value


def _list_item(value: Any) -> str:
    if type(value) is not str:
        raise WrongType("a list may hold texts only, and no NULL")
    return _text(value).strip()


def whole_number(value: int) -> int | str:
    """Return a whole number, as text where JSON readers would round it."""
    if -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return value
    if value.bit_length() > 3 * MAX_DIGITS:
        raise CannotSend("the number is too large")
    return str(value)


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise CannotSend("NaN and infinity are not numbers to Zendesk")
    return value


def _decimal(value: Decimal) -> int | float | str:
    """Return a whole number as such, else a float if it stands for exactly this decimal."""
    checked_decimal(value)
    if value == value.to_integral_value():
        return whole_number(int(value))
    near = float(value)
    return near if Decimal(repr(near)) == value else format(value, "f")


def checked_decimal(value: int | float | Decimal) -> Decimal:
    """Return a number as a decimal that can be worked with: finite, and of a sane length."""
    if type(value) is int and value.bit_length() > 3 * MAX_DIGITS:
        raise CannotSend("the number is too large")
    number = Decimal(repr(value)) if type(value) is float else Decimal(value)
    if not number.is_finite():
        raise CannotSend("NaN and infinity are not numbers to Zendesk")
    if len(number.as_tuple().digits) > MAX_DIGITS or abs(number.adjusted()) > MAX_DIGITS:
        raise CannotSend("the number has too many digits")
    return number


def _is_id(value: Decimal) -> bool:
    """Tell whether a decimal has no places at all, as a DECIMAL(18, 0) has: 12, but not 12.0."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and 0 <= exponent <= MAX_DIGITS


def _moment(value: datetime) -> str:
    """Return ISO 8601; a moment that knows its zone is told in UTC, another is left as it is."""
    try:
        if value.utcoffset() is None:
            return value.replace(tzinfo=None).isoformat()
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError):
        raise CannotSend("the time is outside the years 1 to 9999") from None


def _duration(value: timedelta) -> str:
    """Return an ISO 8601 duration of days and smaller: P33D, PT4H5M6.5S, -PT1S."""
    sign = "-" if value < timedelta(0) else ""
    value = abs(value)
    minutes, seconds = divmod(value.seconds, _MINUTE)
    hours, minutes = divmod(minutes, _HOUR // _MINUTE)
    fraction = f".{value.microseconds:06d}".rstrip("0").rstrip(".")
    clock = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    days = f"{value.days}D" if value.days or not clock else ""
    return f"{sign}P{days}" + (f"T{clock}" if clock else "")


def _type_name(kind: type) -> str:
    if kind is dict:
        return "STRUCT or MAP"
    return "BLOB" if kind is bytes else str(kind.__name__)[:40]


_SCALARS: dict[type, Callable[[Any], Any]] = {
    str: _text,
    bool: bool,
    int: whole_number,
    float: _number,
    Decimal: _decimal,
    date: date.isoformat,
    datetime: _moment,
    time: time.isoformat,
    timedelta: _duration,
    UUID: str,
}
