"""What is typed wrong ends in a sentence with a remedy: no traceback, nothing started."""

from __future__ import annotations

import errno
import json
import stat
import sys
from contextlib import nullcontext
from pathlib import Path

import click
import pytest
from storied import story
from world import write_catalog

from orchestrations.cli import main, opened, run_verbs
from orchestrations.starting import LONGEST_KEY, MOST_ROWS
from worker.settings import settings

BYTES = "\udcff"
"""What Python makes of a byte that is not UTF-8."""


@pytest.fixture
def shell(tmp_path, monkeypatch, sqlite_ledger, clock, capsys):
    """Return a function that types a command: its exit code and what it said."""
    story(sqlite_ledger, clock)
    folder = write_catalog(
        tmp_path / "catalog", sql="SELECT id AS external_id, name FROM people WHERE id > $n + $x"
    )
    file = folder / "loyalty.yaml"
    file.write_text(file.read_text() + "params: {n: 1, x: 1.5}\n")
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(sqlite_ledger))
    monkeypatch.setattr(run_verbs, "enqueue_plan", lambda run_id: True)
    monkeypatch.setenv("DESKFEED_CATALOG", str(folder))
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    settings.cache_clear()

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["deskfeed", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    yield call
    settings.cache_clear()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", BYTES], "argument 2 is not UTF-8"),
        (["run", "p", "--key", BYTES], "argument 4, of --key, is not UTF-8"),
        (["run", "p", f"--key=cnry{BYTES}"], "argument 3, of --key, is not UTF-8"),
        (["run", "p", "--param", f"who=cnry{BYTES}"], "argument 4, of --param, is not UTF-8"),
        (["forget", "email", f"cnry{BYTES}@b", "--yes"], "argument 3 is not UTF-8"),
        ([BYTES, "--json"], "argument 1 is not UTF-8"),
    ],
)
def test_an_argument_that_is_no_text_is_named_and_not_repeated(shell, words, said):
    code, told = shell(*words)
    assert code == 2
    assert said in told
    assert "cnry" not in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--param", "n=" + "9" * 26], "the parameter n is too large a number"),
        (["--param", f"n={2**63}"], "the parameter n is too large a number"),
        (["--param", f"n={-(2**63) - 1}"], "the parameter n is too large a number"),
        (["--param", "x=nan"], "the parameter x is not a finite number"),
        (["--param", "x=1e999"], "the parameter x is not a finite number"),
        (["--sample", "9" * 23], f"a number of rows from 1 to {MOST_ROWS}"),
        (["--key", ""], "the key is empty"),
        (["--key", "", "--dry-run"], "the key is empty"),
        (["--key", "k" * (LONGEST_KEY + 1)], f"the key is longer than {LONGEST_KEY}"),
        (["--key", "a\nb"], "cannot be printed"),
    ],
)
def test_what_a_run_cannot_be_started_with_starts_none(shell, sqlite_ledger, words, said):
    before = len(sqlite_ledger.runs.newest(100))
    code, told = shell("run", "loyalty", *words, "--json")
    assert code == 2
    assert said in json.loads(told)["error"]["message"]
    assert json.loads(told)["error"]["resolution"]
    assert len(sqlite_ledger.runs.newest(100)) == before


def test_the_largest_values_that_are_allowed_start_a_run(shell):
    words = ["--param", f"n={2**63 - 1}", "--key", "k" * LONGEST_KEY, "--sample", str(MOST_ROWS)]
    code, told = shell("run", "loyalty", *words, "--json")
    assert (code, json.loads(told)["ok"]) == (0, True)


@pytest.mark.parametrize("key", ["", "k" * (LONGEST_KEY + 1)])
def test_a_retry_has_the_same_rule_for_keys(shell, key):
    code, told = shell("retry", "last", "--key", key)
    assert code == 2
    assert "the key is " in told


def test_failures_go_into_no_folder_that_is_not_there(shell):
    code, told = shell("failures", "last", "-o", "nowhere/x.csv")
    assert code == 2
    assert "nowhere/x.csv cannot be written: No such file" in told
    assert "-o FILE" in told


def test_failures_replace_no_file_unless_forced(shell):
    Path("x.csv").write_text("somebody's")

    code, told = shell("failures", "last", "--format", "csv", "-o", "x.csv")
    assert (code, "--force" in told) == (2, True)
    assert Path("x.csv").read_text() == "somebody's"

    code, told = shell("failures", "last", "--format", "csv", "-o", "x.csv", "--force")
    lines = Path("x.csv").read_text().splitlines()
    assert (code, told) == (0, f"x.csv: {len(lines)} lines\n")
    assert stat.S_IMODE(Path("x.csv").stat().st_mode) == 0o600
    assert [path.name for path in Path().iterdir()] == ["x.csv"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_file_that_nobody_foresaw_to_fail_is_named_without_a_traceback(shell, monkeypatch, more):
    def forbidden():
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/state")

    monkeypatch.setattr(opened, "ledger", forbidden)
    code, told = shell("runs", *more)

    assert (code, "/somewhere/state: Permission denied" in told) == (1, True)
    assert "whether you may read and write it" in " ".join(told.split())
    assert "Traceback" not in told
    if more:
        assert json.loads(told)["ok"] is False


@pytest.mark.parametrize("words", [("-o", "x.json"), ("--format", "csv")])
def test_a_document_of_failures_goes_to_the_terminal_only(shell, words):
    code, told = shell("failures", "last", "--json", *words)
    assert (code, "-o and --format do not go with it" in told) == (2, True)
    assert not Path("x.json").exists()


def test_an_output_that_cannot_be_written_is_told_in_a_line(shell, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(click, "echo", full)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    code, told = shell("runs", "--json")
    assert code == 1
    assert "cannot write the output: No space left on device" in told
    assert "Traceback" not in told
