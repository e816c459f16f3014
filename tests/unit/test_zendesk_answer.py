"""What headers and bodies tell, and that no bytes can make the reading of them fail."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.zendesk.answer import Answer, RateHeaders, retry_after_seconds

NOON = "Tue, 24 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("27", 27.0),
        (" 27 ", 27.0),
        ("30.5", 30.5),
        ("900", 900.0),
        ("901", 900.0),
        ("999999999999", 900.0),
        ("99999999999999999999999999", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
        ("   ", None),
        ("soon", None),
        ("NaN", None),
        ("inf", None),
        ("\u0662\u0667", None),
        ("\uff12\uff17", None),
        ("Tue, 24 Nov 2026 12:00:41 GMT", 41.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:41 -0000", 41.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 900.0),
        ("Tue, 99 Nov 2026 12:00:41 GMT", None),
        ("Tue, 24 Nov 2026 12:00:41 +9999999999999", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_within_bounds_or_none(value, seconds):
    assert retry_after_seconds(value, NOON) == seconds


def test_an_http_date_without_a_date_header_is_compared_with_our_clock():
    assert retry_after_seconds("Fri, 31 Dec 9999 23:59:59 GMT") == 900.0
    assert retry_after_seconds("Tue, 24 Nov 1998 12:00:00 GMT", "no date") == 0.0


words = st.sampled_from(["Tue, ", "24 Nov 2026", " 12:00:00", " GMT", "+0100", ":", ",", "-", "9"])
header = st.text() | st.lists(words | st.text(max_size=4)).map("".join) | st.integers().map(str)


@settings(deadline=None)
@given(header, st.none() | header)
def test_no_retry_after_raises_or_leaves_its_bounds(value, date):
    seconds = retry_after_seconds(value, date)

    assert seconds is None or 0.0 <= seconds <= 900.0


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        ({}, RateHeaders()),
        ({"x-rate-limit": "700", "x-rate-limit-remaining": "693"}, RateHeaders(700, 693)),
        (
            {"ratelimit-limit": "700", "ratelimit-remaining": "5", "ratelimit-reset": "41"},
            RateHeaders(700, 5, 41.0),
        ),
        (
            {"rate-limit": "400", "rate-limit-remaining": "0", "rate-limit-reset": "3"},
            RateHeaders(400, 0, 3.0),
        ),
        ({"x-rate-limit-remaining": "9", "ratelimit-remaining": "7"}, RateHeaders(None, 7)),
        ({"ratelimit-limit": "700, 700;w=60"}, RateHeaders(700)),
        ({"ratelimit-reset": "3600"}, RateHeaders(reset_s=3600.0)),
        ({"ratelimit-reset": "3601"}, RateHeaders()),
        ({"ratelimit-reset": "1795521600"}, RateHeaders()),
        ({"x-rate-limit": "many", "ratelimit-remaining": "-1"}, RateHeaders()),
        ({"x-rate-limit": "7.5", "ratelimit-remaining": "\u0665"}, RateHeaders()),
        ({"x-rate-limit": "9" * 5000}, RateHeaders()),
    ],
)
def test_both_header_families_are_read_and_the_stricter_number_counts(headers, rate):
    assert Answer(200, headers).rate == rate


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"1", b"<html>", b'{"a":NaN}', b'{"a":1', b"\xff\xfe{}", b"[" * 9999],
)
def test_only_a_json_object_is_a_document(body):
    assert Answer(200, {}, body).document is None


@settings(deadline=None)
@given(st.integers(), st.dictionaries(st.text(max_size=30), st.text()), st.binary())
def test_no_answer_makes_its_reading_fail(status, headers, body):
    answer = Answer(status, headers, body)

    assert isinstance(answer.text, str)
    assert isinstance(answer.rate, RateHeaders)
    assert answer.document is None or dict(answer.document) is not None


def test_the_repr_of_an_answer_shows_no_body():
    assert "jo@example.com" not in repr(Answer(200, {"x": "jo@example.com"}, b"jo@example.com"))
