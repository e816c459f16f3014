"""Processes that live and die together: when one ends, or somebody asks, all are ended."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence

from orchestrations.cli.processes import OURS, Child, Command, Output, Sink
from worker.errors import DeskfeedError

LOOK_EVERY_S = 0.05

KILLED_S = 10.0
"""How long the kernel may take to end what got SIGKILL."""


class StopAsked(Exception):
    """Somebody asked to stop while children were still being started."""


class Supervisor:
    """Starts children, tells when one has ended, and ends them all.

    Use it as a context manager: whatever happens inside, no child is left at the end.

    Args:
        sink: gets every line of every child, and ours under the name `up`.
        secrets: texts that no line may hold.
        grace_s: how long a child has between SIGTERM and SIGKILL.
    """

    def __init__(self, sink: Sink, *, secrets: Sequence[str] = (), grace_s: float = 30.0) -> None:
        self._output = Output(sink, secrets)
        self._grace_s = grace_s
        # SimpleQueue: its put() may interrupt its get() in the same thread, as signals do.
        self._news: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        self._children: list[Child] = []
        self._stopping = False
        self._hurried = False

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, command: Command) -> Child:
        """Start a child.

        Raises:
            OSError: its program or folder is missing (not on Linux: there the child says so).
        """
        child = Child(command, self._output, self._news.put)
        self._children.append(child)
        return child

    def child(self, name: str) -> Child:
        """Return the child of that name.

        Raises:
            KeyError: none was started.
        """
        return {child.name: child for child in self._children}[name]

    def say(self, line: str) -> None:
        """Put a line of our own among theirs."""
        self._output.put(OURS, line)

    def await_ready(self, child: Child, is_ready: Callable[[], bool], seconds: float) -> None:
        """Return once the child is ready.

        Raises:
            DeskfeedError: it is not within that time, or some child has ended.
            StopAsked: somebody asked to stop.
        """
        deadline = time.monotonic() + seconds
        while not is_ready():
            if time.monotonic() > deadline:
                lines = "".join(f"\n  {child.name} | {line}" for line in child.tail)
                raise DeskfeedError(
                    f"{child.name} was not ready within {seconds:g} s. "
                    + (f"Its last lines:{lines}" if lines else "It said nothing."),
                    code="process_silent",
                )
            if self.wait(LOOK_EVERY_S):
                raise StopAsked

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until somebody asks to stop; False when that did not happen in time.

        Raises:
            DeskfeedError: a child has ended; names it and shows its last lines.
        """
        try:
            child = self._news.get(timeout=seconds)
        except queue.Empty:
            return False
        if child is not None:
            raise DeskfeedError(child.obituary(), code="process_ended")
        return True

    def ask_stop(self) -> None:
        """Ask `wait` to return; asked again, end everybody at once. May be a signal's handler."""
        if self._stopping:
            self._hurried = True
            for child in self._children:
                child.kill()
        else:
            self._stopping = True
            self._news.put(None)

    def end(self) -> None:
        """End all children, the highest stage first, and return when none is left."""
        self._stopping = True
        try:
            for stage in sorted({child.command.stage for child in self._alive()}, reverse=True):
                self._end_together(
                    [child for child in self._alive() if child.command.stage == stage]
                )
        finally:  # also when we are interrupted here: nobody is left behind
            for child in self._alive():
                child.kill()
                child.ended.wait(KILLED_S)
            self._output.close()

    def _alive(self) -> list[Child]:
        return [child for child in self._children if not child.ended.is_set()]

    def _end_together(self, children: list[Child]) -> None:
        if not children:
            return
        self.say(f"ending {', '.join(child.name for child in children)}")
        for child in children:
            child.terminate()
        deadline = time.monotonic() + (0.0 if self._hurried else self._grace_s)
        for child in children:
            if not child.ended.wait(max(0.0, deadline - time.monotonic())):
                self.say(f"{child.name} did not end in time and is killed")
                child.kill()
        for child in children:
            child.ended.wait(KILLED_S)
