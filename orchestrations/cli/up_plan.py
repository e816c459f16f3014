"""What `deskfeed up` decides before the first process starts: settings, ports, passwords."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker.errors import UsageError
from worker.settings import Settings, load_settings

HOST = "127.0.0.1"

SANDBOX_PORT = 8900
FLOWER_PORT = 5555

SANDBOX_CREDENTIAL = {
    "DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL": "admin@socktown.example",
    "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN": "sandbox-token",
}
"""What the sandbox accepts; no secret, it opens nothing else."""


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
class Plan:
    """Everything decided before the first process starts.

    Attributes:
        base: the environment of every child.
        made: the settings that we make up, as the person has not set them.
        redis_port: None: the person has a Redis of their own.
        sandbox_port: None: no sandbox.
        flower_port: None: no Flower.
        shows_ready: whether the worker's log level lets it say that it is ready.
        lock: the state folder's lock, for the children to inherit.
    """

    options: Options
    state_dir: Path
    ledger: str
    catalog: Path
    base: Mapping[str, str] = field(repr=False)
    made: Mapping[str, str] = field(repr=False)
    redis_url: str = field(repr=False)
    redis_port: int | None
    redis_password: str = field(repr=False)
    sandbox_port: int | None
    flower_port: int | None
    flower_auth: str = field(repr=False)
    shows_ready: bool
    lock: int


def own_settings(options: Options) -> Settings:
    """Return what the person set, without what an `up` that was killed may have left."""
    load_settings()  # says what is wrong, should anything be
    given: dict[str, Any] = {
        name: options.environment[variable]
        for name in ("redis_url", "ledger_url", "catalog", "state_dir", "log_level")
        if (variable := f"DESKFEED_{name.upper()}") in options.environment
    }
    found = Settings(**given)
    return found.model_copy(update={"state_dir": (options.state_dir or found.state_dir).resolve()})


def make_plan(options: Options, config: Settings, lock: int) -> Plan:
    """Decide everything; `lock` is the state folder's, for the children to inherit.

    Raises:
        UsageError: a port is taken, or the person's own Redis does not answer.
    """
    password, port = secrets.token_hex(24), None
    if config.redis_url is None:
        port = free_port()
        redis_url = f"redis://:{password}@{HOST}:{port}/0"
    else:
        redis_url = config.redis_url.get_secret_value()
        _check_redis(redis_url)
    made = {} if port is None else {"DESKFEED_REDIS_URL": redis_url}
    if options.sandbox and not _has_sandbox_credential(config, options):
        made |= SANDBOX_CREDENTIAL
    base = {**os.environ, **options.environment, "PYTHONUNBUFFERED": "1"}
    base["DESKFEED_STATE_DIR"] = str(config.state_dir)
    if options.concurrency is not None:
        base["DESKFEED_CONCURRENCY"] = str(options.concurrency)
    flower = options.flower and importlib.util.find_spec("flower") is not None
    return Plan(
        options=options,
        state_dir=config.state_dir,
        ledger=_for_people(config.ledger),
        catalog=config.catalog.resolve(),
        base=base,
        made=made,
        redis_url=redis_url,
        redis_port=port,
        redis_password=password,
        sandbox_port=_port(options.sandbox_port, "--sandbox-port") if options.sandbox else None,
        flower_port=_port(options.flower_port, "--flower-port") if flower else None,
        flower_auth=base.get("FLOWER_BASIC_AUTH") or f"deskfeed:{secrets.token_urlsafe(12)}",
        shows_ready=config.log_level in ("DEBUG", "INFO"),
        lock=lock,
    )


def _has_sandbox_credential(config: Settings, options: Options) -> bool:
    return "socktown" in config.credentials or any(
        name in options.environment for name in SANDBOX_CREDENTIAL
    )


def _for_people(ledger: str) -> str:
    if ledger.startswith("sqlite:///"):
        return str(Path(ledger.removeprefix("sqlite:///").partition("?")[0]).resolve())
    url = urlsplit(ledger)
    return f"{url.scheme}://{url.hostname}{url.path}"


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens.

    Below the range from which systems take ports for outgoing connections, so that none of these
    takes it between our look and the server's start.
    """
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311  nobody gains by guessing it
        with contextlib.suppress(OSError):
            _try_port(port)
            return port


def _try_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        probe.bind((HOST, port))


def _port(wanted: int, option: str) -> int:
    if wanted == 0:
        return free_port()
    try:
        _try_port(wanted)
    except OSError as error:
        raise UsageError(
            f"port {wanted} of {HOST} cannot be used for {option}: {error.strerror}",
            code="port_taken",
            resolution=f"End what listens there, or choose another: {option} N (0: any free one).",
        ) from None
    return wanted


def _check_redis(url: str) -> None:
    if problem := redis_problem(url):
        raise UsageError(
            f"the Redis that DESKFEED_REDIS_URL names does not answer ({problem})",
            code="broker_unavailable",
            resolution="Start it or correct DESKFEED_REDIS_URL; without the variable, "
            "`deskfeed up` starts a Redis of its own.",
        )


def redis_problem(url: str) -> str | None:
    """Return why the Redis at this URL does not answer, in a word, or None when it does."""
    import redis  # a tenth of a second, which `deskfeed --help` need not wait
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        url, socket_timeout=3, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0)
    )
    try:
        client.ping()
    except redis.RedisError as error:
        return type(error).__name__
    finally:
        client.close()
    return None
