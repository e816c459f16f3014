"""A worker that is told again and again to plan a run starts one planner, not one each time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrations import tasks
from worker.ledger.states import RunState
from worker.times import Times


@pytest.fixture
def started(monkeypatch):
    """The runs of which a planner was started; each stands still until the test ends it."""
    delivery = SimpleNamespace(admit=lambda run_id: (), close=lambda run_id: ())

    def run(run_id):
        fence, state = started.fences.get(run_id, 0), started.state
        told = {"error": None, "spool_complete": True, "rows_read": 1234}
        return SimpleNamespace(run_id=run_id, plan_fence=fence, state=state, **told)

    ledger = SimpleNamespace(runs=SimpleNamespace(get=run))
    parts = SimpleNamespace(times=Times(), delivery=delivery, ledger=ledger)
    monkeypatch.setattr(tasks, "parts", lambda: parts)
    monkeypatch.setattr(tasks, "_planners", {})
    monkeypatch.setattr(tasks.time, "monotonic", lambda: started.now)
    started = SimpleNamespace(
        now=1000.0, meanwhile=lambda: None, runs=[], fences={}, state=RunState.PLANNED
    )

    def plan(run):
        started.runs.append(run.run_id)
        if len(started.runs) == 1:  # while the first planner works, messages come
            started.meanwhile()
            started.again = [tasks.plan(v=1, run_id=one) for one in started.messages]
        return True

    monkeypatch.setattr(tasks, "_planned", plan)
    return started


def test_further_messages_start_no_further_planner(started):
    started.messages = ["df-1", "df-1"]

    assert tasks.plan(v=1, run_id="df-1") == "1,234 rows planned"
    assert started.again == ["planned here already"] * 2
    assert started.runs == ["df-1"]


def test_a_planning_that_is_given_back_may_be_taken_by_the_same_worker(started, monkeypatch):
    """Its own message may come back before the task has ended."""
    taken = []
    monkeypatch.setattr(
        tasks, "hand_back", lambda hint: taken.append(tasks.plan(v=1, run_id=hint.run_id))
    )
    ends = [False, True]
    monkeypatch.setattr(tasks, "_planned", lambda run: ends.pop(0))

    tasks.plan(v=1, run_id="df-1")
    assert taken == ["1,234 rows planned"]


def test_a_worker_that_ends_hands_a_message_on_also_while_it_plans_that_run(started, monkeypatch):
    started.messages = ["df-1"]
    started.meanwhile = lambda: monkeypatch.setattr(tasks, "stopping", SimpleNamespace(asked=True))
    handed_on = []
    monkeypatch.setattr(tasks, "hand_back", handed_on.append)

    tasks.plan(v=1, run_id="df-1")
    assert [hint.run_id for hint in handed_on] == ["df-1"]


def test_another_run_is_planned_beside_it(started):
    started.messages = ["df-2"]

    tasks.plan(v=1, run_id="df-1")

    assert started.runs == ["df-1", "df-2"]


def test_a_planner_that_is_slow_to_begin_is_waited_for_longer_than_its_lease(started):
    """Also where tests have scaled the lease: processes do not start sooner for it."""
    started.messages = ["df-1"]
    started.meanwhile = lambda: setattr(started, "now", 1000.0 + Times().lease + 1)

    tasks.plan(v=1, run_id="df-1")

    assert started.again == ["planned here already"]


def test_a_planner_that_never_begins_does_not_keep_the_run(started):
    started.messages = ["df-1"]
    started.meanwhile = lambda: setattr(started, "now", 1000.0 + tasks.STARTS_WITHIN_S + 1)

    tasks.plan(v=1, run_id="df-1")

    assert started.runs == ["df-1", "df-1"]


def test_a_planner_that_began_and_lost_its_lease_does_not_keep_the_run(started):
    """It may stand still for good; another one takes over under a new fence."""
    started.messages = ["df-1", "df-1"]
    started.meanwhile = lambda: started.fences.update({"df-1": 1})

    tasks.plan(v=1, run_id="df-1")

    assert started.again == ["1,234 rows planned", "1,234 rows planned"]


def test_a_run_that_is_planned_starts_no_planner(started):
    started.state = RunState.SENDING

    assert tasks.plan(v=1, run_id="df-1") == "1,234 rows planned"
    assert started.runs == []


def test_when_it_has_ended_the_next_message_plans_again(started):
    started.messages = []
    tasks.plan(v=1, run_id="df-1")

    assert tasks.plan(v=1, run_id="df-1") == "1,234 rows planned"
