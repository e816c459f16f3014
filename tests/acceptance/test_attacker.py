"""Somebody who may write to the broker: a worker with the shipped ACL outlives all of it."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import redis
from stage import ROOT, make_stage, until

from worker.broker import MOST_BYTES

QUEUE = "deskfeed:deskfeed"
UNACKED = "deskfeed:unacked"
FIXTURE = ROOT / "tests" / "fixtures" / "messages" / "v1" / "deliver.json"
MOST_GROWTH_KB = 150_000
"""A worker's memory may grow by so much; the messages together are larger when taken apart."""


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def message(name, task="worker.deliver_chunk", *, body=None, headers=None, properties=None, **more):
    """Return a message as it lies in Redis, made from an old one."""
    found = json.loads(FIXTURE.read_bytes())
    content = json.dumps([[], {"v": 1, "run_id": "df-x", "seq": 1}, {}]) if body is None else body
    content = content if isinstance(content, bytes) else content.encode()
    found |= {"body": base64.b64encode(content).decode(), **more}
    found["headers"] |= {"task": task, "id": name, "root_id": name, **(headers or {})}
    found["properties"] |= {"correlation_id": name, "delivery_tag": name, **(properties or {})}
    return found


def without(found, *keys):
    for key in keys:
        del found["headers"][key]
    return found


def strange(folder):
    """Yield whatever somebody may put into the queue."""
    pickled = pickle.dumps([[], {"x": Bomb(folder / "executed")}, {}])
    for kind in ("application/x-python-serialize", "application/x-yaml", "application/x-msgpack"):
        yield message(kind, body=pickled, **{"content-type": kind})
    yield without(message("pickled-v1", body=pickled), "task", "id") | {
        "content-type": "application/x-python-serialize"
    }
    many = {f"canary{n}": n for n in range(10_000)}
    yield message("10k-kwargs", body=json.dumps([[], many, {}]))
    link = {"task": "orchestrations.start", "args": ["canary"], "kwargs": {}, "options": {}}
    embed = {"callbacks": [link], "errbacks": [link], "chain": [link], "chord": link}
    yield message("links", body=json.dumps([[], {"v": 1, "run_id": "df-x", "seq": 1}, embed]))
    yield message("group", headers={"group": "canary", "group_index": 2**70, "stamps": "canary"})
    yield message("reply", properties={"reply_to": "canary"})
    yield message("centuries", headers={"eta": "9999-12-31T23:59:59+00:00"})
    yield message("years", headers={"eta": "2199-01-01T00:00:00+00:00"})
    yield message("long-ago", headers={"eta": "0001-01-01T00:00:00+00:00", "retries": -5})
    yield message("no-time", headers={"eta": "canary", "expires": ["canary"]})
    yield message("limits", headers={"timelimit": ["canary", -1], "retries": "canary"})
    yield message("task-is-a-list", task=["canary"])
    yield message("task-is-null", task=None)
    yield message("map", "celery.map", body=json.dumps([[], {"task": link, "it": [["x"]]}, {}]))
    yield without(message("no-id", "canary.task"), "id", "root_id")
    yield without(message("known-without-id"), "id", "root_id")
    yield message("headers-are-text") | {"headers": "canary"}
    yield message("properties-are-text") | {"properties": {"delivery_tag": "p", "delivery_info": 1}}
    yield message("forged-who", "orchestrations.start", body=json.dumps(
        [[], {"orchestration": "loyalty", "principal": "root", "groups": ["wheel"]}, {}]
    ))  # fmt: skip
    yield message("tick", "orchestrations.tick", body=json.dumps([[], {"canary": 1}, {}]))
    yield message("escapes", task="worker.\x1b[2Jcanary\n2026 INFO run_finished")


def forged(run_id):
    """Yield well-formed messages about a run that has ended, and one that never was."""
    for run in (run_id, "df-20260101T000000Z-000000"):
        for task in ("orchestrations.plan", "orchestrations.finish"):
            yield message(f"{task}{run}", task, body=json.dumps([[], {"v": 1, "run_id": run}, {}]))
        for task in ("worker.deliver_chunk", "worker.poll_job"):
            kwargs = {"v": 1, "run_id": run, "seq": 1}
            yield message(f"{task}{run}", task, body=json.dumps([[], kwargs, {}]))


COMMANDS = ("shutdown", "pool_grow", "cancel_consumer", "revoke", "terminate", "canary")


def use_shipped_acl(stage):
    """Give the server the users of deploy/redis.acl; returns the clients' addresses by user."""
    with redis.Redis.from_url(stage.redis.url) as client:
        client.execute_command("ACL", "SETUSER", "admin", "on", ">a", "~*", "&*", "+@all")
        default, *others = (ROOT / "deploy" / "redis.acl").read_text().splitlines()
        for line in (*others, default):  # who sets them is the default user itself, so far
            user = line.split()[1]
            digest = hashlib.sha256(password(user).encode()).hexdigest()
            words = line.replace(f"{user.upper()}_PASSWORD_SHA256", digest).split()
            client.execute_command("ACL", "SETUSER", *words[1:])
    at = f"127.0.0.1:{stage.redis.port}/0"
    stage.redis.url = f"redis://admin:a@{at}"
    return {user: f"redis://{user}:{password(user)}@{at}" for user in ("worker", "flower")}


