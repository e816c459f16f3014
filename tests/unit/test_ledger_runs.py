"""What a run may do, and that its sums always agree."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace

import pytest
from world import profiles

from worker.errors import RunError, Superseded, UsageError
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind, RejectedRow


def deliver(ledger, run_id, seq, kinds=(OutcomeKind.CREATED,)):
    """Take a chunk through the whole journey; the kinds repeat over its rows."""
    ledger.chunks.admit(run_id, 100)
    claim = ledger.chunks.claim(run_id, seq, "w")
    assert ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"V3-{seq}", 10.0, 0.0)
    outcomes = [
        Outcome(
            p.row, kinds[i % len(kinds)], None if i % len(kinds) == 0 else "rejected_by_zendesk"
        )
        for i, p in enumerate(claim.profiles)
    ]
    ledger.outcomes.finish(run_id, seq, claim.fence, outcomes)
    return claim


def test_the_same_key_again_is_the_same_run(ledger, new_run):
    first, new = ledger.runs.start(new_run("df-1", key="monday"))
    second, again = ledger.runs.start(new_run("df-2", key="monday"))

    assert (new, again) == (True, False)
    assert first.run_id == second.run_id == "df-1"


def test_of_twenty_simultaneous_starts_with_one_key_one_makes_a_run(ledger, new_run):
    barrier = threading.Barrier(20)
    found = []

    def start(number):
        barrier.wait()
        found.append(ledger.runs.start(new_run(f"df-{number}", key="monday")))

    threads = [threading.Thread(target=start, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(new for _, new in found) == 1
    assert len({run.run_id for run, _ in found}) == 1


def test_a_second_run_of_an_orchestration_is_refused_while_one_is_active(ledger, new_run):
    ledger.runs.start(new_run("df-1"))

    with pytest.raises(UsageError, match="already being run as df-1") as caught:
        ledger.runs.start(new_run("df-2"))
    assert caught.value.code == "already_active"


def test_a_finished_run_makes_room_for_the_next(ledger, sending, new_run):
    sending(1)
    deliver(ledger, "df-1", 1)
    assert ledger.runs.close("df-1") == RunState.SUCCEEDED

    _, new = ledger.runs.start(new_run("df-2"))
    assert new


def test_read_is_the_sum_of_all_outcomes_at_every_moment(ledger, new_run, clock):
    def agree():
        rows = ledger.views.run("df-1").rows
        assert rows.agree, rows

    ledger.runs.start(new_run())
    agree()
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_rejected(
        run, 1, [RejectedRow(1, OutcomeKind.FAILED, "missing_name", "the column name is blank")]
    )
    agree()
    ledger.planning.add_chunks(run, 1, [profiles(2, 10), profiles(12, 10)])
    agree()
    ledger.planning.complete(run)
    deliver(ledger, "df-1", 1, (OutcomeKind.CREATED, OutcomeKind.FAILED))
    agree()
    deliver(ledger, "df-1", 2)
    agree()
    ledger.runs.close("df-1")

    rows = asdict(ledger.views.run("df-1").rows)
    assert rows == {
        "read": 21,
        "created": 15,
        "updated": 0,
        "failed": 6,
        "skipped": 0,
        "unconfirmed": 0,
        "pending": 0,
    }


def test_a_run_with_failed_rows_does_not_succeed(ledger, sending):
    sending(2)
    deliver(ledger, "df-1", 1, (OutcomeKind.CREATED, OutcomeKind.FAILED))

    assert ledger.runs.close("df-1") == RunState.FINISHED_WITH_FAILURES


def test_a_run_whose_sums_disagree_is_inconsistent(ledger, sending):
    from sqlalchemy import update

    from worker.ledger.schema import chunks

    sending(2)
    deliver(ledger, "df-1", 1)
    with ledger.database.write() as connection:
        connection.execute(update(chunks).values(created=1))

    assert ledger.runs.close("df-1") == RunState.INCONSISTENT


def test_a_run_closes_once(ledger, sending):
    sending(1)
    deliver(ledger, "df-1", 1)

    assert ledger.runs.close("df-1") == RunState.SUCCEEDED
    assert ledger.runs.close("df-1") is None
    assert [e.kind for e in ledger.views.events("df-1")].count("run_ended") == 1


def test_a_run_with_an_open_chunk_does_not_close(ledger, sending):
    sending(1, 1)
    deliver(ledger, "df-1", 1)

    assert ledger.runs.close("df-1") is None


def test_only_one_planner_plans_and_one_overtaken_cannot_write(ledger, new_run, clock, times):
    ledger.runs.start(new_run())
    first = ledger.runs.claim_plan("df-1")
    assert ledger.runs.claim_plan("df-1") is None

    clock.advance(times.lease + 1)
    second = ledger.runs.claim_plan("df-1")

    assert second.plan_fence == first.plan_fence + 1
    with pytest.raises(Superseded):
        ledger.planning.complete(first)
    ledger.planning.complete(second)


def test_planning_anew_removes_what_the_dead_planner_left(ledger, new_run, clock, times):
    ledger.runs.start(new_run())
    first = ledger.runs.claim_plan("df-1")
    ledger.planning.clear(first)
    ledger.planning.add_chunks(first, 1, [profiles(1, 5)])
    clock.advance(times.lease + 1)

    second = ledger.runs.claim_plan("df-1")
    ledger.planning.clear(second)
    ledger.planning.add_chunks(second, 1, [profiles(1, 5)])
    ledger.planning.complete(second)

    assert ledger.views.run("df-1").rows.read == 5


def test_a_run_that_fails_while_planning_sends_nothing(ledger, new_run):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 5)])

    ledger.runs.fail_plan(run, RunError("the query stopped at row 6"))
    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") == RunState.FAILED

    view = ledger.views.run("df-1")
    assert (view.posts, view.rows.skipped, view.rows.pending) == (0, 5, 0)
    assert view.run.error["code"] == "query_failed"
    assert ledger.chunks.admit("df-1", 8) == []


def test_stop_cancels_what_is_not_sent_and_lets_jobs_end(ledger, sending):
    sending(3, 3)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 10.0, 0.0)

    assert ledger.runs.stop("df-1")
    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") is None

    outcomes = [Outcome(p.row, OutcomeKind.UPDATED) for p in claim.profiles]
    ledger.outcomes.finish("df-1", 1, claim.fence, outcomes)
    assert ledger.runs.close("df-1") == RunState.STOPPED
    view = ledger.views.run("df-1")
    assert (view.rows.updated, view.rows.skipped) == (3, 3)
    assert view.reasons == {("skipped", "cancelled"): 3}


def test_stop_changes_nothing_of_what_has_ended(ledger, sending):
    sending(2, 3)
    deliver(ledger, "df-1", 1)

    ledger.runs.stop("df-1")
    while ledger.outcomes.cancel_some("df-1"):
        pass
    ledger.runs.close("df-1")
    view = ledger.views.run("df-1")
    assert (view.rows.created, view.rows.skipped) == (2, 3)
    assert view.chunks == {ChunkState.DONE: 1, ChunkState.CANCELLED: 1}


def test_an_ended_run_cannot_be_stopped_paused_or_resumed(ledger, sending):
    sending(1)
    deliver(ledger, "df-1", 1)
    ledger.runs.close("df-1")

    assert not ledger.runs.stop("df-1")
    assert not ledger.runs.pause("df-1")
    assert not ledger.runs.resume("df-1")
    assert ledger.runs.get("df-1").state == RunState.SUCCEEDED


def test_a_paused_run_gives_out_no_chunk_until_resumed(ledger, sending):
    sending(1, 1)
    assert ledger.chunks.admit("df-1", 1) == [1]

    ledger.runs.pause("df-1")
    assert ledger.chunks.claim("df-1", 1, "w") is None
    assert ledger.chunks.admit("df-1", 8) == []

    ledger.runs.resume("df-1")
    assert ledger.chunks.claim("df-1", 1, "w") is not None


def test_a_chunk_that_waits_is_not_claimed_while_its_run_is_paused(ledger, sending, clock):
    sending(1)
    ledger.chunks.admit("df-1", 1)
    ledger.chunks.wait(ledger.chunks.claim("df-1", 1, "w"), 5.0, "users")
    ledger.runs.pause("df-1")
    clock.advance(5.0)

    assert ledger.chunks.claim("df-1", 1, "w") is None
    ledger.runs.resume("df-1")
    assert ledger.chunks.claim("df-1", 1, "w") is not None


def test_a_claimed_chunk_of_a_paused_run_is_not_submitted(ledger, sending):
    sending(1)
    ledger.chunks.admit("df-1", 1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.runs.pause("df-1")

    with pytest.raises(Superseded):
        ledger.chunks.submitting(claim)
    assert ledger.views.run("df-1").chunks == {ChunkState.CLAIMED: 1}


def test_a_paused_run_whose_jobs_have_all_ended_ends(ledger, sending):
    sending(1)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    ledger.runs.pause("df-1")
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])

    assert ledger.runs.close("df-1") == RunState.SUCCEEDED


def test_more_failed_rows_than_allowed_stop_the_run_and_nothing_more_is_sent(ledger, new_run):
    options = {"max_failed_percent": 10}
    ledger.runs.start(replace(new_run(), options=options))
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 10), profiles(11, 10), profiles(21, 10)])
    ledger.planning.complete(run)

    deliver(
        ledger, "df-1", 1, (OutcomeKind.CREATED, *[OutcomeKind.UPDATED] * 8, OutcomeKind.FAILED)
    )
    ledger.runs.stop_if_too_many_failed("df-1")
    assert ledger.runs.get("df-1").state == RunState.SENDING

    deliver(ledger, "df-1", 2, (OutcomeKind.CREATED, OutcomeKind.FAILED))
    ledger.runs.stop_if_too_many_failed("df-1")
    assert ledger.runs.get("df-1").state == RunState.STOPPING
    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") == RunState.FAILED
    view = ledger.views.run("df-1")
    assert view.run.error["code"] == "threshold_exceeded"
    assert (view.rows.failed, view.rows.skipped) == (6, 10)


def test_exactly_as_many_failed_rows_as_allowed_do_not_stop_the_run(ledger, new_run):
    ledger.runs.start(replace(new_run(), options={"max_failed_percent": 50}))
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 2)])
    ledger.planning.complete(run)
    deliver(ledger, "df-1", 1, (OutcomeKind.CREATED, OutcomeKind.FAILED))
    ledger.runs.stop_if_too_many_failed("df-1")

    assert ledger.runs.close("df-1") == RunState.FINISHED_WITH_FAILURES


def test_a_planner_overtaken_cannot_fail_the_run_that_another_one_planned(
    ledger, new_run, clock, times
):
    ledger.runs.start(new_run())
    slow = ledger.runs.claim_plan("df-1")
    clock.advance(times.lease)
    quick = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(quick, 1, [profiles(1, 1)])
    ledger.planning.complete(quick)

    with pytest.raises(Superseded):
        ledger.runs.fail_plan(slow, RunError("too late"))
    assert ledger.runs.get("df-1").state == RunState.SENDING


def test_a_postponed_planning_is_taken_up_later_and_counts_as_no_crash(ledger, new_run, clock):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    ledger.runs.postpone_plan(run, 5.0)
    assert ledger.recovery.find_lost().plan == ()

    clock.advance(5.0)
    assert ledger.recovery.find_lost().plan == ("df-1",)
    assert ledger.runs.claim_plan("df-1").plan_expiries == 0


def test_lost_planners_are_counted(ledger, new_run, clock, times):
    ledger.runs.start(new_run())
    for lost in range(3):
        assert ledger.runs.claim_plan("df-1").plan_expiries == lost
        clock.advance(times.lease)


def test_a_run_whose_last_chunk_exceeds_the_threshold_fails_whoever_closes_it(ledger, new_run):
    ledger.runs.start(replace(new_run(), options={"max_failed_percent": 10}))
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 2)])
    ledger.planning.complete(run)
    deliver(ledger, "df-1", 1, (OutcomeKind.CREATED, OutcomeKind.FAILED))

    assert ledger.runs.close("df-1") == RunState.FAILED
    assert ledger.runs.get("df-1").error["code"] == "threshold_exceeded"


def test_stopping_a_paused_run_keeps_the_reason_of_the_pause(ledger, sending):
    sending(1)
    ledger.runs.pause("df-1", RunError("the credential is refused"))
    ledger.runs.stop("df-1")

    assert ledger.runs.get("df-1").error["message"] == "the credential is refused"
