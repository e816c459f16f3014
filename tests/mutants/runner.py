"""Applies mutants to copies of the tree and runs their tests there, a few at a time.

The working tree is only read. Each mutant has a copy of its own, so nothing has to be undone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .mutant import Mutant

ROOT = Path(__file__).parents[2]

LONGEST_TEST_S = 60
LONGEST_RUN_S = 180.0
"""A test that hangs has noticed, too; what goes on for longer than this has told nothing."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_BROKEN = re.compile(r"^E .*\b(?:Name|Syntax|Indentation|Import)Error\b", re.MULTILINE)
_REFUSED = "(ResponseError)"  # so the limiter says that Redis could not run a script

Verdict = Literal["killed", "SURVIVED", "BROKEN"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant.

    Attributes:
        name: the mutant's name.
        verdict: BROKEN means that its code could not run, which proves nothing.
        by: the test that noticed, or what is broken.
        seconds: how long it took.
    """

    name: str
    verdict: Verdict
    by: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """How pytest ended."""

    code: int | None
    output: str

    @property
    def failed(self) -> str:
        """The first test that failed."""
        match = _FAILED.search(self.output)
        return match[1] if match else ""


@dataclass(slots=True)
class Runner:
    """Runs tests in copies of the tree, and leaves no process behind.

    Args:
        folder: for the copies.
    """

    folder: Path
    _running: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False

    @property
    def template(self) -> Path:
        """The copy that all others are made of."""
        return self.folder / "control"

    def copy_tree(self) -> None:
        """Copy what git knows of the working tree, as it lies there, and what is new in it."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self.template / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.template / name)

    def control(self, tests: Iterable[str]) -> Run:
        """Run the tests without any mutant; their compiled files then serve the copies."""
        foreign = self._python(self.template, "-c", "import worker; print(worker.__file__)")
        if not foreign.output.startswith(str(self.template)):
            return Run(1, f"not the copy would be tested, but {foreign.output}")
        return self._pytest(self.template, tests)

    def judge(self, number: int, mutant: Mutant) -> Result:
        """Apply a mutant to a copy of its own and run its tests."""
        begin = time.monotonic()
        tree = self.folder / f"mutant-{number}"
        shutil.copytree(self.template, tree)
        mutant.apply(tree)
        found, by = verdict(self._pytest(tree, mutant.tests))
        shutil.rmtree(tree)
        return Result(mutant.name, found, by, time.monotonic() - begin)

    def end(self) -> None:
        """End what is running; nothing is started any more."""
        with self._lock:
            self._ended = True
            for pid in self._running:
                _kill_group(pid)

    def _pytest(self, tree: Path, tests: Iterable[str]) -> Run:
        return self._python(
            tree, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider",
            f"--timeout={LONGEST_TEST_S}", *tests,
        )  # fmt: skip

    def _python(self, tree: Path, *args: str) -> Run:
        with self._lock:
            if self._ended:
                return Run(None, "")
            process = subprocess.Popen(
                [sys.executable, *args], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
            self._running.add(process.pid)
        try:
            output, _ = process.communicate(timeout=LONGEST_RUN_S)
            return Run(process.returncode, output)
        except subprocess.TimeoutExpired:
            return Run(None, f"still running after {LONGEST_RUN_S:g} s")
        finally:
            # Servers that its tests started are of its group, and may outlive it.
            with self._lock:
                self._running.discard(process.pid)
                _kill_group(process.pid)
            process.wait()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def verdict(run: Run) -> tuple[Verdict, str]:
    """Tell what a run of its tests says of a mutant, and why."""
    if run.code == 0:
        return "SURVIVED", ""
    broken = _BROKEN.search(run.output)
    if broken:
        return "BROKEN", broken[0]
    if _REFUSED in run.output:
        return "BROKEN", "Redis cannot run the script"
    if run.code != 1 or not run.failed:
        return "BROKEN", run.output.strip()[-400:]
    return "killed", run.failed


def named_tests(mutants: Sequence[Mutant]) -> list[str]:
    """Return all tests that mutants name, each once."""
    return list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
