"""What older versions left in Redis and in the ledger is gone on with by today's worker."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import redis
from stage import make_stage, until
from world import LIMITS, profiles

from worker.ledger.records import NewRun, Target

FIXTURES = Path(__file__).parents[1] / "fixtures"
RUN = "df-20261124T083000Z-000001"
QUEUE = "deskfeed:deskfeed"
OLD = sorted((FIXTURES / "messages" / "v1").glob("*.json"))


def message(task="worker.deliver_chunk", *, args=(), kwargs=None, body=None, name="made"):
    """Return a message as it lies in Redis, made from an old one."""
    found = json.loads((FIXTURES / "messages" / "v1" / "deliver.json").read_bytes())
    found["headers"] |= {"task": task, "id": name, "root_id": name}
    found["properties"] |= {"correlation_id": name, "delivery_tag": name}
    content = body or json.dumps([list(args), kwargs or {}, {}]).encode()
    found["body"] = base64.b64encode(content).decode()
    return json.dumps(found).encode()


STRANGE = {
    "next-version": message(kwargs={"v": 2, "run_id": RUN, "seq": 1, "canary": "c@example.com"}),
    "no-version": message(kwargs={"run_id": RUN, "seq": 1}),
    "no-seq": message(kwargs={"v": 1, "run_id": RUN}),
    "extra": message(kwargs={"v": 1, "run_id": RUN, "seq": 1, "rows": "canary"}),
    "types": message(kwargs={"v": 1, "run_id": ["canary"], "seq": "canary"}),
    "negative": message(kwargs={"v": 1, "run_id": RUN, "seq": -1}),
    "huge": message(kwargs={"v": 1, "run_id": RUN, "seq": 2**70}),
    "positional": message(args=["canary", 1], kwargs={"v": 1, "run_id": RUN, "seq": 1}),
    "poll": message("worker.poll_job", kwargs={"v": 1, "run_id": {"canary": 1}, "seq": 1}),
    "plan": message("orchestrations.plan", kwargs={"v": 1, "run_id": RUN, "seq": "canary"}),
    "finish": message("orchestrations.finish", kwargs={"v": "canary", "run_id": RUN}),
    "start": message("orchestrations.start", kwargs={"orchestration": ["canary"], "who": 1}),
    "start-positional": message("orchestrations.start", args=["canary@example.com", 1, 2, 3]),
    "no-such-chunk": message(kwargs={"v": 1, "run_id": "df-none", "seq": 99}),
    "unknown-task": message("worker.canary_of_another_app", kwargs={"secret": "canary"}),
    "no-json": message(body=b"canary {"),
    "no-triple": message(body=b'"canary"'),
}
"""By name: whatever somebody may put into the queue."""

NO_MESSAGES = (b"canary", b"[]", b'{"canary": 1}', b"null")

OTHER_WORDS = ("no-such-chunk", "unknown-task", "no-json", "no-triple")
"""Told of in Celery's place, or nothing to tell of."""


def named(raw, name):
    found = json.loads(raw)
    found["headers"]["id"] = found["properties"]["delivery_tag"] = name
    return json.dumps(found).encode()


def drained(client):
    waiting = client.llen(QUEUE), client.hlen("deskfeed:unacked")
    return waiting == (0, 0)


def test_strange_messages_are_acknowledged_and_their_contents_never_repeated(tmp_path):
    with make_stage(tmp_path) as stage, redis.Redis.from_url(stage.redis.url) as client:
        worker = stage.start_worker()
        for name, raw in STRANGE.items():
            client.lpush(QUEUE, named(raw, name))
        client.lpush(QUEUE, *NO_MESSAGES)
        left_alone = len([*STRANGE.values(), *NO_MESSAGES]) - len(OTHER_WORDS)
        until(
            lambda: (
                worker.poll() is not None
                or (
                    drained(client)
                    and stage.worker_log(0).count("message_left_alone") >= left_alone
                )
            ),
            "the queue to be empty",
        )

        log = stage.worker_log(0)
        assert worker.poll() is None, log
        assert "canary" not in log.replace("worker.canary_of_another_app", "")
        assert log.count("message_left_alone") == left_alone
        assert "Traceback" not in log
        run = stage.json("run", "loyalty")
        assert stage.deskfeed("watch", run["run_id"]).returncode == 0
        assert stage.sandbox.stats()["posts"] == 1


@pytest.mark.parametrize("file", OLD, ids=lambda file: file.stem)
def test_a_message_of_version_one_still_does_what_it_did(tmp_path, file):
    with make_stage(tmp_path) as stage, redis.Redis.from_url(stage.redis.url) as client:
        with stage.ledger() as ledger:
            prepare(ledger, stage.sandbox.url, file.stem)
        name = json.loads(file.read_bytes())["headers"]["id"]
        client.lpush(QUEUE, file.read_bytes())
        stage.start_worker()

        until(lambda: f"[{name}] succeeded" in stage.worker_log(0), f"{name} to succeed")
        done = stage.deskfeed("watch", "last")
        assert done.returncode == 0, done.stderr + stage.worker_log(0)


def prepare(ledger, url, kind):
    """Record the run that an old message is about, unless the message is to start it."""
    if kind == "start":
        return
    target = Target("socktown", url.removeprefix("http://"), url, "socktown")
    ledger.runs.start(NewRun(RUN, "loyalty", "k", target, LIMITS, {}, "tester"))
    if kind in ("deliver", "poll"):
        run = ledger.runs.claim_plan(RUN)
        ledger.planning.add_chunks(run, 1, [profiles(1, 2)])
        ledger.planning.complete(run)


@pytest.mark.parametrize("revision", ["0001", "0006"])
def test_an_old_ledger_is_migrated_and_its_run_is_finished(tmp_path, revision):
    with make_stage(tmp_path) as stage:
        file = tmp_path / "state" / "ledger.db"
        file.parent.mkdir(exist_ok=True)
        shutil.copyfile(FIXTURES / "ledgers" / f"{revision}.db", file)
        move_to(file, stage.sandbox.url)
        stage.start_worker()

        done = stage.deskfeed("watch", RUN, "--json")

        assert done.returncode == 0, done.stderr + stage.worker_log(0)
        shown = json.loads(done.stdout)
        assert shown["rows"]["created"] + shown["rows"]["updated"] == 70
        assert len(stage.sandbox.users()) == 60  # ten were delivered before
        assert shown["chunks"]["done"] == 7


def move_to(file, url):
    """Let an old ledger's account be the sandbox of this test."""
    account = url.removeprefix("http://")
    with sqlite3.connect(file) as connection:
        for table in ("accounts", "runs", "chunks"):
            connection.execute(f"UPDATE {table} SET account = ?", (account,))
        connection.execute(
            "UPDATE runs SET target = replace(target, '127.0.0.1:8900', ?)", (account,)
        )
    connection.close()
