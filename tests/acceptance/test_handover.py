"""Workers come and go while a run is being sent, and nothing is posted twice."""

from __future__ import annotations

import json
import os
import signal

import pytest
from sqlalchemy import select, update
from stage import make_stage, until

from worker.ledger.schema import chunks, runs

CHUNKS = 6
BULK = {"method": "POST", "path": "/api/v2/users/create_or_update_many"}


def rows(count):
    people = (f"C{n},Person {n},p{n}@example.com\n" for n in range(1, count + 1))
    return "id,name,mail\n" + "".join(people)


def holds(stage, owner, state):
    """Whether a worker holds a chunk in this state."""
    with stage.ledger() as ledger, ledger.database.read() as connection:
        found = connection.scalars(
            select(chunks.c.seq).where(chunks.c.owner.startswith(owner), chunks.c.state == state)
        ).all()
    return bool(found)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["claimed", "submitting"])
def test_a_worker_asked_to_end_posts_nothing_twice(tmp_path, moment):
    """It sleeps for a slot (`claimed`), or its POST is on the way (`submitting`)."""
    with make_stage(tmp_path, time_scale=0.5) as stage:
        stage.use_catalog(rows=rows(100 * CHUNKS))
        if moment == "submitting":
            stage.sandbox.add_fault({"action": "delay", "seconds_after": 2, **BULK})
        first = stage.start_worker(DESKFEED_CONCURRENCY="2")
        with stage.ledger() as ledger:
            owner = ledger.recovery.living_workers()[0]
        stage.start_worker(DESKFEED_CONCURRENCY="2")
        run = stage.json("run", "loyalty")
        until(lambda: stage.sandbox.stats()["posts"] >= 1, "the first POST")
        until(lambda: holds(stage, owner, moment), f"the first worker's chunk to be {moment}")

        first.send_signal(signal.SIGTERM)
        stage.start_worker(DESKFEED_CONCURRENCY="2")
        done = stage.deskfeed("watch", run["run_id"], "--json")

        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["posts"] == CHUNKS
        assert stage.sandbox.stats()["posts"] == CHUNKS
        until(lambda: first.poll() is not None, "the first worker to end")
        assert first.returncode == 0, stage.worker_log(0)
        assert "worker_cut_off" not in stage.worker_log(0)
        with stage.ledger() as ledger:
            assert owner not in ledger.recovery.living_workers()
            expired = ledger.views.events(run["run_id"], "claim_expired")
        assert not list(expired)


@pytest.mark.slow
def test_a_worker_asked_twice_leaves_an_unanswered_post_behind(tmp_path):
    with make_stage(tmp_path) as stage:
        stage.use_catalog(rows=rows(100))
        stage.sandbox.add_fault({"action": "hang", "count": 1, **BULK})
        first = stage.start_worker(DESKFEED_TIME_SCALE="0.3")
        with stage.ledger() as ledger:
            owner = ledger.recovery.living_workers()[0]
        run = stage.json("run", "loyalty")
        until(lambda: holds(stage, owner, "submitting"), "the POST to hang")
        until(lambda: stage.sandbox.stats()["posts"] == 1, "the POST to arrive")

        first.send_signal(signal.SIGTERM)
        until(lambda: "Warm shutdown" in stage.worker_log(0), "the worker to take note")
        first.send_signal(signal.SIGTERM)
        until(lambda: first.poll() is not None, "the worker to end")

        assert first.returncode == 1, stage.worker_log(0)
        assert "worker_cut_off" in stage.worker_log(0)
        stage.start_worker()
        assert stage.deskfeed("watch", run["run_id"]).returncode == 0
        assert stage.json("show", run["run_id"])["posts"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("ask", [os.kill, os.killpg], ids=["the worker", "all its processes"])
def test_a_worker_asked_to_end_while_it_plans_leaves_the_plan_to_another(tmp_path, ask):
    slow = (
        "SELECT id AS external_id, name, mail AS email FROM people, "
        "(SELECT sum(a.range * b.range) AS n FROM range(3000000) a, range(2000) b)"
    )
    with make_stage(tmp_path) as stage:
        query = stage.catalog / "loyalty.sql"
        quick = query.read_text()
        query.write_text(slow)
        first = stage.start_worker()
        run = stage.json("run", "loyalty")
        until(lambda: stage.json("show", run["run_id"])["state"] == "planning", "it to be planned")

        ask(first.pid, signal.SIGTERM)
        until(lambda: first.poll() is not None, "the worker to end")

        assert first.returncode == 0, stage.worker_log(0)
        query.write_text(quick)
        with stage.ledger() as ledger, ledger.database.write() as connection:
            connection.execute(update(runs).values(options="{}"))  # as if started from this query
        stage.start_worker()
        assert stage.deskfeed("watch", run["run_id"]).returncode == 0
        with stage.ledger() as ledger:
            assert ledger.runs.get(run["run_id"]).plan_expiries == 0
