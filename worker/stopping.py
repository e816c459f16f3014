"""Being asked to end: whoever sleeps for a slot wakes up, and nobody takes up anything new."""

from __future__ import annotations

import threading


class Stopping:
    """Whether this process has been asked to end. Of a pool child nobody asks that."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether it has."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Wake everybody who sleeps here. Not for signal handlers: it takes a lock."""
        self._asked.set()

    def sleep(self, seconds: float) -> None:
        """Sleep, or return at once when the process is to end.

        Who slept for a booked slot then finds it still to come, cancels it and gives the chunk
        back.
        """
        self._asked.wait(seconds)

    def asked_within(self, seconds: float) -> bool:
        """Wait so long for the question; returns whether it was asked."""
        return self._asked.wait(seconds)
