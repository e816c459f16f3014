"""`pause`, `resume`, `stop` and `prune`: what they say in each state; twice is harmless."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from click.testing import CliRunner

from orchestrations.cli import control_verbs, deskfeed, opened
from worker.ledger.states import RUN_ENDED, RunState
from worker.profile import Outcome, OutcomeKind
from worker.settings import settings


@pytest.fixture
def shell(tmp_path, monkeypatch, ledger):
    """Return a function that runs the command on the ledger of this test."""
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(ledger))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalog").mkdir()
    monkeypatch.setenv("DESKFEED_CATALOG", "catalog")
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield lambda *args: CliRunner().invoke(deskfeed, args)
    settings.cache_clear()


def end(ledger, state):
    """End the only chunk of a run, and with it the run."""
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    if state == "failed":
        ledger.runs.stop("df-1", ends_as=RunState.FAILED)
    kind = OutcomeKind.CREATED if state == "succeeded" else OutcomeKind.FAILED
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, kind, "x")])
    ledger.runs.close("df-1")


def change(ledger, state):
    """Bring a sending run into a state."""
    if state == "paused":
        ledger.runs.pause("df-1")
    elif state in ("stopping", "stopped"):
        ledger.runs.stop("df-1")
    elif state in RUN_ENDED:
        end(ledger, state)
    if state == "stopped":
        ledger.outcomes.cancel_some("df-1")
        ledger.runs.close("df-1")


@pytest.fixture
def run_in(ledger, sending, new_run):
    """Return a function that makes a run in a state."""

    def make(state):
        if state in ("planned", "planning"):
            ledger.runs.start(new_run())
        else:
            sending(1)
            change(ledger, state)
        if state == "planning":
            ledger.runs.claim_plan("df-1")
        assert ledger.runs.get("df-1").state == state

    return make


TABLE = [
    ("pause", "planned", 1, "deskfeed stop df-1"),
    ("pause", "planning", 1, "deskfeed stop df-1"),
    ("pause", "sending", 0, "deskfeed resume df-1"),
    ("pause", "paused", 0, "nothing was changed"),
    ("pause", "stopping", 1, "deskfeed watch df-1"),
    ("pause", "succeeded", 1, "deskfeed show df-1"),
    ("resume", "planned", 1, "by itself"),
    ("resume", "planning", 1, "by itself"),
    ("resume", "sending", 0, "nothing was changed"),
    ("resume", "paused", 0, "deskfeed watch df-1"),
    ("resume", "stopping", 1, "deskfeed retry df-1"),
    ("resume", "stopped", 1, "deskfeed retry df-1"),
    ("resume", "finished_with_failures", 1, "deskfeed retry df-1"),
    ("stop", "planned", 0, "deskfeed watch df-1"),
    ("stop", "planning", 0, "deskfeed watch df-1"),
    ("stop", "sending", 0, "deskfeed watch df-1"),
    ("stop", "paused", 0, "deskfeed watch df-1"),
    ("stop", "stopping", 0, "nothing was changed"),
    ("stop", "stopped", 0, "nothing was changed"),
    ("stop", "succeeded", 1, "deskfeed show df-1"),
    ("stop", "failed", 1, "deskfeed retry df-1"),
]


@pytest.mark.parametrize(("word", "state", "code", "says"), TABLE)
def test_each_verb_says_in_each_state_what_it_did_or_what_to_do(
    shell, run_in, word, state, code, says
):
    run_in(state)

    result = shell(word, "df-1")

    assert result.exit_code == code, result.output
    assert says in " ".join(result.output.split())
    if code:
        assert f"df-1 is {state.replace('_', ' ')}" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "words", [control_verbs._PAUSE, control_verbs._RESUME, control_verbs._STOP]
)
def test_every_state_in_which_nothing_can_be_done_has_a_remedy(words):
    acts = {
        "paused": {RunState.SENDING},
        "resumed": {RunState.PAUSED},
        "stopping": {RunState.PLANNED, RunState.PLANNING, RunState.SENDING, RunState.PAUSED},
    }[words.done]

    assert set(RunState) - acts - words.already <= set(words.remedies)


@pytest.mark.parametrize("word", ["pause", "resume", "stop"])
def test_json_tells_whether_anything_changed(shell, run_in, word):
    run_in("paused" if word == "resume" else "sending")

    first = json.loads(shell(word, "df-1", "--json").stdout)
    second = json.loads(shell(word, "df-1", "--json").stdout)

    assert (first["changed"], second["changed"]) == (True, False)
    assert first["state"] == second["state"]


@pytest.mark.parametrize("state", ["planned", "planning", "sending", "paused"])
def test_a_run_stopped_in_any_state_ends_with_its_rows_cancelled(ledger, shell, run_in, state):
    run_in(state)
    assert shell("stop", "df-1").exit_code == 0

    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") == RunState.STOPPED
    rows = ledger.views.run("df-1").rows
    assert rows.agree
    assert rows.pending == 0
    assert rows.skipped == rows.read


def test_a_paused_run_that_is_stopped_waits_for_its_jobs(ledger, shell, sending):
    sending(2, 2)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 10.0, 0.0)
    shell("pause", "df-1")
    shell("stop", "df-1")

    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") is None
    ledger.outcomes.finish(
        "df-1", 1, claim.fence, [Outcome(p.row, OutcomeKind.UPDATED) for p in claim.profiles]
    )
    assert ledger.runs.close("df-1") == RunState.STOPPED
    assert ledger.views.run("df-1").reasons == {("skipped", "cancelled"): 2}


def test_prune_says_what_it_would_remove_and_then_what_it_did(shell, run_in, clock):
    run_in("finished_with_failures")
    clock.advance(31 * 86_400.0)

    would = json.loads(shell("prune", "--dry-run", "--json").stdout)
    said = shell("prune", "--dry-run").output
    did = json.loads(shell("prune", "--json").stdout)

    assert would["removed"] == did["removed"]
    assert did["removed"]["outcomes"] == 1
    assert "Would be removed:" in said
    assert "nothing" in shell("prune").output.lower()
    assert "no longer kept" in shell("failures", "df-1").output


def test_prune_takes_an_age(shell, run_in, clock):
    run_in("finished_with_failures")
    clock.advance(3600.0)

    assert json.loads(shell("prune", "--older-than", "2h", "--json").stdout)["removed"]["runs"] == 0
    assert (
        json.loads(shell("prune", "--older-than", "30m", "--json").stdout)["removed"]["runs"] == 1
    )
    assert shell("prune", "--older-than", "soon").exit_code == 2
