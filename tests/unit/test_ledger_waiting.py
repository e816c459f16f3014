"""Who waits for what and how long, as `limits show` tells it."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from world import LIMITS, TARGET

from worker.ledger.records import Limits, Standing, Waiting
from worker.ledger.schema import chunks
from worker.ledger.states import RunState

ACCOUNT = TARGET.account


@pytest.fixture
def take(ledger):
    """Return a function that claims a chunk."""

    def claim(seq=1, run_id="df-1"):
        ledger.chunks.admit(run_id, 100)
        return ledger.chunks.claim(run_id, seq, "w")

    return claim


def waiting(ledger):
    return ledger.views.account(ACCOUNT).waiting


def test_chunks_that_wait_are_told_per_run_and_reason_the_longest_first(
    ledger, sending, take, clock
):
    sending(1, 1, 1)
    sending(1, run_id="df-2", orchestration="other")
    ledger.chunks.wait(take(1), 9.0, "users")
    clock.advance(2.0)
    ledger.chunks.wait(take(2), 5.0, "users")
    ledger.chunks.wait(take(3), 1.0, "job_slot")
    clock.advance(1.0)
    ledger.chunks.wait(take(1, "df-2"), 3.0, "users")
    clock.advance(1.0)

    sends = RunState.SENDING
    assert waiting(ledger) == (
        Waiting("df-1", "loyalty", sends, "users", 2, waited_seconds=4.0, next_in_seconds=3.0),
        Waiting("df-1", "loyalty", sends, "job_slot", 1, waited_seconds=2.0, next_in_seconds=0.0),
        Waiting("df-2", "other", sends, "users", 1, waited_seconds=1.0, next_in_seconds=2.0),
    )


def test_a_chunk_given_back_again_and_again_waits_since_the_first_time(
    ledger, sending, take, clock
):
    sending(1)
    for _ in range(3):
        ledger.chunks.wait(take(), 10.0, "users")
        clock.advance(10.0)

    (found,) = waiting(ledger)
    assert found.waited_seconds == 30.0


def test_a_refused_post_does_not_end_the_waiting(ledger, sending, take, clock):
    sending(1)
    ledger.chunks.wait(take(), 10.0, "users")
    clock.advance(10.0)
    claim = take()
    ledger.chunks.submitting(claim)
    ledger.chunks.unsubmit(claim, 5.0, "rate_limited", sent=True)

    (found,) = waiting(ledger)
    assert (found.why, found.waited_seconds) == ("rate_limited", 10.0)


def test_waiting_begins_anew_after_zendesk_accepted_the_chunk(ledger, sending, take, clock):
    sending(1)
    ledger.chunks.wait(take(), 10.0, "users")
    clock.advance(10.0)
    claim = take()
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    assert waiting(ledger) == ()

    clock.advance(60.0)
    (due,) = ledger.polling.take_due(ACCOUNT)
    ledger.polling.lost(due, 20.0, "job_lost", message=True)
    clock.advance(3.0)
    (found,) = waiting(ledger)
    assert (found.why, found.waited_seconds, found.next_in_seconds) == ("job_lost", 3.0, 17.0)


def test_a_post_that_may_have_arrived_waits_to_settle(ledger, sending, take, clock):
    sending(1)
    claim = take()
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 20.0, "unclear_answer")
    clock.advance(8.0)

    (found,) = waiting(ledger)
    assert (found.why, found.waited_seconds, found.next_in_seconds) == ("unclear_answer", 8.0, 12.0)


def test_a_post_whose_worker_died_waits_from_when_that_was_found(
    ledger, sending, take, clock, times
):
    sending(1)
    ledger.chunks.submitting(take())
    clock.advance(times.lease)
    ledger.recovery.release_expired()
    clock.advance(4.0)

    (found,) = waiting(ledger)
    assert (found.why, found.waited_seconds) == ("worker_lost", 4.0)


def test_chunks_of_a_paused_run_still_wait_and_the_run_is_told_to_be_paused(ledger, sending, take):
    sending(1)
    ledger.chunks.wait(take(), 10.0, "users")
    ledger.runs.pause("df-1")

    (found,) = waiting(ledger)
    assert found.state == RunState.PAUSED


def test_a_chunk_that_waited_before_waiting_was_recorded_is_told_last(ledger, sending, take, clock):
    sending(1, 1)
    ledger.chunks.wait(take(1), 10.0, "users")
    ledger.chunks.wait(take(2), 10.0, "job_slot")
    with ledger.database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.seq == 1).values(waiting_since=None))

    assert [(one.why, one.waited_seconds) for one in waiting(ledger)] == [
        ("job_slot", 0.0),
        ("users", None),
    ]


def test_an_account_is_shown_with_its_limits_and_job_slots(ledger, sending, take, clock):
    sending(1, 1)
    claim = take()
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    lowered = ledger.limits.lower(ACCOUNT, "jobs_in_flight", 3, 60.0, "eve")
    ledger.polling.lower_job_cap(ACCOUNT, 30.0)
    ledger.polling.learn(ACCOUNT, 4.5)

    view = ledger.views.account(ACCOUNT)
    assert (view.account, view.at, view.jobs, view.waiting) == (ACCOUNT, clock.now, 1, ())
    assert view.standing == Standing(LIMITS, (lowered,), 1, clock.now + 30.0, 4.5)
    assert view.standing.limits == Limits(100, 400, 1)


def test_another_accounts_chunks_are_not_shown(ledger, sending, take):
    sending(1)
    ledger.chunks.wait(take(), 10.0, "users")

    view = ledger.views.account("other.zendesk.com", declared=LIMITS)
    assert (view.standing, view.jobs, view.waiting) == (Standing(LIMITS), 0, ())


def test_the_ledger_knows_accounts_of_runs_and_those_whose_limits_were_lowered(
    ledger, sending, clock
):
    assert ledger.views.accounts() == []
    assert ledger.views.account(ACCOUNT) is None
    sending(1)
    for account in ("b.zendesk.com", ACCOUNT):
        ledger.limits.lower(account, "jobs_in_flight", 1, 60.0, "eve", declared=LIMITS)
    assert ledger.views.accounts() == [ACCOUNT, "b.zendesk.com"]

    clock.advance(60.0)
    assert ledger.views.accounts() == [ACCOUNT]
