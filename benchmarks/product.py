"""The whole product on this machine, in one folder: Redis, sandbox, workers, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalog import write_catalog
from orchestrations.cli.up import Options, Running, StopAsked, everything_up
from orchestrations.cli.up_plan import HOST, free_port
from worker.ledger import Ledger, open_ledger
from worker.ledger.records import Event, Run

ROOT = Path(__file__).parents[1]

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Product:
    """Everything that is up, and how to use it as people do.

    Attributes:
        running: what was started.
        workers: how many.
        ledger: to look at only.
    """

    running: Running
    workers: int
    ledger: Ledger

    def deskfeed(self, *words: str, seconds: float) -> dict[str, Any]:
        """Run the command with `--json`; return what it says.

        Raises:
            StopAsked: somebody pressed Ctrl-C.
            TimeoutError: it did not end in time.
        """
        command = [sys.executable, "-m", "orchestrations", *words, "--json"]
        environment = {**os.environ, **self.running.environment}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, start_new_session=True
        ) as child:
            try:
                self.until(lambda: child.poll() is not None, " ".join(words), seconds)
            finally:
                if child.poll() is None:
                    child.kill()
            said = child.stdout.read() if child.stdout else b""
        answer: dict[str, Any] = json.loads(said)
        return answer

    def until(self, holds: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait until something holds.

        Raises:
            StopAsked: somebody pressed Ctrl-C.
            DeskfeedError: a process has ended that should not.
            TimeoutError: it did not hold in time.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s in vain for: {what}")
            if self.running.wait(LOOK_EVERY_S):
                raise StopAsked

    def run(self, run_id: str) -> Run:
        """Return a run from the ledger."""
        found = self.ledger.runs.get(run_id)
        if found is None:
            raise LookupError(run_id)
        return found

    def sent(self, run_id: str) -> list[Event]:
        """Return the POSTs of a run that were accepted, each with its send stamp."""
        return self.ledger.views.events(run_id, "chunk_submitted")

    def journal(self) -> list[dict[str, Any]]:
        """Return every API request that the sandbox had."""
        entries: list[dict[str, Any]] = []
        since = 0
        while page := self._get(f"/_sandbox/journal?since={since}"):
            if not page["entries"]:
                break
            entries += page["entries"]
            since = page["next"]
        return entries

    def cpu_s(self) -> tuple[float, float] | None:
        """Return CPU seconds of the workers: their own, and of planners that have ended.

        None where the system does not tell (`/proc` is Linux').
        """
        names = [f"worker{number + 1}" if number else "worker" for number in range(self.workers)]
        stats = [Path(f"/proc/{self.running.process(name).pid}/stat") for name in names]
        if not all(stat.exists() for stat in stats):
            return None
        # After the name in parentheses: state is the first; utime, stime, cutime, cstime follow.
        fields = [stat.read_text().rpartition(")")[2].split()[11:15] for stat in stats]
        ticks = os.sysconf("SC_CLK_TCK")
        own = sum(int(user) + int(system) for user, system, _, _ in fields)
        children = sum(int(user) + int(system) for _, _, user, system in fields)
        return own / ticks, children / ticks

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.running.sandbox_url}{path}", timeout=30) as answer:
            return json.load(answer)


@contextmanager
def product_up(folder: Path, workers: int, sizes: Mapping[str, int]) -> Iterator[Product]:
    """Start everything, and end it all when the block is left, however it is left.

    Jobs of the sandbox take 0.1 s a user, its default: 10 s for a full chunk.

    Args:
        folder: for everything that is written.
        workers: how many processes.
        sizes: the orchestrations, and how many people each sends.
    """
    _forget_settings(folder)
    port = free_port()
    write_catalog(folder / "catalog", f"http://{HOST}:{port}", sizes)
    options = Options(
        sandbox=True,
        sandbox_port=port,
        flower=False,
        workers=workers,
        state_dir=folder / "state",
        environment={
            "DESKFEED_CATALOG": str(folder / "catalog"),
            "DESKFEED_LEDGER_URL": f"sqlite:///{folder / 'state' / 'ledger.db'}",
            "PYTHONPATH": str(ROOT),
        },
    )
    with (folder / "processes.log").open("w", encoding="utf-8") as log:

        def sink(name: str, line: str) -> None:
            log.write(f"{name:<8}| {line}\n")

        with everything_up(options, sink, signals=True) as running:
            ledger = open_ledger(options.environment["DESKFEED_LEDGER_URL"])
            try:
                yield Product(running, workers, ledger)
            finally:
                ledger.close()


def _forget_settings(folder: Path) -> None:
    """Nothing that a person set for their own Deskfeed shall reach this one."""
    for name in [name for name in os.environ if name.startswith("DESKFEED_")]:
        del os.environ[name]
    os.chdir(folder)  # settings are also read from `.env` in the working directory
