"""`deskfeed forget`: what it asks, what it says, and that nobody is named anywhere."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from world import profiles

from orchestrations.cli import deskfeed, opened
from orchestrations.diagnosis import Verdict, judge_encryption
from worker.ledger.secrecy import Sealed
from worker.settings import settings


@pytest.fixture
def shell(tmp_path, monkeypatch, sqlite_ledger, new_run):
    """Return a function that runs the command on a ledger with a run of two rows."""
    sqlite_ledger.runs.start(new_run())
    run = sqlite_ledger.runs.claim_plan("df-1")
    sqlite_ledger.planning.add_chunks(run, 1, [profiles(1, 2)])
    sqlite_ledger.planning.complete(run)
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(sqlite_ledger))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", str(tmp_path))  # where there is none nobody may forget
    settings.cache_clear()
    yield lambda *args, **kwargs: CliRunner().invoke(deskfeed, args, **kwargs)
    settings.cache_clear()


def pending(ledger):
    return ledger.views.run("df-1").rows.pending


def test_the_answer_counts_and_says_what_is_untouched(shell, sqlite_ledger):
    done = shell("forget", "email", "PERSON1@example.com", "--yes", "--json")
    answer = json.loads(done.stdout)

    assert (done.exit_code, answer["ok"]) == (0, True)
    assert answer["erased"] == {
        "digests": 0, "kept_rows": 0, "unsent_rows": 1, "in_flight_rows": 0, "unreadable": 0,
    }  # fmt: skip
    assert "Zendesk are untouched" in answer["note"]
    assert "person1" not in done.output.lower()
    assert pending(sqlite_ledger) == 1


def test_the_value_may_come_from_standard_input(shell, sqlite_ledger):
    done = shell("forget", "external_id", "-", "--yes", input="c-1\n")
    assert done.exit_code == 0
    assert "1  rows that are not sent yet" in done.stdout
    assert pending(sqlite_ledger) == 1


def test_a_dry_run_erases_nothing_and_needs_no_answer(shell, sqlite_ledger):
    done = shell("forget", "external_id", "C-1", "--dry-run")
    assert done.exit_code == 0
    assert "Would be erased" in done.stdout
    assert pending(sqlite_ledger) == 2


def test_where_nobody_can_be_asked_nothing_is_erased(shell, sqlite_ledger):
    done = shell("forget", "external_id", "C-1")
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert pending(sqlite_ledger) == 2


@pytest.mark.parametrize("value", ["", "   ", "x" * 2_000])
def test_what_is_no_identity_is_refused_and_not_repeated(shell, value):
    done = shell("forget", "external_id", "-", "--yes", input=value + "\n")
    assert done.exit_code == 2
    assert "xxx" not in done.output


def test_somebody_unknown_is_told_as_such(shell):
    done = shell("forget", "email", "nobody@example.com", "--yes")
    assert done.exit_code == 0
    assert "Nothing is held of this person." in done.stdout


@pytest.mark.parametrize(
    ("sealed", "verdict", "said"),
    [
        (Sealed(False, None, {}, ()), Verdict.OK, "off: rows lie in clear"),
        (Sealed(False, "a", {None: 2}, ()), Verdict.OK, "2 in clear"),
        (Sealed(True, "b", {"a": 3, "b": 1, None: 2}, ()), Verdict.OK, "3 with a, 1 with b, 2 in"),
        (Sealed(True, "b", {"a": 3}, ("a",)), Verdict.FAIL, "a key is not here (a)"),
        (Sealed(True, None, {}, ()), Verdict.FAIL, "a key is not here (any)"),
    ],
)
def test_doctor_says_whether_rows_are_encrypted_and_with_what(sealed, verdict, said):
    check = judge_encryption(sealed)
    assert check.verdict == verdict
    assert said in check.said
