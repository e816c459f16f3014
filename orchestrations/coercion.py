"""What a value becomes in a user field of a known type.

Each type of Zendesk's user fields has a maker of converters, as `values` describes them. Makers do
what can be done once for a field, converters the rest for each value. A type that this version
does not know is sent as if nothing were known of the field.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from orchestrations.values import (
    SAFE_INTEGER,
    CannotSend,
    Convert,
    WrongType,
    checked_decimal,
    flag,
    plain_text,
    plain_value,
    positive_number,
    trimmed_text,
    whole_number,
)
from worker.zendesk.fields import UserField

PLACES = 2
"""Of a decimal field; more are rounded, half up."""

_CENT = Decimal("0.01")
_MAX_INTEGER = 2**63 - 1
_CENTS_ARE_EXACT = 1e12
"""Below it a double tells two places apart with four digits to spare."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?", re.ASCII)
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ][0-9:.,+\-Z ]{0,40})?", re.ASCII)
_SEPARATORS = re.compile(r"[,;|]")
_ON = frozenset({"on", "y"})
_OFF = frozenset({"off", "n"})
_RUBY = (
    (re.compile(r"(?<!\\)((?:\\\\)*)\\[zZ]"), r"\1\\Z"),
    (re.compile(r"(?<!\\)((?:\\\\)*)\\h"), r"\1[0-9a-fA-F]"),
    (re.compile(r"\(\?<(?=[A-Za-z_])"), "(?P<"),
)
"""What differs in the patterns that people write; others that Python cannot read are left out."""

_RUBY_DOT_ALL = re.compile(r"\(\?[a-z]*m")
_PIECES = re.compile(r"\\.|&&|.", re.DOTALL)
_ONLY_RUBYS_CLASSES = frozenset({"[", "&&", r"\h", r"\H"})


def converter_for(known: UserField) -> Convert:
    """Return how values of a user field are sent."""
    maker = _MAKERS.get(known.type)
    return maker(known) if maker else plain_value


def _checkbox(_: UserField) -> Convert:
    def convert(value: Any) -> bool | None:
        kind = type(value)
        if kind is bool:
            return bool(value)
        if kind is str:
            word = value.strip().lower()
            if word in _ON or word in _OFF:
                return word in _ON
        elif kind is Decimal and value.is_finite() and value in (0, 1):
            return bool(value)
        return flag(value)

    return convert


def _date(_: UserField) -> Convert:
    def convert(value: Any) -> str | None:
        kind = type(value)
        if kind is date:
            return str(value)
        if kind is datetime:
            return _day_of(value)
        text = trimmed_text(value) if kind is str else ""
        if text is None:
            return None
        found = _DAY.fullmatch(text)
        if found is None:
            raise WrongType("must be a date, written as 2026-01-31")
        try:
            return date.fromisoformat(found[1]).isoformat()
        except ValueError:
            raise CannotSend("there is no such date") from None

    return convert


def _day_of(moment: datetime) -> str:
    """Return the day of a moment: in UTC if it knows its zone, as Zendesk shows it."""
    try:
        known = moment.utcoffset() is not None
        return (moment.astimezone(UTC) if known else moment).date().isoformat()
    except (ValueError, OverflowError):
        raise CannotSend("the time is outside the years 1 to 9999") from None


def _decimal(_: UserField) -> Convert:
    def convert(value: Any) -> int | float | str | None:
        kind = type(value)
        if kind is str:
            text = trimmed_text(value)
            if text is None:
                return None
            value = _number(text)
        elif kind is float or (kind is Decimal and value.is_finite()):
            near = float(value)
            if -_CENTS_ARE_EXACT < near < _CENTS_ARE_EXACT and round(near, PLACES) == near:
                return int(near) if near.is_integer() else near
        elif kind is not int and kind is not Decimal:
            raise WrongType("must be a number")
        return _cents(checked_decimal(value))

    return convert


def _cents(value: Decimal) -> int | float | str:
    try:
        rounded = value.quantize(_CENT, ROUND_HALF_UP)
    except InvalidOperation:  # more digits than the context has
        raise CannotSend("the number has too many digits") from None
    if rounded == rounded.to_integral_value():
        return whole_number(int(rounded))
    near = float(rounded)
    return near if Decimal(repr(near)) == rounded else format(rounded, "f")


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise WrongType("must be a number, written with digits and a point")
    return Decimal(text)


