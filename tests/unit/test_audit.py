"""Who did what stands in the ledger, in the transaction of the deed."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from world import LIMITS, TARGET

from orchestrations.access import myself
from orchestrations.cli import deskfeed, opened
from worker.errors import DestinationError
from worker.ledger import audit as audit_module
from worker.settings import settings


@pytest.fixture
def shell(tmp_path, monkeypatch, ledger):
    """Return a function that runs the command on the ledger of this test."""
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(ledger))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalog").mkdir()
    monkeypatch.setenv("DESKFEED_CATALOG", "catalog")
    settings.cache_clear()
    yield lambda *args: CliRunner().invoke(deskfeed, args)
    settings.cache_clear()


def deeds(ledger):
    return [(line.principal, line.action, line.subject) for line in ledger.audit.newest()][::-1]


def test_a_start_is_a_line_with_its_orchestration_and_destination(ledger, new_run):
    ledger.runs.start(new_run())
    ledger.runs.start(new_run())  # the same key again starts nothing

    (line,) = ledger.audit.newest()
    assert (line.principal, line.action, line.subject) == ("tester", "run", "df-1")
    assert line.data == {"orchestration": "loyalty", "destination": "socktown"}


def test_each_verb_is_a_line_and_one_that_changed_nothing_is_none(shell, ledger, sending):
    sending(1)
    me = myself().name
    for words in ("pause", "pause", "resume", "resume", "stop", "stop"):
        assert shell(words, "df-1").exit_code == 0

    assert deeds(ledger) == [
        ("tester", "run", "df-1"),
        (me, "pause", "df-1"),
        (me, "resume", "df-1"),
        (me, "stop", "df-1"),
    ]


def test_what_a_worker_does_by_itself_is_nobodys_deed(ledger, sending):
    sending(1)
    ledger.runs.pause_destination("socktown", DestinationError("no", code="invalid_credentials"))
    assert deeds(ledger) == [("tester", "run", "df-1")]


def test_limits_that_are_lowered_and_lifted_are_lines(ledger):
    ledger.limits.lower(TARGET.account, "jobs_in_flight", 5, 60, "ada", declared=LIMITS)
    ledger.limits.lift(TARGET.account, None, "bob")
    assert deeds(ledger) == [
        ("ada", "limits set", TARGET.account),
        ("bob", "limits lift", TARGET.account),
    ]


def test_a_deed_that_is_rolled_back_leaves_no_line(ledger, sending, monkeypatch):
    sending(1)

    def fail(*_args, **_kwargs):
        raise RuntimeError("no line")

    monkeypatch.setattr(audit_module, "write", fail)
    with pytest.raises(RuntimeError):
        ledger.runs.pause("df-1", by="ada")
    assert ledger.runs.get("df-1").state == "sending"


def test_the_command_lists_them_newest_first(shell, ledger, sending):
    sending(1)
    shell("pause", "df-1")
    ledger.audit.note("ada", "prune", "ledger", runs=3)

    lines = json.loads(shell("audit", "--json").stdout)["lines"]
    assert [line["action"] for line in lines] == ["prune", "pause", "run"]
    first = lines[-1]["number"]
    assert [line["number"] - first for line in lines] == [2, 1, 0]
    assert json.loads(shell("audit", "--of", "df-1", "-n", "1", "--json").stdout)["lines"] == [
        lines[1]
    ]
    assert "ada" in shell("audit").output


def test_a_pruned_run_leaves_its_deeds(ledger, sending, clock, shell):
    sending(1)
    shell("stop", "df-1")
    ledger.outcomes.cancel_some("df-1")
    ledger.runs.close("df-1")
    clock.advance(1_000 * 86_400)
    assert shell("prune").exit_code == 0

    assert ledger.runs.get("df-1") is None
    assert [action for _, action, _ in deeds(ledger)] == ["run", "stop", "prune"]
