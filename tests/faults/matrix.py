"""The faults, as data: what is done, and what may follow. Played by `play`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from faults.injections import (
    POST,
    SIGNALS,
    at_failpoint,
    deliver_again,
    drop_messages,
    flush,
    kill_redis,
    poison,
    pool_child,
    redirect,
    resets,
    scripted,
    short_visibility,
    weather,
)
from faults.scene import Scene

from worker.failpoints import NAMES

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
        of: whose recovery it is, of the `chunks` (and plan), or of the `report` of the run's end.
        times: so often at least it has to befall.
        patience: seconds after which the run should surely have ended.
    """

    name: str
    inject: Callable[[Scene], None]
    rows: int = 600
    users_per_second: int = 1000
    may: frozenset[str] = field(default=frozenset())
    freezes: bool = False
    recovers: bool = True
    of: Literal["chunks", "report"] = "chunks"
    times: int = 1
    patience: float = 120.0


# --- the list -----------------------------------------------------------------------------------


AT_THE_END = {"run.closed", "finish.sent"}
"""There every chunk has ended; what is left to do is to tell of it."""


def _processes() -> list[Fault]:
    return [
        Fault(
            f"{words} at {name}",
            partial(at_failpoint, name=name, action=action),
            freezes=action == "stop",
            of="report" if name in AT_THE_END else "chunks",
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
            Fault(name, partial(scripted, rule=rule), times=rule["count"])
            for name, rule in rules.items()
        ),
        *(
            Fault(f"POST redirected with {status}", partial(redirect, status=status))
            for status in (301, 302, 303, 307, 308)
        ),
    ]  # fmt: skip


STUCK = Fault(
    "job stuck",
    partial(scripted, rule={"action": "job", "state": "stuck", "count": 1}),
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