def _integer(_: UserField) -> Convert:
    def convert(value: Any) -> int | str | None:
        kind = type(value)
        if kind is int and -SAFE_INTEGER <= value <= SAFE_INTEGER:
            return int(value)
        if kind is str:
            text = trimmed_text(value)
            if text is None:
                return None
            value = _number(text)
        elif kind is not int and kind is not Decimal and kind is not float:
            raise WrongType("must be a whole number")
        number = checked_decimal(value)
        if number != number.to_integral_value():
            raise WrongType("must be a whole number")
        if abs(number) > _MAX_INTEGER:
            raise CannotSend("the number is too large")
        return whole_number(int(number))

    return convert


def _dropdown(known: UserField) -> Convert:
    exact, folded = _options(known.options)

    def convert(value: Any) -> str | None:
        if type(value) is str and value in exact:
            return exact[value]
        text = trimmed_text(value)
        if text is None:
            return None
        return _option(text, exact, folded)

    return convert


def _multiselect(known: UserField) -> Convert:
    exact, folded = _options(known.options)

    def convert(value: Any) -> list[str] | None:
        kind = type(value)
        if kind is list or kind is tuple:
            given = [trimmed_text(item) for item in value if item is not None]
            texts = [text for text in given if text]
            # An empty list is sent, and clears the field; one of nothing but gaps counts as NULL.
            if value and not texts:
                return None
            return _distinct(_option(text, exact, folded) for text in texts)
        whole = trimmed_text(value)
        if whole is None:
            return None
        if whole in exact or _folded(whole) in folded:  # a label may hold a comma
            return [_option(whole, exact, folded)]
        parts = [part.strip() for part in _SEPARATORS.split(whole) if part.strip()]
        return _distinct(_option(part, exact, folded) for part in parts) if parts else None

    return convert


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _options(options: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Return text -> value: as it is written, and without regard to case. Values go before labels.

    A label that two options have tells neither of them.
    """
    values = [(value, value) for value, _ in options]
    labels = [(label, value) for value, label in options]
    exact = {**_telling(labels, str), **_telling(values, str)}
    return exact, {**_telling(labels, _folded), **_telling(values, _folded)}


def _telling(named: Sequence[tuple[str, str]], alike: Callable[[str], str]) -> dict[str, str]:
    """Return name -> value for the names that, written `alike`, stand for one value only."""
    found: dict[str, set[str]] = {}
    for name, value in named:
        found.setdefault(alike(name), set()).add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _folded(text: str) -> str:
    return text.strip().casefold()


def _option(text: str, exact: dict[str, str], folded: dict[str, str]) -> str:
    value = exact.get(text) or folded.get(_folded(text))
    if value is None:
        raise CannotSend("is none of the field's options, neither by value nor by label")
    return value


def _regexp(known: UserField) -> Convert:
    pattern = _pattern(known.regexp)
    if pattern is None:
        return trimmed_text
    search = pattern.search

    def convert(value: Any) -> str | None:
        text = trimmed_text(value)
        if text is not None and not search(text):
            raise CannotSend("does not match the field's regular expression")
        return text

    return convert


def _pattern(ruby: str | None) -> re.Pattern[str] | None:
    """Return a Ruby pattern for Python, where `^` and `$` mean lines; None: Zendesk must judge."""
    if not ruby or _means_something_else(ruby):
        return None
    for found, written in _RUBY:
        ruby = found.sub(written, ruby)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # what Python may read otherwise one day
            return re.compile(ruby, re.MULTILINE)
    except (re.error, RecursionError, OverflowError, FutureWarning):
        return None


def _means_something_else(ruby: str) -> bool:
    r"""Whether Python reads a pattern without an error, but otherwise than Ruby.

    In Ruby a class may hold classes, `[:alpha:]`, `\h` and `&&`; and `(?m)` is Python's `(?s)`.
    """
    if _RUBY_DOT_ALL.search(ruby):
        return True
    inside = False
    for piece in _PIECES.findall(ruby):
        if inside and piece in _ONLY_RUBYS_CLASSES:
            return True
        inside = piece != "]" if inside else piece == "["
    return False


def _lookup(_: UserField) -> Convert:
    def convert(value: Any) -> str | None:
        number = positive_number(value)
        return None if number is None else str(number)

    return convert


def _text(_: UserField) -> Convert:
    return plain_text


_MAKERS: dict[str, Callable[[UserField], Convert]] = {
    "checkbox": _checkbox,
    "date": _date,
    "decimal": _decimal,
    "integer": _integer,
    "dropdown": _dropdown,
    "tagger": _dropdown,
    "multiselect": _multiselect,
    "regexp": _regexp,
    "lookup": _lookup,
    "text": _text,
    "textarea": _text,
}
"""Zendesk's types of user fields; `tagger` is what tickets call a dropdown."""
