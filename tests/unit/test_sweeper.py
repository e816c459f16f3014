"""What the sweeper puts back on its way."""

from __future__ import annotations

import threading

import pytest

from worker.delivery import Context, Delivery
from worker.errors import LedgerError, UsageError
from worker.hints import Deliver, Finish, Plan
from worker.ledger import retention
from worker.ledger.outcomes import KEEP_FAILED_SECONDS
from worker.ledger.states import ChunkState
from worker.profile import Outcome, OutcomeKind
from worker.sweeper import Background, Sweeper


@pytest.fixture
def delivery(ledger, times):
    def nobody(_target):
        pytest.fail("sweeping must not speak to Zendesk")

    return Delivery(Context(ledger=ledger, limiter=None, clients=nobody, times=times, owner="w"))


@pytest.fixture
def sweeper(ledger, delivery, times):
    return Sweeper(ledger, delivery, times, "w")


def test_a_run_that_lost_every_message_goes_on(sending, sweeper, ledger, clock, times):
    sending(*[1] * 10)
    assert sweeper.sweep() == [Deliver("df-1", seq) for seq in range(1, 9)]
    assert sweeper.sweep() == []

    clock.advance(times.overdue)
    assert sorted(hint.seq for hint in sweeper.sweep()) == list(range(1, 9))


def test_a_planned_run_without_a_message_is_planned(new_run, sweeper, ledger, clock, times):
    ledger.runs.start(new_run())
    clock.advance(times.overdue)

    assert sweeper.sweep() == [Plan("df-1")]


def test_a_dead_planners_run_is_planned_again(new_run, sweeper, ledger, clock, times):
    ledger.runs.start(new_run())
    ledger.runs.claim_plan("df-1")
    assert sweeper.sweep() == []

    clock.advance(times.lease)
    assert sweeper.sweep() == [Plan("df-1")]
    assert ledger.runs.claim_plan("df-1") is not None


def test_a_run_whose_last_chunk_ended_without_closing_it_is_closed(new_run, sweeper, ledger):
    ledger.runs.start(new_run())
    ledger.planning.complete(ledger.runs.claim_plan("df-1"))

    assert sweeper.sweep() == [Finish("df-1")]
    assert sweeper.sweep() == []


def test_a_stopped_runs_unsent_chunks_are_cancelled(sending, sweeper, ledger):
    sending(*[2] * 50)
    ledger.runs.stop("df-1")

    assert sweeper.sweep() == [Finish("df-1")]
    assert ledger.views.run("df-1").rows.skipped == 100


def test_another_process_sweeping_is_left_alone(sending, sweeper, ledger):
    sending(1)
    ledger.recovery.lock("sweeper", "somebody else", 60.0)

    assert sweeper.sweep() == []


def kept_row(ledger, sending):
    """A run that has ended and keeps a row."""
    sending(1)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    failed = [Outcome(1, OutcomeKind.FAILED)]
    leaves = (ChunkState.SUBMITTING,)
    ledger.outcomes.finish("df-1", 1, claim.fence, failed, leaves=leaves)
    ledger.runs.close("df-1")


def test_kept_rows_go_when_their_time_is_over_though_nobody_prunes(sending, sweeper, ledger, clock):
    kept_row(ledger, sending)
    sweeper.sweep()
    assert ledger.kept.retryable("df-1").kept == 1

    clock.advance(KEEP_FAILED_SECONDS)
    sweeper.sweep()
    assert (ledger.kept.retryable("df-1").kept, ledger.kept.retryable("df-1").gone) == (0, 1)
    assert ledger.views.run("df-1").rows.failed == 1


def test_kept_rows_go_a_few_at_a_time(sending, sweeper, ledger, clock, monkeypatch):
    kept_row(ledger, sending)
    clock.advance(KEEP_FAILED_SECONDS)
    monkeypatch.setattr(retention, "EXPIRE_BATCH", 0)
    assert ledger.retention.expire() == 0


def test_what_was_found_is_enqueued_though_tidying_fails(sending, sweeper, ledger, monkeypatch):
    def away(*_):
        raise LedgerError("the disk is full")

    sending(1)
    monkeypatch.setattr(type(ledger.retention), "expire", away)
    assert sweeper.sweep() == [Deliver("df-1", 1)]


def test_the_background_goes_on_after_a_round_that_failed(ledger, times):
    rounds = threading.Semaphore(0)

    class Failing:
        def sweep(self):
            rounds.release()
            raise RuntimeError("once more")

        def let_go(self):
            pass

    background = Background(
        Failing(), ledger, times.scaled(0.001), "w", "host", lambda _hints: None
    )
    background.start()
    assert all(rounds.acquire(timeout=30) for _ in range(3))
    background.stop()
    assert ledger.recovery.living_workers() == []


def test_a_process_that_may_not_use_the_ledger_any_more_gives_up(ledger, times, monkeypatch):
    refused = UsageError("the ledger is in use on another host", code="ledger_on_another_host")

    def refusing(*_):
        raise refused

    monkeypatch.setattr(ledger.recovery, "heartbeat", refusing)
    told = []
    given_up = threading.Event()

    def give_up(error):
        told.append(error)
        given_up.set()

    class Nothing:
        def sweep(self):
            return ()

        def let_go(self):
            pass

    background = Background(
        Nothing(), ledger, times, "w", "host", lambda _hints: None, give_up=give_up
    )
    background.start()
    assert given_up.wait(30)
    background.stop()
    assert told == [refused]


def test_a_run_that_cannot_be_ended_does_not_keep_the_others_from_going_on(
    sending, sweeper, ledger, delivery, monkeypatch
):
    sending(1, run_id="df-1")
    sending(1, run_id="df-2", orchestration="other")
    close = delivery.close

    def failing(run_id):
        if run_id == "df-1":
            raise ValueError("payload codec 'x' is not known to this version")
        return close(run_id)

    monkeypatch.setattr(delivery, "close", failing)
    assert Deliver("df-2", 1) in sweeper.sweep()


def test_only_what_is_past_due_is_put_back_on_its_way(sending, sweeper, ledger, clock, times):
    sending(1, 1, 1)
    sweeper.sweep()
    waiting = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.wait(waiting, 100.0, "users_per_second")
    ledger.chunks.claim("df-1", 2, "w")

    clock.advance(times.overdue)
    assert sweeper.sweep() == [Deliver("df-1", 3)]  # 1 waits for its time, 2 is being worked on
    clock.advance(times.lease - times.overdue)
    assert sorted(hint.seq for hint in sweeper.sweep()) == [2, 3]
    clock.advance(100.0)
    assert 1 in [hint.seq for hint in sweeper.sweep()]


def test_a_process_that_ends_leaves_the_sweeping_to_others_at_once(
    ledger, sweeper, delivery, times
):
    sweeper.sweep()
    other = Sweeper(ledger, delivery, times, "v")
    assert not ledger.recovery.lock("sweeper", "v", 1.0)
    sweeper.let_go()
    assert other.sweep() == []
    assert not ledger.recovery.lock("sweeper", "w", 1.0)


def test_the_background_tells_of_its_rounds(ledger, sweeper, times):
    seen = threading.Semaphore(0)

    class Noting:
        def note(self, name, pause):
            if name == "sweeper" and pause:
                seen.release()

    background = Background(
        sweeper, ledger, times.scaled(0.001), "w", "host", lambda _hints: None, Noting()
    )
    background.start()
    assert all(seen.acquire(timeout=30) for _ in range(3))
    background.stop()
