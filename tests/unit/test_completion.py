"""The shell's completion offers names that there are, quickly, and never says an error."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete, shell_complete
from world import write_catalog

from orchestrations.cli import completion, deskfeed
from worker.glance import newest_runs
from worker.settings import Settings


@pytest.fixture
def here(tmp_path, monkeypatch, sqlite_ledger, sqlite_url, new_run):
    """A catalog and a ledger with two runs."""
    catalog = write_catalog(tmp_path / "catalog")
    (catalog / "loyal_friends.yaml").write_text("broken: [")
    (catalog / ".hidden.yaml").write_text("")
    sqlite_ledger.runs.start(new_run("df-1"))
    sqlite_ledger.runs.start(new_run("df-2", "other"))
    found = Settings(catalog=catalog, ledger_url=sqlite_url, state_dir=tmp_path)
    monkeypatch.setattr(completion, "settings", lambda: found)
    return catalog


def offered(*words):
    *before, last = words
    shell = ShellComplete(deskfeed, {}, "deskfeed", "_DESKFEED_COMPLETE")
    return [item.value for item in shell.get_completions(before, last)]


def test_verbs_and_options_are_offered():
    assert offered("wat") == ["watch"]
    assert "--wait" in offered("run", "--")


def test_orchestrations_are_offered_also_those_with_a_mistake(here):
    assert offered("run", "loy") == ["loyal_friends", "loyalty"]
    assert offered("preview", "loyalty") == ["loyalty"]


def test_destinations_are_offered(here):
    assert offered("destinations", "test", "") == ["socktown"]
    assert offered("limits", "set", "s") == ["socktown"]


def test_the_name_of_a_new_destination_is_not_offered(here):
    assert offered("destinations", "add", "") == []


def test_runs_are_offered_the_newest_first_and_last(here):
    assert offered("show", "") == ["last", "df-2", "df-1"]
    assert offered("watch", "l") == ["last"]


def test_rules_that_allow_nothing_offer_no_runs(here):
    (here / "access.yaml").write_text("users: {nobody-at-all: admin}\n")

    assert offered("show", "") == []
    assert "access" not in offered("run", "")


def test_every_argument_that_names_a_run_or_an_orchestration_is_completed():
    def walk(group):
        for command in group.commands.values():
            if isinstance(command, click.Group):
                yield from walk(command)
            yield command

    for command in walk(deskfeed):
        for parameter in command.params:
            if parameter.name in ("run_id", "orchestration"):
                assert isinstance(parameter.type, completion.Named), command.name


def test_nothing_there_is_nothing_offered_and_nothing_made(tmp_path, monkeypatch):
    found = Settings(catalog=tmp_path / "none", state_dir=tmp_path / "state")
    monkeypatch.setattr(completion, "settings", lambda: found)

    assert offered("run", "") == []
    assert offered("show", "") == []
    assert list(tmp_path.iterdir()) == []


def test_both_databases_show_their_newest_runs(ledger, ledger_url, new_run, clock):
    for number in (1, 2, 3):
        ledger.runs.start(new_run(f"df-{number}", f"o{number}"))
        clock.advance(1)

    found = newest_runs(ledger_url, 2)

    assert found == [("df-3", "o3", "planned"), ("df-2", "o2", "planned")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_of_the_shells_are_there(shell, capsys):
    ended = shell_complete(deskfeed, {}, "deskfeed", "_DESKFEED_COMPLETE", f"{shell}_source")

    assert ended == 0
    assert f"_DESKFEED_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_broken_settings_do_not_speak_into_the_shell(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", "from orchestrations.cli import main; main()"],
        env={
            **os.environ,
            "_DESKFEED_COMPLETE": "bash_complete",
            "COMP_WORDS": "deskfeed show ",
            "COMP_CWORD": "2",
            "DESKFEED_LOG_LEVEL": "nonsense",
        },
        capture_output=True,
        text=True,
    )

    assert (said.returncode, said.stdout.strip(), said.stderr) == (0, "", "")
