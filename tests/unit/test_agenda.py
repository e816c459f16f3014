"""What `schedule`, `show` and `check` tell of what starts by itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from world import write_catalog

from orchestrations import agenda, report, runs
from orchestrations.cli import deskfeed, doctor_verb
from orchestrations.loader import load_catalog, read_catalog
from worker.ledger import open_ledger
from worker.ledger.pulse import note_beat
from worker.ledger.schedules import Note
from worker.settings import settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A catalog of four: on a schedule, after it, a draft, broken; the command finds it."""
    folder = write_catalog(
        tmp_path / "catalog",
        more="schedule: {cron: '30 2 * * *', timezone: America/Los_Angeles, catch_up: last}",
    )
    text = (folder / "loyalty.yaml").read_text().partition("schedule:")[0]
    (folder / "orders.yaml").write_text(f"{text}after: loyalty\n")
    draft = text.replace("active", "draft")
    (folder / "weekly.yaml").write_text(f"{draft}schedule: {{cron: '0 9 * * 1'}}\n")
    (folder / "later.yaml").write_text(f"{text}after: weekly\n")
    monkeypatch.setenv("DESKFEED_CATALOG", str(folder))
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DESKFEED_LEDGER_URL", raising=False)
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture
def ledger(place):
    opened = open_ledger(settings().ledger)
    yield opened
    opened.close()


def told(*words):
    answer = CliRunner().invoke(deskfeed, ["schedule", *words], catch_exceptions=False)
    return answer.stdout, answer.stderr


def test_the_next_times_are_told_in_the_zone_and_in_utc(place, ledger):
    entries = agenda.agenda(read_catalog(place), ledger, 2, NOW)
    found = {entry.name: agenda.as_json(entry) for entry in entries}

    assert found["loyalty"]["next"] == [
        {"utc": "2026-11-25T10:30Z", "local": "2026-11-25T02:30-08:00"},
        {"utc": "2026-11-26T10:30Z", "local": "2026-11-26T02:30-08:00"},
    ]
    assert found["loyalty"]["then"] == ["orders"]
    assert (found["weekly"]["next"], found["weekly"]["status"]) == ([], "draft")
    assert {entry.name for entry in entries if entry.by_itself} == {"loyalty", "orders", "later"}


def test_without_a_tick_somebody_is_told_how_to_start_beat(place, ledger):
    shown, warned = told("-n", "1")
    assert "loyalty  30 2 * * *  America/Los_Angeles" in shown
    assert "orders  after loyalty" in shown
    assert "no tick has seen it yet" in shown
    assert "celery -A worker.app beat" in warned

    note_beat(ledger.recovery)
    shown, warned = told("-n", "1")
    assert "Beat ticks: the last time " in shown
    assert warned == ""


def test_a_catalog_that_needs_no_beat_asks_for_none(place, ledger):
    for file in ("loyalty", "later", "orders"):
        (place / f"{file}.yaml").unlink()
    assert told()[1] == ""


def test_what_was_not_started_and_a_broken_file_are_told(place, ledger):
    seen = ledger.schedules.see({"loyalty": "30 2 * * * America/Los_Angeles"})["loyalty"]
    data = {"key": "2026-11-24T10:30Z", "why": "already_active", "reason": "df-9 is running"}
    ledger.schedules.settle(
        seen, seen.checked_until + 1, [Note("schedule_skipped", "loyalty", data=data)]
    )
    (place / "orders.yaml").write_text("description: [\n")

    shown, warned = told()
    assert "not started 2026-11-24T10:30Z: df-9 is running" in shown
    assert "orders  its file is wrong: nothing starts it (deskfeed check)" in shown
    assert "orders.yaml:2" in warned
    answer = json.loads(told("--json")[0])
    assert answer["problems"][0].startswith("orders.yaml:2")
    broken = next(one for one in answer["orchestrations"] if one["orchestration"] == "orders")
    assert broken["status"] == "broken"


