"""The outbox of alerts: one for each thing that happens, sent once, never lost."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from worker.delivery import Context, Delivery
from worker.errors import DestinationError
from worker.hints import Tell
from worker.ledger import alerts as outbox
from worker.ledger.alerts import LONGEST_PAUSE, MOST_ATTEMPTS, AlertKind, AlertState
from worker.ledger.retention import Ages
from worker.ledger.schema import alerts, runs
from worker.sweeper import Sweeper

REFUSED = DestinationError("Zendesk answered 403", code="authorization_error")


@pytest.fixture
def sweep(ledger, times):
    context = Context(ledger=ledger, limiter=None, clients=None, times=times, owner="w")
    sweeper = Sweeper(ledger, Delivery(context), times, "w")
    return lambda: [hint for hint in sweeper.sweep() if isinstance(hint, Tell)]


@pytest.fixture
def ended(ledger, sending):
    """A run that was stopped, with its report taken."""
    sending(2)
    ledger.runs.stop("df-1", by="eve")
    ledger.outcomes.cancel_some("df-1")
    ledger.runs.close("df-1")
    ledger.reports.take("df-1")


@pytest.fixture
def addressed(ledger, ended):
    (alert,) = ledger.alerts.new("df-1")
    ledger.alerts.address(alert, ["ops", "crm"])
    return alert


def kinds(ledger):
    return [alert.kind for alert, _ in reversed(ledger.alerts.newest())]


def accept(ledger, run_id="df-1", seq=1):
    claim = ledger.chunks.claim(run_id, seq, "w")
    assert ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"job-{run_id}-{seq}", 10.0, 1.0)


def admit(ledger, *run_ids):
    for run_id in run_ids:
        ledger.chunks.admit(run_id, 8)


def test_an_alert_of_the_end_is_written_with_the_end(ledger, ended):
    ((alert, sends),) = ledger.alerts.newest()

    assert (alert.kind, alert.run_id, alert.destination) == (AlertKind.ENDED, "df-1", "socktown")
    assert alert.data == {"state": "stopped"}
    assert sends == []


def test_an_end_that_is_not_committed_is_not_told(ledger, sending, monkeypatch):
    sending(2)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")

    def dies(*_args):
        note(*_args)
        raise RuntimeError("killed")

    note = outbox.note_end
    monkeypatch.setattr(outbox, "note_end", dies)
    with pytest.raises(RuntimeError):
        ledger.runs.close("df-1")

    assert ledger.alerts.newest() == []
    assert ledger.runs.get("df-1").state == "stopping"


def test_who_shall_get_it_is_decided_once(ledger, ended):
    (alert,) = ledger.alerts.new("df-1")

    assert ledger.alerts.address(alert, ["ops", "ops"])
    assert not ledger.alerts.address(alert, ["crm"])
    ((_, sends),) = ledger.alerts.newest()
    assert [send.channel for send in sends] == ["ops"]


def test_of_many_workers_one_makes_each_send(ledger, addressed):
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.append(ledger.alerts.claim("df-1"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(send.channel for send in taken if send) == ["crm", "ops"]


def test_what_was_sent_is_not_sent_again(ledger, addressed, sweep, clock, times):
    for _ in range(2):
        assert ledger.alerts.sent(ledger.alerts.claim("df-1"))
    clock.advance(1000 * times.lease)

    assert ledger.alerts.claim("df-1") is None
    assert sweep() == []
    assert [e.data["channel"] for e in ledger.views.events("df-1", "alert_sent")] == ["crm", "ops"]


def test_a_send_whose_process_died_goes_to_another_one_after_its_lease(
    ledger, addressed, sweep, clock, times
):
    died = {ledger.alerts.claim("df-1").channel, ledger.alerts.claim("df-1").channel}
    assert ledger.alerts.claim("df-1") is None
    assert sweep() == []

    clock.advance(times.lease)
    assert sweep() == [Tell("df-1")]
    again = ledger.alerts.claim("df-1")
    assert again.channel in died
    assert again.attempts == 2


def test_whoever_is_late_marks_nothing(ledger, addressed, clock, times):
    late = ledger.alerts.claim("df-1")
    ledger.alerts.sent(ledger.alerts.claim("df-1"))
    clock.advance(times.lease)
    mine = ledger.alerts.claim("df-1")

    assert (mine.channel, mine.attempts) == (late.channel, 2)
    assert ledger.alerts.failed(late, "silent") is None
    assert not ledger.alerts.sent(late)
    assert ledger.alerts.sent(mine)


def test_a_send_that_fails_is_made_again_after_longer_and_longer_pauses_and_given_up_in_the_end(
    ledger, ended, sweep, clock, times
):
    (alert,) = ledger.alerts.new("df-1")
    ledger.alerts.address(alert, ["ops"])
    pauses = []
    for attempt in range(1, MOST_ATTEMPTS + 1):
        send = ledger.alerts.claim("df-1")
        assert send.attempts == attempt
        state = ledger.alerts.failed(send, "refused")
        if state == AlertState.GIVEN_UP:
            break
        ((_, (waiting,)),) = ledger.alerts.newest()
        pauses.append(waiting.due_at - clock())
        clock.advance(pauses[-1] - 1)
        assert (ledger.alerts.claim("df-1"), sweep()) == (None, [])
        clock.advance(1)
        assert sweep() == [Tell("df-1")]

    assert pauses == [
        times.alert_pause * min(2**n, LONGEST_PAUSE) for n in range(MOST_ATTEMPTS - 1)
    ]
    assert state == AlertState.GIVEN_UP
    clock.advance(1e6)
    assert (ledger.alerts.claim("df-1"), sweep()) == (None, [])
    (event,) = ledger.views.events("df-1", "alert_given_up")
    assert event.data == {"alert": "ended", "channel": "ops", "attempts": MOST_ATTEMPTS}
    assert ledger.alerts.counts(60) == (0, 0)
    assert ledger.alerts.counts(2e6) == (0, 1)


def test_an_alert_that_nobody_looked_at_is_looked_at_again(ledger, ended, sweep, clock, times):
    assert sweep() == [Tell("df-1")]
    assert sweep() == []
    clock.advance(times.overdue)
    assert sweep() == [Tell("df-1")]
    assert ledger.alerts.counts(60) == (1, 0)

    (alert,) = ledger.alerts.new("df-1")
    ledger.alerts.address(alert, [])
    clock.advance(times.overdue)
    assert sweep() == []
    assert ledger.alerts.counts(60) == (0, 0)


# --- pauses and recoveries ----------------------------------------------------------------------


def test_of_many_runs_that_one_destination_pauses_the_first_is_told(ledger, sending, sweep):
    sending(1)
    sending(1, run_id="df-2", orchestration="orders")
    ledger.runs.pause_destination("socktown", REFUSED)

    assert kinds(ledger) == [AlertKind.PAUSED]
    ((alert, _),) = ledger.alerts.newest()
    assert alert.data["code"] == "authorization_error"
    assert [hint.run_id for hint in sweep()] == [alert.run_id]


def test_two_runs_paused_in_the_same_moment_are_one_alert(ledger, sending):
    numbers = range(1, 5)
    for n in numbers:
        sending(1, run_id=f"df-{n}", orchestration=f"o{n}")
    threads = [
        threading.Thread(target=lambda n=n: ledger.runs.pause(f"df-{n}", REFUSED)) for n in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {ledger.runs.get(f"df-{n}").state for n in numbers} == {"paused"}
    assert kinds(ledger) == [AlertKind.PAUSED]


def test_a_pause_by_a_person_is_not_told(ledger, sending):
    sending(1)
    ledger.runs.pause("df-1", by="eve")

    assert kinds(ledger) == []


def test_a_pause_after_a_person_acted_on_the_last_one_is_told(ledger, sending):
    sending(1)
    ledger.runs.pause("df-1", REFUSED)
    ledger.runs.resume("df-1", by="eve")
    ledger.runs.pause("df-1", REFUSED)
    ledger.runs.stop("df-1", by="eve")
    sending(1, run_id="df-2", orchestration="orders")
    ledger.runs.pause("df-2", REFUSED)

    assert kinds(ledger) == [AlertKind.PAUSED] * 3


def test_a_destination_has_recovered_when_zendesk_takes_a_chunk_after_the_resume(ledger, sending):
    sending(1, 1, 1)
    admit(ledger, "df-1")
    accept(ledger)
    ledger.runs.pause("df-1", REFUSED)
    assert kinds(ledger) == [AlertKind.PAUSED]
    ledger.runs.resume("df-1", by="eve")
    assert kinds(ledger) == [AlertKind.PAUSED]

    accept(ledger, seq=2)
    accept(ledger, seq=3)
    assert kinds(ledger) == [AlertKind.PAUSED, AlertKind.RECOVERED]


def test_what_was_on_its_way_when_the_pause_came_is_no_recovery(ledger, sending):
    sending(1, 1)
    admit(ledger, "df-1")
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.runs.pause("df-1", REFUSED)
    ledger.chunks.accepted(claim, "job", 10.0, 1.0)

    assert kinds(ledger) == [AlertKind.PAUSED]


def test_a_chunk_of_a_run_that_was_started_after_the_pause_is_a_recovery(ledger, sending, clock):
    sending(1)
    ledger.runs.pause("df-1", REFUSED)
    clock.advance(10)
    sending(1, run_id="df-2", orchestration="orders")
    admit(ledger, "df-2")
    accept(ledger, "df-2")

    assert kinds(ledger) == [AlertKind.PAUSED, AlertKind.RECOVERED]


# --- runs that take too long --------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_told_once(ledger, new_run, sweep, clock):
    ledger.runs.start(replace(new_run(), too_long=60.0))
    clock.advance(59)
    sweep()
    assert kinds(ledger) == []

    clock.advance(1)
    assert sweep() == [Tell("df-1")]
    clock.advance(600)
    sweep()
    assert kinds(ledger) == [AlertKind.TOO_LONG]


def test_a_run_that_ended_in_time_is_not_told_of_as_late(ledger, ended, sweep, clock):
    with ledger.database.write() as connection:
        connection.execute(runs.update().values(late_at=clock() + 60))
    clock.advance(600)
    sweep()

    assert kinds(ledger) == [AlertKind.ENDED]


# --- retention ------------------------------------------------------------------------------------


def test_alerts_go_with_the_events_once_everything_is_told(ledger, addressed, clock):
    ages = Ages()
    clock.advance(ages.events + 1)
    assert ledger.retention.look(ages).alerts == 0

    for _ in range(2):
        ledger.alerts.sent(ledger.alerts.claim("df-1"))
    assert ledger.retention.look(ages).alerts == 1
    assert ledger.retention.prune(ages).alerts == 1
    assert ledger.alerts.newest() == []


def test_the_alert_of_a_destination_that_is_paused_still_stays(ledger, sending, clock):
    sending(1)
    ledger.runs.pause("df-1", REFUSED)
    (alert,) = ledger.alerts.new("df-1")
    ledger.alerts.address(alert, [])
    clock.advance(Ages().events + 1)

    assert ledger.retention.prune(Ages()).alerts == 0
    with ledger.database.read() as connection:
        assert connection.scalar(select(alerts.c.open)) == "socktown"
