"""The digests of a configuration: equal for equal files, and of each part by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import write_catalog

from orchestrations import runs
from orchestrations.configuration import DECIDES_NOTHING, deciding, digests
from orchestrations.loader import load_catalog
from orchestrations.spec import Destination, Limits, Orchestration, Source, Thresholds
from orchestrations.timetable import Schedule
from worker.errors import RunError


def digests_of(folder, **kwargs):
    catalog = load_catalog(write_catalog(folder, **kwargs))
    return digests(catalog, catalog.orchestration("loyalty"))


def test_equal_files_have_equal_digests_wherever_they_lie(tmp_path):
    one, other = digests_of(tmp_path / "one"), digests_of(tmp_path / "other")

    assert one == other
    assert set(one) == {"orchestration", "query", "source", "destination", "whole"}
    assert {len(digest) for digest in one.values()} == {16}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("orchestration", {"thresholds": "{fail_below: 2}"}),
        ("query", {"sql": "SELECT id AS external_id, name FROM people"}),
        ("destination", {"limits": "{users_per_second: 200}"}),
    ],
)
def test_a_change_shows_in_its_part_and_in_the_whole(tmp_path, part, change):
    before, after = digests_of(tmp_path / "one"), digests_of(tmp_path / "other", **change)

    assert {name for name in before if before[name] != after[name]} == {part, "whole"}


# --- what may be edited between the start of a run and its planning -----------------------------

DECIDES = {
    Orchestration: {
        "name": "other",
        "status": "draft",
        "source": "other",
        "query": "other.sql",
        "destination": "other",
        "params": {"since": "2026-01-31"},
        "send": "changed",
        "on_shared_email": "drop_email",
        "thresholds": Thresholds(fail_below=2),
        "columns": {"mail": "email"},
        "constants": {"notes": "vip"},
        "defaults": {"notes": "vip"},
        "formats": {"phone": "text"},
        "strict": True,
        "on_invalid_value": "drop_field",
        "nulls": "clear",
        "tags": "add",
        "phone_region": "US",
        "allow_staff": True,
        "verified": False,
        "pii": ("phone",),
    },
    Source: {
        "name": "other",
        "type": "database",
        "tables": {"people": ("data/others.csv",)},
        "url_env": "WAREHOUSE_URL",
    },
    Destination: {
        "name": "other",
        "plugin": "other",
        "credential": "other",
        "subdomain": "other",
        "base_url": "http://127.0.0.1:8901",
        "admin_only": True,
        "restrict_pii": True,
        "allow_pii": True,
    },
}
"""Every key that decides which rows go where and how, with another value."""

MAY_CHANGE = {
    Orchestration: {
        "description": "In other words",
        "schedule": Schedule(cron="30 8 * * *"),
        "after": "orders",
        "share": 3.0,
    },
    Source: {"description": "In other words", "statement_timeout": 60},
    Destination: {"description": "In other words", "limits": Limits(requests_per_minute=100)},
}
"""Every key that does not."""


def changes(table):
    return [
        pytest.param(model, key, value, id=f"{model.__name__}.{key}")
        for model, keys in table.items()
        for key, value in keys.items()
    ]


def changed(catalog, model, key, value):
    """Return a catalog in which one key of one file says something else."""
    shelf = {
        Orchestration: "orchestrations",
        Source: "sources",
        Destination: "destinations",
    }[model]
    everything = {
        "orchestrations": dict(catalog.orchestrations),
        "sources": {**catalog.sources, "other": catalog.sources["people"]},
        "destinations": {**catalog.destinations, "other": catalog.destinations["socktown"]},
    }
    [name] = getattr(catalog, shelf)
    everything[shelf][name] = everything[shelf][name].model_copy(update={key: value})
    queries = {**catalog.queries, "other": catalog.queries["loyalty"]}
    return replace(catalog, queries=queries, **everything)


def decided(catalog):
    return deciding(catalog, catalog.orchestrations["loyalty"])


@pytest.mark.parametrize("model", [Orchestration, Source, Destination])
def test_every_key_of_the_catalog_is_said_to_decide_or_not(model):
    """A new key goes into one of the tables, and into `DECIDES_NOTHING` if it may change."""
    assert DECIDES[model].keys() | MAY_CHANGE[model].keys() == model.model_fields.keys()
    assert not DECIDES[model].keys() & MAY_CHANGE[model].keys()
    assert MAY_CHANGE[model].keys() == DECIDES_NOTHING[model]


@pytest.mark.parametrize(("model", "key", "value"), changes(DECIDES))
def test_a_key_that_decides_counts(tmp_path, model, key, value):
    catalog = load_catalog(write_catalog(tmp_path))

    assert decided(changed(catalog, model, key, value)) != decided(catalog)


@pytest.mark.parametrize(("model", "key", "value"), changes(MAY_CHANGE))
def test_a_key_that_decides_nothing_does_not_count(tmp_path, model, key, value):
    catalog = load_catalog(write_catalog(tmp_path))

    assert decided(changed(catalog, model, key, value)) == decided(catalog)


def test_a_key_that_a_newer_version_knows_counts_only_where_a_file_names_it(tmp_path, monkeypatch):
    """Else no run that waits would outlive the upgrade."""

    class Newer(Orchestration):
        colour: str = "red"

    monkeypatch.setitem(DECIDES_NOTHING, Newer, DECIDES_NOTHING[Orchestration])
    catalog = load_catalog(write_catalog(tmp_path))

    def with_key(**key):
        spec = Newer(**catalog.orchestrations["loyalty"].model_dump(exclude_unset=True), **key)
        return replace(catalog, orchestrations={"loyalty": spec})

    assert decided(with_key()) == decided(catalog)
    assert decided(with_key(colour="red")) == decided(catalog)
    assert decided(with_key(colour="blue")) != decided(catalog)


@pytest.mark.parametrize("more", ["strict: false", "on_shared_email: fail_row", "columns: {}"])
def test_a_default_that_is_written_down_is_the_same_as_none(tmp_path, more):
    plain = load_catalog(write_catalog(tmp_path / "one"))
    written = load_catalog(write_catalog(tmp_path / "other", more=more))

    assert decided(written) == decided(plain)


def test_the_text_of_the_query_counts(tmp_path):
    catalog = load_catalog(write_catalog(tmp_path))
    other = replace(catalog, queries={"loyalty": "SELECT 1"})

    assert decided(other) != decided(catalog)


def test_a_queued_run_outlives_other_words_and_limits_in_the_files(tmp_path, sqlite_ledger):
    folder = write_catalog(tmp_path)
    run, _ = runs.start(load_catalog(folder), "loyalty", ledger=sqlite_ledger, principal="ada")
    for file in ("loyalty", "destinations/socktown", "sources/people"):
        path = folder / f"{file}.yaml"
        path.write_text(path.read_text().replace("description: ", "description: In other words, "))
    socktown = folder / "destinations" / "socktown.yaml"
    socktown.write_text(
        socktown.read_text().replace("limits: {}", "limits: {requests_per_minute: 99}")
    )

    runs.refuse_another_catalog(load_catalog(folder), run)


def test_a_run_that_an_older_version_started_is_planned_from_the_same_files_only(
    tmp_path, sqlite_ledger
):
    """It noted the digest of all that the files say."""
    catalog = load_catalog(write_catalog(tmp_path))
    run, _ = runs.start(catalog, "loyalty", ledger=sqlite_ledger, principal="ada")
    options = {key: value for key, value in run.options.items() if key != "decided_by"}
    whole = digests(catalog, catalog.orchestration("loyalty"))["whole"]

    runs.refuse_another_catalog(catalog, replace(run, options=options))
    runs.refuse_another_catalog(catalog, replace(run, options={**options, "catalog": whole}))
    with pytest.raises(RunError, match="stands otherwise"):
        runs.refuse_another_catalog(catalog, replace(run, options={**options, "catalog": "0" * 16}))
