"""A worker that cannot work says why and ends, so that whoever watches over it notices."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import redis
from stage import PATIENCE_S, ROOT, make_stage


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"DESKFEED_LEDGER_URL": "sqlite:////dev/null/x/ledger.db"}, "cannot be made"),
        ({"DESKFEED_LEDGER_URL": "mysql://root:hunter2@db/x"}, "not supported"),
    ],
)
def test_a_worker_without_a_ledger_ends_with_a_sentence(tmp_path, settings, words):
    with make_stage(tmp_path) as stage:
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker.app", "worker"],
            cwd=ROOT,
            env={**stage.environment, **settings},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_worker_refuses_a_redis_that_may_evict(tmp_path, policy):
    with make_stage(tmp_path) as stage, redis.Redis.from_url(stage.redis.url) as client:
        client.config_set("maxmemory-policy", policy)
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker.app", "worker"],
            cwd=ROOT,
            env=stage.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        doctor = stage.json("doctor")

    assert done.returncode == 1, done.stderr
    assert policy in done.stderr
    assert "Set `maxmemory-policy noeviction`" in done.stderr
    assert not doctor["ok"]
    assert found(doctor)["redis eviction"] == "fail"


def test_doctor_tells_what_is_missing_and_a_worker_leaves_a_ledger_of_another_host(tmp_path):
    with make_stage(tmp_path) as stage, redis.Redis.from_url(stage.redis.url) as client:
        client.config_set("appendonly", "no")
        before = stage.deskfeed("doctor", "--json")
        worker = stage.start_worker()
        after = stage.deskfeed("doctor", "--json")
        in_words = stage.deskfeed("doctor")
        take_to_another_host(tmp_path / "state" / "ledger.db")
        code = worker.wait(PATIENCE_S)
        log = stage.worker_log(0)

    assert before.returncode == 1
    assert found(json.loads(before.stdout))["workers"] == "fail"
    assert after.returncode == 0, after.stdout
    assert found(json.loads(after.stdout)) | {"ledger disk": "ok"} == {
        "settings": "ok",
        "times": "ok",
        "redis": "ok",
        "redis eviction": "ok",
        "redis append-only": "warn",
        "redis clock": "ok",
        "ledger": "ok",
        "ledger hosts": "ok",
        "ledger disk": "ok",
        "workers": "ok",
        "backlog": "ok",
        "beat": "warn",
        "catalog": "ok",
        "schedules": "ok",
        "credential socktown": "warn",  # an API token: their end is near
        "alerts": "warn",
        "encryption": "ok",
    }
    assert in_words.returncode == 0
    assert "What to do: Set `appendonly yes`" in in_words.stdout
    for text in (before.stdout, after.stdout, in_words.stdout):
        assert "sandbox-token" not in text
    assert "redis_without_append_only" in log
    assert code == 1, log
    assert "the ledger is SQLite and in use on the host blue" in log
    assert "Traceback" not in log


def take_to_another_host(file):
    """Let a ledger be another host's, as if its worker had stood still for long."""
    with closing(sqlite3.connect(file)) as connection, connection:
        host = json.dumps({"id": "another", "name": "blue"}).encode()
        connection.execute("UPDATE meta SET value = ? WHERE name = 'host'", (host,))


def test_doctor_says_what_does_not_answer(tmp_path):
    with make_stage(tmp_path) as stage:
        stage.redis.stop()
        told = stage.deskfeed("doctor", "--json", DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN="")
        shown = json.loads(told.stdout)

    assert told.returncode == 1
    assert found(shown)["redis"] == "fail"
    assert found(shown)["credential socktown"] == "fail"
    assert all(check["remedy"] for check in shown["checks"] if check["verdict"] != "ok")


def found(doctor):
    return {check["name"]: check["verdict"] for check in doctor["checks"]}
