"""Retention: what is old goes, sums stay, nothing of a live run is touched."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from world import profiles

from orchestrations import upkeep
from worker.ledger import schema
from worker.ledger.retention import DAY_S, Ages, Pruned, Retention
from worker.ledger.states import RunState
from worker.profile import Outcome, OutcomeKind, RejectedRow

TABLES = ("runs", "chunks", "payloads", "outcomes", "events", "summaries", "delivered")


def rows(ledger):
    with ledger.database.read() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(getattr(schema, name)))
            for name in TABLES
        }


def finish(ledger, run_id, seq, *kinds):
    ledger.chunks.admit(run_id, 100)
    claim = ledger.chunks.claim(run_id, seq, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"V3-{run_id}-{seq}", 1.0, 0.0)
    found = [
        Outcome(p.row, kind, None if kind == OutcomeKind.CREATED else "rejected_by_zendesk")
        for p, kind in zip(claim.profiles, kinds, strict=True)
    ]
    ledger.outcomes.finish(run_id, seq, claim.fence, found)


@pytest.fixture
def ended(ledger, sending):
    """Return a function that makes an ended run: a chunk with a failed row, one without."""

    def make(run_id="df-1"):
        sending(2, 1, run_id=run_id)
        finish(ledger, run_id, 1, OutcomeKind.CREATED, OutcomeKind.FAILED)
        finish(ledger, run_id, 2, OutcomeKind.CREATED)
        assert ledger.runs.close(run_id) == RunState.FINISHED_WITH_FAILURES

    return make


def test_young_things_stay(ledger, ended):
    ended()
    before = rows(ledger)

    assert ledger.retention.prune(Ages()) == Pruned()
    assert rows(ledger) == before


def test_kept_rows_go_when_their_time_is_over_and_identities_with_them(ledger, ended, clock):
    ended()
    assert [f.external_id for f in ledger.views.not_delivered("df-1")] == ["C-2"]
    clock.advance(7 * DAY_S)

    assert ledger.retention.prune(Ages()) == Pruned(kept_rows=1)
    (row,) = ledger.views.not_delivered("df-1")
    assert (row.row, row.external_id, row.email) == (2, None, None)
    assert row.code == "rejected_by_zendesk"


def test_how_long_rows_are_kept_is_a_setting(tmp_path, clock, times, new_run):
    from worker.ledger import open_ledger

    opened = open_ledger(f"sqlite:///{tmp_path / 'l.db'}", times, clock, keep_failed=60.0)
    opened.runs.start(new_run())
    run = opened.runs.claim_plan("df-1")
    opened.planning.add_chunks(run, 1, [profiles(1, 1)])
    opened.planning.add_rejected(
        run, 1, [RejectedRow(2, OutcomeKind.FAILED, "missing_name", "name is empty")]
    )
    opened.planning.complete(run)
    finish(opened, "df-1", 1, OutcomeKind.FAILED)
    opened.runs.close("df-1")
    clock.advance(60.0)

    assert opened.retention.prune(Ages()) == Pruned(kept_rows=2)
    opened.close()


def test_the_sums_and_reasons_of_a_run_outlive_its_rows(ledger, ended, clock):
    ended()
    before = ledger.views.run("df-1")
    clock.advance(31 * DAY_S)

    done = ledger.retention.prune(Ages())

    after = ledger.views.run("df-1")
    assert (done.outcomes, done.results, done.chunks, done.runs) == (1, 2, 0, 0)
    assert after.rows == before.rows
    assert after.reasons == before.reasons
    assert (before.rows_pruned, after.rows_pruned) == (False, True)
    assert list(ledger.views.delivered("df-1")) == []


def test_after_its_time_nothing_is_left_of_a_run_but_what_zendesk_confirmed(ledger, ended, clock):
    ended()
    clock.advance(401 * DAY_S)

    done = ledger.retention.prune(Ages())

    assert done.runs == 1
    left = rows(ledger)
    assert left.pop("delivered") == 2
    assert left.pop("events") == 1  # that something was pruned
    assert set(left.values()) == {0}


def test_a_dry_run_counts_what_pruning_removes_and_removes_nothing(ledger, ended, clock):
    ended("df-1")
    clock.advance(380 * DAY_S)
    ended("df-2")
    clock.advance(30 * DAY_S)
    ended("df-3")
    before = rows(ledger)

    counted = ledger.retention.look(Ages())

    assert rows(ledger) == before
    assert counted == ledger.retention.prune(Ages())
    assert (counted.runs, counted.chunks, counted.outcomes, counted.kept_rows) == (1, 2, 2, 2)
    assert ledger.retention.look(Ages()) == Pruned()


def test_older_than_removes_all_of_a_run_whatever_is_kept_longer(ledger, ended, clock):
    ended()
    clock.advance(DAY_S)

    done = ledger.retention.prune(Ages().at_most(DAY_S / 2))

    assert (done.runs, done.chunks, done.outcomes, done.kept_rows) == (1, 2, 1, 1)
    assert ledger.runs.get("df-1") is None


@pytest.mark.parametrize("state", ["sending", "paused", "stopping", "planning", "planned"])
def test_nothing_of_a_live_run_is_ever_removed(ledger, sending, new_run, clock, state):
    if state in ("planned", "planning"):
        ledger.runs.start(new_run())
        if state == "planning":
            run = ledger.runs.claim_plan("df-1")
            ledger.planning.add_rejected(
                run, 1, [RejectedRow(1, OutcomeKind.FAILED, "missing_name", "name is empty")]
            )
            ledger.planning.add_chunks(run, 1, [profiles(2, 2)])
    else:
        sending(2, 2)
        finish(ledger, "df-1", 1, OutcomeKind.CREATED, OutcomeKind.FAILED)
        if state == "paused":
            ledger.runs.pause("df-1")
        elif state == "stopping":
            ledger.runs.stop("df-1")
    assert ledger.runs.get("df-1").state == state
    before = rows(ledger)
    clock.advance(1000 * DAY_S)

    assert ledger.retention.look(Ages().at_most(0.0)) == Pruned()
    assert ledger.retention.prune(Ages().at_most(0.0)) == Pruned()
    assert rows(ledger) == before


def test_rows_that_a_retry_is_taking_over_stay_until_it_has_them(ledger, ended, new_run, clock):
    from dataclasses import replace

    ended()
    child = replace(new_run("df-2"), parent_run="df-1")
    clock.advance(1000 * DAY_S)
    ledger.runs.start(child)
    assert ledger.retention.prune(Ages()).kept_rows == 0

    run = ledger.runs.claim_plan("df-2")
    ledger.planning.add_chunks(run, 1, [profiles(2, 1)])
    ledger.planning.complete(run)
    assert ledger.retention.prune(Ages()).kept_rows == 1


def test_more_than_a_batch_goes_in_several_transactions(ledger, ended, clock, monkeypatch):
    from worker.ledger import retention

    monkeypatch.setattr(retention, "BATCH", 10)  # and so one payload at a time
    for number in range(3):
        ended(f"df-{number}")
    clock.advance(401 * DAY_S)
    pauses = []

    done = Retention(ledger.database, pauses.append).prune(Ages())

    assert (done.runs, done.chunks, done.kept_rows) == (3, 6, 3)
    assert len(pauses) > 3


@pytest.mark.parametrize("pauses", range(1, 7))
def test_a_pruning_that_died_midway_shows_no_wrong_number_and_is_finished_later(
    ledger, ended, clock, monkeypatch, pauses
):
    from worker.ledger import retention

    def die(_seconds):
        nonlocal pauses
        pauses -= 1
        if not pauses:
            raise KeyboardInterrupt

    ended()
    before = ledger.views.run("df-1").rows
    clock.advance(401 * DAY_S)
    monkeypatch.setattr(retention, "BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        Retention(ledger.database, die).prune(Ages())

    view = ledger.views.run("df-1")
    assert view is None or view.rows == before
    ledger.retention.prune(Ages())
    assert rows(ledger)["runs"] == 0


def test_a_pruning_is_an_event_with_its_counts(ledger, ended, clock):
    ended()
    clock.advance(8 * DAY_S)
    done = ledger.retention.prune(Ages())

    with ledger.database.read() as connection:
        (event,) = connection.execute(
            select(schema.events).where(schema.events.c.kind == "pruned")
        ).all()
    assert f'"kept_rows":{done.kept_rows}' in event.data
    assert event.run_id is None


def test_it_is_done_once_a_day_whoever_ticks(ledger, ended, clock):
    ended()
    clock.advance(8 * DAY_S)

    assert upkeep.prune_daily(ledger, Ages()).kept_rows == 1
    assert upkeep.prune_daily(ledger, Ages()) is None
    clock.advance(DAY_S)
    assert upkeep.prune_daily(ledger, Ages()) == Pruned()


def test_a_daily_pruning_that_died_is_done_again_within_the_hour(ledger, ended, clock, monkeypatch):
    ended()
    clock.advance(8 * DAY_S)

    def die(_ages):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Retention, "prune", lambda self, ages: die(ages))
        with pytest.raises(KeyboardInterrupt):
            upkeep.prune_daily(ledger, Ages())
    assert upkeep.prune_daily(ledger, Ages()) is None
    clock.advance(upkeep.AGAIN_AFTER_DEATH_S)
    assert upkeep.prune_daily(ledger, Ages()).kept_rows == 1


def test_the_audit_ends_after_years_and_not_with_its_run(ledger, ended, clock):
    ended()
    clock.advance(500 * DAY_S)
    ledger.retention.prune(Ages().at_most(DAY_S))
    assert [line.action for line in ledger.audit.newest()] == ["run"]

    clock.advance(3_650 * DAY_S)
    assert ledger.retention.look(Ages()).audit == 1
    assert ledger.retention.prune(Ages()).audit == 1
    assert ledger.audit.newest() == []
