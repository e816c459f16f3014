"""The time the sandbox goes by: epoch seconds that never jump."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Returns the current time in epoch seconds."""


def steady_clock() -> Clock:
    """Return a clock that reads the epoch once and then follows the monotonic clock.

    Stamps of it can be compared with other clocks' and still never run backwards when the
    machine's clock is set.
    """
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


def iso(at: float) -> str:
    """Return epoch seconds as Zendesk's attributes have them: `2026-11-24T03:10:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spoken(at: float) -> str:
    """Return epoch seconds as Zendesk's job messages have them: `2026-11-24 03:10:00 +0000`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S +0000")
