"""What a chunk may do: claims, fences, leases, slots, outcomes, and what is kept of people."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from world import LIMITS, TARGET

from worker.digests import digest
from worker.errors import Superseded
from worker.ledger import spool
from worker.ledger.records import Limits
from worker.ledger.recovery import MOST_CLAIMS_LOST, MOST_UNCLEAR
from worker.ledger.schema import chunks, delivered, payloads
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind


def claim_of(ledger, seq=1, run_id="df-1"):
    ledger.chunks.admit(run_id, 100)
    return ledger.chunks.claim(run_id, seq, "w")


def submitted(ledger, seq=1, run_id="df-1", likely=10.0):
    claim = claim_of(ledger, seq, run_id)
    assert ledger.chunks.submitting(claim)
    return claim, ledger.chunks.accepted(claim, f"V3-{seq}", likely, 0.0)


def looked_at(ledger, clock):
    clock.advance(100.0)
    return ledger.polling.take_due(TARGET.account)


def state_of(ledger, seq=1, run_id="df-1"):
    with ledger.database.read() as connection:
        return ChunkState(
            connection.scalar(
                select(chunks.c.state).where(chunks.c.run_id == run_id, chunks.c.seq == seq)
            )
        )


def kept(ledger, seq=1):
    with ledger.database.read() as connection:
        row = connection.execute(select(payloads).where(payloads.c.seq == seq)).one_or_none()
    return None if row is None else (spool.decode_profiles(row.blob, row.codec), row.expires_at)


def known_digests(ledger):
    with ledger.database.read() as connection:
        return connection.execute(select(delivered)).all()


def test_the_window_lets_in_only_so_many_unsubmitted_chunks(ledger, sending):
    sending(*[1] * 20)

    assert ledger.chunks.admit("df-1", 8) == list(range(1, 9))
    assert ledger.chunks.admit("df-1", 8) == []
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 10.0, 0.0)
    assert ledger.chunks.admit("df-1", 8) == [9]


def test_a_message_delivered_twice_is_claimed_once(ledger, sending):
    sending(1)
    ledger.chunks.admit("df-1", 8)

    assert ledger.chunks.claim("df-1", 1, "a") is not None
    assert ledger.chunks.claim("df-1", 1, "b") is None


@pytest.mark.parametrize(("options", "share"), [({"share": 3}, 3.0), ({}, 1.0)])
def test_a_claim_tells_the_share_of_its_run(ledger, sending, options, share):
    sending(1, options=options)

    assert claim_of(ledger).share == share


def test_a_waiting_chunk_is_not_claimed_before_its_time(ledger, sending, clock):
    sending(1)
    ledger.chunks.wait(claim_of(ledger), 5.0, "users")

    assert ledger.chunks.claim("df-1", 1, "w") is None
    clock.advance(5.0)
    assert ledger.chunks.claim("df-1", 1, "w").fence == 2


def test_waiting_uses_no_attempt(ledger, sending, clock):
    sending(1)
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    ledger.chunks.unsubmit(claim, 1.0, "permit_voided", sent=False)
    clock.advance(1.0)

    again = ledger.chunks.claim("df-1", 1, "w")
    assert (again.attempt, again.spent) == (0, 0)


def test_a_post_that_was_refused_stays_counted(ledger, sending, clock):
    sending(1)
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    ledger.chunks.unsubmit(claim, 1.0, "rate_limited", sent=True)

    assert ledger.views.run("df-1").posts == 1


def test_a_stale_worker_cannot_write(ledger, sending, clock, times):
    sending(1)
    old = claim_of(ledger)
    ledger.chunks.submitting(old)
    ledger.chunks.accepted(old, "V3-1", 10.0, 0.0)
    with ledger.database.write() as connection:
        connection.execute(chunks.update().values(fence=chunks.c.fence + 1))

    with pytest.raises(Superseded):
        ledger.outcomes.finish("df-1", 1, old.fence, [Outcome(1, OutcomeKind.CREATED)])
    assert state_of(ledger) == ChunkState.POLLING


def test_a_worker_whose_lease_expired_cannot_submit(ledger, sending, clock, times):
    sending(1)
    old = claim_of(ledger)
    clock.advance(times.lease)
    ledger.recovery.release_expired()

    assert state_of(ledger) == ChunkState.QUEUED
    with pytest.raises(Superseded):
        ledger.chunks.submitting(old)
    assert ledger.chunks.claim("df-1", 1, "other").fence == old.fence + 2


def test_a_worker_overtaken_by_another_one_cannot_submit(ledger, sending, clock, times):
    sending(1)
    old = claim_of(ledger)
    clock.advance(times.lease)
    ledger.recovery.release_expired()
    later = ledger.chunks.claim("df-1", 1, "later")

    with pytest.raises(Superseded):
        ledger.chunks.submitting(old)
    assert ledger.chunks.submitting(later)


def test_a_sweeper_that_was_slow_takes_nothing_from_the_next_worker(
    ledger, sending, clock, times, monkeypatch
):
    sending(1)
    claim_of(ledger)
    clock.advance(times.lease)
    seen = ledger.recovery._overdue(ChunkState.CLAIMED)
    ledger.recovery.release_expired()  # another sweeper, which was quicker
    later = ledger.chunks.claim("df-1", 1, "later")

    monkeypatch.setattr(
        ledger.recovery, "_overdue", lambda *states: [row for row in seen if row.state in states]
    )
    ledger.recovery.release_expired()
    assert ledger.chunks.submitting(later)


def test_a_result_that_comes_too_late_leaves_the_rows_to_be_sent(ledger, sending, clock):
    sending(1)
    claim, _ = submitted(ledger)
    [due] = looked_at(ledger, clock)
    ledger.polling.lost(due, 0.0, "job_vanished", message=True)

    with pytest.raises(Superseded):
        ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])
    again = ledger.chunks.claim("df-1", 1, "w")
    assert [profile.row for profile in again.profiles] == [1]


def test_a_submission_whose_worker_died_settles_and_goes_again(ledger, sending, clock, times):
    sending(1)
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    clock.advance(times.lease)
    ledger.recovery.release_expired()

    assert state_of(ledger) == ChunkState.AMBIGUOUS
    assert ledger.chunks.claim("df-1", 1, "w") is None
    clock.advance(times.settle)
    again = ledger.chunks.claim("df-1", 1, "w")
    assert (again.attempt, again.spent) == (1, 1)


def test_a_lease_that_is_not_over_is_left_alone(ledger, sending, clock, times):
    sending(1)
    claim_of(ledger)
    clock.advance(times.lease - 0.001)
    ledger.recovery.release_expired()

    assert state_of(ledger) == ChunkState.CLAIMED


def test_a_chunk_that_kills_five_workers_in_a_row_is_quarantined(ledger, sending, clock, times):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    for _ in range(MOST_CLAIMS_LOST):
        assert ledger.chunks.claim("df-1", 1, "w") is not None
        clock.advance(times.lease)
        ledger.recovery.release_expired()

    assert state_of(ledger) == ChunkState.QUARANTINED
    assert ledger.runs.close("df-1") == RunState.FINISHED_WITH_FAILURES
    assert ledger.views.run("df-1").reasons == {("failed", "quarantined"): 2}


def dies_on(ledger, clock, times):
    """A worker claims the first chunk and is not heard of again."""
    assert ledger.chunks.claim("df-1", 1, "w") is not None
    clock.advance(times.lease)
    ledger.recovery.release_expired()


def test_waits_between_crashes_do_not_count_towards_quarantine(ledger, sending, clock, times):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    for _ in range(MOST_CLAIMS_LOST - 1):
        dies_on(ledger, clock, times)
        ledger.chunks.wait(ledger.chunks.claim("df-1", 1, "w"), 0.0, "users")

    assert state_of(ledger) == ChunkState.WAITING


def test_a_wait_between_them_makes_no_crash_forgotten(ledger, sending, clock, times):
    """Where every slot is taken a chunk waits before it is sent; it would kill workers for ever."""
    sending(2)
    ledger.chunks.admit("df-1", 8)
    for _ in range(MOST_CLAIMS_LOST):
        ledger.chunks.wait(ledger.chunks.claim("df-1", 1, "w"), 0.0, "job_slot")
        dies_on(ledger, clock, times)

    assert state_of(ledger) == ChunkState.QUARANTINED


@pytest.mark.parametrize("sent", [True, False])
def test_a_worker_that_came_to_the_post_and_lived_makes_crashes_before_it_forgotten(
    ledger, sending, clock, times, sent
):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    for _ in range(2):
        for _ in range(MOST_CLAIMS_LOST - 1):
            dies_on(ledger, clock, times)
        claim = ledger.chunks.claim("df-1", 1, "w")
        assert ledger.chunks.submitting(claim)
        ledger.chunks.unsubmit(claim, 0.0, "throttled", sent=sent)

    assert state_of(ledger) == ChunkState.WAITING


def test_job_slots_are_counted_in_the_ledger(ledger, sending):
    sending(1, 1, 1, limits=Limits(100, 400, 2))
    first, _ = submitted(ledger, 1)
    submitted(ledger, 2)
    third = claim_of(ledger, 3)

    assert ledger.chunks.free_job_slots(TARGET.account) == 0
    assert ledger.chunks.submitting(third) is False
    ledger.outcomes.finish("df-1", 1, first.fence, [Outcome(1, OutcomeKind.CREATED)])
    assert ledger.chunks.submitting(third) is True


def test_job_slots_belong_to_the_account_not_to_the_run(ledger, sending):
    sending(1, run_id="df-1", limits=Limits(100, 400, 1))
    submitted(ledger, 1, "df-1")
    sending(1, run_id="df-2", orchestration="other", limits=Limits(100, 400, 1))

    assert ledger.chunks.submitting(claim_of(ledger, 1, "df-2")) is False


def test_an_ambiguous_chunk_holds_its_job_slot(ledger, sending):
    sending(1, 1, limits=Limits(100, 400, 1))
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 20.0, "unclear_answer")

    assert ledger.chunks.submitting(claim_of(ledger, 2)) is False


def test_outcomes_must_be_those_of_the_chunks_rows(ledger, sending):
    sending(2)
    claim, _ = submitted(ledger)

    with pytest.raises(ValueError, match="outcomes are not those of its rows"):
        ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])
    assert state_of(ledger) == ChunkState.POLLING


def test_a_second_result_of_the_same_job_is_dropped(ledger, sending):
    sending(1)
    claim, _ = submitted(ledger)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])

    for second in (Outcome(1, OutcomeKind.CREATED), Outcome(1, OutcomeKind.FAILED, "x")):
        with pytest.raises(Superseded):
            ledger.outcomes.finish("df-1", 1, claim.fence, [second])
    assert ledger.views.run("df-1").rows.created == 1


def test_delivered_people_leave_the_ledger_and_failed_ones_are_kept_for_a_week(
    ledger, sending, clock
):
    sending(3)
    claim, _ = submitted(ledger)
    ledger.outcomes.finish(
        "df-1",
        1,
        claim.fence,
        [
            Outcome(1, OutcomeKind.CREATED, zendesk_id=11),
            Outcome(2, OutcomeKind.FAILED, "rejected_by_zendesk", "no"),
            Outcome(3, OutcomeKind.UPDATED, zendesk_id=13),
        ],
    )

    profiles, expires_at = kept(ledger)
    assert [p.row for p in profiles] == [2]
    assert expires_at == clock.now + 7 * 24 * 3600
    assert list(ledger.views.delivered("df-1")) == [
        (1, OutcomeKind.CREATED, 11),
        (3, OutcomeKind.UPDATED, 13),
    ]
    (failure,) = ledger.views.not_delivered("df-1")
    assert (failure.row, failure.external_id, failure.code) == (2, "C-2", "rejected_by_zendesk")


def test_a_chunk_delivered_whole_keeps_no_payload(ledger, sending):
    sending(1)
    claim, _ = submitted(ledger)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])

    assert kept(ledger) is None


def test_identities_are_null_once_the_kept_rows_are_gone(ledger, sending):
    sending(1)
    claim, _ = submitted(ledger)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.FAILED, "x")])
    with ledger.database.write() as connection:
        connection.execute(payloads.delete())

    (failure,) = ledger.views.not_delivered("df-1")
    assert (failure.row, failure.external_id, failure.email) == (1, None, None)


def test_a_digest_is_written_with_the_confirmed_outcome_and_removed_before_the_next_post(
    ledger, sending, clock
):
    sending(2)
    claim, _ = submitted(ledger)
    assert known_digests(ledger) == []
    ledger.outcomes.finish(
        "df-1",
        1,
        claim.fence,
        [Outcome(1, OutcomeKind.CREATED), Outcome(2, OutcomeKind.FAILED, "x")],
    )
    (known,) = known_digests(ledger)
    assert known.digest == digest(claim.profiles[0].user)
    assert b"C-1" not in known.key_hash
    ledger.runs.close("df-1")

    sending(2, run_id="df-2")
    again = claim_of(ledger, 1, "df-2")
    assert len(known_digests(ledger)) == 1
    ledger.chunks.submitting(again)
    assert known_digests(ledger) == []


def test_the_digests_are_equal_exactly_when_the_payloads_are():
    one = {"name": "A", "user_fields": {"tier": "gold", "points": 1}}
    same = {"user_fields": {"points": 1, "tier": "gold"}, "name": "A"}
    other = {"name": "A", "user_fields": {"tier": "gold", "points": 2}}

    assert digest(one) == digest(same) != digest(other)


def test_a_refused_chunk_is_split_into_halves_that_replace_it(ledger, sending):
    sending(5)
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)

    assert ledger.chunks.split(claim) == [2, 3]

    view = ledger.views.run("df-1")
    assert view.rows.agree
    assert view.rows.pending == 5
    halves = [ledger.chunks.claim("df-1", seq, "w") for seq in (2, 3)]
    assert [p.row for half in halves for p in half.profiles] == [1, 2, 3, 4, 5]
    assert kept(ledger, 1) is None


def test_chunks_waiting_to_be_sent_again_are_found_when_their_message_is_lost(
    ledger, sending, clock, times
):
    sending(1, 1)
    ledger.chunks.admit("df-1", 1)
    assert ledger.recovery.find_lost().deliver == ()

    clock.advance(times.overdue)
    assert ledger.recovery.find_lost().deliver == (("df-1", 1),)
    assert ledger.recovery.find_lost().deliver == ()


def test_a_chunk_resting_without_a_message_is_found_as_soon_as_its_time_has_come(
    ledger, sending, clock
):
    sending(1)
    ledger.chunks.wait(claim_of(ledger), 600.0, "rate_limited", message=False)

    clock.advance(599.0)
    assert ledger.recovery.find_lost().deliver == ()
    clock.advance(1.0)
    assert ledger.recovery.find_lost().deliver == (("df-1", 1),)


def test_a_lost_poll_is_found_once_per_account(ledger, sending, clock, times):
    sending(1, 1)
    submitted(ledger, 1)
    submitted(ledger, 2)

    clock.advance(13.0 + times.overdue)
    assert len(ledger.recovery.find_lost().poll) == 1


def test_a_planned_run_whose_message_was_lost_is_found(ledger, new_run, clock, times):
    ledger.runs.start(new_run())
    assert ledger.recovery.find_lost().plan == ()

    clock.advance(times.overdue)
    assert ledger.recovery.find_lost().plan == ("df-1",)


def test_one_look_takes_all_due_jobs_of_the_account_and_no_second_look_takes_them(
    ledger, sending, clock
):
    sending(1, 1, 1)
    submitted(ledger, 1)
    clock.advance(1.0)
    submitted(ledger, 2)

    clock.advance(13.0)
    due = ledger.polling.take_due(TARGET.account)
    assert [chunk.job_id for chunk in due] == ["V3-1", "V3-2"]
    assert ledger.polling.take_due(TARGET.account) == []
    ledger.polling.count_look(due)
    assert ledger.views.run("df-1").run.polls == 1


def test_a_job_is_not_looked_at_before_it_is_due(ledger, sending, clock):
    sending(1, 1)
    _, accepted = submitted(ledger, 1)

    clock.advance(accepted.in_seconds - 0.01)
    assert ledger.polling.take_due(TARGET.account) == []


def test_chunks_share_looks_until_the_last_one_of_the_run(ledger, sending, clock, times):
    sending(1, 1, 1)
    _, first = submitted(ledger, 1)
    clock.advance(1.0)
    _, second = submitted(ledger, 2)
    clock.advance(1.0)
    _, last = submitted(ledger, 3)

    assert first.in_seconds == 10.0 + times.poll_batch
    assert (second.message, second.poll_at) == (False, first.poll_at)
    assert (last.message, last.in_seconds) == (True, 10.0)


def test_a_dead_pollers_jobs_come_due_again(ledger, sending, clock, times):
    sending(1)
    submitted(ledger)
    clock.advance(10.0)
    assert len(ledger.polling.take_due(TARGET.account)) == 1

    clock.advance(times.poll_lease)
    assert len(ledger.polling.take_due(TARGET.account)) == 1


def test_polling_raises_neither_fence_nor_attempt(ledger, sending, clock):
    sending(1)
    claim, _ = submitted(ledger)
    clock.advance(10.0)
    (due,) = ledger.polling.take_due(TARGET.account)

    assert (due.fence, due.attempt) == (claim.fence, 1)


def test_only_one_process_sweeps_and_the_next_one_takes_over_when_it_dies(ledger, clock):
    assert ledger.recovery.lock("sweeper", "a", 20.0)
    assert not ledger.recovery.lock("sweeper", "b", 20.0)
    assert ledger.recovery.lock("sweeper", "a", 20.0)

    clock.advance(20.0)
    assert ledger.recovery.lock("sweeper", "b", 20.0)


def test_a_worker_not_heard_of_for_a_while_is_not_living(ledger, clock, times):
    ledger.recovery.heartbeat("w1", "host")
    assert ledger.recovery.living_workers() == ["w1"]

    clock.advance(times.worker_dead + 0.1)
    assert ledger.recovery.living_workers() == []
    ledger.recovery.heartbeat("w1", "host")
    ledger.recovery.farewell("w1")
    assert ledger.recovery.living_workers() == []


def test_limits_of_an_account_are_those_of_the_newest_start(ledger, sending):
    sending(1, limits=Limits(100, 300, 7, 25))

    assert ledger.polling.account(TARGET.account).limits == Limits(100, 300, 7, 25)
    assert Limits(100, 300, 7, 25) != LIMITS


def test_a_post_that_kills_every_worker_is_left_to_be_read_back(ledger, sending, clock, times):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    for _ in range(MOST_UNCLEAR):
        claim = ledger.chunks.claim("df-1", 1, "w")
        assert ledger.chunks.submitting(claim)
        clock.advance(times.lease)
        ledger.recovery.release_expired()
        clock.advance(times.settle)

    assert state_of(ledger) == ChunkState.AMBIGUOUS
    claim = ledger.chunks.claim("df-1", 1, "w")
    assert (claim.spent, claim.attempt) == (MOST_UNCLEAR, MOST_UNCLEAR)


def test_what_may_have_arrived_does_not_fail_by_quarantine(ledger, sending, clock, times):
    sending(1)
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 0.0, "unclear_answer")
    for _ in range(MOST_CLAIMS_LOST):
        assert ledger.chunks.claim("df-1", 1, "w") is not None
        clock.advance(times.lease)
        ledger.recovery.release_expired()

    assert state_of(ledger) == ChunkState.QUARANTINED
    assert ledger.views.run("df-1").reasons == {("unconfirmed", "quarantined"): 1}


def test_a_settled_ambiguous_chunk_holds_no_job_slot(ledger, sending, clock):
    sending(1, 1, limits=Limits(100, 400, 1))
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 20.0, "unclear_answer")
    clock.advance(20.0)

    assert ledger.chunks.submitting(claim_of(ledger, 2)) is True


def test_halves_of_a_chunk_that_may_have_arrived_remember_it(ledger, sending, clock):
    sending(4)
    claim = claim_of(ledger)
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 0.0, "unclear_answer")
    again = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(again)
    ledger.chunks.split(again)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")

    assert ledger.views.run("df-1").reasons == {("unconfirmed", "unconfirmed"): 4}


def test_a_chunk_claimed_while_the_sweeper_looks_keeps_its_lease(ledger, sending, clock, times):
    sending(1)
    ledger.chunks.admit("df-1", 8)
    clock.advance(times.overdue)
    ledger.chunks.claim("df-1", 1, "w")

    assert ledger.recovery.find_lost().deliver == ()
    clock.advance(times.lease - 0.001)
    ledger.recovery.release_expired()
    assert state_of(ledger) == ChunkState.CLAIMED


def test_a_look_far_away_rests_in_the_ledger_without_a_message(ledger, sending, clock, times):
    sending(1)
    _, accepted = submitted(ledger, 1, likely=900.0)
    assert accepted.message is False

    clock.advance(900.0)
    assert ledger.recovery.find_lost().poll == (("df-1", 1),)


def test_profiles_of_a_chunk_that_has_ended_are_gone_and_that_is_no_fault(ledger, sending):
    sending(1)
    claim, _ = submitted(ledger)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])

    with pytest.raises(Superseded):
        ledger.outcomes.profiles("df-1", 1)


def test_runs_that_send_to_one_account_share_the_window(ledger, sending):
    sending(*[1] * 20, run_id="df-1", orchestration="one")
    sending(*[1] * 20, run_id="df-2", orchestration="two")
    assert [len(ledger.chunks.admit(run_id, 8)) for run_id in ("df-1", "df-2")] == [4, 4]


def test_each_run_has_two_chunks_that_ask_however_many_runs_there_are(ledger, sending):
    for number in range(6):
        sending(*[1] * 5, run_id=f"df-{number}", orchestration=f"o{number}")
    assert len(ledger.chunks.admit("df-3", 8)) == 2
    assert len(ledger.chunks.admit("df-4", 1)) == 1
