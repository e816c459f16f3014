"""What is told of a run: a trace for people, and how often each thing happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Say:
    """Counts, and writes the trace if there is somebody to read it.

    Args:
        clock: seconds since the start of the run.
        write: takes the lines of the trace; None when nobody reads it.
    """

    clock: Callable[[], float]
    write: Callable[[str], None] | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def line(self, text: str) -> None:
        """Write a line of the trace."""
        if self.write is not None:
            self.write(f"{self.clock():9.3f}  {text}")

    def count(self, what: str) -> None:
        """Something rare was reached."""
        self.counts[what] += 1

    def fault(self, what: str) -> None:
        """A fault was injected."""
        self.counts["fault: " + what] += 1
        self.line(f"          !! {what}")
