"""What the ledger keeps of schedules; on each database."""

from __future__ import annotations

import pytest

from worker.ledger.schedules import Note
from worker.ledger.schema import events

DAILY = {"loyalty": "30 8 * * * UTC"}


def kinds(ledger):
    with ledger.database.read() as connection:
        return [row.kind for row in connection.execute(events.select().order_by(events.c.id))]


@pytest.fixture
def seen(ledger, clock):
    clock.advance(0.1234567)  # times are kept to the last digit: they are compared
    found = ledger.schedules.see(DAILY)["loyalty"]
    clock.advance(60)
    return found


def test_what_is_seen_counts_from_then_on_and_is_seen_once(ledger, seen, clock):
    assert (seen.first_seen, seen.checked_until) == (clock.now - 60, clock.now - 60)
    assert ledger.schedules.see(DAILY) == {"loyalty": seen}


def test_what_is_declared_otherwise_begins_anew_and_what_is_gone_is_forgotten(ledger, seen, clock):
    changed = ledger.schedules.see({"loyalty": "after orders", "other": "0 0 * * * UTC"})
    assert changed["loyalty"].first_seen == changed["loyalty"].checked_until == clock.now
    assert changed["loyalty"].note["kind"] == "schedule_changed"
    assert set(ledger.schedules.see({}, keep={"other"})) == {"other"}
    assert ledger.schedules.see({}) == {}
    assert kinds(ledger) == ["schedule_changed"] * 3  # changed, and twice gone: each is told


def test_of_two_who_settle_the_same_one_does_and_tells(ledger, seen, clock):
    note = Note("schedule_missed", "loyalty", "k", data={"count": 1})
    assert ledger.schedules.settle(seen, clock.now, [note])
    assert not ledger.schedules.settle(seen, clock.now + 1, [note])
    assert kinds(ledger) == ["schedule_missed"]
    known = ledger.schedules.all()["loyalty"]
    assert (known.checked_until, known.note["count"]) == (clock.now, 1)


def test_what_changed_meanwhile_is_not_settled_nor_moved_on(ledger, seen, clock):
    ledger.schedules.see({"loyalty": "0 9 * * * UTC"})
    assert not ledger.schedules.settle(seen, clock.now + 99)
    ledger.schedules.move_on([seen], clock.now + 99)
    assert ledger.schedules.all()["loyalty"].checked_until == clock.now


def test_what_is_idle_moves_on_together(ledger, clock):
    found = ledger.schedules.see({**DAILY, "orders": "0 9 * * * UTC"})
    clock.advance(30)
    ledger.schedules.move_on([*found.values()], clock.now)
    assert {one.checked_until for one in ledger.schedules.all().values()} == {clock.now}


def test_a_start_that_somebody_else_could_do_is_not_told_as_skipped(ledger, seen, new_run, clock):
    ledger.runs.start(new_run(key="k"))
    ledger.schedules.settle(seen, clock.now, [Note("schedule_skipped", "loyalty", "k")])
    assert "schedule_skipped" not in kinds(ledger)


def test_an_ended_run_is_followed_once(ledger, sending):
    sending(1)
    assert ledger.schedules.unfollowed() == []
    assert not ledger.schedules.followed("df-1")
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")
    ledger.runs.close("df-1")

    assert [run.run_id for run in ledger.schedules.unfollowed()] == ["df-1"]
    assert ledger.schedules.followed("df-1", [Note("schedule_skipped", "orders", run_id="df-1")])
    assert not ledger.schedules.followed("df-1", [Note("schedule_skipped", "orders")])
    assert ledger.schedules.unfollowed() == []
    assert kinds(ledger).count("schedule_skipped") == 1


def test_problems_are_told_when_they_change(ledger):
    tell = ledger.schedules.tell_problems
    assert [tell([]), tell(["a"]), tell(["a"]), tell(["a", "b"]), tell([]), tell([])] == [
        False, True, False, True, True, False,
    ]  # fmt: skip
    assert kinds(ledger) == ["catalog_broken", "catalog_broken", "catalog_mended"]