def password(user):
    return f"{user}-0123456789abcdef"


def rss_kb(pid):
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0  # macOS: nothing is asserted about memory there
    return int(status.read_text().partition("VmRSS:")[2].split()[0])


def test_a_worker_with_the_shipped_acl_works_and_obeys_nobody_who_writes_to_the_broker(tmp_path):
    with make_stage(tmp_path, time_scale=0.3) as stage:
        users = use_shipped_acl(stage)
        stage.environment["DESKFEED_REDIS_URL"] = users["worker"]
        worker = stage.start_worker()
        with redis.Redis.from_url(stage.redis.url) as client:
            first = stage.json("run", "loyalty")["run_id"]
            assert stage.deskfeed("watch", first).returncode == 0
            shown, memory = stage.json("show", first), rss_kb(worker.pid)

            attack(client, tmp_path, first)
            until(
                lambda: (
                    worker.poll() is not None
                    or (client.llen(QUEUE), client.hlen(UNACKED)) == (0, 0)
                ),
                "the queue to be empty",
            )
            second = stage.json("run", "loyalty")["run_id"]
            assert stage.deskfeed("watch", second).returncode == 0, stage.worker_log(0)

            log = stage.worker_log(0)
            assert worker.poll() is None, log
            assert not (tmp_path / "executed").exists()
            assert "Traceback" not in log, log
            assert "\x1b" not in log
            assert "canary" not in log.replace("canary.task", ""), log
            assert "run_finished" not in log.replace("run_finished  ", ""), log
            assert rss_kb(worker.pid) - memory < MOST_GROWTH_KB
            assert stage.json("show", first) == shown
            assert stage.sandbox.stats()["posts"] == 2
            assert [run["run_id"] for run in stage.json("runs")["runs"]] == [second, first]
            denied = {(entry["username"], entry["object"]) for entry in client.acl_log()}
            assert denied == set()
        look_on(stage, users["flower"])
        keep_to_their_own(users)


def attack(client, folder, run_id):
    for found in (*strange(folder), *forged(run_id)):
        client.lpush(QUEUE, json.dumps(found))
    client.lpush(QUEUE, json.dumps(message("huge", body=b" " * (8 * MOST_BYTES))))
    client.lpush(QUEUE, b"x" * 32_000_000, b"[]", b"\x80\x04canary.", b"[" * 100_000)
    # What nobody acknowledged is put back after its time: here it is no message.
    client.hset(UNACKED, "canary", b'{"canary": 1}')
    client.zadd("deskfeed:unacked_index", {"canary": 1})
    for method in COMMANDS:
        body = {"method": method, "arguments": {"n": 1000, "queue": "deskfeed", "canary": "canary",
                                                "task_id": "canary"}}  # fmt: skip
        client.publish("deskfeed:/0.celery.pidbox", json.dumps(broadcast(body)))
    for event in (b"canary", b"[]", json.dumps(broadcast(["canary"])).encode(), b" " * 2_000_000):
        client.publish("deskfeed:/0.celery.pidbox", event)
        client.publish("deskfeed:/0.celeryev/worker.heartbeat", event)


def broadcast(body):
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {},
        "properties": {
            "delivery_mode": 2, "delivery_tag": "b", "body_encoding": "base64", "priority": 0,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
        },
    }  # fmt: skip


def look_on(stage, url):
    """`celery inspect`, which asks as Flower does, gets its answer with Flower's password."""
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.app", "inspect", "ping", "--timeout", "10"],
        cwd=ROOT, env={**stage.environment, "DESKFEED_REDIS_URL": url}, capture_output=True,
        text=True, timeout=180,
    )  # fmt: skip
    assert "pong" in asked.stdout, asked.stdout + asked.stderr


def keep_to_their_own(users):
    """No user may do what none needs, and Flower's may not touch the limiter."""
    limiter = "deskfeed:{socktown.zendesk.com}:log"
    forbidden = {
        "worker": (["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["SET", "other", "1"],
                   ["ACL", "LIST"], ["SCRIPT", "FLUSH"]),
        "flower": (["FLUSHDB"], ["DEL", limiter],
                   ["EVAL", "return redis.call('DEL', KEYS[1])", "1", limiter], ["SHUTDOWN"]),
    }  # fmt: skip
    for user, commands in forbidden.items():
        with redis.Redis.from_url(users[user]) as client:
            for command in commands:
                try:
                    client.execute_command(*command)
                except redis.exceptions.NoPermissionError:
                    continue
                raise AssertionError(f"{user} may {command}")
