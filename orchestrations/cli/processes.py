"""Child processes, each started, read and watched; `supervisor` makes them live and die together.

1. *Start.* Each child gets a session of its own, so that the terminal's Ctrl-C reaches only us and
   we decide who ends when. On Linux it is tethered: should we be killed, the kernel kills it.
2. *Read.* One thread per child takes its lines and never makes it wait; one thread hands them to a
   sink, which may be as slow as a terminal that somebody paused.
3. *Wait.* News come through one queue: a child has ended, or somebody asks us to stop.
4. *End.* Stage by stage: SIGTERM to the child itself, so that it can finish what it does; after the
   grace SIGKILL to its whole process group. What a child leaves behind is killed with it.

Linux kills a tethered child when the *thread* that started it ends: start children from a thread
that stays. Elsewhere nothing ends the children of a process that was killed with SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

Sink = Callable[[str, str], None]
"""Takes (name of the child, line). Called from one thread; `OSError` and `ValueError` (a terminal
or file that is gone) are ignored."""

OURS = "up"
"""The name in front of our own lines."""

TAIL_LINES = 12
MOST_WAITING_LINES = 5_000
LONGEST_LINE = 16_384
"""Bytes; a child that never ends its line must not fill our memory."""

SHORTEST_SECRET = 8
"""Characters; a shorter text stands in many lines by chance."""

LAST_LINES_S = 2.0
"""How long a dead child's last lines may take to arrive; a stranger may hold its pipe open."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

# Runs in the child between fork and program. A preexec_fn would run Python between the two in a
# process that was forked while threads held locks.
_TETHER = """\
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that started this one is gone")
for name in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would pass that on
    signal.signal(name, signal.SIG_DFL)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot start {sys.argv[2]}: {error.strerror}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start.

    Attributes:
        name: stands before each of its lines and in errors.
        argv: program (an absolute path) and arguments; no secrets, everybody can read them.
        environment: the child's whole environment.
        stage: the highest ends first; those of one stage end together.
        stdin: what the child reads from its standard input (at most 64 KB, a pipe's worth).
        directory: where it works; None: where we do.
        ready_line: a regular expression; the line that matches says that the child is ready.
        pass_fds: descriptors that it inherits.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    stage: int = 0
    stdin: str = field(default="", repr=False)
    directory: Path | None = None
    ready_line: str | None = None
    pass_fds: tuple[int, ...] = ()


class Output:
    """Hands lines to a sink, in one thread, without ever making the giver wait.

    Args:
        sink: gets the lines.
        secrets: texts that are replaced by `***`, should a child ever print one.
    """

    def __init__(self, sink: Sink, secrets: Sequence[str] = ()) -> None:
        self._sink = sink
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(MOST_WAITING_LINES)
        self._left_out = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="output", daemon=True)
        self._thread.start()

    def put(self, name: str, line: str) -> None:
        """Take a line; leaves it out (and counts it) when too many wait already."""
        try:
            self._waiting.put_nowait((name, line))
        except queue.Full:
            with self._lock:
                self._left_out += 1

    def printable(self, raw: bytes) -> str:
        """Return a child's line as text without control characters and secrets."""
        line = _CONTROL.sub("", raw.decode("utf-8", errors="replace").rstrip("\r\n"))
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line

    def close(self) -> None:
        """Let the waiting lines out and end; gives up on a sink that hangs."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=LAST_LINES_S)
            self._thread.join(LAST_LINES_S)

    def _write(self) -> None:
        while (item := self._waiting.get()) is not None:
            self._say(*item)
            with self._lock:
                left_out, self._left_out = self._left_out, 0
            if left_out:
                self._say(OURS, f"({left_out} lines left out: nobody took them in time)")

    def _say(self, name: str, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._sink(name, line)


class Child:
    """One started process, with a thread that reads it and one that waits for its end.

    Attributes:
        ended: set once it has ended, all its lines are read and its group is killed.
        ready: set once it said its `ready_line`.
        tail: its last lines.
    """

    def __init__(
        self, command: Command, output: Output, on_end: Callable[[Child], None] | None = None
    ) -> None:
        self.command = command
        self.ended = threading.Event()
        self.ready = threading.Event()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._output = output
        self._on_end = on_end
        self._popen = _spawn(command)
        self._reader = threading.Thread(target=self._read, name=f"read {self.name}", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, name=f"watch {self.name}", daemon=True).start()

    @property
    def name(self) -> str:
        """The command's name."""
        return self.command.name

    @property
    def pid(self) -> int:
        """The process' id, which is also the id of its group."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that killed it, or None while it runs."""
        return self._popen.returncode

    def terminate(self) -> None:
        """Ask the process itself to end; what it started is its own to end."""
        if not self.ended.is_set():
            self._popen.terminate()

    def kill(self) -> None:
        """Kill the whole group."""
        if self._popen.returncode is None:
            self._kill_group()

    def obituary(self) -> str:
        """Return a sentence about how it ended, and its last lines."""
        code = self.returncode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        lines = "".join(f"\n  {self.name} | {line}" for line in self.tail)
        said = f"Its last lines:{lines}" if lines else "It said nothing."
        return f"{self.name} ended unexpectedly ({how}). {said}"

    def _read(self) -> None:
        stream = cast("IO[bytes]", self._popen.stdout)
        pattern = re.compile(self.command.ready_line) if self.command.ready_line else None
        with stream:
            while raw := stream.readline(LONGEST_LINE):
                line = self._output.printable(raw)
                self.tail.append(line)
                if pattern and pattern.search(line):
                    self.ready.set()
                self._output.put(self.name, line)

    def _watch(self) -> None:
        self._popen.wait()
        self._kill_group()
        self._reader.join(LAST_LINES_S)
        self.ended.set()
        if self._on_end:
            self._on_end(self)

    def _kill_group(self) -> None:
        # ProcessLookupError: nobody is left; PermissionError: what macOS says of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _spawn(command: Command) -> subprocess.Popen[bytes]:
    popen = subprocess.Popen(  # noqa: S603  our own commands, no shell
        _tethered(command.argv),
        env=dict(command.environment),
        cwd=command.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=command.pass_fds,
    )
    stdin = cast("IO[bytes]", popen.stdin)
    with contextlib.suppress(BrokenPipeError):  # it died at once; the watcher will tell
        stdin.write(command.stdin.encode())
        stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        stdin.close()
    return popen


def _tethered(argv: tuple[str, ...]) -> list[str]:
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *argv]
