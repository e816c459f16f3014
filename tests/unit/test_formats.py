"""Phone numbers, states, e-mail addresses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrations.formats import format_named, phone_text, state_text
from orchestrations.values import CannotSend


def refused(convert, value):
    with pytest.raises(CannotSend) as caught:
        convert(value)
    assert str(value) not in caught.value.detail
    return caught.value.detail


@pytest.mark.parametrize(
    ("value", "region", "expected"),
    [
        ("+15125550143", None, "+15125550143"),
        (" +1 (512) 555-0143 ", None, "+15125550143"),
        ("+1.512.555.0143", None, "+15125550143"),
        ("+44 (0)20 7946 0018", None, "+442079460018"),
        ("+44 ( 0 )20 7946 0018", None, "+442079460018"),
        ("+49 30/901820", None, "+4930901820"),
        ("(512) 555-0143", "US", "+15125550143"),
        (5125550143, "US", "+15125550143"),
        ("1-512-555-0143", "US", "+15125550143"),
        ("020 7946 0018", "GB", "+442079460018"),
        ("011 44 20 7946 0018", "US", "+442079460018"),
        ("1-800-FLOWERS", "US", "+18003569377"),
        ("", "US", None),
        ("   ", None, None),
    ],
)
def test_a_phone_number_is_written_in_e164(value, region, expected):
    assert phone_text(region)(value) == expected


@pytest.mark.parametrize(
    ("value", "region"),
    [
        ("5125550143", None),
        ("555-0143", "US"),
        ("+1 512 555 0143 ext. 7", None),
        ("+999 123", None),
        ("+\u0664\u0664 12", None),
        ("call me", "US"),
        ("+1" + "5" * 80, None),
        (["+15125550143"], None),
        ("+15125550143\n+15125550144", None),
    ],
)
def test_what_is_no_phone_number_is_refused(value, region):
    assert "phone number" in refused(phone_text(region), value) or isinstance(value, list)


def test_a_number_without_country_names_the_remedy():
    assert "`phone_region`" in refused(phone_text(None), "512 555 0143")


def test_phonenumbers_is_loaded_by_the_first_number_that_needs_it_only():
    code = (
        "import sys; from orchestrations.formats import phone_text as p; "
        "p('US')('+15125550143'); p('US')('+1 512-555-0143'); "
        "assert 'phonenumbers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("value", "expected"), [("wa", "WA"), (" Wa ", "WA"), ("", None)])
def test_a_state_is_two_capital_letters(value, expected):
    assert state_text(value) == expected


@pytest.mark.parametrize("value", ["Washington", "Q", "W1", "wå", 12, "wa\x00"])
def test_what_is_no_state_is_refused(value):
    assert refused(state_text, value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("phone", "512 555 0143", "+15125550143"),
        ("state", "tx", "TX"),
        ("email", " a@b.c ", "a@b.c"),
        ("text", " ext. 12 ", "ext. 12"),
    ],
)
def test_a_format_is_found_by_its_name(name, value, expected):
    assert format_named(name, "US")(value) == expected