def test_what_started_a_run_is_told(place, ledger):
    catalog = load_catalog(place)
    run, _ = runs.start(
        catalog, "loyalty", ledger=ledger, principal="scheduler", key="2026-11-24T10:30Z",
        origin="schedule",
    )  # fmt: skip
    after, _ = runs.start(
        catalog, "orders", ledger=ledger, principal="scheduler", key=run.run_id, origin="after"
    )
    manual, _ = runs.start(catalog, "later", ledger=ledger, principal="ada")

    assert report.started_by(run) == "by its schedule, due 2026-11-24T10:30Z"
    assert report.started_by(after) == f"after {run.run_id}"
    assert report.started_by(manual) == "by ada"
    shown = report.run_as_json(ledger.views.run(run.run_id))
    assert (shown["origin"], shown["key"]) == ("schedule", "2026-11-24T10:30Z")
    assert f"{run.run_id} planned, by its schedule" in told()[0]


def test_check_warns_of_what_looks_like_a_mistake(place):
    catalog = load_catalog(place)
    found = {
        name: agenda.warnings(catalog, one, NOW) for name, one in catalog.orchestrations.items()
    }
    assert found == {
        "loyalty": [
            (
                "02:30 on 2027-03-14 does not exist in America/Los_Angeles: the run starts at "
                "Sun 2027-03-14 03:00 PDT (10:00 UTC), once"
            )
        ],
        "orders": [],
        "weekly": ["`schedule` starts nothing while it is a draft"],
        "later": ["it comes after weekly, which is a draft and never runs"],
    }


@pytest.fixture
def doctor(place, ledger, monkeypatch):
    """What `doctor` says of schedules at a moment: (verdict, name, what) of each."""

    def ask(now):
        monkeypatch.setattr(doctor_verb, "_now", lambda: now)
        answer = json.loads(CliRunner().invoke(deskfeed, ["doctor", "--json"]).stdout)
        checks = [one for one in answer["checks"] if one["name"].startswith("schedule")]
        assert all(one["remedy"] for one in checks if one["verdict"] != "ok")
        return [(one["verdict"], one["name"], one["said"]) for one in checks]

    return ask


DRAFTS = [
    ("warn", "schedule later", "it comes after weekly, which is a draft and never runs"),
    ("warn", "schedule weekly", "`schedule` starts nothing while it is a draft"),
]


def test_doctor_tells_of_a_change_of_the_clock_once_it_is_near(doctor):
    count = ("ok", "schedules", "3 orchestrations start by themselves")
    assert doctor(NOW) == [count, *DRAFTS]

    soon = doctor(datetime(2027, 3, 1, tzinfo=UTC))
    assert soon[0] == count
    assert soon[2][:2] == ("warn", "schedule loyalty")
    assert soon[2][2].startswith("02:30 on 2027-03-14 does not exist in America/Los_Angeles")


def test_doctor_tells_of_a_time_that_comes_twice(place, doctor):
    file = place / "loyalty.yaml"
    file.write_text(file.read_text().replace("30 2 *", "30 1 *"))

    told = doctor(datetime(2026, 10, 30, tzinfo=UTC))
    assert any("01:30 on 2026-11-01 comes twice" in said for _, _, said in told)


def test_doctor_tells_what_was_due_and_not_started_until_a_run_comes(place, ledger, doctor):
    [due] = agenda.next_minutes("30 2 * * *", "America/Los_Angeles", datetime.now(UTC), 1)
    late = (due - timedelta(days=2)).strftime("%Y-%m-%dT%H:%MZ")
    seen = ledger.schedules.see({"loyalty": "30 2 * * * America/Los_Angeles"})["loyalty"]
    data = {"key": late, "why": "already_active", "reason": "df-9 is running"}
    note = Note("schedule_skipped", "loyalty", late, data=data)
    ledger.schedules.settle(seen, seen.checked_until + 1, [note])
    missed = ("warn", "schedule loyalty", f"not started: {late}: df-9 is running")
    assert missed in doctor(NOW)

    runs.start(load_catalog(place), "loyalty", ledger=ledger, principal="ada")
    assert missed not in doctor(NOW)


def test_doctor_tells_of_a_schedule_that_a_mistake_stops(place, ledger, doctor):
    ledger.schedules.see({"orders": "after loyalty"})
    (place / "orders.yaml").write_text("description: [\n")

    wrong = ("warn", "schedule orders", "its file is wrong, so nothing starts it")
    assert wrong in doctor(NOW)
