"""What is done to a scene, fault by fault; `matrix` says which of them are played."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from faults.scene import QUEUE, Scene, go_on
from stage import until

from worker.times import Times

POST = {"method": "POST", "path": "/api/v2/users/create_or_update_many"}

# --- a process ends or stands still -------------------------------------------------------------

BY_COMMAND = {"run.created"}
BY_PLANNER = {"plan.claimed", "plan.spooling", "plan.complete"}
SIGNALS = {"kill": "SIGKILL", "term": "SIGTERM", "stop": "SIGSTOP, later SIGCONT"}


def at_failpoint(scene: Scene, *, name: str, action: str) -> None:
    """Something happens to the process that comes to a failpoint; the survivor takes over."""
    spec = f"{name}={action}@1"
    if name in BY_COMMAND:
        scene.start_run_with(spec)
        pid = scene.until_reached(name)
        scene.watch_run()
    else:
        scene.rest()
        scene.start_victim(spec)
        scene.start_run()
        pid = scene.until_reached(name)
        scene.asked = action == "term" and name not in BY_PLANNER
        scene.gives_back = action == "term" and name in BY_PLANNER
        scene.wake()
    if action == "stop":
        freeze(scene, pid)


def freeze(scene: Scene, pid: int) -> None:
    """Let a process stand still until its leases have surely ended and were taken over."""
    time.sleep(standstill(scene.times))  # this is the fault, not a wait for it
    go_on(pid)


def standstill(times: Times) -> float:
    """How long a process stands still, in seconds: longer than its leases."""
    return times.lease + 2 * times.sweep


def pool_child(scene: Scene, *, name: str) -> None:
    """The system kills a child of a prefork pool, as it does when memory is short.

    Celery takes `--pool prefork` for its own default, which ours (threads) overrides.
    """
    scene.rest()
    scene.leaves = True
    scene.start_victim(f"{name}=kill@1", "--pool", "processes", "--concurrency", "3")
    scene.start_run()
    scene.until_reached(name)


def poison(scene: Scene) -> None:
    """Each child that claims a chunk dies, again and again."""
    scene.rest()
    scene.leaves = True
    scene.start_victim(
        "chunk.claimed=kill@1", "--pool", "processes", "--concurrency", "2", once=False
    )
    scene.start_run()
    scene.befell(times=10)


# --- Redis --------------------------------------------------------------------------------------


def at_random(scene: Scene, seed: int) -> random.Random:
    """Let a run come to a moment that a seed chooses."""
    chance = random.Random(seed)
    scene.start_run()
    scene.until_posts(chance.randint(1, 4))
    time.sleep(chance.uniform(0, 0.3))  # the moment is what is random
    return chance


def flush(scene: Scene, *, seed: int) -> None:
    at_random(scene, seed)
    with scene.redis() as client:
        scene.befell()
        client.flushall()


def kill_redis(scene: Scene, *, seed: int, empty: bool) -> None:
    chance = at_random(scene, seed)
    scene.befell()
    scene.stage.redis.stop()
    time.sleep(chance.uniform(0, 1))  # how long it is away
    scene.stage.redis.start(empty=empty)


def drop_messages(scene: Scene, *, after_posts: int) -> None:
    """Whatever lies in the queue is lost, as when a worker dies between taking and noting it."""
    if after_posts == 0:
        scene.rest()
        scene.start_run()
    else:
        scene.start_run()
        scene.until_posts(after_posts)
        scene.rest()
    with scene.redis() as client:
        key = f"deskfeed:{QUEUE}"
        until(lambda: client.llen(key), "a message to lose")
        scene.befell(times=client.llen(key))
        client.delete(key)
    scene.wake()


def deliver_again(scene: Scene, *, times: int) -> None:
    scene.start_run()
    scene.until_posts(1)
    for _ in range(times):
        for seq in range(1, 1 + scene.rows // 100):
            scene.send("worker.deliver_chunk", seq)
            scene.send("worker.poll_job", seq)
            scene.befell(times=2)


def short_visibility(scene: Scene) -> None:
    """Messages are redelivered while their work is still going on."""
    slow = {**POST, "action": "delay", "seconds_after": scene.times.post_deadline / 2}
    scene.stage.sandbox.add_fault(slow)
    scene.start_run()
    scene.until_posts(1)
    end = time.monotonic() + 2 * scene.times.post_deadline
    while time.monotonic() < end:
        scene.redeliver_older_than(scene.times.post_deadline / 20)
        scene.befell()
        time.sleep(scene.times.post_deadline / 10)  # how often it looks


# --- the network --------------------------------------------------------------------------------


def weather(scene: Scene, *, road: str, seconds: float, **kind: Any) -> None:
    """Bad weather for a while, on the way to Redis or to Zendesk."""
    scene.start_run()
    scene.until_posts(1)
    proxy = getattr(scene.stage.roads, road)
    scene.befell()
    proxy.set(**kind)
    time.sleep(seconds)  # how long it lasts
    proxy.calm()


def resets(scene: Scene, *, road: str, times: int) -> None:
    scene.start_run()
    scene.until_posts(1)
    for _ in range(times):
        getattr(scene.stage.roads, road).reset()
        scene.befell()
        time.sleep(0.4)  # a storm


# --- Zendesk ------------------------------------------------------------------------------------


def scripted(scene: Scene, *, rule: Mapping[str, Any]) -> None:
    """The sandbox answers wrongly, as a rule of docs/sandbox.md says."""
    sandbox = scene.stage.sandbox
    number = sandbox.add_fault(rule)
    scene.start_run()
    until(lambda: _hits(sandbox, number) or scene.state() == "failed", "the rule to act")
    scene.befell(times=0)
    scene.count_in_the_end = lambda: _hits(sandbox, number)


def _hits(sandbox: Any, number: int) -> int:
    return next(rule["hits"] for rule in sandbox.faults() if rule["id"] == number)


def redirect(scene: Scene, *, status: int) -> None:
    """Zendesk points elsewhere: the run pauses, nothing goes there, a person resumes it."""
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    elsewhere.requests = 0
    Thread(target=elsewhere.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{elsewhere.server_port}/"
        sandbox = scene.stage.sandbox
        sandbox.add_fault({**POST, "action": "redirect", "status": status, "url": url, "nth": 2})
        scene.start_run()
        until(lambda: scene.state() == "paused", "the run to pause")
        scene.befell()
        done = scene.stage.deskfeed("resume", scene.run_id)
        assert done.returncode == 0, done.stderr
        scene.until_ended(120)
        assert elsewhere.requests == 0, "a redirect was followed"
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()


class Elsewhere(BaseHTTPRequestHandler):
    """Counts who comes."""

    def do_GET(self) -> None:
        self.server.requests += 1

    do_POST = do_GET  # noqa: N815 - the base class's name
