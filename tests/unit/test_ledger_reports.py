"""That a run has ended is told once, and by all means."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from orchestrations import tasks
from worker.delivery import Context, Delivery
from worker.hints import Finish, Tell
from worker.ledger.schema import runs
from worker.sweeper import Sweeper


@pytest.fixture
def ended(ledger, sending):
    """A run that has ended; nobody has told of it."""
    sending(2)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")
    assert ledger.runs.close("df-1") == "stopped"


@pytest.fixture
def sweeper(ledger, times):
    context = Context(ledger=ledger, limiter=None, clients=None, times=times, owner="w")
    return Sweeper(ledger, Delivery(context), times, "w")


@pytest.fixture
def finish(ledger, monkeypatch):
    """The task, on this ledger; what it enqueues comes to nothing."""
    monkeypatch.setattr(tasks, "send_all", lambda _hints: None)
    monkeypatch.setattr(tasks, "parts", lambda: type("Parts", (), {"ledger": ledger}))
    return lambda run_id="df-1": tasks.finish(v=1, run_id=run_id)


def told(ledger, run_id="df-1"):
    return [e.kind for e in ledger.views.events(run_id)].count("run_reported")


def test_a_run_whose_message_comes_twice_is_told_of_once(ledger, ended, finish):
    with capture_logs() as logs:
        assert finish().startswith("stopped: ")
        assert finish() == "nothing to tell"

    assert [line["event"] for line in logs] == ["run_finished"]
    assert told(ledger) == 1


def test_of_many_who_want_to_tell_one_does(ledger, ended):
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.append(ledger.reports.take("df-1"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken.count(True) == 1
    assert told(ledger) == 1


def test_a_run_that_goes_on_is_not_told_of(ledger, sending, finish):
    sending(1)

    assert finish() == "nothing to tell"
    assert finish("df-none") == "unknown run"
    assert told(ledger) == 0


def test_what_nobody_told_in_time_is_sent_again_until_somebody_does(
    ledger, ended, sweeper, clock, times
):
    assert sweeper.sweep() == []
    for _ in range(3):
        clock.advance(times.overdue)
        assert sweeper.sweep() == [Finish("df-1")]
        assert sweeper.sweep() == []

    assert ledger.reports.take("df-1")
    clock.advance(100 * times.overdue)
    assert sweeper.sweep() == [Tell("df-1")]  # the report wakes the alert of the run's end


def test_a_run_that_ended_before_reports_were_recorded_is_not_sent_again_and_told_once(
    ledger, ended, sweeper, finish, clock, times
):
    with ledger.database.write() as connection:
        connection.execute(runs.update().values(wake_at=None))
    clock.advance(times.overdue)

    assert sweeper.sweep() == []
    assert [finish().partition(":")[0], finish()] == ["stopped", "nothing to tell"]


def test_a_report_taken_leaves_nothing_to_look_after(ledger, ended):
    ledger.reports.take("df-1")

    with ledger.database.read() as connection:
        wake_at, reported_at = connection.execute(select(runs.c.wake_at, runs.c.reported_at)).one()
    assert wake_at is None
    assert reported_at is not None
