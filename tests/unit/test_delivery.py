"""The use-cases of a worker, without Celery: every answer of Zendesk has its consequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import Zendesk, forget
from sqlalchemy import select
from world import TARGET

from worker.delivery import Context, Delivery
from worker.errors import (
    Ambiguous,
    DestinationError,
    LedgerError,
    LimiterUnavailable,
    NotSent,
    Refused,
    Throttled,
)
from worker.hints import Deliver, Done, Failed, Finish, Poll, Wait
from worker.ledger.recovery import MOST_UNCLEAR
from worker.ledger.schema import chunks
from worker.ledger.states import ChunkState, RunState
from worker.limiter import Budget, Limiter
from worker.profile import OutcomeKind
from worker.zendesk.replies import Identity, JobState, JobStatus, ResultItem


def finish_all(delivery, ledger, clock, seconds=60.0):
    clock.advance(seconds)
    return delivery.poll("df-1", 1)


def test_a_chunk_travels_from_claim_to_outcome(ready, delivery, ledger, zendesk, clock):
    ready(3)

    step = delivery.submit("df-1", 1)
    assert step == Done((Poll("df-1", 1, pytest.approx(10.0 * 3 / 100 + 0.3)),))
    assert finish_all(delivery, ledger, clock) == Done((Finish("df-1"),))

    view = ledger.views.run("df-1")
    assert view.run.state == RunState.SUCCEEDED
    assert (view.rows.created, view.posts, view.run.polls) == (3, 1, 1)


def test_the_intent_is_in_the_ledger_when_the_post_leaves(
    ready, delivery, ledger, zendesk, monkeypatch
):
    ready(3)
    seen = []
    post = zendesk.create_or_update_many

    def posting(profiles):
        view = ledger.views.run("df-1")
        seen.append((view.chunks, view.posts))
        return post(profiles)

    monkeypatch.setattr(zendesk, "create_or_update_many", posting)
    delivery.submit("df-1", 1)
    assert seen == [({ChunkState.SUBMITTING: 1}, 1)]


def test_the_same_message_fifty_times_sends_once(ready, delivery, zendesk):
    ready(3)

    steps = [delivery.submit("df-1", 1) for _ in range(50)]
    assert len(zendesk.posts) == 1
    assert steps[1:] == [Done()] * 49


def test_a_message_for_a_run_that_does_not_exist_ends_quietly(delivery):
    assert delivery.submit("df-none", 1) == Done()
    assert delivery.poll("df-none", 1) == Done()


def test_a_submitted_chunk_lets_the_next_one_in(ready, delivery):
    ready(*[1] * 9)

    assert Deliver("df-1", 9) in delivery.submit("df-1", 1).hints


def test_a_slot_far_away_gives_the_claim_back_without_an_attempt(
    ready, delivery, ledger, zendesk, limiter
):
    ready(100)
    for number in range(3):
        limiter.reserve(
            TARGET.account,
            f"other-{number}",
            users=100,
            requests=1,
            budget=Budget(100, 400),
            max_wait_s=10.0,
        )

    step = delivery.submit("df-1", 1)

    assert isinstance(step, Wait)
    assert (step.why, step.message) == ("users", True)
    assert ledger.views.run("df-1").chunks == {ChunkState.WAITING: 1}
    assert ledger.views.run("df-1").posts == len(zendesk.posts) == 0


def test_without_a_free_job_slot_nothing_is_sent(ready, delivery, ledger, zendesk):
    from worker.ledger.records import Limits

    ready(1, 1, limits=Limits(100, 400, 1))
    delivery.submit("df-1", 1)

    assert delivery.submit("df-1", 2) == Wait(1.0, "job_slot")
    assert len(zendesk.posts) == 1


def test_without_redis_nothing_is_sent(ready, delivery, ledger, zendesk, monkeypatch, limiter):
    ready(1)

    def down(*args, **kwargs):
        raise LimiterUnavailable("Redis is away")

    monkeypatch.setattr(limiter, "reserve", down)
    step = delivery.submit("df-1", 1)
    assert isinstance(step, Wait)
    assert step.why == "limiter"
    assert zendesk.posts == []


def test_redis_lost_between_permit_and_send_sends_nothing(
    ready, delivery, ledger, zendesk, monkeypatch, limiter
):
    ready(1)

    def down(*args, **kwargs):
        raise LimiterUnavailable("Redis is away")

    monkeypatch.setattr(limiter, "confirm", down)
    assert isinstance(delivery.submit("df-1", 1), Wait)
    assert zendesk.posts == []
    assert ledger.views.run("df-1").posts == 0


def test_a_pause_between_permit_and_send_voids_the_permit(
    ready, delivery, ledger, zendesk, limiter, monkeypatch
):
    ready(1)
    confirm = limiter.confirm

    def paused_first(account, permit, **kwargs):
        limiter.pause(account, 60.0, "test")
        return confirm(account, permit, **kwargs)

    monkeypatch.setattr(limiter, "confirm", paused_first)
    assert delivery.submit("df-1", 1) == Wait(1.0, "permit_voided")
    assert zendesk.posts == []
    assert ledger.views.run("df-1").posts == 0


def test_a_run_paused_while_its_chunk_waits_for_the_slot_sends_nothing(
    ready, delivery, ledger, zendesk, limiter, monkeypatch
):
    ready(1)
    reserve = limiter.reserve

    def pausing(*args, **kwargs):
        ledger.runs.pause("df-1")
        return reserve(*args, **kwargs)

    monkeypatch.setattr(limiter, "reserve", pausing)
    assert delivery.submit("df-1", 1) == Done()
    assert zendesk.posts == []
    assert limiter.state(TARGET.account).bookings == 0


def test_too_many_requests_pauses_the_whole_account(ready, delivery, ledger, zendesk, limiter):
    ready(1, 1)
    zendesk.answers = [Throttled("429", retry_after_seconds=25.0)]

    assert delivery.submit("df-1", 1) == Wait(25.0, "rate_limited")
    assert limiter.state(TARGET.account).paused_s == pytest.approx(25.0, abs=2)
    step = delivery.submit("df-1", 2)
    assert isinstance(step, Wait)
    assert step.why == "paused"
    assert len(zendesk.posts) == 1


def test_a_long_pause_rests_in_the_ledger_without_a_message(ready, delivery, zendesk):
    ready(1)
    zendesk.answers = [Throttled("429", retry_after_seconds=600.0)]

    assert delivery.submit("df-1", 1) == Wait(600.0, "rate_limited", message=False)


def test_a_limit_on_one_user_cools_only_this_chunk(ready, delivery, zendesk, limiter):
    ready(1, 1)
    zendesk.answers = [Throttled("one user", retry_after_seconds=27.0, scope="chunk")]

    assert delivery.submit("df-1", 1) == Wait(27.0, "rate_limited")
    assert limiter.state(TARGET.account).paused_s == 0
    assert isinstance(delivery.submit("df-1", 2), Done)


def test_too_many_jobs_waits_without_pausing_the_account(ready, delivery, zendesk, limiter):
    ready(1)
    zendesk.answers = [Throttled("jobs", retry_after_seconds=None, scope="jobs")]

    assert delivery.submit("df-1", 1) == Wait(3.0, "too_many_jobs")
    assert limiter.state(TARGET.account).paused_s == 0


def test_waiting_because_zendesk_asked_never_spends_an_attempt(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(1)
    for _ in range(2 * MOST_UNCLEAR):
        zendesk.answers = [Throttled("429", retry_after_seconds=0.0)]
        delivery.submit("df-1", 1)
        forget(redis)
        clock.advance(1.0)

    assert isinstance(delivery.submit("df-1", 1), Done)
    finish_all(delivery, ledger, clock)
    view = ledger.views.run("df-1")
    assert view.rows.created == 1
    assert view.posts == len(zendesk.posts) == 2 * MOST_UNCLEAR + 1


def test_a_post_that_never_left_is_tried_again_and_not_counted(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(1)
    zendesk.answers = [NotSent("no route")]

    step = delivery.submit("df-1", 1)
    assert step == Wait(5.0, "destination_unavailable")
    assert ledger.views.run("df-1").posts == 0
    clock.advance(5.0)
    forget(redis)
    assert isinstance(delivery.submit("df-1", 1), Done)


def test_an_unclear_post_settles_and_goes_again(ready, delivery, ledger, zendesk, clock, redis):
    ready(1)
    zendesk.answers = [Ambiguous("timed out")]

    step = delivery.submit("df-1", 1)
    assert step == Wait(20.0, "unclear_answer")
    assert delivery.submit("df-1", 1) == Done()  # too early by far: nothing to wait for here
    clock.advance(20.0)
    assert isinstance(delivery.submit("df-1", 1), Done)
    assert zendesk.posts == [[1], [1]]


def test_when_all_attempts_ended_unclear_the_rows_are_unconfirmed(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(2)
    for _ in range(MOST_UNCLEAR):
        zendesk.answers = [Ambiguous("timed out")]
        delivery.submit("df-1", 1)
        forget(redis)
        clock.advance(20.0)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    view = ledger.views.run("df-1")
    assert view.run.state == RunState.FINISHED_WITH_FAILURES
    assert (view.rows.unconfirmed, view.posts) == (2, MOST_UNCLEAR)


@pytest.mark.parametrize("code", ["invalid_credentials", "authorization_error", "tls_error"])
def test_what_only_a_person_can_mend_pauses_the_destination(ready, delivery, ledger, zendesk, code):
    ready(1, 1)
    zendesk.answers = [DestinationError("no", code=code)]

    assert delivery.submit("df-1", 1) == Failed(code)
    assert ledger.runs.get("df-1").state == RunState.PAUSED
    assert delivery.submit("df-1", 2) == Done()
    assert len(zendesk.posts) == 1
    assert ledger.views.run("df-1").rows.pending == 2


def login(role, **changes):
    return Identity(user_id=1, role=role, **({"suspended": False, "anonymous": False} | changes))


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        (login("admin"), "bulk_import_disabled"),
        (login("agent"), "authorization_error"),
        (login("admin", suspended=True), "login_suspended"),
        (login("end-user"), "login_not_allowed"),
        (NotSent("no route"), "authorization_error"),
    ],
)
def test_a_forbidden_bulk_upsert_is_told_apart_by_who_asked(
    ready, delivery, ledger, zendesk, identity, code
):
    ready(1)
    zendesk.answers = [DestinationError("403", code="authorization_error")]
    zendesk.identity = identity

    assert delivery.submit("df-1", 1) == Failed(code)
    run = ledger.runs.get("df-1")
    assert (run.state, run.error["code"]) == (RunState.PAUSED, code)
    assert (zendesk.asked_who, ledger.views.run("df-1").rows.pending) == (1, 1)


def test_nobody_is_asked_where_the_refusal_says_why(ready, delivery, ledger, zendesk):
    ready(1)
    zendesk.answers = [DestinationError("403", code="bulk_import_disabled")]

    assert delivery.submit("df-1", 1) == Failed("bulk_import_disabled")
    assert zendesk.asked_who == 0


def test_after_resume_a_paused_destinations_chunks_are_sent(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(1)
    zendesk.answers = [DestinationError("no")]
    delivery.submit("df-1", 1)
    forget(redis)

    ledger.runs.resume("df-1")
    assert ledger.recovery.find_lost().deliver == (("df-1", 1),)
    assert isinstance(delivery.submit("df-1", 1), Done)


def test_a_missing_credential_pauses_the_destination_before_anything_is_sent(
    ready, ledger, limiter, times
):
    ready(1)

    def none(_target):
        raise DestinationError("no credential", code="credential_missing")

    delivery = Delivery(
        Context(ledger=ledger, limiter=limiter, clients=none, times=times, owner="w")
    )
    assert delivery.submit("df-1", 1) == Failed("credential_missing")
    assert ledger.runs.get("df-1").state == RunState.PAUSED
    assert ledger.views.run("df-1").posts == 0


def test_a_refused_chunk_is_halved_until_the_row_at_fault_stands_alone(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(8)
    bad = 6
    pending = [1]

    class Refusing(Zendesk):
        def create_or_update_many(self, profiles):
            if bad in [p.row for p in profiles]:
                self.posts.append([p.row for p in profiles])
                raise Refused("422 RecordInvalid")
            return super().create_or_update_many(profiles)

    refusing = Refusing()
    halving = Delivery(
        Context(
            ledger=ledger,
            limiter=Limiter(redis),
            clients=lambda _t: refusing,
            times=delivery._context.times,
            owner="w",
        )
    )
    while pending:
        step = halving.submit("df-1", pending.pop())
        forget(redis)
        pending.extend(hint.seq for hint in step.hints if isinstance(hint, Deliver))
    clock.advance(60.0)
    halving.poll("df-1", 3)

    view = ledger.views.run("df-1")
    assert view.rows.agree
    assert (view.rows.created, view.rows.failed, view.rows.pending) == (7, 1, 0)
    (failure,) = ledger.views.not_delivered("df-1")
    assert (failure.row, failure.code) == (bad, "rejected_by_zendesk")
    assert len(refusing.posts) == 7


def test_one_look_answers_for_all_jobs_that_are_due(ready, delivery, ledger, zendesk, clock, redis):
    ready(*[1] * 5)
    for seq in range(1, 6):
        delivery.submit("df-1", seq)
        forget(redis)

    step = finish_all(delivery, ledger, clock)
    assert len(zendesk.looks) == 1
    assert len(zendesk.looks[0]) == 5
    assert step == Done((Finish("df-1"),))
    assert delivery.poll("df-1", 2) == Done()


def test_too_many_failures_while_sending_stop_the_run_and_cancel_the_rest(
    ready, delivery, ledger, zendesk, clock
):
    ready(10, 10, 10, options={"max_failed_percent": 10})
    delivery.submit("df-1", 1)
    rows = [ResultItem(id=n, status="Failed", failed=True, details="no") for n in range(10)]
    zendesk.statuses = [{"V3-1": JobStatus("V3-1", JobState.COMPLETED, results=tuple(rows))}]
    clock.advance(20.0)
    step = delivery.poll("df-1", 1)

    assert step.hints[-1] == Finish("df-1")
    view = ledger.views.run("df-1")
    assert (view.run.state, view.run.error["code"]) == (RunState.FAILED, "threshold_exceeded")
    assert view.reasons == {("failed", "rejected_by_zendesk"): 10, ("skipped", "cancelled"): 20}
    assert delivery.submit("df-1", 2) == Done()
    assert len(zendesk.posts) == 1


def test_a_job_that_still_runs_is_looked_at_again(ready, delivery, ledger, zendesk, clock, redis):
    ready(1)
    delivery.submit("df-1", 1)
    zendesk.statuses = [{"V3-1": JobStatus("V3-1", JobState.WORKING, results=None)}]

    (poll,) = finish_all(delivery, ledger, clock, 1.0).hints
    assert isinstance(poll, Poll)
    assert 1.0 < poll.in_seconds < 2.0
    forget(redis)
    assert finish_all(delivery, ledger, clock, 2.0) == Done((Finish("df-1"),))


def test_a_message_a_little_early_comes_again_when_it_is_due(ready, delivery, clock):
    ready(1)
    (poll,) = delivery.submit("df-1", 1).hints
    clock.advance(poll.in_seconds - 0.05)

    assert delivery.poll("df-1", 1) == Wait(pytest.approx(0.05, abs=0.001), "not_due")


def test_a_job_unknown_right_after_it_was_made_is_patience(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(1)
    delivery.submit("df-1", 1)
    zendesk.statuses = [{}]

    finish_all(delivery, ledger, clock, 1.0)
    assert ledger.views.run("df-1").chunks == {ChunkState.POLLING: 1}


def test_a_job_that_vanished_is_sent_again_and_gives_real_results(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(1)
    delivery.submit("df-1", 1)
    zendesk.statuses = [{}]

    step = finish_all(delivery, ledger, clock, 60.0)
    assert step == Done((Deliver("df-1", 1, 20.0),))
    clock.advance(20.0)
    forget(redis)
    delivery.submit("df-1", 1)
    forget(redis)
    finish_all(delivery, ledger, clock)
    view = ledger.views.run("df-1")
    assert (view.rows.created, view.posts) == (1, 2)


def test_results_that_match_nothing_are_never_a_success(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(2)
    for attempt in range(1, MOST_UNCLEAR + 1):
        delivery.submit("df-1", 1)
        job = f"V3-{attempt}"
        zendesk.statuses = [{job: JobStatus(job, JobState.COMPLETED, results=())}]
        forget(redis)
        finish_all(delivery, ledger, clock)
        forget(redis)
        clock.advance(60.0)
    delivery.submit("df-1", 1)

    view = ledger.views.run("df-1")
    assert (view.rows.unconfirmed, view.rows.created, view.posts) == (2, 0, MOST_UNCLEAR)
    assert view.run.state == RunState.FINISHED_WITH_FAILURES


def test_a_stuck_job_counts_as_lost_after_its_deadline(
    ready, delivery, ledger, zendesk, clock, redis, times
):
    ready(1)
    delivery.submit("df-1", 1)
    zendesk.statuses = [{"V3-1": JobStatus("V3-1", JobState.WORKING, results=None)}]

    finish_all(delivery, ledger, clock, times.job_deadline + 1)
    assert ledger.views.run("df-1").chunks == {ChunkState.AMBIGUOUS: 1}


@pytest.mark.parametrize(
    "error",
    [
        NotSent("no route"),
        Throttled("429", retry_after_seconds=4.0),
        DestinationError("401", code="invalid_credentials"),
    ],
)
def test_a_look_that_fails_changes_nothing_but_its_time(
    ready, delivery, ledger, zendesk, clock, redis, error
):
    ready(1)
    delivery.submit("df-1", 1)
    zendesk.statuses = [error]

    step = finish_all(delivery, ledger, clock)
    assert [type(hint) for hint in step.hints] == [Poll]
    assert ledger.views.run("df-1").chunks == {ChunkState.POLLING: 1}
    with ledger.database.read() as connection:  # a look that told nothing teaches nothing
        assert connection.scalar(select(chunks.c.looks)) == 0


def test_jobs_in_flight_of_a_stopped_run_are_followed_to_their_end(
    ready, delivery, ledger, zendesk, clock
):
    ready(2, 2)
    delivery.submit("df-1", 1)
    ledger.runs.stop("df-1")
    assert delivery.submit("df-1", 2) == Done()

    assert finish_all(delivery, ledger, clock) == Done((Finish("df-1"),))
    view = ledger.views.run("df-1")
    assert view.run.state == RunState.STOPPED
    assert (view.rows.created, view.rows.skipped) == (2, 2)


def test_failed_rows_of_a_job_are_failed_rows(ready, delivery, ledger, zendesk, clock):
    ready(3)
    delivery.submit("df-1", 1)
    first, _, third = zendesk.jobs["V3-1"]
    refused = ResultItem(id=1, status="Failed", failed=True, error="UserUpdateError", details="no")
    zendesk.jobs["V3-1"] = (first, refused, third)

    finish_all(delivery, ledger, clock)
    view = ledger.views.run("df-1")
    assert (view.rows.created, view.rows.failed) == (2, 1)
    (failure,) = ledger.views.not_delivered("df-1", (OutcomeKind.FAILED,))
    assert failure.row == 2


def test_jobs_that_still_run_are_looked_at_again_together(
    ready, delivery, ledger, zendesk, clock, redis
):
    ready(*[1] * 4)
    for seq in range(1, 5):
        delivery.submit("df-1", seq)
        forget(redis)
    working = {f"V3-{n}": JobStatus(f"V3-{n}", JobState.WORKING) for n in (1, 2, 3)}
    done = JobStatus("V3-4", JobState.COMPLETED, results=zendesk.jobs["V3-4"])
    zendesk.statuses = [{**working, "V3-4": done}]

    (poll,) = finish_all(delivery, ledger, clock, 5.0).hints
    forget(redis)
    assert finish_all(delivery, ledger, clock, poll.in_seconds) == Done((Finish("df-1"),))
    assert [len(look) for look in zendesk.looks] == [4, 3]


def test_a_throttled_look_pauses_the_account(ready, delivery, ledger, zendesk, clock, limiter):
    ready(1, 1)
    delivery.submit("df-1", 1)
    zendesk.statuses = [Throttled("429", retry_after_seconds=60.0)]
    finish_all(delivery, ledger, clock)

    step = delivery.submit("df-1", 2)
    assert isinstance(step, Wait)
    assert step.why == "paused"


def test_a_refused_credential_keeps_no_other_destination_of_the_account_waiting(
    ready, ledger, limiter, times, clock, redis
):
    good, bad = Zendesk(), Zendesk(statuses=[DestinationError("401")] * 9)
    other = replace(TARGET, destination="other", credential="other")
    delivery = Delivery(
        Context(
            ledger=ledger,
            limiter=limiter,
            clients=lambda target: bad if target == TARGET else good,
            times=times,
            owner="w",
        )
    )
    ready(1, run_id="df-1")
    delivery.submit("df-1", 1)
    forget(redis)
    ready(1, run_id="df-2", orchestration="second", target=other)
    delivery.submit("df-2", 1)
    forget(redis)

    step = finish_all(delivery, ledger, clock)
    assert Finish("df-2") in step.hints
    assert ledger.runs.get("df-2").state == RunState.SUCCEEDED
    assert ledger.runs.get("df-1").state == RunState.PAUSED


def test_a_job_that_nobody_may_look_at_is_given_up_at_its_deadline(
    ready, delivery, ledger, zendesk, clock, times
):
    ready(1)
    delivery.submit("df-1", 1)
    ledger.runs.stop("df-1")
    zendesk.statuses = [DestinationError("401")]

    finish_all(delivery, ledger, clock, times.job_deadline + 1)
    clock.advance(times.settle)  # until then its job may hold a slot
    assert delivery.close("df-1") == (Finish("df-1"),)
    view = ledger.views.run("df-1")
    assert (view.run.state, view.rows.unconfirmed) == (RunState.STOPPED, 1)


def test_pauses_while_a_chunk_is_claimed_are_no_crashes(
    ready, delivery, ledger, zendesk, limiter, monkeypatch, clock
):
    ready(1)
    reserve = limiter.reserve

    def pausing(*args, **kwargs):
        ledger.runs.pause("df-1")
        return reserve(*args, **kwargs)

    monkeypatch.setattr(limiter, "reserve", pausing)
    for _ in range(6):
        assert delivery.submit("df-1", 1) == Done()
        assert ledger.views.run("df-1").chunks == {ChunkState.WAITING: 1}
        ledger.runs.resume("df-1")
        clock.advance(1.0)
    assert zendesk.posts == []


def test_a_delivery_message_a_little_early_waits_until_it_is_due(
    ready, delivery, ledger, clock, zendesk
):
    ready(1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.wait(claim, 1.5, "users")

    sleeping = Delivery(replace(delivery._context, sleep=clock.advance))
    assert isinstance(sleeping.submit("df-1", 1).hints[0], Poll)
    assert zendesk.posts == [[1]]


def test_a_doubled_message_of_a_chunk_that_waits_from_second_to_second_does_not_stay_two(
    ready, delivery, ledger, clock
):
    """Seed 1442 of the simulation: each came again and again, and all that were doubled since."""
    ready(1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.wait(claim, 0.3, "job_slot")

    def sleep(seconds):
        clock.advance(seconds)
        other = ledger.chunks.claim("df-1", 1, "v")
        ledger.chunks.wait(other, 1.0, "job_slot")

    doubled = Delivery(replace(delivery._context, sleep=sleep))
    assert doubled.submit("df-1", 1) == Done()


def test_a_job_is_not_lost_because_the_ledger_is_away_when_its_id_is_to_be_written(
    ready, delivery, zendesk, ledger, monkeypatch
):
    ready(1)
    accepted, refusals = ledger.chunks.accepted, [LedgerError("the disk is full")] * 3

    def write(*words):
        if refusals:
            raise refusals.pop()
        return accepted(*words)

    monkeypatch.setattr(ledger.chunks, "accepted", write)
    assert delivery.submit("df-1", 1).hints[0] == Poll("df-1", 1, pytest.approx(10.0, abs=10.0))

    assert zendesk.posts == [[1]]
    assert ledger.views.run("df-1").chunks == {ChunkState.POLLING: 1}
