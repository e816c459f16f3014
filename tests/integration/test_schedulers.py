"""Other schedulers start runs as docs/schedulers.md says, and beat starts what is due."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import update
from stage import ROOT, free_port, make_stage, until

from worker.ledger.schema import schedules
from worker.ledger.states import RUN_ENDED

PAGE = (Path(ROOT) / "docs" / "schedulers.md").read_text("utf-8")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A worker, Redis and the sandbox."""
    with make_stage(tmp_path_factory.mktemp("schedulers")) as made:
        made.start_worker()
        yield made


@pytest.fixture(scope="module")
def client(stage):
    """A Celery client that shares nothing but the broker, made as the page says."""
    (code,) = re.findall(r"```python\n(from celery import Celery\n.*?)```", PAGE, re.DOTALL)
    made = {}
    exec(code.replace("redis://redis.example:6379/0", stage.redis.url), made)
    yield made["app"]
    made["app"].close()


def test_the_client_of_the_page_is_a_bare_one(client):
    assert isinstance(client, Celery)
    assert client.conf.include == ()


@pytest.fixture(scope="module")
def flower(stage):
    """Flower with a password; returns a function that posts to it."""
    port = free_port()
    log = (stage.folder / "flower.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "worker.app", "flower", "--address=127.0.0.1",
         f"--port={port}"],
        cwd=ROOT, env={**stage.environment, "FLOWER_BASIC_AUTH": "ada:secret"}, stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    log.close()

    def post(path, body, login="ada:secret"):
        headers = {"Content-Type": "application/json"}
        if login:
            headers["Authorization"] = "Basic " + b64encode(login.encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None
        except OSError:
            return None, None

    try:
        until(lambda: post("/api/nothing", {})[0], "Flower to answer")
        yield post
    finally:
        process.kill()
        process.wait()


def ended(stage, orchestration, count=1):
    """Wait for the runs of an orchestration to end; returns them, newest first."""
    with stage.ledger() as ledger:

        def found():
            runs = ledger.runs.newest(99, orchestration)
            return len(runs) >= count and all(run.state in RUN_ENDED for run in runs) and runs

        return until(found, f"{count} runs of {orchestration} to end")


def test_one_key_is_one_run_by_whatever_door_it_comes(stage, client, flower):
    key = "2026-11-24T08:30"
    asked = {"orchestration": "loyalty", "key": key}
    client.send_task("orchestrations.start", kwargs=asked)
    [run] = ended(stage, "loyalty")
    assert (run.key, run.origin, run.principal) == (key, "message", "scheduler")
    assert run.state == "succeeded"

    path = "/api/task/send-task/orchestrations.start"
    assert flower(path, {"kwargs": asked}, login=None)[0] == 401
    status, answer = flower(path, {"kwargs": asked})
    assert (status, [*answer]) == (200, ["task-id"])
    until(lambda: answer["task-id"] in stage.worker_log(0), "the worker to take Flower's message")

    told = stage.json("run", "loyalty", "--key", key)
    assert (told["run_id"], told["new"]) == (run.run_id, False)
    done = stage.deskfeed("run", "loyalty", "--key", key, "--wait")
    assert done.returncode == 0, done.stderr
    assert [one.run_id for one in ended(stage, "loyalty")] == [run.run_id]

    status, answer = flower(path, {"kwargs": {**asked, "key": "flower"}})
    newest = ended(stage, "loyalty", 2)[0]
    assert (status, newest.key, newest.origin) == (200, "flower", "message")


@pytest.fixture
def beat(stage):
    """Return a function that starts beat as an operator does."""
    started = []

    def start():
        log = (stage.folder / "beat.log").open("wb")
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker.app", "beat", "--pidfile="],
                cwd=ROOT, env=stage.environment, stdout=log, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        log.close()

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_beat_starts_what_is_due_and_what_comes_after_it_beside_a_file_that_is_wrong(stage, beat):
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    text = (stage.catalog / "loyalty.yaml").read_text()
    (stage.catalog / "orders.yaml").write_text(
        f"{text}\nschedule: {{cron: '{due.minute} {due.hour} * * *'}}\n"
    )
    (stage.catalog / "report.yaml").write_text(f"{text}\nafter: orders\n")
    (stage.catalog / "wrong.yaml").write_text("description: [\n")
    beat()
    with stage.ledger() as ledger:
        until(lambda: len(ledger.schedules.all()) == 2, "a tick to see both")
        assert ledger.runs.newest(9, "orders") == []
        with ledger.database.write() as connection:  # as if ticks had been there all the time
            since = due.timestamp() - 30
            connection.execute(update(schedules).values(first_seen=since, checked_until=since))

    [first] = ended(stage, "orders")
    [second] = ended(stage, "report")
    assert (first.key, first.origin) == (f"{due:%Y-%m-%dT%H:%MZ}", "schedule")
    assert (second.key, second.origin) == (first.run_id, "after")
    assert {first.state, second.state} == {"succeeded"}
    shown = stage.deskfeed("show", second.run_id).stdout
    assert f"started after {first.run_id}" in shown
    told = stage.json("schedule", "-n", "1")
    assert told["beat"]["last_tick_seconds_ago"] is not None
    assert told["problems"][0].startswith("wrong.yaml:2")
    by_name = {one["orchestration"]: one for one in told["orchestrations"]}
    assert by_name["orders"]["last_run"]["run_id"] == first.run_id
    assert by_name["orders"]["then"] == ["report"]
    assert by_name["orders"]["next"][0]["utc"] == f"{due + timedelta(days=1):%Y-%m-%dT%H:%MZ}"
