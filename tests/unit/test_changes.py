"""Who else writes the same fields; and what `check` says of it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from world import write_catalog

from orchestrations.changes import contested
from orchestrations.cli import deskfeed
from orchestrations.loader import load_catalog
from worker.settings import settings

COLUMNS = ("external_id", "email", "name", "user_fields.tier")
SQL = 'SELECT id AS external_id, name, id AS "user_fields.tier", id AS notes FROM people ORDER BY 1'


def add(folder, name, **changes):
    """Add another orchestration like the first."""
    text = (folder / "loyalty.yaml").read_text()
    for before, after in changes.items():
        text = text.replace(before, after)
    (folder / f"{name}.yaml").write_text(text)


@pytest.fixture
def folder(tmp_path):
    return write_catalog(tmp_path / "catalog", sql=SQL)


def test_two_that_write_the_same_field_of_one_account_are_told_of_each_other(folder):
    add(folder, "survey")
    found = contested(
        load_catalog(folder), {"loyalty": COLUMNS, "survey": (*COLUMNS[:3], "user_fields.tier")}
    )
    assert found == {
        "loyalty": ["survey writes to the same account: user_fields.tier; the last wins"],
        "survey": ["loyalty writes to the same account: user_fields.tier; the last wins"],
    }


def test_who_a_person_is_everybody_says(folder):
    add(folder, "survey")
    columns = {"loyalty": COLUMNS, "survey": (*COLUMNS[:3], "user_fields.score")}
    assert contested(load_catalog(folder), columns) == {"loyalty": [], "survey": []}


def test_drafts_and_other_accounts_do_not_count(folder):
    add(folder, "draft", active="draft")
    add(folder, "elsewhere", **{"destination: socktown": "destination: other"})
    other = (folder / "destinations" / "socktown.yaml").read_text().replace("8900", "8901")
    (folder / "destinations" / "other.yaml").write_text(other)
    columns = dict.fromkeys(("loyalty", "draft", "elsewhere"), COLUMNS)
    assert contested(load_catalog(folder), columns) == {name: [] for name in columns}


@pytest.fixture
def check(folder, monkeypatch, tmp_path):
    """Return a function that runs `check` on the catalog."""
    monkeypatch.setenv("DESKFEED_CATALOG", str(folder))
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(deskfeed, ["check", "--offline", *words])
    settings.cache_clear()


def needing_since(folder):
    """Let the first orchestration need a parameter; add another one that has none."""
    add(folder, "survey")
    with (folder / "loyalty.yaml").open("a") as file:
        file.write("params: {since: null}\nquery: since.sql\n")
    text = (folder / "loyalty.yaml").read_text().replace("query: loyalty.sql\n", "")
    (folder / "loyalty.yaml").write_text(text)
    (folder / "since.sql").write_text(SQL.replace("ORDER", "WHERE id > $since ORDER"))


def test_a_catalog_is_checked_whole_without_the_values_that_some_queries_need(folder, check):
    needing_since(folder)
    done = check("--json")
    assert done.exit_code == 0
    found = {item["orchestration"]: item for item in json.loads(done.stdout)["orchestrations"]}
    assert (found["loyalty"]["not_run"], found["loyalty"]["error"]) == ("needs since", None)
    assert (found["survey"]["not_run"], found["survey"]["error"]) == (None, None)
    said = check().stdout
    assert "loyalty -> socktown: not run: needs since" in said
    assert "every other query runs" in said


def test_a_catalogs_parameters_go_to_those_that_declare_them(folder, check):
    needing_since(folder)
    found = json.loads(check("--param", "since=1", "--json").stdout)["orchestrations"]
    assert [(item["not_run"], item["error"]) for item in found] == [(None, None)] * 2
    refused = check("--param", "sinse=1", "--json")
    assert refused.exit_code == 2
    words = "no orchestration has a parameter 'sinse'; they declare: since"
    assert json.loads(refused.stdout)["error"]["message"] == words


def test_one_that_is_named_needs_its_values(folder, check):
    needing_since(folder)
    done = check("loyalty", "--json")
    assert done.exit_code == 2
    (found,) = json.loads(done.stdout)["orchestrations"]
    assert "needs a value for since" in found["error"]["message"]


def test_check_warns_of_it_also_when_asked_of_one_only(folder, check):
    add(folder, "survey")
    done = check("loyalty", "--json")
    (found,) = json.loads(done.stdout)["orchestrations"]
    assert found["error"] is None
    words = "survey writes to the same account: notes, user_fields.tier; the last wins"
    assert words in found["warnings"]
