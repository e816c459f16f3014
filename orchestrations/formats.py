"""Texts that have one right way to be written: phone numbers, states, e-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from orchestrations.values import CannotSend, Convert, WrongType, email_text, trimmed_text

E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
"""ITU-T E.164: a plus sign, then country code and number, at most 15 digits."""

MAX_PHONE_CHARS = 60
"""Nothing longer is a phone number."""

_STATE = re.compile(r"[A-Za-z]{2}", re.ASCII)
_PUNCTUATION = {ord(sign): None for sign in " -./()\u00a0"}
_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")
"""As in +44 (0)20 …: the zero is dialled inside the country only, and is no part of the number."""


def phone_text(region: str | None) -> Convert:
    """Return the converter of phone numbers: E.164, e.g. +15125550100; blank counts as empty.

    A number that is written internationally needs no more than a look at its form. Only others are
    given to phonenumbers, which costs about a hundred times as much.

    Args:
        region: country of numbers that are written without one, as two capital letters; None:
            such numbers cannot be sent.
    """
    plain = E164.fullmatch

    def convert(value: Any) -> str | None:
        if type(value) is str and plain(value):
            return value
        text = trimmed_text(value)
        if text is None:
            return None
        if text.startswith("+") and not _TRUNK_ZERO.search(text):
            bare = text.translate(_PUNCTUATION)
            if plain(bare):
                return bare
        return _parsed(text, region)

    return convert


def _parsed(text: str, region: str | None) -> str:
    # Imported at the first number that needs it: it takes a tenth of a second.
    import phonenumbers

    if len(text) > MAX_PHONE_CHARS:
        raise CannotSend("this is not a phone number")
    if region is None and not text.startswith("+"):
        raise CannotSend(
            "a phone number must begin with + and the country code, or `phone_region` must name "
            "the country"
        )
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise CannotSend("this is not a phone number") from None
    if number.extension:
        raise CannotSend("a phone number with an extension cannot be written in E.164")
    if not phonenumbers.is_valid_number(number):
        raise CannotSend("there is no such phone number in its country")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def state_text(value: Any) -> str | None:
    """Return the two capital letters of a state; blank counts as empty."""
    if type(value) is not str:
        raise WrongType("a state must be text")
    text = trimmed_text(value)
    if text is not None and not _STATE.fullmatch(text):
        raise CannotSend("a state must be its two letters, e.g. WA")
    return text.upper() if text else None


def format_named(name: str, region: str | None) -> Convert:
    """Return the converter of a format of the orchestration's `formats`."""
    makers: dict[str, Callable[[], Convert]] = {
        "phone": lambda: phone_text(region),
        "state": lambda: state_text,
        "email": lambda: email_text,
        "text": lambda: trimmed_text,
    }
    return makers[name]()
