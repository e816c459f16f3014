"""What a value becomes in a user field of each type."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from orchestrations.coercion import converter_for
from orchestrations.values import CannotSend
from worker.zendesk.fields import UserField

TIERS = (("bronze", "Bronze tier"), ("gold_2", "Gold, shiny"), ("vip", "gold_2"))
TOKYO = timezone(timedelta(hours=9))


def sent(kind, value, **options):
    return converter_for(UserField("k", kind, **options))(value)


def refused(kind, value, **options):
    with pytest.raises(CannotSend) as caught:
        sent(kind, value, **options)
    assert caught.value.code in ("invalid_value", "mismatched_datatype")
    return caught.value.detail


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (0, False),
        (Decimal(1), True),
        ("Yes", True),
        (" on ", True),
        ("N", False),
        ("f", False),
        ("", None),
    ],
)
def test_a_checkbox_takes_every_usual_word_for_true_and_false(value, expected):
    assert sent("checkbox", value) is expected


@pytest.mark.parametrize("value", [2, "maybe", 1.0, Decimal("1.5"), Decimal("sNaN"), ["true"]])
def test_a_checkbox_takes_nothing_else(value):
    refused("checkbox", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(2026, 1, 2), "2026-01-02"),
        (datetime.fromisoformat("2026-01-02 23:04:05"), "2026-01-02"),
        (datetime(2026, 1, 2, 3, tzinfo=TOKYO), "2026-01-01"),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02"),
        (" 2026-01-02 ", "2026-01-02"),
        ("2026-01-02T23:59:59.5+09:00", "2026-01-02"),
        ("2026-01-02 00:00:00", "2026-01-02"),
        ("  ", None),
    ],
)
def test_a_date_loses_its_time(value, expected):
    assert sent("date", value) == expected


@pytest.mark.parametrize(
    "value",
    ["2026-02-30", "02/01/2026", "20260102", "2026-1-2", "2026-W01-1", 20260102, True, ["x"],
     "\u0662026-01-02", datetime(1, 1, 1, tzinfo=TOKYO)],
)  # fmt: skip
def test_what_is_no_date_is_refused(value):
    refused("date", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (1.5, 1.5),
        (2.675, 2.68),
        (2.0, 2),
        (0.125, 0.13),
        (Decimal("696.54"), 696.54),
        (Decimal("0.005"), 0.01),
        (Decimal("-0.005"), -0.01),
        (Decimal("12.50"), 12.5),
        (Decimal("0.583"), 0.58),
        ("12.505", 12.51),
        ("+3.", 3),
        (" ", None),
        (Decimal("123456789012345678.91"), "123456789012345678.91"),
        (2**60, str(2**60)),
    ],
)
def test_a_decimal_has_two_places_rounded_half_up(value, expected):
    found = sent("decimal", value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "value",
    ["1,5", "1e5", "12 €", "\u0663", True, float("nan"), float("inf"), Decimal("sNaN"), 1e300,
     Decimal("1E+80"), date(2026, 1, 1)],
)  # fmt: skip
def test_what_is_no_decimal_is_refused(value):
    refused("decimal", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), (7.0, 7), (Decimal("7.00"), 7), ("007", 7), ("-7.0", -7), ("", None),
     (2**53, str(2**53))],
)  # fmt: skip
def test_an_integer_is_whole(value, expected):
    assert sent("integer", value) == expected


@pytest.mark.parametrize("value", [7.5, "7.5", True, "x", 2**63, float("nan"), [7]])
def test_what_is_not_whole_is_refused(value):
    refused("integer", value)


@pytest.mark.parametrize("kind", ["decimal", "integer", "checkbox", "text", "lookup", "date"])
def test_a_number_of_thousands_of_digits_is_refused(kind):
    refused(kind, 10**5000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bronze", "bronze"),
        ("Bronze tier", "bronze"),
        (" BRONZE  ", "bronze"),
        ("bronze TIER", "bronze"),
        ("gold_2", "gold_2"),  # a value goes before a label
        ("GOLD_2", "gold_2"),
        ("gold, SHINY", "gold_2"),
        ("", None),
    ],
)
@pytest.mark.parametrize("kind", ["dropdown", "tagger"])
def test_a_dropdown_takes_value_or_label(kind, value, expected):
    options = TIERS[:2] if value == "GOLD_2" else TIERS
    assert sent(kind, value, options=options) == expected


@pytest.mark.parametrize("value", ["silver", 1, ["bronze"], True, "bron"])
def test_a_dropdown_takes_no_other_value_and_does_not_name_it(value):
    detail = refused("dropdown", value, options=TIERS)
    assert "silver" not in detail


def test_a_label_that_two_options_have_tells_neither():
    options = (("a", "Same"), ("b", "Same"), ("c", "SAME "))
    refused("dropdown", "same", options=options)
    assert sent("dropdown", "a", options=options) == "a"


def test_options_that_are_numbers_are_found_by_numbers():
    assert sent("dropdown", 10, options=(("10", "Ten"),)) == "10"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["bronze", "Gold, shiny"], ["bronze", "gold_2"]),
        (("bronze", "BRONZE", None, " "), ["bronze"]),
        ([], []),
        ("bronze|vip", ["bronze", "vip"]),
        ("bronze; vip,", ["bronze", "vip"]),
        ("Gold, shiny", ["gold_2"]),
        ("  ", None),
        (",", None),
        (" | ;", None),
        ([None], None),
        (["", " "], None),
    ],
)
def test_a_multiselect_takes_lists_and_separated_text(value, expected):
    assert sent("multiselect", value, options=TIERS) == expected


@pytest.mark.parametrize("value", ["bronze,silver", ["silver"], [["bronze"]], [b"x"], {"a": 1}])
def test_a_multiselect_takes_options_only(value):
    refused("multiselect", value, options=TIERS)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\A[A-Z]{2}\z", "WA", "WAS"),
        (r"^\d+$", "12", "a"),
        (r"\A\h+\Z", "fF09", "g"),
        (r"(?<year>\d{4})", "in 2026", "now"),
        (r"\\z", "\\z", "z"),
        (r"^[a-f&\]]+$", "a&]", "z"),
        (r"^\[\h\]&&$", "[f]&&", "[g]&&"),
    ],
)
def test_a_regexp_is_read_as_ruby_means_it(pattern, good, bad):
    assert sent("regexp", f" {good} ", regexp=pattern) == good
    assert "regular expression" in refused("regexp", bad, regexp=pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *(None, "", "(", r"\p{Alpha}", r"\G(?>a)"),
        # These mean something else in Python, which reads them without an error.
        r"\A[\h-]{36}\z",
        r"\A[-\h]{36}\z",
        r"\A[^\H]\z",
        "^[[:alpha:]]+$",
        "^[[:upper:]]{2}[[:digit:]]{4}$",
        "^[a-z&&[^aeiou]]+$",
        "^[a-z&&x]+$",
        "^[0-9[xy]]+$",
        "^[a--z]$",
        "(?m)x.y",
    ],
)
def test_a_regexp_that_python_cannot_read_is_left_to_zendesk(pattern):
    assert sent("regexp", "anything", regexp=pattern) == "anything"


@pytest.mark.parametrize("kind", ["text", "textarea"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [(" as it is ", " as it is "), ("", ""), (5, "5"), (True, "true"), (Decimal("1.50"), "1.50"),
     (date(2026, 1, 2), "2026-01-02"), (UUID(int=1), str(UUID(int=1)))],
)  # fmt: skip
def test_a_text_is_sent_as_text(kind, value, expected):
    assert sent(kind, value) == expected


@pytest.mark.parametrize(("value", "expected"), [(42, "42"), (" 42 ", "42"), ("", None)])
def test_a_lookup_is_the_id_of_a_record(value, expected):
    assert sent("lookup", value) == expected


@pytest.mark.parametrize("value", [0, -1, "x", 4.2, True])
def test_a_lookup_is_nothing_else(value):
    refused("lookup", value)


def test_a_type_that_is_newer_than_this_version_is_sent_by_the_values_own_type():
    assert sent("hologram", 1.5) == 1.5
    assert sent("hologram", ["a"]) == ["a"]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("checkbox", "maybe", "mismatched_datatype"),
        ("date", "02/01/2026", "mismatched_datatype"),
        ("date", "2026-02-31", "invalid_value"),
        ("decimal", "12 €", "mismatched_datatype"),
        ("decimal", float("nan"), "invalid_value"),
        ("integer", 7.5, "mismatched_datatype"),
        ("integer", 10**30, "invalid_value"),
        ("dropdown", "platinum", "invalid_value"),
        ("text", ["a"], "mismatched_datatype"),
        ("text", "a\x00", "invalid_value"),
    ],
)
def test_a_value_of_another_type_is_told_from_a_wrong_value_of_the_right_type(kind, value, code):
    with pytest.raises(CannotSend) as caught:
        sent(kind, value, options=TIERS)
    assert caught.value.code == code
