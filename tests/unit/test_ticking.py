"""What a tick starts, skips and tells: over a real ledger, with a clock that is told to move."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
from world import write_catalog

from orchestrations import runs, tasks, ticking
from orchestrations import runs as use_cases
from orchestrations.loader import load_catalog, read_catalog
from worker.errors import LedgerError
from worker.hints import Tell
from worker.ledger import open_ledger
from worker.ledger.schedules import has_rules
from worker.ledger.schema import events
from worker.ledger.states import RunState

DAILY = "schedule: {cron: '30 8 * * *'}"
EVERY_MINUTE = "schedule: {cron: '* * * * *'}"


class Office:
    """A ledger, a catalog, a clock, and somebody who ticks."""

    def __init__(self, ledger, clock, folder):
        self.ledger, self.clock, self.folder = ledger, clock, folder
        write_catalog(folder)

    def declare(self, name="loyalty", more="", status="active"):
        text = (self.folder / "loyalty.yaml").read_text().partition("status:")[0]
        (self.folder / f"{name}.yaml").write_text(
            f"{text}status: {status}\nsource: people\nquery: loyalty.sql\n"
            f"destination: socktown\n{more}\n"
        )

    def at(self, moment):
        """Set the clock: day, hour and minute of November 2026, in UTC."""
        day, time = moment.split()
        hour, minute, *second = map(int, time.split(":"))
        when = datetime(2026, 11, int(day), hour, minute, *second, tzinfo=UTC)
        self.clock.now = when.timestamp()
        return self

    def tick(self):
        return [run.key for run in ticking.tick(self.ledger, read_catalog(self.folder))]

    def end(self, run_id=None, state=RunState.SUCCEEDED):
        """End the run that is active, or the one named; nobody is told."""
        ids = [run_id] if run_id else [run.run_id for run in self.ledger.runs.newest()]
        for one in ids:
            if self.ledger.runs.stop(one, ends_as=state):
                self.ledger.runs.close(one)

    def start(self, name="loyalty", **options):
        run, _ = use_cases.start(
            load_catalog(self.folder), name, ledger=self.ledger, principal="ada",
            options=use_cases.Options(**options),
        )  # fmt: skip
        return run

    def started(self, name="loyalty"):
        return [run.key for run in reversed(self.ledger.runs.newest(99, name))]

    def told(self, *kinds):
        with self.ledger.database.read() as connection:
            rows = connection.execute(events.select().order_by(events.c.id)).all()
        kinds = kinds or ("schedule_skipped", "schedule_missed", "schedule_clock_set_back")
        return [row for row in rows if row.kind in kinds]


@pytest.fixture
def office(ledger, clock, tmp_path):
    return Office(ledger, clock, tmp_path / "catalog").at("24 08:00")


def test_a_run_is_started_at_the_due_minute_under_it_as_key_by_the_scheduler(office):
    office.declare(more="schedule: {cron: '30 8 * * *', timezone: America/Los_Angeles}")
    assert office.tick() == []
    assert office.at("24 16:29:59").tick() == []
    assert office.at("24 16:30:20").tick() == ["2026-11-24T16:30Z"]

    run = office.ledger.runs.newest(1)[0]
    assert (run.principal, run.origin) == ("scheduler", "schedule")
    [line] = office.ledger.audit.newest(1)
    assert (line.principal, line.subject) == ("scheduler", run.run_id)
    assert line.data["key"] == "2026-11-24T16:30Z"
    assert office.at("24 16:30:50").tick() == []
    assert office.told() == []


def test_the_first_tick_of_a_new_ledger_starts_nothing_of_the_past(office):
    office.declare(more="schedule: {cron: '* * * * *', catch_up: last}")
    assert office.tick() == []
    assert office.told() == []


def test_a_schedule_that_is_new_or_changed_counts_from_when_it_was_first_seen(office):
    office.tick()
    office.declare(more="schedule: {cron: '5 8 * * *', catch_up: last}")
    assert office.at("24 08:05:10").tick() == []
    office.declare(more="schedule: {cron: '7 8 * * *', catch_up: last}")
    assert office.at("24 08:07:20").tick() == []
    assert office.at("25 08:07:20").tick() == ["2026-11-25T08:07Z"]


def test_what_is_taken_out_of_the_catalog_and_put_back_makes_up_for_nothing(office):
    office.declare(more="schedule: {cron: '30 8 * * *', catch_up: last}")
    office.tick()
    office.declare()
    assert office.at("24 08:31").tick() == []
    office.declare(more="schedule: {cron: '30 8 * * *', catch_up: last}")
    assert office.at("24 08:32").tick() == []
    assert office.at("24 09:32").tick() == []


def test_a_draft_never_fires_and_makes_up_for_nothing_once_it_is_active(office):
    office.declare(more=DAILY, status="draft")
    assert office.at("24 08:29").tick() == []
    assert office.at("24 08:31").tick() == []
    office.declare(more=DAILY)
    assert office.at("24 08:32").tick() == []
    assert office.at("25 08:30").tick() == ["2026-11-25T08:30Z"]


def test_many_ticks_at_once_start_one_run_and_tell_once(ledger_url, office, clock):
    office.declare(more=EVERY_MINUTE)
    office.tick()
    office.at("24 08:03")  # three are due: one is started, two are told

    def one(_number):
        with closing(open_ledger(ledger_url, clock=clock)) as mine:
            return ticking.tick(mine, read_catalog(office.folder))

    with ThreadPoolExecutor(6) as pool:
        started = [run for found in pool.map(one, range(6)) for run in found]

    assert [run.key for run in started] == ["2026-11-24T08:03Z"]
    assert office.started() == ["2026-11-24T08:03Z"]
    assert [event.kind for event in office.told()] == ["schedule_missed"]


def test_a_tick_that_dies_after_its_start_is_made_up_for_without_a_second_run(office, monkeypatch):
    office.declare(more=DAILY)
    office.tick()
    office.at("24 08:30")
    with monkeypatch.context() as broken:

        def away(*_args):
            raise LedgerError("The ledger cannot be used: locked")

        broken.setattr(type(office.ledger.schedules), "settle", away)
        with pytest.raises(LedgerError):
            office.tick()
    office.end()
    assert office.at("24 08:31").tick() == []
    assert office.started() == ["2026-11-24T08:30Z"]
    assert office.told() == []


def test_after_a_short_pause_the_newest_minute_is_started_and_the_others_are_told(office):
    office.declare(more=EVERY_MINUTE)
    office.tick()
    assert office.at("24 08:05:30").tick() == ["2026-11-24T08:05Z"]
    [event] = office.told()
    assert event.kind == "schedule_missed"
    assert '"count":4' in event.data
    assert '"first":"2026-11-24T08:01Z","last":"2026-11-24T08:04Z"' in event.data


@pytest.mark.parametrize(
    ("catch_up", "moment", "starts", "missed"),
    [
        ("none", "24 08:40", ["2026-11-24T08:30Z"], None),
        ("none", "24 08:41", [], 1),
        ("none", "27 07:00", [], 3),
        ("last", "24 20:00", ["2026-11-24T08:30Z"], None),
        ("last", "27 07:00", ["2026-11-26T08:30Z"], 2),
    ],
)
def test_after_a_standstill_minutes_are_skipped_and_told_or_the_last_is_made_up_for(
    office, catch_up, moment, starts, missed
):
    office.declare(more=f"schedule: {{cron: '30 8 * * *', catch_up: {catch_up}}}")
    office.tick()
    assert office.at(moment).tick() == starts
    told = office.told()
    if missed is None:
        assert told == []
    else:
        assert [event.kind for event in told] == ["schedule_missed"]
        assert f'"count":{missed}' in told[0].data
    office.end()
    assert office.at("27 08:30").tick() == ["2026-11-27T08:30Z"]


def test_a_run_that_is_still_active_is_named_in_an_event_and_the_next_minute_starts(office):
    office.declare(more=EVERY_MINUTE)
    office.tick()
    office.at("24 08:01").tick()
    [active] = office.ledger.runs.newest()

    assert office.at("24 08:02").tick() == []
    [event] = office.told()
    assert (event.kind, event.run_id) == ("schedule_skipped", active.run_id)
    assert '"why":"already_active"' in event.data
    assert active.run_id in event.data
    assert office.ledger.schedules.all()["loyalty"].note["key"] == "2026-11-24T08:02Z"

    office.end()
    assert office.at("24 08:02:30").tick() == []
    assert office.at("24 08:03").tick() == ["2026-11-24T08:03Z"]
    assert len(office.told()) == 1


def test_a_clock_that_is_set_back_starts_nothing_twice_and_stops_nothing(office):
    office.declare(more="schedule: {cron: '*/10 * * * *'}")
    office.tick()
    assert office.at("24 08:10").tick() == ["2026-11-24T08:10Z"]
    office.end()
    assert office.at("24 08:05").tick() == []
    assert [event.kind for event in office.told()] == ["schedule_clock_set_back"]
    assert office.at("24 08:10").tick() == []
    assert office.at("24 08:20").tick() == ["2026-11-24T08:20Z"]
    assert office.at("24 08:19:30").tick() == []
    assert office.started() == ["2026-11-24T08:10Z", "2026-11-24T08:20Z"]


def test_a_broken_file_is_told_once_stops_no_other_and_is_made_up_for(office):
    office.declare(more="schedule: {cron: '30 8 * * *', catch_up: last}")
    office.declare("orders", more="schedule: {cron: '45 8 * * *'}")
    office.tick()
    good = (office.folder / "loyalty.yaml").read_text()
    (office.folder / "loyalty.yaml").write_text("description: [\n")

    for moment in ("24 08:30", "24 08:31"):
        assert office.at(moment).tick() == []
    assert office.at("24 08:45").tick() == ["2026-11-24T08:45Z"]
    assert [event.kind for event in office.told("catalog_broken")] == ["catalog_broken"]
    assert "loyalty.yaml:2" in office.told("catalog_broken")[0].data

    (office.folder / "loyalty.yaml").write_text(good)
    assert office.at("24 09:00").tick() == ["2026-11-24T08:30Z"]
    assert len(office.told("catalog_mended")) == 1


def test_while_a_destination_cannot_be_read_limits_are_not_above_the_last(office):
    strict = office.folder / "destinations" / "strict.yaml"
    text = (office.folder / "destinations" / "socktown.yaml").read_text()
    strict.write_text(text.replace("limits: {}", "limits: {requests_per_minute: 7}"))
    office.declare(more=DAILY)
    account = office.start().target.account
    office.end()
    office.tick()
    strict.write_text("limits: [\n")

    assert office.at("24 08:30").tick() == ["2026-11-24T08:30Z"]
    assert office.ledger.polling.account(account).limits.requests_per_minute == 7


def test_rules_that_cannot_be_read_start_nothing_and_are_told(office):
    office.declare(more=DAILY)
    office.tick()
    rules = office.folder / "access.yaml"
    rules.write_text("users: [\n")
    assert office.at("24 08:30").tick() == []
    assert len(office.told("catalog_broken")) == 1
    rules.write_text("scheduler: user\n")
    assert office.at("24 08:31").tick() == ["2026-11-24T08:30Z"]


def test_the_ledger_learns_whether_the_catalog_has_rules(office, ledger):
    rules = office.folder / "access.yaml"
    assert not has_rules(ledger.database)
    for text in ("scheduler: user\n", "users: [\n"):  # right, and broken
        rules.write_text(text)
        office.tick()
        assert has_rules(ledger.database)
    rules.unlink()
    office.tick()
    assert not has_rules(ledger.database)


def test_a_scheduler_without_rights_starts_nothing_and_it_is_told_once(office):
    office.declare(more=DAILY)
    (office.folder / "access.yaml").write_text("default: admin\n")
    office.tick()
    assert office.at("24 08:30").tick() == []
    assert office.at("24 08:31").tick() == []
    [event] = office.told()
    assert '"why":"access_denied"' in event.data


# --- after ------------------------------------------------------------------------------------


@pytest.fixture
def chain(office):
    """`orders` comes after `loyalty`, and has been seen."""
    office.declare("orders", more="after: loyalty")
    office.tick()
    office.at("24 08:01")
    return office


@pytest.mark.parametrize(
    ("state", "starts"),
    [
        (RunState.SUCCEEDED, True),
        (RunState.FINISHED_WITH_FAILURES, True),
        (RunState.STOPPED, False),
        (RunState.FAILED, False),
        (RunState.INCONSISTENT, False),
    ],
)
def test_what_comes_after_a_run_is_started_once_when_it_went_through(chain, state, starts):
    first = chain.start()
    assert chain.tick() == []
    chain.end(state=state)

    assert chain.tick() == ([first.run_id] if starts else [])
    chain.end()
    assert chain.tick() == []
    assert chain.started("orders") == ([first.run_id] if starts else [])
    told = chain.told()
    assert [event.run_id for event in told] == ([] if starts else [first.run_id])
    if starts:
        [run] = chain.ledger.runs.newest(1, "orders")
        assert (run.principal, run.origin) == ("scheduler", "after")
    else:
        assert f'"why":"run_{state}"' in told[0].data


def test_the_end_of_a_run_starts_what_comes_after_it_and_the_tick_has_nothing_left(
    chain, monkeypatch
):
    sent = []
    parts = type("Parts", (), {"ledger": chain.ledger})
    monkeypatch.setattr(tasks, "parts", lambda: parts)
    monkeypatch.setattr(tasks, "send_all", sent.extend)
    monkeypatch.setattr(tasks, "settings", lambda: type("S", (), {"catalog": chain.folder}))
    first = chain.start()
    chain.end()

    assert tasks.finish(v=1, run_id=first.run_id) == "succeeded: 0 of 0 rows delivered"
    [run] = chain.ledger.runs.newest(1, "orders")
    assert sent == [runs.plan_hint(run), Tell(first.run_id)]
    assert tasks.finish(v=1, run_id=first.run_id) == "nothing to tell"
    chain.end()
    assert chain.tick() == []
    assert chain.started("orders") == [first.run_id]


def test_a_mistake_in_the_alert_rules_is_told_and_stops_no_schedule(office):
    office.declare(more=EVERY_MINUTE)
    office.tick()
    (office.folder / "alerts.yaml").write_text("tel: []\n")

    assert office.at("24 08:01:05").tick() == ["2026-11-24T08:01Z"]
    [told] = office.told("catalog_broken")
    assert "alerts.yaml:1 tel" in told.data


def test_rules_for_a_broken_orchestration_stop_no_other(office):
    office.declare(more=EVERY_MINUTE)
    office.declare("orders", more=EVERY_MINUTE)
    (office.folder / "alerts.yaml").write_text("orchestrations: {orders: {too_long: 1h}}\n")
    office.tick()
    office.declare("orders", more="wrong: yes")

    assert office.at("24 08:01:05").tick() == ["2026-11-24T08:01Z"]
    assert office.started("orders") == []


def test_a_crash_between_start_and_note_starts_nothing_twice(chain, monkeypatch):
    first = chain.start()
    chain.end()
    with monkeypatch.context() as broken:

        def away(*_args):
            raise LedgerError("The ledger cannot be used: locked")

        broken.setattr(type(chain.ledger.schedules), "followed", away)
        with pytest.raises(LedgerError):
            chain.tick()
    chain.end()
    assert chain.tick() == []
    assert chain.started("orders") == [first.run_id]


def test_what_was_declared_after_the_end_of_a_run_does_not_follow_it(office):
    office.start()
    office.end()
    office.declare("orders", more="after: loyalty")
    assert office.at("24 08:01").tick() == []
    assert office.ledger.schedules.unfollowed() == []


def test_a_sample_is_followed_by_nothing(chain):
    chain.start(sample=1)
    chain.end()
    assert chain.tick() == []
    assert chain.told() == []
    assert chain.ledger.schedules.unfollowed() == []


def retry_of(office, parent):
    """Record a retry as the use-case does, of rows that need not be there."""
    catalog = load_catalog(office.folder)
    destination = catalog.destinations["socktown"]
    new = use_cases.NewRun(
        run_id=use_cases.new_run_id(), orchestration=parent.orchestration,
        key=f"retry {parent.run_id}", target=use_cases.target_of(destination),
        limits=use_cases.limits_of(catalog, destination.account), options={"sample": None},
        principal="ada", parent_run=parent.run_id,
    )  # fmt: skip
    return office.ledger.runs.start(new)[0]


def test_a_retry_is_followed_in_place_of_the_run_that_failed_and_never_a_second_time(chain):
    first = chain.start()
    chain.end(state=RunState.FAILED)
    assert chain.tick() == []
    again = retry_of(chain, first)
    chain.end(state=RunState.FINISHED_WITH_FAILURES)
    assert chain.tick() == [first.run_id]
    chain.end()
    retry_of(chain, again)
    chain.end()
    assert chain.tick() == []
    assert chain.started("orders") == [first.run_id]


def test_what_is_still_active_does_not_follow_and_it_is_told(chain):
    busy = chain.start("orders")
    first = chain.start()
    chain.end(first.run_id)
    assert chain.tick() == []
    [event] = chain.told()
    assert event.run_id == busy.run_id
    assert '"origin":"after"' in event.data


def test_a_broken_file_does_not_follow_and_it_is_told(chain):
    first = chain.start()
    (chain.folder / "orders.yaml").write_text("description: [\n")
    chain.end()
    assert chain.tick() == []
    [event] = chain.told()
    assert event.run_id == first.run_id
    assert '"why":"catalog_error"' in event.data
    assert chain.tick() == []
    assert len(chain.told()) == 1


def test_a_chain_goes_on_link_by_link(chain):
    chain.declare("report", more="after: orders")
    chain.tick()
    chain.at("24 08:02")
    first = chain.start()
    chain.end()
    assert chain.tick() == [first.run_id]
    [second] = chain.ledger.runs.newest(1, "orders")
    chain.end()
    assert chain.tick() == [second.run_id]
    assert chain.started("report") == [second.run_id]
