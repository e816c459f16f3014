"""Flower, in a real browser: an operator finds a run's chunks, its waits and its failure."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from browser import PATIENCE_MS
from stage import ROOT, free_port, make_stage, until

from orchestrations.cli.up import FLOWER_COLUMNS

pytestmark = pytest.mark.chromium

LOGIN = ("deskfeed", "a-password")
BULK = {"method": "POST", "path": "/api/v2/users/create_or_update_many"}
ROWS = "id,name,mail\n" + "".join(f"{n},Secretive{n},s{n}@example.com\n" for n in range(1, 251))


@contextmanager
def flower_on(stage):
    """Flower as `deskfeed up` starts it; yields its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **stage.environment,
        "FLOWER_BASIC_AUTH": ":".join(LOGIN),
        "FLOWER_TASKS_COLUMNS": FLOWER_COLUMNS,
    }
    with (stage.folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--quiet", "-A", "worker.app", "flower",
             "--address=127.0.0.1", f"--port={port}"],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "worker0@" in asked(url, "/api/workers"), "Flower to know the worker")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def asked(url, path):
    login = base64.b64encode(":".join(LOGIN).encode()).decode()
    request = urllib.request.Request(url + path, headers={"Authorization": f"Basic {login}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        error.close()
        return ""
    except (urllib.error.URLError, ConnectionError):
        return ""


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Flower's address and two runs that it saw: one delivered after a 429, one that failed."""
    with make_stage(tmp_path_factory.mktemp("flower"), seconds_per_user=0.001) as stage:
        stage.use_catalog(rows=ROWS)
        stage.start_worker()
        stage.sandbox.add_fault({"action": "throttle", "retry_after": 3, "count": 1, **BULK})
        with flower_on(stage) as url:
            delivered = stage.json("run", "loyalty", "--wait")["run_id"]
            stage.use_catalog(sql="SELECT nothing FROM people")
            failed = stage.json("run", "loyalty", "--wait")["run_id"]
            tasks = until(
                lambda: both_told(json.loads(asked(url, "/api/tasks?limit=200") or "{}"),
                                  delivered, failed),
                "Flower to have heard of both runs",
            )  # fmt: skip
            yield url, delivered, failed, tasks


def both_told(tasks, delivered, failed):
    """Return the tasks once the last one of each run has ended."""
    ended = {
        task["kwargs"] for task in tasks.values()
        if task["name"] == "orchestrations.finish" and task["state"] == "SUCCESS"
    }  # fmt: skip
    there = all(any(run in kwargs for kwargs in ended) for run in (delivered, failed))
    return tasks if there else None


@pytest.fixture(scope="module")
def page(chromium, played):
    context = chromium.new_context(
        http_credentials={"username": LOGIN[0], "password": LOGIN[1]},
        viewport={"width": 1500, "height": 900},
    )
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def found(page, url, words):
    """Search for words as a person does; returns the rows of the list."""
    page.goto(f"{url}/tasks")
    box = page.get_by_placeholder("state:FAILURE")
    box.fill(words)
    rows = page.locator("#tasks-table tbody tr")
    first = words.partition(" ")[0]
    page.wait_for_function(
        """words => { const rows = [...document.querySelectorAll('#tasks-table tbody tr')];
        return rows.length && rows.every(row => row.textContent.includes(words)); }""",
        arg=first,
    )
    return rows.all_inner_texts()


def test_a_search_for_a_chunk_of_the_run_finds_what_was_done_with_it(page, played):
    url, delivered, _, _ = played

    for seq in (1, 2, 3):
        rows = found(page, url, f"{delivered}.{seq:06d}.deliver")
        assert any(
            "SUCCESS" in row and re.search("job .* submitted, .* users", row) for row in rows
        )
    assert any("looked at " in row for row in found(page, url, f"{delivered} poll"))
    assert any("250 rows planned" in row for row in found(page, url, f"{delivered}.plan"))
    told = found(page, url, f"{delivered}.finish")
    assert any("250 of 250 rows delivered" in row for row in told)


def test_a_wait_says_what_it_waited_for(page, played):
    url, delivered, _, _ = played
    waits = [
        re.findall(r"waits \d+ s: [a-zA-Z' ]+", row)
        for seq in (1, 2, 3)
        for row in found(page, url, f"{delivered}.{seq:06d}.deliver")
    ]

    assert any(waits), waits


def test_a_failed_run_is_red_and_names_the_command_that_tells_more(page, played):
    url, _, failed, _ = played
    rows = found(page, url, f"{failed} state:FAILURE")

    assert rows  # more than one, where the sweeper took the first message for lost
    assert all(".plan." in row for row in rows)
    page.locator("#tasks-table tbody tr a").first.click()
    page.wait_for_selector("#task-page")
    text = page.locator("#task-page").inner_text()
    assert "FAILURE" in text
    assert f"deskfeed show {failed}" in text


def test_a_task_names_its_run_and_chunk_in_its_arguments(page, played):
    url, delivered, _, tasks = played
    task_id = next(uuid for uuid in tasks if f"{delivered}.000002.deliver" in uuid)
    page.goto(f"{url}/task/{task_id}")

    text = page.locator("#task-page").inner_text()
    assert delivered in text
    assert "'seq': 2" in text


def test_the_event_of_a_submitted_job_is_counted_by_flower(played):
    url = played[0]

    assert 'type="task-job-submitted"' in asked(url, "/metrics")


def test_no_customer_is_seen_anywhere_in_flower(played):
    told = json.dumps(played[3])

    assert "Secretive" not in told
    assert "example.com" not in told


def test_nobody_gets_in_without_the_password(played):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{played[0]}/api/tasks", timeout=30)
    refused.value.close()
    assert refused.value.code == 401
