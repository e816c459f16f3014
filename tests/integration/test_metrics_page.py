"""The page of metrics of real workers: scraped over HTTP while chunks are delivered."""

from __future__ import annotations

import os
import re
import signal
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from stage import free_port, make_stage, until

PEOPLE = 250
"""Three chunks."""

ROWS = "id,name,mail\n" + "".join(
    f"K-{n},Canary{n},canary{n}@people.example\n" for n in range(PEOPLE)
)


@pytest.fixture
def stage(tmp_path):
    with make_stage(tmp_path, seconds_per_user=0.001) as made:
        made.use_catalog(rows=ROWS)
        yield made


def scrape(port):
    """Return the page's text."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return answer.read().decode()


def values(text):
    """Return the values of a page, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def posts_and_users(text, account):
    found = values(text)
    return (
        found.get(("deskfeed_permits_granted_total", (("account", account), ("kind", "post")))),
        found.get(("deskfeed_permit_users_granted_total", (("account", account),))),
    )


def account_of(stage):
    return stage.sandbox.url.removeprefix("http://")


def run_to_the_end(stage):
    done = stage.deskfeed("run", "loyalty", "--wait", "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_page_tells_what_was_sent_and_outlives_redis(stage):
    port = free_port()
    worker = stage.start_worker(DESKFEED_METRICS_PORT=str(port))
    run_to_the_end(stage)

    text = scrape(port)
    account = account_of(stage)
    here = (("account", account),)
    found = values(text)
    assert posts_and_users(text, account) == (3, PEOPLE)
    assert found["deskfeed_permit_wait_seconds_count", here] >= 4  # and at least one look at jobs
    assert found["deskfeed_limiter_requests", here] >= 4
    assert found["deskfeed_limiter_users_budget", here] == 100
    assert found["deskfeed_limiter_gate", (*here, ("gate", "open"))] == 1
    assert found["deskfeed_jobs_in_flight", here] == 0
    assert (found["deskfeed_ledger_up", ()], found["deskfeed_redis_up", ()]) == (1, 1)
    assert_nobodys_data(stage, text)

    stage.redis.stop()
    found = values(scrape(port))
    assert (found["deskfeed_ledger_up", ()], found["deskfeed_redis_up", ()]) == (1, 0)
    assert found["deskfeed_jobs_in_flight_cap", here] == 20

    stage.redis.start()
    until(lambda: values(scrape(port))["deskfeed_redis_up", ()] == 1, "Redis to be up again")
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=180)
    with pytest.raises(urllib.error.URLError, match="refused"):
        scrape(port)


def assert_nobodys_data(stage, text):
    """Labels are accounts and reasons only, and no word of people, runs or credentials is there."""
    run_id = stage.json("runs")["runs"][0]["run_id"]
    words = ["canary", "people.example", "K-1", "sandbox-token", "admin@", "loyalty", run_id]
    assert [word for word in words if word.lower() in text.lower()] == []
    labels = set(re.findall(r'[{,](\w+)="', text))
    assert labels <= {"account", "gate", "kind", "le", "reason", "scope", "state", "why"}


@pytest.mark.slow
def test_a_worker_whose_port_is_taken_says_so_and_works(stage):
    port = free_port()
    first = stage.start_worker(DESKFEED_METRICS_PORT=str(port))
    stage.start_worker("--pool", "processes", DESKFEED_METRICS_PORT=str(port))
    until(lambda: "metrics_not_served" in stage.worker_log(1), "the warning")

    assert "DESKFEED_METRICS_PORT" in stage.worker_log(1)
    assert "metrics_incomplete" in stage.worker_log(1)  # it counts in processes, without a folder
    os.killpg(first.pid, signal.SIGKILL)
    run_to_the_end(stage)


@pytest.mark.slow
def test_a_page_adds_up_what_the_prefork_pools_processes_sent(stage):
    port = free_port()
    folder = stage.folder / "counted"
    worker = stage.start_worker(
        "--pool", "processes", "--concurrency", "2",
        DESKFEED_METRICS_PORT=str(port), PROMETHEUS_MULTIPROC_DIR=str(folder),
    )  # fmt: skip
    run_to_the_end(stage)

    assert posts_and_users(scrape(port), account_of(stage)) == (3, PEOPLE)
    counted_by = {int(file.stem.split("_")[1]) for file in folder.glob("counter_*.db")}
    assert counted_by - {worker.pid}, "the pool's processes counted nothing"
    assert "metrics_incomplete" not in stage.worker_log(0)
