"""No row is a success unless a result said so of that row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.profile import Outcome, OutcomeKind, Profile
from worker.zendesk.jobs import JobState, JobStatus, ResultItem
from worker.zendesk.matching import MASKED_REASON, match_results

CREATED, UPDATED, FAILED = OutcomeKind.CREATED, OutcomeKind.UPDATED, OutcomeKind.FAILED


def profile(row, external_id=None, email=None, **more):
    user = {"name": "Jo", "external_id": external_id, "email": email} | more
    return Profile(row, {key: value for key, value in user.items() if value is not None})


def done(*items, state=JobState.COMPLETED):
    return JobStatus("V3-1", state, results=items)


def made(status="Updated", **parts):
    return ResultItem(status=status, **parts)


def failure(**parts):
    return ResultItem(failed=True, status="Failed", error="UserUpdateError", **parts)


def kinds(profiles, status):
    matched = match_results(profiles, status)
    assert len(matched.outcomes) + len(matched.unmatched) == len(profiles)
    by_row = {outcome.row: outcome.kind for outcome in matched.outcomes}
    return [by_row.get(p.row) for p in profiles]


THREE = [
    profile(11, "C1", "a@x.example"),
    profile(12, None, "b@x.example"),
    profile(13, "C3"),
]


def test_rows_are_matched_by_external_id_then_email_without_regard_to_case_and_order():
    status = done(
        made("Created", id=3, external_id="c3"),
        made("Updated", id=2, email=" B@X.example "),
        made("Updated", id=1, external_id="c1", email="old@x.example"),
    )

    assert match_results(THREE, status).outcomes == (
        Outcome(11, UPDATED, zendesk_id=1),
        Outcome(12, UPDATED, zendesk_id=2),
        Outcome(13, CREATED, zendesk_id=3),
    )


def test_a_failure_that_bears_only_its_position_is_that_rows():
    status = done(
        made(id=1, external_id="C1"),
        failure(id=1, details="Name: Email: b@x. is not properly formatted"),
        made(id=3, external_id="C3"),
    )

    outcomes = match_results(THREE, status).outcomes

    assert outcomes[1] == Outcome(
        12, FAILED, "rejected_by_zendesk", "Name: Email: … is not properly formatted"
    )


def test_results_without_names_count_by_position_only_in_a_list_of_full_length():
    assert kinds(THREE, done(made(id=1), made("Created", id=2), made(id=3))) == [
        UPDATED,
        CREATED,
        UPDATED,
    ]
    assert kinds(THREE, done(made(id=1), made("Created", id=2))) == [None] * 3
    assert kinds(THREE, done(made(), made(), made(), made())) == [None] * 3


@pytest.mark.parametrize(
    "item",
    [
        made(external_id="C9"),
        made(email="z@x.example"),
        made(index=2),
        failure(id=2),
        failure(index=0),
    ],
)
def test_a_position_counts_for_nothing_when_the_item_speaks_of_another(item):
    status = done(made(external_id="C1"), item, made(external_id="C3"))

    assert kinds(THREE, status) == [UPDATED, None, UPDATED]


def test_a_users_id_beside_a_failure_is_no_position():
    assert kinds(THREE, done(made(), failure(id=61600000), made())) == [UPDATED, FAILED, UPDATED]


def test_an_email_beside_another_external_id_is_somebody_else():
    rows = [profile(1, "C1", "a@x.example")]

    assert kinds(rows, done(made(external_id="C2", email="a@x.example"))) == [None]


def test_an_email_matches_a_row_without_external_id_whatever_external_id_is_echoed():
    rows = [profile(1, None, "a@x.example"), profile(2, "C2")]

    assert kinds(rows, done(made(external_id="C7", email="a@x.example"))) == [UPDATED, None]


def test_a_result_that_names_two_rows_is_neither_ones():
    rows = [profile(1, "C1", "a@x.example"), profile(2, None, "a@x.example")]

    assert kinds(rows, done(made(external_id="C1", email="a@x.example"))) == [None, None]
    assert kinds([profile(1, "C1"), profile(2, "c1")], done(made(external_id="C1"))) == [None, None]


@pytest.mark.parametrize(
    "other",
    [made("Created", id=1), made("Updated", id=2), made("Vanished"), failure(), ResultItem()],
)
def test_two_results_of_one_row_that_disagree_are_not_believed(other):
    first = made("Updated", id=1, external_id="C1")
    second = ResultItem(
        id=other.id, status=other.status, failed=other.failed, external_id="C1", error=other.error
    )

    assert kinds([THREE[0]], done(first, second)) == [None]
    assert kinds([THREE[0]], done(second, first)) == [None]


def test_two_results_of_one_row_that_agree_are_believed():
    assert kinds([THREE[0]], done(*[made(id=1, external_id="C1")] * 2)) == [UPDATED]


@pytest.mark.parametrize("status", [None, "", "Skipped", "ok", "failed?"])
def test_an_unknown_word_is_no_success(status):
    assert kinds([THREE[0]], done(ResultItem(id=1, external_id="C1", status=status))) == [None]


def test_a_success_with_an_error_in_it_failed():
    item = ResultItem(id=1, external_id="C1", status="Updated", failed=True, error="X")

    assert kinds([THREE[0]], done(item)) == [FAILED]


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.WORKING, JobState.UNKNOWN])
def test_a_job_that_has_not_ended_says_nothing(state):
    assert kinds([THREE[0]], done(made(external_id="C1"), state=state)) == [None]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.KILLED])
def test_of_a_failed_job_the_results_that_are_there_count(state):
    status = done(made("Created", external_id="C1"), state=state)

    assert kinds(THREE, status) == [CREATED, None, None]


@pytest.mark.parametrize("results", [None, ()])
def test_a_job_without_results_leaves_every_row_unmatched(results):
    status = JobStatus("V3-1", JobState.COMPLETED, results=results)

    assert match_results(THREE, status).unmatched == tuple(THREE)


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        (failure(details="Name: Jo has already been taken"), "Name: … has already been taken"),
        (failure(details="tier: x is not a valid option"), "tier: … is not a valid option"),
        (failure(details="Jo Smith"), "UserUpdateError"),
        (failure(details=None), "UserUpdateError"),
        (ResultItem(failed=True, error="jo@x.example"), MASKED_REASON),
    ],
)
def test_a_failures_detail_names_columns_and_no_values(item, detail):
    rows = [profile(1, "C1", user_fields={"tier": "x"})]

    assert match_results(rows, done(item)).outcomes[0].detail == detail


# --- properties -----------------------------------------------------------------------------------

IDENTITY = st.sampled_from(["both", "external_id", "email"])
VERDICT = st.sampled_from([CREATED, UPDATED, FAILED])


def row_of(index, identity):
    external_id = None if identity == "email" else f"C-{index}a"
    email = None if identity == "external_id" else f"p{index}@x.example"
    return profile(index + 1, external_id, email)


def item_of(row, verdict, fold):
    echoed = {"external_id": row.external_id, "email": row.email}
    names = {key: fold(value) for key, value in echoed.items() if value}
    if verdict is FAILED:
        return ResultItem(id=row.row - 1, failed=True, status="Failed", error="E", **names)
    return ResultItem(id=10**6 + row.row, status=verdict.capitalize(), **names)


@st.composite
def jobs(draw):
    rows = [row_of(i, k) for i, k in enumerate(draw(st.lists(IDENTITY, min_size=1, max_size=8)))]
    verdicts = [draw(VERDICT) for _ in rows]
    fold = draw(st.sampled_from([str, str.upper, str.lower]))
    return rows, verdicts, [item_of(*pair, fold) for pair in zip(rows, verdicts, strict=True)]


garbage = st.sampled_from(
    [
        ResultItem(),
        ResultItem(status="Updated", external_id="foreign"),
        ResultItem(status="Created", email="foreign@x.example", id=5),
        ResultItem(status="Whatever", external_id="C-0a"),
        ResultItem(failed=True, id=0),
        ResultItem(failed=True, index=3),
    ]
)


@settings(deadline=None)
@given(jobs(), st.randoms())
def test_in_any_order_every_row_gets_its_own_verdict(job, random):
    rows, verdicts, items = job
    random.shuffle(items)

    assert kinds(rows, done(*items)) == verdicts


@settings(deadline=None, max_examples=300)
@given(jobs(), st.data(), st.randoms())
def test_cut_repeated_mixed_and_foreign_results_never_make_a_false_success(job, data, random):
    rows, verdicts, items = job
    kept = [item for item in items for _ in range(data.draw(st.integers(0, 2)))]
    mixed = kept + data.draw(st.lists(garbage, max_size=4))
    random.shuffle(mixed)

    matched = match_results(rows, done(*mixed))

    said = {r.row: (v, i) for r, v, i in zip(rows, verdicts, items, strict=True)}
    for outcome in matched.outcomes:
        verdict, item = said[outcome.row]
        assert outcome.kind is FAILED or (outcome.kind is verdict and item in kept)
    done_rows = [o.row for o in matched.outcomes]
    assert sorted(done_rows + [p.row for p in matched.unmatched]) == [r.row for r in rows]


anything = st.builds(
    ResultItem,
    id=st.none() | st.integers(-2, 10),
    index=st.none() | st.integers(-2, 10),
    external_id=st.none() | st.sampled_from(["C1", "c3", "", "x"]),
    email=st.none() | st.sampled_from(["a@x.example", "B@X.example", "", "x"]),
    status=st.none() | st.sampled_from(["Created", "Updated", "Failed", "x"]),
    failed=st.booleans(),
    error=st.none() | st.text(max_size=5),
    details=st.none() | st.text(max_size=30),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(anything, max_size=6), st.sampled_from(list(JobState)))
def test_whatever_the_results_each_row_is_in_exactly_one_place(items, state):
    matched = match_results(THREE, done(*items, state=state))

    rows = [o.row for o in matched.outcomes] + [p.row for p in matched.unmatched]
    assert sorted(rows) == [11, 12, 13]
    spoken = [i for i in items if not i.failed and i.status in {"Created", "Updated"}]
    successes = [o for o in matched.outcomes if o.kind is not FAILED]
    assert len(successes) <= len(spoken)
    assert state.ended or not matched.outcomes
