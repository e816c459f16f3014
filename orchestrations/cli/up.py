"""`deskfeed up`: Redis, sandbox, worker, beat and Flower on this machine, in one terminal.

`everything_up` is the library (the demo and the acceptance tests use it), `up` the verb.
What other commands need in order to reach it all is left in `<state>/up.env` while it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import click

from orchestrations.cli.output import print_json, verb
from orchestrations.cli.processes import OURS, Child, Command, Sink, StopAsked, Supervisor
from worker.errors import UsageError
from worker.settings import SECRETS_DIR, UP_FILE, Settings, load_settings

LOCK_FILE = "up.lock"

HOST = "127.0.0.1"

SANDBOX_PORT = 8900
FLOWER_PORT = 5555

SANDBOX_CREDENTIAL = {
    "DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL": "admin@socktown.example",
    "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN": "sandbox-token",
}
"""What the sandbox accepts; no secret, it opens nothing else."""

READY_S = 60.0
"""How long a process may take to become ready, on a machine that has other things to do."""

DYING_S = 3.0
"""How long the children of an `up` that was killed may take to vanish, before we refuse."""

# Ended in this order, each stage once the one before it is gone: who sends, who answers, who keeps.
_SENDERS, _SANDBOX, _REDIS = 2, 1, 0

_REDIS_CONFIG = """\
bind {host}
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
loglevel warning
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to start, and where.

    Attributes:
        sandbox: also the local stand-in for Zendesk.
        flower: also Flower, if its package is installed.
        concurrency: threads of a worker; None: as the settings say.
        workers: how many; they are called worker, worker2, worker3, ...
        sandbox_port: 0 takes a free one.
        flower_port: 0 takes a free one.
        state_dir: None: as the settings say.
        environment: for the children, on top of ours, as if the person had set it.
        grace_s: from SIGTERM to SIGKILL.
    """

    sandbox: bool = False
    flower: bool = True
    concurrency: int | None = None
    workers: int = 1
    sandbox_port: int = SANDBOX_PORT
    flower_port: int = FLOWER_PORT
    state_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Everything that is up, and how to reach it.

    Attributes:
        redis_url: holds a password.
        sandbox_url: None without the sandbox.
        flower_url: None without Flower.
        flower_auth: `user:password`; None without Flower.
        ledger: the ledger's URL or path without its password, for people.
        state_dir: absolute.
        environment: what another process must be given to work with it all.
    """

    redis_url: str = field(repr=False)
    sandbox_url: str | None
    flower_url: str | None
    flower_auth: str | None = field(repr=False)
    ledger: str
    state_dir: Path
    environment: Mapping[str, str] = field(repr=False)
    supervisor: Supervisor = field(repr=False)

    def process(self, name: str) -> Child:
        """Return the process `redis`, `sandbox`, `worker`, `beat` or `flower`.

        Raises:
            KeyError: it was not started.
        """
        return self.supervisor.child(name)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until somebody asks to stop; False when that did not happen in time.

        Raises:
            DeskfeedError: a process has ended; names it and shows its last lines.
        """
        return self.supervisor.wait(seconds)


@contextmanager
def everything_up(options: Options, sink: Sink, *, signals: bool = False) -> Iterator[Running]:
    """Start everything, and end it all when the block is left, however it is left.

    Args:
        options: what to start.
        sink: gets each line that a process prints, with the process' name.
        signals: let SIGINT, SIGTERM and SIGHUP ask to stop (the main thread only).

    Raises:
        UsageError: nothing was started: wrong settings, a port is taken, an `up` runs already.
        DeskfeedError: a process ended or did not become ready; everything has been ended.
        StopAsked: a signal came while things were being started; everything has been ended.
    """
    plan = _Plan.make(options)
    with ExitStack() as stack:
        lock = stack.enter_context(_claimed(plan.state_dir))
        hidden = (plan.password, plan.flower_auth.partition(":")[2])
        supervisor = stack.enter_context(
            Supervisor(sink, secrets=hidden, grace_s=options.grace_s, pass_fds=(lock,))
        )
        if signals:
            stack.enter_context(_asking(supervisor))
        running = _start(supervisor, plan)
        stack.enter_context(_left_behind(plan))
        yield running


# --- before anything starts -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Everything decided before the first process starts."""

    options: Options
    state_dir: Path
    ledger: str
    redis_port: int | None  # None: the person's own Redis
    password: str
    redis_url: str
    sandbox_port: int | None
    flower_port: int | None
    flower_auth: str
    made: Mapping[str, str]  # settings that we make up, as the person has not set them

    @classmethod
    def make(cls, options: Options) -> _Plan:
        config = _own_settings()
        given = {**os.environ, **options.environment}
        state_dir = (options.state_dir or config.state_dir).resolve()
        ours = _own_redis(config, options) is None
        redis_port = free_port() if ours else None
        password = secrets.token_hex(24)
        redis_url = _own_redis(config, options) or f"redis://:{password}@{HOST}:{redis_port}/0"
        made = {"DESKFEED_REDIS_URL": redis_url} if ours else {}
        if options.sandbox and not _has_credential(config, options):
            made |= SANDBOX_CREDENTIAL
        if not ours:
            _check_redis(redis_url)
        flower = options.flower and importlib.util.find_spec("flower") is not None
        return cls(
            options=options,
            state_dir=state_dir,
            ledger=_ledger(config, options, state_dir),
            redis_port=redis_port,
            password=password,
            redis_url=redis_url,
            sandbox_port=_port(options.sandbox_port, "--sandbox-port") if options.sandbox else None,
            flower_port=_port(options.flower_port, "--flower-port") if flower else None,
            flower_auth=given.get("FLOWER_BASIC_AUTH") or f"deskfeed:{secrets.token_urlsafe(12)}",
            made=made,
        )
