"""The documentation names everything there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from metric_names import metrics_there_are

from orchestrations.cli import deskfeed
from worker.settings import Credential, Retention, Settings

DOCS = Path(__file__).parents[2] / "docs"


def commands(group, prefix=""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize("name", [*Settings.model_fields])
def test_every_setting_is_documented(name):
    text = (DOCS / "settings.md").read_text()
    if name == "credentials":
        for part in Credential.model_fields:
            assert f"__{part.upper()}`" in text
    elif name == "retention":
        for part in Retention.model_fields:
            assert f"| `DESKFEED_RETENTION__{part.upper()}` |" in text
    elif name == "alerts":
        assert "| `DESKFEED_ALERTS__<NAME>` |" in text
    else:
        assert f"| `DESKFEED_{name.upper()}` |" in text


@pytest.mark.parametrize(("name", "command"), list(commands(deskfeed)))
def test_every_command_and_option_is_documented(name, command):
    text = (DOCS / "commands.md").read_text()
    assert f"`{name}" in text
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "as_json":
            assert parameter.opts[-1] in text, parameter.opts


@pytest.mark.parametrize(("name", "command"), list(commands(deskfeed)))
def test_every_command_has_help_and_json(name, command):
    assert command.help
    assert "as_json" in {parameter.name for parameter in command.params}


def test_every_normalisation_that_verify_knows_is_documented():
    from worker.zendesk import compare

    table = (DOCS / "verify.md").read_text().partition("## What counts as equal")[2]
    documented = re.findall(r"^\| `?([a-z_. *]+?)`? \|", table, re.MULTILINE)[1:]
    told = re.findall(r"^    ([a-z][a-z_.* ]*?[a-z*])  +\S", compare.__doc__, re.MULTILINE)

    assert documented == told
    assert set(compare._RULES) <= set(documented)


# --- metrics ----------------------------------------------------------------------------------


def metrics_documented():
    text = (DOCS / "metrics.md").read_text()
    rows = re.findall(r"^\| `(deskfeed_\w+)` \| (\w+) \| (.*?) ?\|", text, re.MULTILINE)
    return [(name, kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels in rows]


def test_every_metric_is_documented_and_no_other():
    assert sorted(metrics_documented()) == sorted(metrics_there_are())


def test_names_have_units_and_types_as_prometheus_wants_them():
    for name, kind, _ in metrics_there_are():
        assert re.fullmatch(r"deskfeed(_[a-z]+)+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert kind != "histogram" or name.endswith("_seconds")


def test_alerts_and_advice_speak_of_metrics_that_there_are():
    text = (DOCS / "metrics.md").read_text()
    known = {name for name, _, _ in metrics_there_are()}
    known |= {f"{name}_bucket" for name, kind, _ in metrics_there_are() if kind == "histogram"}

    assert set(re.findall(r"\bdeskfeed_\w+", text)) - known == set()


def test_the_ceiling_is_documented_as_it_is_computed():
    from worker.limiter.limiter import GUARD_S

    text = (DOCS / "metrics.md").read_text()
    assert f"the guard of {GUARD_S * 1000:g} ms, so {100 / (1 + GUARD_S):.1f} of 100" in text


def test_the_readme_leads_to_the_metrics():
    assert "](docs/metrics.md)" in (DOCS.parent / "README.md").read_text()


def rooms():
    """The paths in the first column of architecture.md's table, whole."""
    text = (DOCS / "architecture.md").read_text().partition("## The rooms")[2]
    for line in text.partition("\n\nImports")[0].splitlines():
        folder = ""
        for path in re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("| `") else ():
            if path.startswith(("worker/", "orchestrations/")):
                folder = path.split("/")[0]
            yield path if path.startswith(folder + "/") else f"{folder}/{path}"


def test_every_module_has_one_place_in_the_table_of_rooms():
    found = list(rooms())
    assert sorted({path for path in found if found.count(path) > 1}) == []
    there = {
        f"{package}/{path.name}{'/' if path.is_dir() else ''}"
        for package in ("worker", "orchestrations")
        for path in (DOCS.parent / package).iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and "__" not in path.name
    }
    assert sorted(there ^ set(found)) == []
