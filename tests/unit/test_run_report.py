"""What the report of a run says, before it is a page."""

from __future__ import annotations

import html
import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storied import CREATED, DIGESTS, FAILED, UPDATED, finish, planned, refused, story, submit
from world import profiles

from orchestrations.masking import MASK
from orchestrations.reporting import collect, render, series, timeline
from orchestrations.reporting.collect import EXAMPLES
from orchestrations.reporting.page import coded, percent, plain, span
from worker.errors import DestinationError, Throttled, UsageError
from worker.explanations import Fault
from worker.ledger.records import Event, Post
from worker.ledger.retention import Ages
from worker.profile import Outcome


def stages(told):
    return {stage.name: stage.rows for stage in told.journey.stages}


def left(told, name):
    (stage,) = (stage for stage in told.journey.stages if stage.name == name)
    return {part.name: part.rows for part in stage.left}


def ends(told):
    return {part.name: part.rows for part in told.journey.ends}


def adds_up(told):
    """Every stage is what went on from the one before, and the end is all that was sent."""
    steps = told.journey.stages
    for one, following in itertools.pairwise(steps):
        assert one.went_on == following.rows, (one, following)
        assert all(part.rows > 0 for part in one.left)
    assert sum(part.rows for part in told.journey.ends) == steps[-1].rows


# --- the journey ------------------------------------------------------------------------------


def test_the_journey_adds_up_at_every_stage(ledger, clock):
    told = collect(ledger, story(ledger, clock))

    assert stages(told) == {"read": 100, "valid": 95, "changed": 85, "sent": 85}
    assert left(told, "read") == {"refused": 3, "skipped": 2}
    assert left(told, "valid") == {"unchanged": 10}
    assert ends(told) == {"created": 38, "updated": 44, "failed": 2, "unconfirmed": 1}
    adds_up(told)


def test_a_run_under_way_tells_what_is_on_the_way_and_what_waits(ledger, clock):
    planned(ledger, chunks=[profiles(1, 4), profiles(5, 4), profiles(9, 4)])
    finish(ledger, submit(ledger, clock, 1), CREATED)
    submit(ledger, clock, 2)

    told = collect(ledger, "df-1")

    assert left(told, "changed") == {"waiting": 4}
    assert ends(told) == {
        "created": 4, "updated": 0, "failed": 0, "unconfirmed": 0, "on the way": 4
    }  # fmt: skip
    adds_up(told)
    assert not told.verdict.ended
    assert told.verdict.sentence == (
        "Sending. So far 4 of 12 rows are delivered, 0 are not, 8 are still open."
    )


def test_a_stopped_run_tells_what_was_cancelled(ledger, clock):
    planned(ledger, chunks=[profiles(1, 4), profiles(5, 4)])
    claim = submit(ledger, clock, 1)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")
    finish(ledger, claim, CREATED)
    ledger.runs.close("df-1")

    told = collect(ledger, "df-1")

    assert left(told, "changed") == {"cancelled": 4}
    assert stages(told)["sent"] == 4
    adds_up(told)
    assert told.verdict.sentence == "Stopped: 4 of 8 rows delivered, the rest was not sent."


