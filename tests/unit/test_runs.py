"""Starting runs: what is refused, what the ledger is told, how a run is found again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from world import write_catalog

from orchestrations import runs
from orchestrations.loader import load_catalog
from worker.errors import UsageError
from worker.hints import Plan
from worker.ledger.records import Limits


@pytest.fixture
def catalog(tmp_path):
    return load_catalog(write_catalog(tmp_path / "catalog"))


def start(catalog, ledger, name="loyalty", **kwargs):
    return runs.start(catalog, name, ledger=ledger, principal="tester", **kwargs)


def test_a_run_is_recorded_with_all_a_worker_needs(catalog, ledger):
    run, new = start(catalog, ledger, options=runs.Options(sample=7))

    assert new
    assert run.target.account == "127.0.0.1:8900"
    assert run.target.url == "http://127.0.0.1:8900"
    assert (run.target.destination, run.target.credential) == ("socktown", "socktown")
    assert run.principal == "tester"
    assert runs.Options.from_json(run.options) == runs.Options(sample=7)
    assert runs.plan_hint(run) == Plan(run.run_id)


@pytest.mark.parametrize("options", [runs.Options(), runs.Options(sample=1)])
def test_a_run_remembers_the_share_of_its_orchestration(tmp_path, ledger, options):
    folder = write_catalog(tmp_path / "catalog")
    file = folder / "loyalty.yaml"
    file.write_text(file.read_text() + "share: 2.5\n")
    run, _ = start(load_catalog(folder), ledger, options=options)

    assert run.options["share"] == 2.5


def test_run_ids_sort_by_time_and_cannot_be_guessed():
    early = runs.new_run_id(datetime(2026, 11, 24, 8, 30, tzinfo=UTC))
    late = runs.new_run_id(datetime(2026, 11, 24, 8, 31, tzinfo=UTC))

    assert early.startswith("df-20261124T083000Z-")
    assert early < late
    assert runs.new_run_id() != runs.new_run_id()


def test_a_key_makes_a_second_start_harmless(catalog, ledger):
    first, _ = start(catalog, ledger, key="2026-11-24")
    second, new = start(catalog, ledger, key="2026-11-24")

    assert (second.run_id, new) == (first.run_id, False)


def test_a_draft_is_not_started(tmp_path, ledger):
    catalog = load_catalog(write_catalog(tmp_path / "catalog", status="draft"))

    with pytest.raises(UsageError) as caught:
        start(catalog, ledger)
    assert caught.value.code == "draft_query"
    assert ledger.runs.newest() == []


def test_an_unknown_orchestration_is_not_started(catalog, ledger):
    with pytest.raises(UsageError, match="loyality"):
        start(catalog, ledger, "loyality")


def test_of_an_accounts_destinations_the_smallest_limits_hold(tmp_path, ledger):
    folder = write_catalog(tmp_path / "catalog")
    (folder / "destinations" / "second.yaml").write_text(
        "description: The same account again\nplugin: zendesk\ncredential: socktown\n"
        "base_url: http://127.0.0.1:8900\n"
        "limits: {users_per_second: 150, requests_per_minute: 90, jobs_in_flight: 25}\n"
    )
    run, _ = start(load_catalog(folder), ledger)

    assert ledger.polling.account(run.target.account).limits == Limits(100, 90, 20, 10)


@pytest.mark.parametrize(("reserve", "holds"), [(0, 10), (35, 35)])
def test_of_an_accounts_destinations_the_largest_reserve_holds(tmp_path, ledger, reserve, holds):
    folder = write_catalog(tmp_path / "catalog")
    (folder / "destinations" / "second.yaml").write_text(
        "description: The same account again\nplugin: zendesk\ncredential: socktown\n"
        f"base_url: http://127.0.0.1:8900\nlimits: {{reserve_percent: {reserve}}}\n"
    )
    run, _ = start(load_catalog(folder), ledger)

    assert ledger.polling.account(run.target.account).limits.reserve_percent == holds


def test_a_run_is_found_by_its_id_a_beginning_of_it_and_as_the_last(ledger, new_run):
    ledger.runs.start(new_run("df-20261124T083000Z-aaaaaa", "one"))
    ledger.runs.start(new_run("df-20261124T083100Z-bbbbbb", "two"))

    assert runs.find_run(ledger, "df-20261124T0830").orchestration == "one"
    assert runs.find_run(ledger, "last").orchestration == "two"
    with pytest.raises(UsageError, match="fits 2 runs"):
        runs.find_run(ledger, "df-2026")
    with pytest.raises(UsageError, match="did you mean df-20261124T083100Z-bbbbbb"):
        runs.find_run(ledger, "df-20261124T083100Z-bbbbbc")
