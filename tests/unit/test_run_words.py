"""What `show` and `runs` say fits 80 columns, names the next command, and says nothing twice."""

from __future__ import annotations

import io
import os
import re
from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from rich.console import Console

from orchestrations.cli import deskfeed, opened, output, run_verbs
from worker.errors import DeskfeedError
from worker.profile import OutcomeKind, RejectedRow


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 80 columns."""
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=True, no_color=True)
    monkeypatch.setattr(run_verbs, "console", lambda: console)
    return written


@pytest.fixture
def long_run(sqlite_ledger, sending_on, new_run):
    return sending_on(new_run(orchestration="o" * 90))


@pytest.fixture
def sending_on(sqlite_ledger):
    from world import profiles

    def make(new):
        sqlite_ledger.runs.start(new)
        run = sqlite_ledger.runs.claim_plan(new.run_id)
        sqlite_ledger.planning.add_chunks(run, 1, [profiles(1, 2)])
        sqlite_ledger.planning.warn(run, "a column is not sent")
        sqlite_ledger.planning.complete(run)
        return new.run_id

    return make


def summary(ledger, run_id, capsys):
    run_verbs.print_summary(ledger, ledger.views.run(run_id))
    return capsys.readouterr().out


def test_a_long_name_is_cut_and_keeps_the_id(sqlite_ledger, long_run, screen, capsys):
    summary(sqlite_ledger, long_run, capsys)

    head = screen.getvalue().splitlines()[0]
    assert "df-1  ooo" in head
    assert "…" in head


def test_a_warning_is_said_once(sqlite_ledger, long_run, screen, capsys):
    said = summary(sqlite_ledger, long_run, capsys) + screen.getvalue()

    assert said.count("a column is not sent") == 1


def test_a_run_under_way_says_how_to_watch_and_end_it(sqlite_ledger, long_run, screen, capsys):
    said = summary(sqlite_ledger, long_run, capsys)

    assert "deskfeed watch df-1" in said
    assert "deskfeed stop df-1" in said
    assert "deskfeed resume" not in said
    assert "deskfeed report" not in said


def test_a_paused_run_says_how_to_go_on(sqlite_ledger, long_run, screen, capsys):
    sqlite_ledger.runs.pause("df-1", DeskfeedError("401", code="invalid_credentials"))

    assert "Go on: deskfeed resume df-1" in summary(sqlite_ledger, long_run, capsys)


def ended_run(ledger, new_run, rejected):
    """A run of two rows that has ended with nothing to send: each was refused or skipped."""
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_rejected(run, 1, rejected)
    ledger.planning.complete(run)
    ledger.runs.close("df-1")
    return "df-1"


@pytest.mark.parametrize("verb", ["show", "watch"])
@pytest.mark.parametrize(
    ("kind", "code", "told", "exit_code"),
    [
        (OutcomeKind.FAILED, "missing_name", ["failures", "retry", "report"], 3),
        (OutcomeKind.SKIPPED, "duplicate", ["report"], 0),
    ],
)
def test_an_ended_run_says_what_to_do_next(
    sqlite_ledger, new_run, monkeypatch, verb, kind, code, told, exit_code
):
    """`run --wait` ends with the words of `watch`."""
    rejected = [RejectedRow(row, kind, code, "because") for row in (1, 2)]
    run_id = ended_run(sqlite_ledger, new_run, rejected)
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(sqlite_ledger))

    done = CliRunner().invoke(deskfeed, [verb, run_id])

    assert re.findall(r": deskfeed (\w+) df-1$", done.stdout, re.MULTILINE) == told
    assert done.exit_code == (exit_code if verb == "watch" else 0)


@pytest.fixture
def fresh_settings():
    """Settings that are read anew, here and after."""
    opened.settings.cache_clear()
    yield
    opened.settings.cache_clear()


def test_the_list_fits_80_columns_and_shows_whole_ids(
    sqlite_ledger, sending_on, new_run, screen, monkeypatch, sqlite_url, fresh_settings
):
    run_id = "df-20261124T195708Z-8166cc"
    sending_on(new_run(run_id, orchestration="o" * 90))
    monkeypatch.setenv("DESKFEED_LEDGER_URL", sqlite_url)

    said = CliRunner().invoke(run_verbs.runs_, ["-n", "5"])

    assert said.exit_code == 0, said.output
    assert said.output.strip() == "One of them in full: deskfeed show RUN"
    lines = screen.getvalue().splitlines()
    assert run_id in lines[1]
    assert len(lines) == 2


def test_no_color_is_asked_for_by_the_option(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))

    output._set_no_color(None, None, True)

    assert os.environ["NO_COLOR"] == "1"