def test_a_chunk_that_was_refused_for_now_and_then_cancelled_was_not_sent(ledger, clock):
    planned(ledger, chunks=[profiles(1, 4)])
    ledger.chunks.admit("df-1", 1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.unsubmit(claim, 0.0, "rate_limited", sent=True)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")

    told = collect(ledger, "df-1")

    assert left(told, "changed") == {"cancelled": 4}
    adds_up(told)


def test_a_chunk_given_up_before_it_was_sent_failed_unsent(ledger, clock):
    planned(ledger, chunks=[profiles(1, 4)])
    ledger.chunks.admit("df-1", 1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.outcomes.end_all("df-1", 1, claim.fence, FAILED, "quarantined", "died")

    told = collect(ledger, "df-1")

    assert left(told, "changed") == {"failed unsent": 4}
    assert ends(told)["failed"] == 0
    adds_up(told)


def test_rows_that_are_sent_again_are_told_once(ledger, clock):
    planned(ledger, chunks=[profiles(1, 3)])
    claim = submit(ledger, clock, 1)
    conflict = Outcome(2, FAILED, "row_conflict", "busy")
    found = [conflict if p.row == 2 else Outcome(p.row, CREATED) for p in claim.profiles]
    ledger.outcomes.finish("df-1", 1, claim.fence, found, again={2})
    adds_up(collect(ledger, "df-1"))
    finish(ledger, submit(ledger, clock, 2), UPDATED)

    told = collect(ledger, "df-1")

    assert stages(told) == {"read": 3, "valid": 3, "changed": 3, "sent": 3}
    assert ends(told)["updated"] == 1
    adds_up(told)
    assert [part.rows for part in told.troubles] == [1]


def test_the_journey_is_the_same_when_the_single_rows_are_gone(ledger, clock):
    before = collect(ledger, story(ledger, clock))
    clock.advance(40 * 86400)
    ledger.retention.prune(Ages(outcomes=86400, events=86400, runs=400 * 86400))

    told = collect(ledger, "df-1")

    assert told.view.rows_pruned
    assert told.journey == before.journey
    assert [reason.rows for reason in told.reasons] == [reason.rows for reason in before.reasons]
    assert [reason.examples for reason in told.reasons if reason.examples] == []
    assert (told.rate, told.moments, told.digests) == (None, (), {})
    assert "no longer kept" in render(told)


def test_a_run_that_failed_before_anything_was_sent_has_a_report(ledger, new_run):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    ledger.runs.fail_plan(run, DestinationError("Zendesk says no", code="invalid_credentials"))
    ledger.runs.close("df-1")

    told = collect(ledger, "df-1")
    page = render(told)

    assert told.verdict.sentence == "Failed: nothing was sent."
    assert told.verdict.tone == "bad"
    assert "Zendesk does not accept the credential" in page
    assert "Zendesk says no" in page
    assert "Nothing was sent." in page


# --- what was not delivered -------------------------------------------------------------------


def test_what_must_be_mended_comes_first_with_its_steps_and_examples(ledger, clock):
    told = collect(ledger, story(ledger, clock))

    assert [(r.outcome, r.code, r.rows) for r in told.reasons] == [
        ("failed", "invalid_value", 3),
        ("failed", "rejected_by_zendesk", 2),
        ("unconfirmed", "unconfirmed", 1),
        ("skipped", "duplicate", 2),
    ]
    invalid, rejected, unconfirmed, _ = told.reasons
    assert [(row.row, row.external_id) for row in invalid.examples] == [
        (1, "C-1"), (2, "C-2"), (3, "C-3")
    ]  # fmt: skip
    assert [(row.row, row.email) for row in rejected.examples] == [
        (6, "person6@example.com"), (7, "person7@example.com")
    ]  # fmt: skip
    assert (unconfirmed.command, unconfirmed.fault) == ("deskfeed retry df-1", Fault.ZENDESK.words)
    page = render(told)
    for words in (*unconfirmed.causes, *unconfirmed.steps):
        assert words in html.unescape(page)


def test_examples_are_few_however_many_rows_failed(ledger, clock):
    planned(ledger, rejected=[refused(row) for row in range(1, 500)])

    (reason,) = collect(ledger, "df-1").reasons

    assert reason.rows == 499
    assert [row.row for row in reason.examples] == list(range(1, EXAMPLES + 1))


def test_identities_are_looked_for_in_few_batches(ledger, new_run, monkeypatch):
    ledger.runs.start(new_run())
    claimed = ledger.runs.claim_plan("df-1")
    for batch in range(1, 6):
        ledger.planning.add_rejected(claimed, batch, [refused(batch)])
    monkeypatch.setattr("worker.ledger.history.MOST_BATCHES", 3)

    (reason,) = collect(ledger, "df-1").reasons

    assert [row.external_id for row in reason.examples] == ["C-1", "C-2", "C-3", None, None]


def test_masked_no_identity_and_no_parameter_is_told(ledger, clock):
    story(ledger, clock, params={"since": "ada@example.com"})

    told = collect(ledger, "df-1", masked=True)
    page = render(told)

    people = {row.external_id for reason in told.reasons for row in reason.examples}
    assert people == {MASK}
    assert "example.com" not in page
    assert "C-1" not in page
    assert "is masked" in page
    unmasked = render(collect(ledger, "df-1"))
    assert "C-1" in unmasked
    assert "$since" in unmasked
    assert "(not kept: the run has ended)" in unmasked


def test_the_values_of_parameters_are_told_while_the_run_lives(ledger, clock):
    planned(ledger, chunks=[profiles(1, 4)], params={"since": "2026-01-31"})

    assert dict(collect(ledger, "df-1").options)["$since"] == "2026-01-31"
    assert dict(collect(ledger, "df-1", masked=True).options)["$since"] == MASK


# --- rate, jobs, timeline ---------------------------------------------------------------------


def test_the_rate_has_the_budget_of_the_start_the_pauses_and_the_429s(ledger, clock):
    told = collect(ledger, story(ledger, clock))

    assert told.rate.budget == 100
    assert sum(bucket.users for bucket in told.rate.buckets) == 85
    assert told.rate.peak == 40
    assert told.rate.refused == 1
    assert [(s.kind, s.at, s.seconds) for s in told.rate.spans] == [
        ("throttled", 1.5, 12.0),
        ("paused", 16.5, 30.0),
    ]


@pytest.mark.parametrize(("scope", "others"), [("account", False), ("chunk", True)])
def test_a_429_for_one_chunk_says_that_others_went_on(scope, others):
    data = {"scope": scope, "seconds": 8.0, "times": 1}
    posts = [Post(0, 0.0, 100), Post(6, 6.0, 100)]
    [span] = series.rate(posts, [Event(5.0, "run_throttled", None, data)], 100, None).spans

    assert ("others went on" in span.what) is others


def test_429s_close_together_are_one_event_with_their_number(ledger, clock):
    planned(ledger, chunks=[profiles(1, 1)])
    for _ in range(500):
        ledger.history.note_throttled("df-1", "account", 5.0)
        clock.advance(0.1)

    found = ledger.views.events("df-1", "run_throttled")

    assert len(found) == 5
    assert sum(event.data["times"] for event in found) == 500
    assert found[0].data["seconds"] == pytest.approx(15.0, abs=0.2)


def test_nothing_is_noted_of_a_run_that_has_ended(ledger, clock):
    story(ledger, clock)
    ledger.history.note_throttled("df-1", "account", 5.0)

    assert [e.kind for e in ledger.views.events("df-1")][-1] == "run_ended"


def test_delivery_notes_a_429(ready, delivery, ledger, zendesk):
    ready(1)
    zendesk.answers = [Throttled("too many", retry_after_seconds=7.0)]
    delivery.submit("df-1", 1)

    (noted,) = ledger.views.events("df-1", "run_throttled")
    assert noted.data == {"scope": "account", "seconds": 7.0, "times": 1}


def test_the_timeline_tells_in_order_what_happened(ledger, clock):
    told = collect(ledger, story(ledger, clock))

    assert [moment.what for moment in told.moments] == [
        "The run was started",
        "All rows were read, checked and spooled; sending began",
        "Zendesk accepted the first chunk",
        "Zendesk asked to wait with the account (429), 12 s",
        "The run was paused by a person",
        "The run went on",
        "Zendesk accepted the chunk that was sent last",
        "The run ended: finished with failures",
    ]
    assert told.digests == DIGESTS


def test_a_long_timeline_keeps_its_beginning_and_its_end():
    events = [Event(float(n), "run_paused", None, {}) for n in range(500)]
    told, left_out = timeline.moments(events)

    assert (len(told), left_out) == (timeline.MOST_MOMENTS, 440)
    assert (told[0].at, told[-1].at) == (0.0, 499.0)


def test_every_milestone_is_told_or_used():
    from worker.ledger.history import MILESTONES

    untold = {
        kind
        for kind in MILESTONES
        if not timeline.moments(
            [Event(0.0, kind, None, {"state": "failed", "what": "", "scope": "", "seconds": 1,
                                     "times": 1})]
        )[0]
    }  # fmt: skip
    assert untold == {"run_configured"}


@given(
    st.lists(
        st.tuples(st.floats(0, 5e5, allow_nan=False), st.integers(1, 100)), min_size=1, max_size=80
    )
)
def test_buckets_hold_every_user_and_are_few(pairs):
    posts = [Post(at, at, users) for at, users in sorted(pairs)]
    rate = series.rate(posts, [], 100, None)

    assert sum(bucket.users for bucket in rate.buckets) == sum(post.users for post in posts)
    assert 1 <= len(rate.buckets) <= series.MOST_BUCKETS
    assert max(bucket.users for bucket in rate.buckets) <= sum(post.users for post in posts)
    assert rate.peak >= max(post.users for post in posts)


@given(st.lists(st.floats(0, 1e5, allow_nan=False), min_size=1, max_size=200))
def test_bins_hold_every_job_and_are_few(seconds):
    told = series.jobs(sorted(seconds))

    assert sum(found.jobs for found in told.bins) == told.count == len(seconds)
    assert len(told.bins) <= series.MOST_BINS + 1
    assert told.median <= told.p95 <= told.longest
    for found in told.bins:
        inside = [s for s in seconds if found.least <= s < found.below]
        assert len(inside) == pytest.approx(found.jobs, abs=1)  # at an edge, by rounding


def test_peak_is_of_any_rolling_second():
    posts = [Post(0, stamp, users) for stamp, users in [(0.0, 60), (0.9, 40), (1.5, 50), (9.0, 1)]]
    assert series.peak(posts) == 100


# --- the page ---------------------------------------------------------------------------------


def test_a_run_of_ten_thousand_chunks_has_a_small_page_quickly():
    rng = random.Random(7)
    stamps = sorted(rng.uniform(0, 10_000) for _ in range(10_000))
    posts = [Post(at, at, 100) for at in stamps]
    events = [
        Event(float(n), "run_throttled", None, {"scope": "account", "seconds": 5, "times": 3})
        for n in range(0, 10_000, 10)
    ]
    begun = time.process_time()
    rate = series.rate(posts, events, 100, None)
    jobs = series.jobs(sorted(rng.uniform(5, 20) for _ in range(10_000)))
    moments, left_out = timeline.moments(events)

    assert time.process_time() - begun < 2.0
    assert len(rate.buckets) <= series.MOST_BUCKETS
    assert len(rate.spans) == series.MOST_SPANS
    assert rate.more_spans == 1000 - series.MOST_SPANS
    assert len(jobs.bins) <= series.MOST_BINS + 1
    assert len(moments) + left_out == 1000


EVIL = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "</title></style><style>*{display:none}</style>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202eevil\u2066\u200b",
    "&lt;b&gt; & ' \"",
    "x" * 5000,
    "\x00\x1b[31m",
)


def test_nothing_that_others_wrote_becomes_html(sqlite_ledger, clock):
    for number, evil in enumerate(EVIL):
        planned(
            sqlite_ledger, run_id=f"df-{number}", orchestration=evil[:60],
            key=f"key {evil[:200]}", params={"x": evil},
            rejected=[refused(1, detail=evil, external_id=evil, email=None)],
        )  # fmt: skip

        page = render(collect(sqlite_ledger, f"df-{number}"))

        assert "<script" not in page
        assert "<img" not in page
        assert page.count("<style>") == page.count("</style>") == 1
        assert not set("\u202e\u2066\u200b\x00\x1b") & set(page)
        assert "49" not in page.partition("What it ran with")[2]
        assert "x" * 400 not in page


def test_the_page_asks_for_nothing_and_its_policy_forbids_it(ledger, clock):
    page = render(collect(ledger, story(ledger, clock)))

    assert "default-src &#39;none&#39;; style-src &#39;sha256-" in page
    for word in (" src=", "url(http", "@import", "<link", "<script", " style=", '<a href="http'):
        assert word not in page, word
    assert page.count("href=") == 1


def test_invisible_characters_are_shown_and_joiners_are_left():
    assert plain("a\u202eb") == "a[U+202E]b"
    assert plain("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"
    assert len(plain("y" * 1000)) == 300


def test_what_stands_between_backticks_is_code_and_nothing_is_markup():
    assert coded("set `a: <b>` or <i>") == "set <code>a: &lt;b&gt;</code> or &lt;i&gt;"
    assert coded("one ` <alone>") == "one ` &lt;alone&gt;"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
     (90061, "1 d 1 h"), (86401, "1 d")],
)  # fmt: skip
def test_spans_are_said_in_two_units(seconds, said):
    assert span(seconds) == said


def test_shares_never_round_to_none_or_all():
    assert (percent(1, 10**6), percent(10**6 - 1, 10**6)) == ("< 0.1 %", "> 99.9 %")
    assert (percent(0, 5), percent(5, 5), percent(0, 0)) == ("0 %", "100 %", "-")


def test_no_such_run_is_said(sqlite_ledger):
    with pytest.raises(UsageError, match="there is no run"):
        collect(sqlite_ledger, "df-9")
