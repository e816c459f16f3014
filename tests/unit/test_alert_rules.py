"""alerts.yaml: what it may say, and that a mistake is told with file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from world import write_catalog

from orchestrations import runs
from orchestrations.alert_rules import DEFAULT_KINDS, AlertRules, kinds, load_rules
from orchestrations.cli import deskfeed
from orchestrations.loader import InvalidCatalog, load_catalog
from orchestrations.schemas import schema_of
from worker.settings import settings

RULES = """\
channels: [ops]
tell: [failed, too_long]
failed_percent: 1
too_long: 2h
orchestrations:
  loyalty: {channels: [crm, ops], too_long: 30m}
"""


def rules(folder, text):
    (folder / "alerts.yaml").write_text(text)
    return load_rules(folder, {"loyalty"})


def mistakes(folder, text):
    with pytest.raises(InvalidCatalog) as caught:
        rules(folder, text)
    return caught.value.message.splitlines()


def test_without_the_file_every_channel_is_told_of_what_matters(tmp_path):
    assert load_rules(tmp_path) == AlertRules()
    assert AlertRules().channels is None
    assert AlertRules().tell == DEFAULT_KINDS
    assert set(kinds()) - set(DEFAULT_KINDS) == {"succeeded", "stopped"}


def test_an_orchestrations_own_rules_hold_for_it_and_the_rest_is_as_for_all(tmp_path):
    found = rules(tmp_path, RULES)

    mine = found.of("loyalty")
    assert (mine.channels, mine.too_long) == (("crm", "ops"), 1800.0)
    assert (mine.tell, mine.failed_percent) == (("failed", "too_long"), 1)
    assert found.of("orders").too_long == 7200.0
    assert found.all_channels == {"crm", "ops"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chanels: [ops]", "alerts.yaml:1 chanels: unknown key (did you mean 'channels'?)"),
        ("tell:\n- failed\n- fialed", "alerts.yaml:3 tell.1: must be 'failed', "),
        ("too_long: 2 hours", "alerts.yaml:1 too_long: must be a time span such as 30m, 2h or 1d"),
        ("failed_percent: 101", "alerts.yaml:1 failed_percent: must be at most 100"),
        ("tell: []\ntell: []", "alerts.yaml:1 tell: stands twice; again in line 2"),
        ("orchestrations:\n  loyalti: {}", "alerts.yaml:2 orchestrations.loyalti: the catalog has"),
        (
            "orchestrations:\n  loyalty:\n    tel: []",
            "alerts.yaml:3 orchestrations.loyalty.tel",
        ),
        ("- ops", "alerts.yaml:1: the file must be a mapping"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(tmp_path, text, told):
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(told)


def test_an_address_in_the_file_is_refused_and_not_repeated(tmp_path):
    (found,) = mistakes(tmp_path, "channels: ['slack://hush/hush/hush']")

    assert found.startswith("alerts.yaml:1 channels.0: must be the name of a channel")
    assert "DESKFEED_ALERTS__OPS" in found
    assert "hush" not in found


def test_the_file_is_no_orchestration(tmp_path):
    catalog = write_catalog(tmp_path)
    (catalog / "alerts.yaml").write_text(RULES)

    assert set(load_catalog(catalog).orchestrations) == {"loyalty"}


def test_a_run_starts_with_the_time_that_it_may_take(tmp_path, sqlite_ledger, clock):
    catalog = load_catalog(write_catalog(tmp_path / "catalog"))
    (catalog.folder / "alerts.yaml").write_text(RULES)
    runs.start(catalog, "loyalty", ledger=sqlite_ledger, principal="eve")

    clock.advance(1799)
    sqlite_ledger.recovery.find_lost()
    assert sqlite_ledger.alerts.newest() == []
    clock.advance(1)
    sqlite_ledger.recovery.find_lost()
    assert len(sqlite_ledger.alerts.newest()) == 1


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command, on a catalog with a mistake in alerts.yaml."""
    catalog = write_catalog(tmp_path / "catalog")
    (catalog / "alerts.yaml").write_text("tel: []")
    monkeypatch.setenv("DESKFEED_CATALOG", str(catalog))
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(deskfeed, words)
    settings.cache_clear()


def test_check_tells_of_the_mistake_and_no_run_is_kept_from_starting(
    command, tmp_path, sqlite_ledger
):
    done = command("check")
    assert done.exit_code == 2
    assert "alerts.yaml:1 tel: unknown key" in done.output

    catalog = load_catalog(tmp_path / "catalog")
    run, new = runs.start(catalog, "loyalty", ledger=sqlite_ledger, principal="eve")
    assert new
    assert runs.too_long(catalog, run.orchestration) is None


DOCS = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_every_key_and_every_kind_is_documented():
    keys, when = re.findall(r"\| (?:key|`tell`) \|.*?\n\n", DOCS, re.DOTALL)
    assert re.findall(r"^\| `(\w+)` \|", keys, re.MULTILINE) == [*AlertRules.model_fields]
    assert re.findall(r"^\| `(\w+)` \| a", when, re.MULTILINE + re.IGNORECASE)
    assert set(re.findall(r"^\| `(\w+)` \|", when, re.MULTILINE)) - {"tell"} == set(kinds())
    assert f"`[{', '.join(DEFAULT_KINDS)}]`" in keys


def test_the_example_is_a_file_that_loads(tmp_path):
    example = DOCS.partition("```yaml\n")[2].partition("```")[0]

    assert rules(tmp_path, example).of("loyalty").too_long == 1800.0


def test_the_schema_knows_time_spans():
    told = schema_of("alerts")["properties"]["too_long"]

    assert {"type": "string", "pattern": "^[0-9]{1,6}[smhd]$"} in told["anyOf"]
