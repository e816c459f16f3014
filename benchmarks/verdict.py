"""What a benchmark prints: aligned tables, and a line for each target."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One number that must be reached.

    Attributes:
        what: in words.
        found: the number.
        bound: what it is held against.
        most: True when the bound is the most that is allowed, False when it is the least.
        show: turns a number into text.
    """

    what: str
    found: float
    bound: float
    most: bool = True
    show: Callable[[float], str] = "{:g}".format

    @property
    def holds(self) -> bool:
        """Whether it is reached; what could not be measured is not."""
        compare = operator.le if self.most else operator.ge
        return bool(compare(self.found, self.bound))

    def __str__(self) -> str:
        mark = "held  " if self.holds else "MISSED"
        limit = f"at {'most' if self.most else 'least'} {self.show(self.bound)}"
        return f"  {mark}  {self.what}: {self.show(self.found)} ({limit})"


def judge(targets: Sequence[Target]) -> int:
    """Print a line for each target; return the exit code: 0 when all are held, else 1."""
    print("\nTargets", flush=True)
    for target in targets:
        print(target, flush=True)
    return 0 if targets and all(target.holds for target in targets) else 1


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(line[place]) for line in (head, *rows)) for place in range(len(head))]
    print(f"\n{title}")
    for line in (head, ["-" * width for width in widths], *rows):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells))
    print(end="", flush=True)


def percent(part: float) -> str:
    """Return 0.9876 as `98.8 %`."""
    return f"{100 * part:.1f} %"
