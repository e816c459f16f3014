"""When attempts are spent: what Zendesk has of the rows decides, and nothing is invented."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import forget
from sqlalchemy import select
from world import TARGET, profiles

from worker.delivery import Context, Delivery
from worker.errors import (
    Ambiguous,
    DestinationError,
    LimiterUnavailable,
    NotSent,
    Superseded,
    Throttled,
)
from worker.hints import Done, Failed, Finish, Wait
from worker.ledger.recovery import MOST_READ_BACKS, MOST_UNCLEAR
from worker.ledger.schema import chunks
from worker.ledger.states import ChunkState, RunState
from worker.profile import Profile
from worker.zendesk.replies import JobState, JobStatus, ResultItem


@pytest.fixture
def spent(ready, delivery, ledger, zendesk, clock, redis):
    """Return a function that makes a run of one chunk whose POSTs all ended unclear."""

    def make(size=2, **kwargs):
        ready(size, **kwargs)
        for _ in range(MOST_UNCLEAR):
            zendesk.answers = [Ambiguous("timed out")]
            delivery.submit("df-1", 1)
            forget(redis)
            clock.advance(20.0)
        return profiles(1, size)

    return make


def column(ledger, name, seq=1):
    with ledger.database.read() as connection:
        return connection.scalar(select(chunks.c[name]).where(chunks.c.seq == seq))


def reasons(ledger):
    return [(row.row, row.kind, row.code, row.detail) for row in ledger.views.not_delivered("df-1")]


def test_a_row_that_zendesk_shows_as_sent_is_updated(spent, delivery, ledger, zendesk):
    for profile in spent():
        zendesk.has(profile)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    view = ledger.views.run("df-1")
    assert view.run.state == RunState.SUCCEEDED
    assert (view.rows.updated, view.rows.created, view.posts) == (2, 0, MOST_UNCLEAR)
    assert zendesk.reads == [["C-1", "C-2"]]
    assert len(zendesk.posts) == MOST_UNCLEAR


def test_a_user_made_after_the_first_post_is_created(spent, delivery, ledger, zendesk, clock):
    first_post = clock.now
    before, after = spent()
    zendesk.has(before, created_at=first_post - 1)
    zendesk.has(after, created_at=first_post)

    delivery.submit("df-1", 1)
    rows = ledger.views.run("df-1").rows
    assert (rows.created, rows.updated) == (1, 1)


def test_a_row_that_zendesk_shows_otherwise_is_unconfirmed_and_names_the_fields(
    spent, delivery, ledger, zendesk
):
    same, other = spent()
    zendesk.has(same)
    zendesk.has(other, name="Somebody", email=None)

    delivery.submit("df-1", 1)
    assert ledger.views.run("df-1").rows.updated == 1
    detail = "Zendesk does not show what was sent in: email, name"
    assert reasons(ledger) == [(2, "unconfirmed", "unconfirmed", detail)]


def test_what_the_record_does_not_show_is_no_proof(spent, delivery, ledger, zendesk):
    (profile,) = spent(1)
    zendesk.has(profile, email="primary@example.com")

    delivery.submit("df-1", 1)
    detail = "Zendesk does not show what was sent in: email"
    assert reasons(ledger) == [(1, "unconfirmed", "unconfirmed", detail)]


def test_a_user_who_is_not_there_is_unconfirmed(spent, delivery, ledger):
    spent(1)

    delivery.submit("df-1", 1)
    assert [(row, kind) for row, kind, *_ in reasons(ledger)] == [(1, "unconfirmed")]


def test_another_case_of_an_external_id_is_found_and_is_no_proof(spent, delivery, ledger, zendesk):
    (profile,) = spent(1)
    zendesk.has(profile, external_id="c-1")

    delivery.submit("df-1", 1)
    assert reasons(ledger)[0][3] == "Zendesk does not show what was sent in: external_id"


def test_rows_with_an_email_only_are_not_looked_up(
    new_run, delivery, ledger, zendesk, clock, redis
):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    user = {"email": "a@example.com", "name": "A"}
    ledger.planning.add_chunks(run, 1, [[Profile(1, user)]])
    ledger.planning.complete(run)
    delivery.admit("df-1")
    for _ in range(MOST_UNCLEAR):
        zendesk.answers = [Ambiguous("timed out")]
        delivery.submit("df-1", 1)
        forget(redis)
        clock.advance(20.0)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    assert zendesk.reads == []
    assert ledger.views.run("df-1").rows.unconfirmed == 1


def test_what_the_last_job_said_of_some_rows_holds(ready, delivery, ledger, zendesk, clock, redis):
    ready(3)
    for attempt in range(1, MOST_UNCLEAR + 1):
        delivery.submit("df-1", 1)
        job = f"V3-{attempt}"
        refused = ResultItem(external_id="C-2", failed=True, error="UserUpdateError", details="no")
        zendesk.statuses = [
            {job: JobStatus(job, JobState.COMPLETED, results=(zendesk.jobs[job][0], refused))}
        ]
        forget(redis)
        clock.advance(60.0)
        delivery.poll("df-1", 1)
        forget(redis)
        clock.advance(60.0)

    delivery.submit("df-1", 1)
    rows = ledger.views.run("df-1").rows
    assert (rows.created, rows.failed, rows.unconfirmed) == (1, 1, 1)
    assert zendesk.reads == [["C-3"]]


def test_what_a_job_said_before_another_post_holds_no_more(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(2)
    delivery.submit("df-1", 1)
    told = JobStatus("V3-1", JobState.COMPLETED, results=zendesk.jobs["V3-1"][:1])
    zendesk.statuses = [{"V3-1": told}]
    forget(redis)
    clock.advance(60.0)
    delivery.poll("df-1", 1)
    assert column(ledger, "known") is not None
    clock.advance(60.0)
    forget(redis)
    zendesk.answers = [Ambiguous("timed out")]
    delivery.submit("df-1", 1)

    assert column(ledger, "known") is None


def test_many_rows_are_read_in_batches_each_with_its_permit(
    new_run, delivery, ledger, zendesk, clock, redis, limiter, monkeypatch
):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    long = [replace(p, user={**p.user, "external_id": f"{p.row}" * 400}) for p in profiles(1, 40)]
    ledger.planning.add_chunks(run, 1, [long])
    ledger.planning.complete(run)
    delivery.admit("df-1")
    for _ in range(MOST_UNCLEAR):
        zendesk.answers = [Ambiguous("timed out")]
        delivery.submit("df-1", 1)
        forget(redis)
        clock.advance(20.0)
    asked = []
    reserve = limiter.reserve
    monkeypatch.setattr(limiter, "reserve", lambda *a, **k: asked.append(1) or reserve(*a, **k))
    for profile in long:
        zendesk.has(profile)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    assert ledger.views.run("df-1").rows.updated == 40
    assert len(asked) == len(zendesk.reads) > 1


@pytest.mark.parametrize("path", ["post", "job", "worker"])
def test_every_way_of_spending_the_last_attempt_leads_to_the_read_back(
    ready, delivery, ledger, zendesk, clock, redis, times, path
):
    ready(1)
    for _ in range(MOST_UNCLEAR):
        if path == "post":
            zendesk.answers = [Ambiguous("timed out")]
            delivery.submit("df-1", 1)
        elif path == "job":
            delivery.submit("df-1", 1)
            zendesk.statuses = [{}]
            forget(redis)
            clock.advance(60.0)
            delivery.poll("df-1", 1)
        else:
            ledger.chunks.submitting(ledger.chunks.claim("df-1", 1, "dead"))
            clock.advance(times.lease)
            ledger.recovery.release_expired()
        assert ledger.views.run("df-1").chunks == {ChunkState.AMBIGUOUS: 1}
        forget(redis)
        clock.advance(times.settle)
    zendesk.has(profiles(1, 1)[0])
    posts = len(zendesk.posts)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    assert ledger.views.run("df-1").rows.updated == 1
    assert len(zendesk.posts) == posts


def test_the_read_back_waits_until_the_chunk_has_settled(ready, delivery, zendesk, clock, redis):
    ready(1)
    for _ in range(MOST_UNCLEAR):
        clock.advance(20.0)
        forget(redis)
        zendesk.answers = [Ambiguous("timed out")]
        delivery.submit("df-1", 1)

    clock.advance(17.0)
    assert delivery.submit("df-1", 1) == Done()
    assert zendesk.reads == []


# --- what keeps it waiting ------------------------------------------------------------------------


def test_without_a_permit_it_waits_as_long_as_it_takes(spent, delivery, ledger, limiter, zendesk):
    spent()
    limiter.pause(TARGET.account, 9.0, "test")

    step = delivery.submit("df-1", 1)
    assert isinstance(step, Wait)
    assert (step.why, step.message) == ("read_back_permit", True)
    assert column(ledger, "read_backs") == 0
    assert column(ledger, "attempt") == MOST_UNCLEAR
    assert zendesk.reads == []


def test_without_redis_it_waits(spent, delivery, ledger, limiter, monkeypatch):
    spent()

    def down(*args, **kwargs):
        raise LimiterUnavailable("Redis is away")

    monkeypatch.setattr(limiter, "reserve", down)
    assert delivery.submit("df-1", 1) == Wait(5.0, "limiter")
    assert column(ledger, "read_backs") == 0


def test_a_throttled_read_back_waits_and_is_no_failure(spent, delivery, ledger, zendesk):
    spent()
    zendesk.read_answers = [Throttled("429", retry_after_seconds=25.0)]

    assert delivery.submit("df-1", 1) == Wait(25.0, "rate_limited")
    assert column(ledger, "read_backs") == 0


def test_a_read_back_that_only_a_person_can_mend_pauses_the_destination(
    spent, delivery, ledger, zendesk
):
    spent()
    zendesk.read_answers = [DestinationError("401", code="invalid_credentials")]

    assert delivery.submit("df-1", 1) == Failed("invalid_credentials")
    assert ledger.runs.get("df-1").state == RunState.PAUSED
    assert (column(ledger, "read_backs"), column(ledger, "state")) == (0, ChunkState.WAITING)


def test_when_zendesk_is_away_it_is_tried_again_a_few_times(
    spent, delivery, ledger, zendesk, clock, redis
):
    spent()
    zendesk.read_answers = [NotSent("no route")] * (2 * MOST_READ_BACKS)
    waits = []
    for _ in range(MOST_READ_BACKS - 1):
        waits.append(delivery.submit("df-1", 1).seconds)
        clock.advance(30.0)
        forget(redis)

    assert waits == [5.0, 10.0, 20.0, 30.0]
    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    assert len(zendesk.reads) == MOST_READ_BACKS
    assert len(zendesk.posts) == MOST_UNCLEAR
    assert reasons(ledger)[0][1:] == (
        "unconfirmed",
        "unconfirmed",
        "Zendesk could not be asked what it has",
    )


def test_a_read_back_after_one_that_failed_counts(spent, delivery, ledger, zendesk, clock, redis):
    for profile in spent():
        zendesk.has(profile)
    zendesk.read_answers = [NotSent("no route")]
    delivery.submit("df-1", 1)
    clock.advance(5.0)
    forget(redis)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    assert ledger.views.run("df-1").rows.updated == 2


# --- others come between --------------------------------------------------------------------------


def test_a_reader_who_was_overtaken_writes_nothing(
    spent, delivery, ledger, zendesk, clock, times, monkeypatch
):
    (profile,) = spent(1)
    zendesk.has(profile)
    show = zendesk.users_show_many

    def slow(external_ids):
        clock.advance(times.lease)
        ledger.recovery.release_expired()
        assert ledger.chunks.claim("df-1", 1, "other") is not None
        return show(external_ids)

    monkeypatch.setattr(zendesk, "users_show_many", slow)
    assert delivery.submit("df-1", 1) == Done()
    assert ledger.views.run("df-1").rows.pending == 1
    assert ledger.views.run("df-1").chunks == {ChunkState.CLAIMED: 1}


def test_each_request_renews_the_claim_or_finds_it_gone(spent, ledger, clock, times):
    spent(1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    clock.advance(times.lease - 1)
    ledger.chunks.renew(claim)
    clock.advance(times.lease - 1)
    ledger.recovery.release_expired()
    assert column(ledger, "state") == ChunkState.CLAIMED

    clock.advance(1)
    ledger.recovery.release_expired()
    with pytest.raises(Superseded):
        ledger.chunks.renew(claim)


def test_a_run_stopped_before_the_read_back_ends_unconfirmed(spent, delivery, ledger, zendesk):
    for profile in spent():
        zendesk.has(profile)
    ledger.runs.stop("df-1")

    assert delivery.submit("df-1", 1) == Done()
    assert delivery.close("df-1") == (Finish("df-1"),)
    view = ledger.views.run("df-1")
    assert (view.run.state, view.rows.unconfirmed) == (RunState.STOPPED, 2)
    assert zendesk.reads == []


def test_a_missing_credential_pauses_the_destination(spent, ledger, limiter, times):
    spent()

    def none(_target):
        raise DestinationError("no credential", code="credential_missing")

    other = Delivery(Context(ledger=ledger, limiter=limiter, clients=none, times=times, owner="w"))
    assert other.submit("df-1", 1) == Failed("credential_missing")
    assert ledger.runs.get("df-1").state == RunState.PAUSED


def test_an_unclear_post_of_a_stopped_run_holds_its_slot_until_it_has_settled(
    ready, delivery, ledger, zendesk, clock
):
    ready(1)
    zendesk.answers = [Ambiguous("timed out")]
    delivery.submit("df-1", 1)
    free = ledger.chunks.free_job_slots(TARGET.account)
    ledger.runs.stop("df-1")
    delivery.close("df-1")
    assert ledger.runs.get("df-1").state == RunState.STOPPING
    assert ledger.chunks.free_job_slots(TARGET.account) == free

    clock.advance(20.0)
    delivery.close("df-1")
    view = ledger.views.run("df-1")
    assert (view.run.state, view.rows.unconfirmed) == (RunState.STOPPED, 1)
    assert ledger.chunks.free_job_slots(TARGET.account) == free + 1
