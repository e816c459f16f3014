"""Run, chunk and attempt stand in every line of a task, also in those of libraries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")

PROGRAM = """
import logging, threading, time
from concurrent.futures import ThreadPoolExecutor
import structlog, urllib3
from worker import app, logs
from worker.log_context import about, of_attempt, of_process

logs.configure("INFO", "json")

@app.app.task(name="delivers", bind=True, max_retries=1)
def delivers(self, *, seq, **kwargs):
    structlog.get_logger("ours").info("before the claim")
    of_attempt(seq + 1)
    try:
        urllib3.PoolManager(retries=1, timeout=5).request("GET", "http://127.0.0.1:9/path")
    except urllib3.exceptions.MaxRetryError:
        pass
    with about("df-2", 9, 4):
        logging.getLogger("sqlalchemy.pool").error("another chunk")
    logging.getLogger("sqlalchemy.pool").error("this chunk again")
    if self.request.retries == 0:
        raise self.retry(countdown=0)

def bare():
    logging.getLogger("redis").error("between two tasks")

with ThreadPoolExecutor(1) as thread:
    thread.submit(delivers.apply, kwargs={"v": 1, "run_id": "df-1", "seq": 7}).result()
    thread.submit(bare).result()

received = {"id": "df-20261124T083000Z-000001.000012.deliver.ab12", "name": "t"}
logging.getLogger("celery.worker.strategy").info("Task received", extra={"data": received})
forged = {"id": "df-1.deliver.ab12\\nforged", "name": "t"}
logging.getLogger("celery.worker.strategy").info("Task forged", extra={"data": forged})
of_process(run_id="df-5")
other = threading.Thread(target=bare)
other.start(); other.join()
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What a thread of a pool logs: a task that is retried once, then something else."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True,
        cwd=tmp_path_factory.mktemp("logs"), env={"PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def of(lines, logger):
    return [line for line in lines if line["logger"] == logger]


def about(line):
    return line.get("run_id"), line.get("seq"), line.get("attempt")


def test_a_line_of_a_library_bears_run_chunk_and_attempt_through_retries(lines):
    found = of(lines, "urllib3.connectionpool")

    assert len(found) == 2  # the task was carried out twice
    assert all(line["event"].startswith("Retrying") for line in found)
    assert {about(line) for line in found} == {("df-1", 7, 8)}
    assert {line["task"] for line in found} == {"delivers"}


def test_our_own_lines_bear_them_too(lines):
    assert [about(line) for line in of(lines, "ours")] == [("df-1", 7, None)] * 2


def test_celerys_own_lines_of_the_task_bear_them(lines):
    words = (r"Task .* retry", r"Task .* succeeded")
    retried, ended = [
        next(line for line in lines if re.match(found, line["event"])) for found in words
    ]

    assert about(retried) == about(ended) == ("df-1", 7, 8)


def test_a_poller_tells_each_chunk_apart(lines):
    found = [(line["event"], about(line)) for line in of(lines, "sqlalchemy.pool")]

    assert found == [("another chunk", ("df-2", 9, 4)), ("this chunk again", ("df-1", 7, 8))] * 2


def test_nothing_is_left_in_the_thread_when_the_task_has_ended(lines):
    first, _ = of(lines, "redis")

    assert about(first) == (None, None, None)
    assert "task" not in first


def test_what_celery_says_of_a_message_is_told_by_the_tasks_id(lines):
    received, forged = of(lines, "celery.worker.strategy")

    assert (received["run_id"], received["seq"]) == ("df-20261124T083000Z-000001", 12)
    assert about(forged) == (None, None, None)


def test_a_process_of_one_run_says_so_in_all_of_its_threads(lines):
    _, second = of(lines, "redis")

    assert about(second) == ("df-5", None, None)


def test_every_field_is_documented(lines):
    documented = set(re.findall(r"^\| `(\w+)` \|", DOCS, re.MULTILINE))

    assert {field for line in lines for field in line} <= documented


def test_the_example_is_a_line_as_they_are(lines):
    (example,) = re.findall(r"^\{.*\}$", DOCS, re.MULTILINE)

    assert {"event", "run_id", "seq", "attempt", "task", "task_id", "level", "timestamp"} <= set(
        json.loads(example)
    )
