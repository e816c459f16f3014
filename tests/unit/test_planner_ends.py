"""A planner that has nothing left to plan ends, and so does one that never begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from celery import signals
from structlog.testing import capture_logs

from orchestrations import planner, tasks
from orchestrations.leftovers import EXIT_GIVEN_BACK, EXIT_OVERTAKEN
from worker.errors import LedgerError, RunError
from worker.ledger.states import RunState

STANDS = "import sys; sys.stdin.read()"
"""What never does anything, and ends with its parent."""


class Ended(BaseException):
    """The process would be gone."""


class Over:
    """An event that answers to each wait in turn."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.waited = []

    def wait(self, seconds):
        self.waited.append(seconds)
        return self.answers.pop(0)


@pytest.fixture
def stay_alive(ledger, times, monkeypatch):
    """Run the planner's renewing thread; returns the code by which it ended the process."""

    def exit_with(code):
        raise Ended(code)

    monkeypatch.setattr(planner.os, "_exit", exit_with)

    def call(run, over):
        try:
            planner._stay_alive(SimpleNamespace(ledger=ledger, times=times), run, over)
        except Ended as ended:
            return ended.args[0]
        assert not over.answers
        return None

    return call


@pytest.fixture
def planned(ledger, tmp_path, monkeypatch):
    """Call `_planned` with another child than a planner; returns its answer and its log."""
    children = []

    def popen(_command, **kwargs):
        children.append(subprocess.Popen([sys.executable, "-c", call.code], **kwargs))
        return children[-1]

    def call(run, code):
        call.code = code
        with capture_logs() as lines:
            return tasks._planned(run), [(line["event"], line["log_level"]) for line in lines]

    call.children = children
    monkeypatch.setattr(tasks, "parts", lambda: SimpleNamespace(ledger=ledger))
    monkeypatch.setattr(tasks, "settings", lambda: SimpleNamespace(state_dir=tmp_path))
    monkeypatch.setattr(tasks, "subprocess", SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE))
    yield call
    for child in children:
        child.kill()


@pytest.fixture
def run(ledger, new_run):
    """A run that nobody plans yet."""
    recorded, _ = ledger.runs.start(new_run())
    return recorded


@pytest.fixture
def claimed(ledger, run):
    """The same run, as its planner has it."""
    return ledger.runs.claim_plan(run.run_id)


# --- the renewing thread --------------------------------------------------------------------------


def test_a_planner_that_stands_in_a_query_ends_when_its_run_is_stopped(ledger, stay_alive, claimed):
    ledger.runs.stop(claimed.run_id)

    with capture_logs() as lines:
        assert stay_alive(claimed, Over(False, False)) == EXIT_OVERTAKEN
    assert [line["event"] for line in lines] == ["planning_over", "planning_cut_off"]


def test_a_planner_that_stands_in_a_query_ends_when_another_has_taken_over(
    ledger, stay_alive, clock, times, claimed
):
    clock.advance(times.lease + 1)
    assert ledger.runs.claim_plan(claimed.run_id)

    assert stay_alive(claimed, Over(False, False)) == EXIT_OVERTAKEN


def test_a_planner_that_has_planned_ends_by_itself(ledger, stay_alive, claimed):
    """Its thread sees a run that is no longer planned just before the process ends."""
    ledger.planning.complete(claimed)

    assert stay_alive(claimed, Over(False, True)) is None


def test_a_planner_at_work_renews_its_lease_and_goes_on(ledger, stay_alive, clock, times, claimed):
    clock.advance(times.lease - 1)
    over = Over(False, True)

    assert stay_alive(claimed, over) is None
    assert over.waited == [times.lease / 4] * 2
    clock.advance(times.lease - 1)
    assert ledger.runs.claim_plan(claimed.run_id) is None


# --- the worker that waits for it -----------------------------------------------------------------


def test_a_planner_that_was_overtaken_did_not_crash(ledger, planned, run):
    ended = planned(run, f"raise SystemExit({EXIT_OVERTAKEN})")

    assert ended == (True, [("planner_overtaken", "info")])


def test_a_planner_that_died_is_an_error(ledger, planned, run):
    assert planned(run, "raise SystemExit(9)") == (True, [("planner_died", "error")])


def test_what_a_planner_of_a_stopped_run_left_is_removed(ledger, planned, tmp_path, claimed):
    left = tmp_path / "staging" / f"{claimed.run_id}-x7y"
    left.mkdir(parents=True)
    (left / "rows-0").write_text("ada@example.com")
    ledger.runs.stop(claimed.run_id)

    planned(claimed, f"raise SystemExit({EXIT_OVERTAKEN})")
    assert not left.exists()


def test_what_a_planner_left_whose_worker_was_asked_to_end_is_removed(
    ledger, planned, tmp_path, monkeypatch, run
):
    """It may be the last worker of this host: nobody would come after it to remove them."""
    left = tmp_path / "staging" / f"{run.run_id}-x7y"
    left.mkdir(parents=True)
    (left / "rows-0").write_text("ada@example.com")
    monkeypatch.setattr(tasks, "stopping", SimpleNamespace(asked_within=lambda _seconds: True))

    answer, _ = planned(run, f"import sys; sys.stdin.read(); raise SystemExit({EXIT_GIVEN_BACK})")
    assert (answer, left.exists()) == (False, False)


