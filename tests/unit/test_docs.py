"""The documentation names everything there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

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


def test_every_error_code_is_documented():
    from worker.errors import EXPLANATIONS

    text = (DOCS / "errors.md").read_text()
    for code, explanation in EXPLANATIONS.items():
        assert f"| `{code}` | {explanation.title} |" in text, code
