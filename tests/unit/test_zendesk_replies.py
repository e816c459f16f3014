"""From bytes to typed results; whatever the bytes are."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import Ambiguous, DeskfeedError, DestinationError, NotSent, Throttled
from worker.zendesk.answer import Answer, RateHeaders
from worker.zendesk.replies import (
    Identity,
    JobAccepted,
    JobState,
    JobStatus,
    ResultItem,
    read_field_page,
    read_identity,
    read_job_accepted,
    read_job_statuses,
    read_users,
)

JOB = "V3-0123456789abcdef0123456789abcdef"


def ok(document, **headers):
    return Answer(200, headers, json.dumps(document).encode())


def job(**parts):
    return {"id": JOB, "status": "completed", "total": 2, "progress": 2, "results": []} | parts


def statuses(*jobs):
    return read_job_statuses(ok({"job_statuses": list(jobs)}), [JOB])


def test_an_accepted_job_is_its_id_and_the_budget_that_is_left():
    answer = Answer(
        200,
        {"x-rate-limit": "700", "x-rate-limit-remaining": "12"},
        json.dumps({"job_status": {"id": JOB, "status": "queued", "results": None}}).encode(),
    )

    assert read_job_accepted(answer) == JobAccepted(JOB, RateHeaders(700, 12))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>sign in</html>",
        b"{}",
        b"[]",
        b"null",
        b"NaN",
        b'{"job_status": NaN}',
        b'{"job_status": null}',
        b'{"job_status": []}',
        b'{"job_status": {}}',
        b'{"job_status": {"id": 7}}',
        b'{"job_status": {"id": ""}}',
        b'{"job_status": {"id": "../x"}}',
        b'{"job_status": {"id": "a,b"}}',
        b'{"job_status": {"id": "V3-1\\n"}}',
        b'{"job_status": {"id": "' + b"a" * 65 + b'"}}',
        b'{"job_status": {"id": "V3-1"',
    ],
)
def test_200_without_a_jobs_id_is_ambiguous(body):
    with pytest.raises(Ambiguous):
        read_job_accepted(Answer(200, {}, body))


def test_statuses_are_told_by_id_and_foreign_ones_left_out():
    found = statuses(job(), job(id="V3-foreign"), {"status": "completed"}, 7, None)

    assert dict(found) == {JOB: JobStatus(JOB, JobState.COMPLETED, 2, 2, ())}
    assert found.get("V3-foreign") is None


@pytest.mark.parametrize(
    ("word", "state", "ended"),
    [
        ("queued", JobState.QUEUED, False),
        ("working", JobState.WORKING, False),
        ("completed", JobState.COMPLETED, True),
        ("Completed", JobState.COMPLETED, True),
        ("failed", JobState.FAILED, True),
        ("killed", JobState.KILLED, True),
        ("paused", JobState.UNKNOWN, False),
        ("unknown", JobState.UNKNOWN, False),
        (None, JobState.UNKNOWN, False),
        (7, JobState.UNKNOWN, False),
    ],
)
def test_a_jobs_state_is_known_or_unknown(word, state, ended):
    found = statuses(job(status=word))[JOB]

    assert (found.state, found.state.ended) == (state, ended)


@pytest.mark.parametrize(
    ("results", "items"),
    [
        (None, None),
        ("none", None),
        ([], ()),
        ({"success": True}, (ResultItem(),)),
        ([None, 7, "x", []], (ResultItem(),) * 4),
        (
            [{"id": 9, "status": "Created", "email": "a@b.c", "external_id": "X1"}],
            (ResultItem(9, None, "X1", "a@b.c", "Created"),),
        ),
        (
            [{"id": 2, "error": "UserUpdateError", "details": "bad", "status": "Failed"}],
            (ResultItem(2, status="Failed", failed=True, error="UserUpdateError", details="bad"),),
        ),
        ([{"id": 1, "success": False}], (ResultItem(1, failed=True),)),
        ([{"id": True, "external_id": 17}], (ResultItem(external_id="17"),)),
        ([{"index": 0, "errors": "bad"}], (ResultItem(index=0, failed=True),)),
    ],
)
def test_results_of_any_shape_become_items(results, items):
    assert statuses(job(results=results))[JOB].results == items


def test_missing_parts_of_a_status_are_none():
    assert statuses({"id": JOB, "status": "queued"})[JOB] == JobStatus(JOB, JobState.QUEUED)


def test_two_answers_about_one_job_that_disagree_are_not_believed():
    found = statuses(job(status="completed"), job(status="failed"))

    assert found[JOB].state == JobState.UNKNOWN


def test_the_same_answer_twice_is_believed():
    assert statuses(job(), job())[JOB].state == JobState.COMPLETED


def test_404_in_json_means_that_zendesk_knows_none_of_the_jobs():
    gone = Answer(404, {}, b'{"error":"RecordNotFound","description":"Not found"}')

    assert dict(read_job_statuses(gone, [JOB])) == {}
    assert read_users(gone).users == ()


@pytest.mark.parametrize(
    "body", [b"<html>No help desk</html>", b"", b'{"error":"InvalidEndpoint"}']
)
def test_any_other_404_means_that_the_account_is_missing(body):
    with pytest.raises(DestinationError) as found:
        read_job_statuses(Answer(404, {}, body), [JOB])

    assert found.value.code == "subdomain_not_found"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"job_statuses": null}', b"<html>"])
def test_an_unusable_answer_to_a_poll_is_asked_for_again(body):
    with pytest.raises(NotSent) as found:
        read_job_statuses(Answer(200, {}, body), [JOB])

    assert found.value.code == "unclear_answer"


def test_a_throttled_poll_is_throttled():
    with pytest.raises(Throttled) as found:
        read_job_statuses(Answer(429, {"retry-after": "9"}, b""), [JOB])

    assert found.value.retry_after_seconds == 9.0


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        (
            {"id": 5, "name": "Ops", "role": "admin", "suspended": False},
            Identity(5, "admin", suspended=False, anonymous=False),
        ),
        (
            {"id": None, "name": "Anonymous user", "role": "end-user"},
            Identity(None, "end-user", suspended=False, anonymous=True),
        ),
        (
            {"id": 5, "name": "Anonymous user", "role": "end-user"},
            Identity(5, "end-user", suspended=False, anonymous=True),
        ),
        (
            {"id": 6, "role": "agent", "suspended": True},
            Identity(6, "agent", suspended=True, anonymous=False),
        ),
        ({}, Identity(None, "", suspended=False, anonymous=True)),
    ],
)
def test_an_identity_tells_role_suspension_and_anonymity(user, identity):
    assert read_identity(ok({"user": user})) == identity


def test_no_user_in_the_answer_is_no_identity():
    with pytest.raises(NotSent):
        read_identity(ok({"user": None}))


@pytest.mark.parametrize(
    ("said", "created_at"),
    [
        ("2026-11-24T03:00:00Z", datetime(2026, 11, 24, 3, tzinfo=UTC)),
        (
            "2026-11-24T03:00:00+02:00",
            datetime(2026, 11, 24, 3, tzinfo=timezone(timedelta(hours=2))),
        ),
        ("2026-11-24T03:00:00", datetime(2026, 11, 24, 3, tzinfo=UTC)),
        ("yesterday", None),
        (7, None),
        (None, None),
    ],
)
def test_users_are_read_with_the_time_they_were_made(said, created_at):
    user = {"id": 9, "external_id": "X1", "created_at": said, "name": "Jo"}

    (record,) = read_users(ok({"users": [user, {"id": None}, 7]})).users

    assert (record.user_id, record.external_id, record.created_at) == (9, "X1", created_at)
    assert record.attributes == user


def test_no_repr_of_a_result_shows_a_customer():
    item = {"id": 9, "email": "zoe@x.example", "external_id": "X-zoe", "details": "Email: zoe bad"}
    found = statuses(job(results=[item]))
    users = read_users(ok({"users": [{"id": 9, "external_id": "X-zoe", "name": "zoe"}]})).users

    assert "zoe" not in repr(found) + repr(found[JOB].results) + repr(users)


REPLY_KEYS = """
    id status results error errors success index email external_id job_status job_statuses user
    users user_fields meta total created_at
"""
keys = st.sampled_from(REPLY_KEYS.split())
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([JOB, "completed", "Created", "Failed", "2026-11-24T03:00:00Z"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=30,
)
bodies = st.binary() | json_values.map(lambda v: json.dumps(v).encode())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([200, 201, 404, 429, 500]) | st.integers(0, 999), bodies)
def test_readers_return_or_raise_our_errors_and_nothing_else(status, body):
    answer = Answer(status, {}, body)
    readers = (
        read_job_accepted,
        lambda a: read_job_statuses(a, [JOB]),
        read_identity,
        read_users,
        read_field_page,
    )
    for reader in readers:
        with contextlib.suppress(DeskfeedError):
            reader(answer)