def test_what_another_planner_works_with_stays(ledger, planned, tmp_path, run):
    theirs = tmp_path / "staging" / f"{run.run_id}-x7y"
    theirs.mkdir(parents=True)
    ledger.runs.claim_plan(run.run_id)

    planned(run, f"raise SystemExit({EXIT_OVERTAKEN})")
    assert theirs.exists()


def test_a_planner_that_has_not_begun_in_time_is_killed(ledger, planned, monkeypatch, run):
    monkeypatch.setattr(tasks, "STARTS_WITHIN_S", 0.0)

    assert planned(run, STANDS) == (True, [("planner_stands_still", "warning")])
    assert planned.children[0].returncode == -9


def test_a_planner_that_stands_still_while_another_one_plans_is_killed_in_the_end(
    ledger, planned, monkeypatch, run
):
    monkeypatch.setattr(tasks, "STARTS_WITHIN_S", 0.0)
    ledger.planning.complete(ledger.runs.claim_plan(run.run_id))

    assert planned(run, STANDS) == (True, [("planner_stands_still", "warning")])


def test_a_planner_that_has_begun_is_waited_for(ledger, monkeypatch, run):
    monkeypatch.setattr(tasks, "parts", lambda: SimpleNamespace(ledger=ledger))
    assert ledger.runs.claim_plan(run.run_id).state == RunState.PLANNING

    assert not tasks._stands_still(run)


def test_while_the_ledger_is_away_no_planner_is_killed(monkeypatch):
    def away(_run_id):
        raise LedgerError("The ledger cannot be used: locked")

    ledger = SimpleNamespace(runs=SimpleNamespace(get=away))
    monkeypatch.setattr(tasks, "parts", lambda: SimpleNamespace(ledger=ledger))

    assert not tasks._stands_still(SimpleNamespace(run_id="df-1", plan_fence=0))


# --- asked to end ---------------------------------------------------------------------------------

ASKED = """
import ctypes, sys, threading
from orchestrations import planner

planner._give_back = lambda held: print("given back", flush=True)
held = planner.Held()
asked = planner._listen(held)
threading.Thread(target=planner._end_when_told, args=(held, asked), daemon=True).start()
print("ready", flush=True)
mutex = ctypes.create_string_buffer(64)  # locked twice it stands in C, as a query does
while True:
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


@pytest.fixture
def asked():
    """A process that listens as a planner does, while its main thread stands outside of Python."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        yield child
        child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_planner_that_stands_in_a_query_gives_back_when_it_is_asked_to_end(asked, number):
    os.kill(asked.pid, number)

    assert asked.wait(60) == EXIT_GIVEN_BACK
    assert asked.stdout.read() == "given back\n"


def test_a_planner_whose_worker_has_gone_gives_back(asked):
    asked.stdin.close()

    assert asked.wait(60) == EXIT_GIVEN_BACK
    assert asked.stdout.read() == "given back\n"


@pytest.mark.parametrize(
    "ends",
    [
        f"raise SystemExit({EXIT_GIVEN_BACK})",
        "import os; os.kill(os.getpid(), 15)",  # before it listened: it had taken up nothing
    ],
)
def test_what_a_planner_gave_back_is_planned_again_at_once(ledger, planned, run, ends):
    assert planned(run, ends) == (False, [("planner_asked_to_end", "info")])


def test_a_worker_that_starts_removes_what_was_left_by_one_that_was_killed(
    ledger, planned, tmp_path, run
):
    left = tmp_path / "staging" / f"{run.run_id}-x7y"
    left.mkdir(parents=True)

    told = [receiver() for _, receiver in signals.worker_ready.receivers]
    assert tasks._remove_what_was_left in told
    tasks._remove_what_was_left()
    assert not left.exists()


def crash(*_args):
    raise RunError("a helper process of planning ended unexpectedly", code="plan_crashed")


def test_helpers_that_end_with_their_planner_fail_no_run(ledger, monkeypatch, claimed):
    monkeypatch.setattr(planner, "_plan", crash)
    mine = SimpleNamespace(ledger=ledger)
    planner._plan_or_say_why(mine, claimed, planner.Held(by=(mine, claimed), asked=True))

    left = ledger.runs.get(claimed.run_id)
    assert (left.state, left.error) == (RunState.PLANNED, None)
    assert ledger.runs.claim_plan(claimed.run_id).plan_expiries == 0


def test_helpers_that_die_alone_fail_their_run(ledger, monkeypatch, claimed):
    monkeypatch.setattr(planner, "_plan", crash)
    mine = SimpleNamespace(ledger=ledger)
    planner._plan_or_say_why(mine, claimed, planner.Held(by=(mine, claimed)))

    assert ledger.runs.get(claimed.run_id).error["code"] == "plan_crashed"
