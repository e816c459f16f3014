"""The services of compose.yaml as processes: a day in their life, from coming up to SIGTERM."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from compose_set import ComposeSet
from stage import until
from webhook import Webhook
from world import write_catalog

from worker.sandbox.server import Sandbox

ROWS = 1500
LEAD = timedelta(seconds=40)
"""A schedule starts nothing that was due before a tick has seen it, and ticks come every 30 s."""


def get(url, login=None):
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + b64encode(":".join(login).encode()).decode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status, answer.read()


@pytest.fixture
def webhook():
    made = Webhook()
    yield made
    made.close()


def schedule_soon(catalog):
    """Let the orchestration be due once, at the next full minute that a tick will have seen."""
    due = datetime.now(UTC) + LEAD + timedelta(minutes=1)
    with (catalog / "loyalty.yaml").open("a") as file:
        file.write(f'schedule: {{cron: "{due.minute} {due.hour} * * *", timezone: UTC}}\n')
    return due.replace(second=0, microsecond=0)


@pytest.mark.postgres
@pytest.mark.slow
def test_a_scheduled_run_fires_once_is_seen_in_flower_and_alerts_once_while_workers_are_replaced(
    backend, ledger_url, tmp_path, webhook
):
    people = "".join(f"C-{n:05d},Person {n},p{n:05d}@example.com\n" for n in range(1, ROWS + 1))
    with Sandbox(port=0, seconds_per_user=0.01) as sandbox:
        catalog = write_catalog(
            tmp_path / "catalog", url=sandbox.url, rows="id,name,mail\n" + people
        )
        (catalog / "alerts.yaml").write_text("tell: [succeeded, failed, row_failures, paused]\n")
        settings = {"DESKFEED_TIME_SCALE": "0.3"}
        with ComposeSet(
            tmp_path / "compose",
            catalog,
            ledger_url,
            scale={"worker": 3, "beat": 2},
            environment=settings,
            alerts={"ops": webhook.address},
        ) as compose:
            due = schedule_soon(catalog)
            until(lambda: sandbox.stats()["posts"] >= 1, "the scheduled run to send", 240)
            left = [compose.restart("worker", number) for number in (1, 2, 3)]
            runs = until(lambda: ended(compose), "the run to end", 240)
            until(lambda: webhook.taken, "the alert")
            run_id = runs[0]["run_id"]
            tasks = seen_in_flower(compose, run_id)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(compose.flower_url + "/api/workers")
            beat = compose.containers("beat")[0]
            exits = compose.stop()

    # Two beats ticked, three workers were replaced in the middle, and yet:
    (run,) = runs
    assert (run["origin"], run["key"]) == ("schedule", due.strftime("%Y-%m-%dT%H:%MZ"))
    assert run["state"] == "succeeded"
    assert run["rows"]["created"] == ROWS == len(sandbox.users())
    assert sandbox.stats()["posts"] == run["posts"] == ROWS // 100
    assert [message["title"] for message in webhook.taken] == ["Deskfeed: loyalty succeeded"]
    assert left == [0, 0, 0]
    assert set(tasks.values()) >= {"orchestrations.plan", "worker.deliver_chunk"}
    assert exits == dict.fromkeys(
        ("flower1", "beat1", "beat2", "worker1", "worker2", "worker3", "redis1"), 0
    )
    # What opens something is given to those who need it, and stands in no variable of theirs.
    password = (compose.secrets / "redis_password").read_text()
    assert not any(password in value for value in beat.environment.values())
    assert not (tmp_path / "compose" / "beat1" / "secrets" / "DESKFEED_LEDGER_URL").exists()


def ended(compose):
    """Return all runs once none is under way."""
    listed = json.loads(compose.deskfeed("runs", "--json").stdout)["runs"]
    shown = [json.loads(compose.deskfeed("show", run["run_id"], "--json").stdout) for run in listed]
    return shown if all(run["ended_at"] for run in shown) else None


def seen_in_flower(compose, run_id):
    """Return the run's tasks as Flower's API lists them: id -> name."""
    _, body = get(compose.flower_url + "/api/tasks?limit=1000", compose.flower_login)
    return {task: about["name"] for task, about in json.loads(body).items() if run_id in task}
