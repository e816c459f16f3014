"""The faults, as data: what is done, and what may follow. Played by `play`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from faults.scene import QUEUE, Scene, go_on
from stage import until

from worker.failpoints import NAMES
from worker.times import Times

POST = {"method": "POST", "path": "/api/v2/users/create_or_update_many"}
LOOK = {"method": "GET", "path": "/api/v2/job_statuses/show_many"}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: as the table shows it.
        inject: starts the run and does it; returns when it has been done.
        rows: of the run.
        users_per_second: the account's limit; low where the run must not be over too soon.
        may: outcomes that rows may have beside created and updated.
        freezes: whether a process stands still, and with it perhaps SQLite's one write lock.
        recovers: whether something has to be found and taken up again within the bound.
        patience: seconds after which the run should surely have ended.
    """

    name: str
    inject: Callable[[Scene], None]
    rows: int = 600
    users_per_second: int = 1000
    may: frozenset[str] = field(default=frozenset())
    freezes: bool = False
    recovers: bool = True
    patience: float = 120.0


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
    scene.injected = rule.get("count", 1)


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


# --- the list -----------------------------------------------------------------------------------


def _processes() -> list[Fault]:
    return [
        Fault(
            f"{words} at {name}",
            partial(at_failpoint, name=name, action=action),
            freezes=action == "stop",
        )
        for name in NAMES
        for action, words in SIGNALS.items()
    ]


def _broker() -> list[Fault]:
    return [
        *(Fault(f"FLUSHALL, seed {s}", partial(flush, seed=s)) for s in (1, 2, 3)),
        *(
            Fault(f"Redis killed, its file kept, seed {s}",
                  partial(kill_redis, seed=s, empty=False))
            for s in (1, 2)
        ),
        *(
            Fault(f"Redis killed, restarted empty, seed {s}",
                  partial(kill_redis, seed=s, empty=True))
            for s in (1, 2)
        ),
        Fault("the plan's message dropped", partial(drop_messages, after_posts=0)),
        Fault("messages of chunks dropped", partial(drop_messages, after_posts=1),
              users_per_second=200),
        Fault("each message delivered 20 times more", partial(deliver_again, times=20)),
        Fault("visibility timeout shorter than the work", short_visibility, rows=300),
    ]  # fmt: skip


def _network() -> list[Fault]:
    found = []
    for road, name in (("redis", "Redis"), ("zendesk", "Zendesk")):
        kinds: dict[str, dict[str, Any]] = {
            "slow (0.1 s, jitter 0.1 s)": {"latency": 0.1, "jitter": 0.1, "seconds": 4},
            "in slices of 7 bytes": {"slice": 7, "seconds": 4},
            "cut after 500 bytes": {"cut_after": 500, "seconds": 2},
            "hanging for 4 s": {"hang": True, "seconds": 4},
            "refusing for 3 s": {"refuse": True, "seconds": 3},
        }
        found += [
            Fault(f"{name} {words}", partial(weather, road=road, **kind))
            for words, kind in kinds.items()
        ]
        found.append(Fault(f"{name}: 5 resets in 2 s", partial(resets, road=road, times=5)))
    return found


POSTS_GONE_WRONG: dict[str, dict[str, Any]] = {
    "POST applied, then no answer": {"action": "hang", "nth": [1, 3], "count": 2},
    "POST applied, then closed": {"action": "close", "apply": True, "nth": [1, 3], "count": 2},
    "POST applied, then reset": {"action": "reset", "apply": True, "nth": [1, 3], "count": 2},
    "POST applied, answered with 500": {"action": "answer", "status": 500, "apply": True,
                                        "nth": [1, 3], "count": 2},
    "POST applied, answer truncated": {"action": "truncate", "nth": [1, 3], "count": 2},
    "POST not applied, closed": {"action": "close", "nth": [1, 3], "count": 2},
    "POST answered with 503": {"action": "answer", "status": 503, "nth": [1, 3], "count": 2},
    "POST answered with a page": {"action": "html", "nth": [1, 3], "count": 2},
    "POST answered with 64 MB": {"action": "huge", "nth": [1, 3], "count": 2},
    "POST answered in drips": {"action": "drip", "seconds": 0.2, "nth": 1, "count": 1},
    "POST answered with 429": {"action": "throttle", "retry_after": 1, "nth": [1, 3], "count": 2},
}  # fmt: skip

LOOKS_GONE_WRONG: dict[str, dict[str, Any]] = {
    "look answered with 500": {"action": "answer", "status": 500, "count": 2},
    "look answered with a page": {"action": "html", "count": 2},
    "look answered with 64 MB": {"action": "huge", "count": 1},
    "look answered in drips": {"action": "drip", "seconds": 0.2, "count": 1},
    "look truncated": {"action": "truncate", "count": 2},
    "look without an answer": {"action": "hang", "count": 1},
    "look closed": {"action": "close", "count": 2},
}

JOBS_GONE_WRONG: dict[str, dict[str, Any]] = {
    "job killed, nothing applied": {"state": "killed", "count": 2},
    "job failed, nothing applied": {"state": "failed", "count": 2},
    "job failed, half of it applied": {"state": "failed", "applied": 50, "count": 2},
    "job vanished": {"state": "vanish", "count": 1},
    "results short by three": {"results": "short", "drop": 3, "count": 2},
    "results permuted": {"results": "permuted", "count": 2},
    "results null": {"results": "null", "count": 2},
    "results an object": {"results": "object", "count": 2},
    "results missing": {"results": "missing", "count": 2},
    "results a list of anything": {"results": [1, None, {"id": 7}], "count": 2},
}


def _zendesk() -> list[Fault]:
    rules = {name: {**POST, **rule} for name, rule in POSTS_GONE_WRONG.items()}
    rules |= {name: {**LOOK, **rule} for name, rule in LOOKS_GONE_WRONG.items()}
    rules |= {name: {"action": "job", **rule} for name, rule in JOBS_GONE_WRONG.items()}
    return [
        *(
            Fault(name, partial(scripted, rule=rule), recovers=False)
            for name, rule in rules.items()
        ),
        *(
            Fault(f"POST redirected with {status}", partial(redirect, status=status),
                  recovers=False)
            for status in (301, 302, 303, 307, 308)
        ),
    ]  # fmt: skip


STUCK = Fault(
    "job stuck",
    partial(scripted, rule={"action": "job", "state": "stuck", "count": 1}),
    recovers=False,
    patience=400.0,
)
"""It is given up after half an hour, three minutes with scaled times."""

CHILDREN = [
    Fault(f"pool child killed at {name}", partial(pool_child, name=name))
    for name in ("chunk.claimed", "post.after", "poll.taken")
]

FAULTS = [
    *_processes(),
    *CHILDREN,
    Fault(
        "every child that claims dies",
        poison,
        rows=200,
        may=frozenset({"failed"}),
        recovers=False,
    ),
    *_broker(),
    *_network(),
    *_zendesk(),
    STUCK,
]


def named(name: str) -> Fault:
    """Return a fault by its name."""
    return next(fault for fault in FAULTS if fault.name == name)


DEFAULT_TIMES = [
    named("SIGKILL at post.after"),
    named("pool child killed at chunk.claimed"),
    named("FLUSHALL, seed 1"),
    named("Redis killed, restarted empty, seed 1"),
    named("messages of chunks dropped"),
]
"""Those whose recovery is measured with the times of production."""

FAST = [
    named("SIGKILL at post.after"),
    named("SIGSTOP, later SIGCONT at submitting.committed"),
    named("FLUSHALL, seed 1"),
    named("POST applied, then closed"),
]
"""Those of `make test`."""
