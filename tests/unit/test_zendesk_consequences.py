"""The table from answers to errors, row by row."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import (
    Ambiguous,
    DeliveryError,
    DeskfeedError,
    DestinationError,
    NotSent,
    Refused,
    Throttled,
)
from worker.zendesk.answer import Answer
from worker.zendesk.consequences import error_of, said_by

HTML = b"<html><body>No help desk at this address</body></html>"
ROW_LIMIT = (
    b"You have exceeded the rate limit for updating a single unique user. "
    b"user email: jo@example.com id:  external_id: "
)


def error(status, *, posted, headers=None, body=b""):
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    return error_of(Answer(status, headers or {}, body), posted=posted)


POSTED = [
    (400, Refused, "chunk_refused"),
    (401, DestinationError, "invalid_credentials"),
    (402, DestinationError, "unexpected_answer"),
    (403, DestinationError, "authorization_error"),
    (404, DestinationError, "subdomain_not_found"),
    (405, DestinationError, "unexpected_answer"),
    (408, Ambiguous, "unclear_answer"),
    (409, Throttled, "rate_limited"),
    (413, Refused, "chunk_refused"),
    (422, Refused, "chunk_refused"),
    (429, Throttled, "rate_limited"),
    (500, Ambiguous, "unclear_answer"),
    (502, Ambiguous, "unclear_answer"),
    (503, Ambiguous, "unclear_answer"),
    (504, Ambiguous, "unclear_answer"),
    (599, Ambiguous, "unclear_answer"),
    (301, DestinationError, "unexpected_redirect"),
    (302, DestinationError, "unexpected_redirect"),
    (303, DestinationError, "unexpected_redirect"),
    (307, DestinationError, "unexpected_redirect"),
    (308, DestinationError, "unexpected_redirect"),
    (101, Ambiguous, "unclear_answer"),
    (999, Ambiguous, "unclear_answer"),
]


@pytest.mark.parametrize(("status", "kind", "code"), POSTED)
@pytest.mark.parametrize("body", [b"", HTML, b"{}", b"[]", b"null"])
def test_what_follows_from_the_answer_to_a_post(status, kind, code, body):
    found = error(status, posted=True, body=body)

    assert type(found) is kind
    assert found.code == code


@pytest.mark.parametrize(("status", "kind", "code"), POSTED)
def test_a_get_that_failed_is_asked_again_unless_a_person_must_act(status, kind, code):
    found = error(status, posted=False)

    persons = {301, 302, 303, 307, 308, 401, 403, 404}
    if status in persons:
        assert (type(found), found.code) == (kind, code)
    elif status == 429:
        assert type(found) is Throttled
    else:
        assert (type(found), found.code) == (NotSent, "unclear_answer")


@pytest.mark.parametrize("status", [301, 404, 422, 500])
def test_a_body_like_a_success_makes_no_success(status):
    body = {"job_status": {"id": "V3-1", "status": "queued"}}

    assert isinstance(error(status, posted=True, body=body), DeskfeedError)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_is_no_error(status):
    assert error(status, posted=True) is None


@pytest.mark.parametrize("status", [200, 400, 403, 422, 429, 500, 503])
@pytest.mark.parametrize("posted", [True, False])
def test_too_many_jobs_is_known_by_its_body_whatever_the_status(status, posted):
    found = error(
        status, posted=posted, headers={"retry-after": "7"}, body={"error": "TooManyJobs"}
    )

    assert type(found) is Throttled
    assert (found.scope, found.code) == ("jobs", "too_many_jobs")
    assert found.retry_after_seconds == 7.0


def test_too_many_jobs_without_retry_after_leaves_the_wait_to_the_caller():
    found = error(
        429, posted=True, headers={"ratelimit-reset": "50"}, body={"error": "TooManyJobs"}
    )

    assert found.retry_after_seconds is None


def test_a_429_about_one_user_rests_the_chunk_and_names_nobody():
    headers = {"retry-after": "27", "content-type": "text/plain", "x-rate-limit-remaining": "668"}

    found = error(429, posted=True, headers=headers, body=ROW_LIMIT)

    assert (found.scope, found.retry_after_seconds) == ("chunk", 27.0)
    assert "jo@" not in str(found)


def test_any_other_429_stops_the_account():
    found = error(429, posted=True, headers={"retry-after": "41"}, body=b"Too many requests")

    assert (found.scope, found.retry_after_seconds) == ("account", 41.0)


def test_a_429_without_retry_after_waits_for_the_minute_to_end():
    found = error(429, posted=False, headers={"ratelimit-reset": "33", "retry-after": "soon"})

    assert (found.scope, found.retry_after_seconds) == ("account", 33.0)


@pytest.mark.parametrize("posted", [True, False])
def test_503_with_retry_after_stops_the_account(posted):
    found = error(503, posted=posted, headers={"retry-after": "120"})

    assert type(found) is Throttled
    assert (found.scope, found.retry_after_seconds) == ("account", 120.0)


def test_a_conflict_rests_the_chunk_only():
    found = error(409, posted=True, headers={"retry-after": "3"})

    assert (found.scope, found.retry_after_seconds) == ("chunk", 3.0)


def test_403_on_a_post_names_the_switch_for_bulk_import():
    assert "bulk user import" in str(error(403, posted=True))
    assert "bulk" not in str(error(403, posted=False))


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://evil.example/x?token=s3cret", "https://evil.example"),
        ("http://jo:s3cret@evil.example:8080/x", "http://evil.example"),
        ("//evil.example/s3cret", "//evil.example"),
        ("s3cret://evil.example/", "//evil.example"),
        ("/s3cret", "another path of the same host"),
        ("", "another path of the same host"),
        ("http://[s3cret", "an address that cannot be read"),
    ],
)
def test_a_redirect_is_named_by_scheme_and_host_only(location, shown):
    found = error(302, posted=True, headers={"location": location})

    assert str(found) == f"Zendesk answered 302 with a redirect to {shown}"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"error": "TooManyValues", "description": "Maximum 100 users"},
            "TooManyValues; Maximum 100 users",
        ),
        ({"error": {"title": "Forbidden", "message": "Access denied"}}, "Forbidden; Access denied"),
        (
            {"errors": [{"code": "RecordInvalid", "title": "Invalid", "detail": "Name: is blank"}]},
            "RecordInvalid; Invalid; Name: is blank",
        ),
        ({"error": "Couldn't authenticate you"}, "Couldn't authenticate you"),
        (
            {
                "error": "RecordInvalid",
                "description": "Record validation errors",
                "details": {"email": [{"description": "Email: jo@x is not properly formatted"}]},
            },
            "RecordInvalid; Record validation errors; Email: … is not properly formatted",
        ),
        (
            {"error": "RecordInvalid", "details": "Name: Jo is too long"},
            "RecordInvalid; Name: … is too long",
        ),
        ({}, ""),
        (None, ""),
    ],
)
def test_all_four_error_envelopes_are_understood_and_redacted(document, said):
    assert said_by(document) == said


def test_what_zendesk_said_of_a_refusal_is_told_without_values():
    found = error(422, posted=True, body={"error": "RecordInvalid", "description": "Jo is invalid"})

    assert str(found) == "Zendesk refused the request (422): RecordInvalid; … is invalid"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "errors",
                    "description",
                    "details",
                    "message",
                    "title",
                    "code",
                    "detail",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(
    st.integers(0, 1000),
    st.dictionaries(st.sampled_from(["retry-after", "location", "ratelimit-reset"]), st.text()),
    st.binary() | json_values.map(lambda v: json.dumps(v).encode()),
    st.booleans(),
)
def test_every_answer_has_a_consequence(status, headers, body, posted):
    found = error_of(Answer(status, headers, body), posted=posted)

    if found is None:
        assert 200 <= status < 300
        return
    assert isinstance(found, DestinationError | DeliveryError)
    assert isinstance(found, DeskfeedError)
    assert found.title
    assert len(str(found)) < 600
    assert posted or not isinstance(found, Ambiguous | Refused)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_says_how_zendesk_refused(status):
    assert error(status, posted=True, body=b"{}").reason == f"http_{status}"


def test_a_refusal_of_our_own_has_no_reason():
    assert Refused("the request would be too large").reason is None


FORBIDDEN = {"error": {"title": "Forbidden", "message": "You do not have access to this page."}}


@pytest.mark.parametrize(
    ("posted", "body", "code"),
    [
        (True, {"error": "Forbidden", "description": "Data imports are not enabled"},
         "bulk_import_disabled"),
        (False, {"error": "Forbidden", "description": "Data imports are not enabled"},
         "authorization_error"),
        (True, {"error": "forbidden", "description": "missing the scope users:write"},
         "missing_scope"),
        (False, {"error": "forbidden", "description": "missing the scope users:read"},
         "missing_scope"),
        (True, FORBIDDEN, "authorization_error"),
        (True, {"error": "Forbidden", "description": "an important telescope"},
         "authorization_error"),
        (True, b"<style>@import url(x)</style> scope", "authorization_error"),
    ],
)  # fmt: skip
def test_a_403_is_believed_where_it_says_why(posted, body, code):
    found = error(403, posted=posted, body=body)
    assert (type(found), found.code) == (DestinationError, code)
