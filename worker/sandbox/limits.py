"""The account's limits, as rolling windows over what was admitted."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence

MINUTE = 60.0
SECOND = 1.0


class RequestWindow:
    """Requests of the last minute. Refused ones do not count (an assumption). Not thread-safe."""

    def __init__(self) -> None:
        self._admitted: deque[float] = deque()

    def admit(self, now: float, limit: int) -> bool:
        """Count a request if it is within the limit, and say whether it is."""
        if self.remaining(now, limit) <= 0:
            return False
        self._admitted.append(now)
        return True

    def add_foreign(self, now: float, count: int) -> None:
        """Count requests of the account's other clients, admitted or not."""
        self._admitted.extend([now] * count)

    def remaining(self, now: float, limit: int) -> int:
        """Return how many requests are left at this moment."""
        while self._admitted and self._admitted[0] <= now - MINUTE:
            self._admitted.popleft()
        return max(0, limit - len(self._admitted))

    def resets_in(self, now: float, limit: int) -> int:
        """Return the whole seconds, at least 1, until a request is left that is not left now.

        Within the limit that is until the oldest request leaves the window.
        """
        if not self._admitted:
            return int(MINUTE)
        # With more in the window than the limit allows, several have to leave it first.
        leaver = min(max(0, len(self._admitted) - limit), len(self._admitted) - 1)
        return max(1, math.ceil(self._admitted[leaver] + MINUTE - now))

    def headers(self, now: float, limit: int) -> dict[str, str]:
        """Return both families of headers that Zendesk has sent over the years."""
        remaining = str(self.remaining(now, limit))
        return {
            "X-Rate-Limit": str(limit),
            "X-Rate-Limit-Remaining": remaining,
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": remaining,
            "ratelimit-reset": str(self.resets_in(now, limit)),
        }


class UserWindow:
    """Users of admitted bulk upserts in a rolling second, by arrival. Not thread-safe."""

    def __init__(self) -> None:
        self._admitted: list[tuple[float, int]] = []

    def admit(self, at: float, users: int, limit: int) -> bool:
        """Count a request's users if no rolling second goes over the limit by them.

        Heads may be handled in another order than they arrived in, so seconds after `at` are
        looked at as well.
        """
        log = self._admitted
        del log[: bisect_right(log, (at - MINUTE, 0))]
        insort(log, (at, users))
        # Generously near: `peak` alone decides what is within a second, floats being what they are.
        near = [entry for entry in log if abs(entry[0] - at) < 2 * SECOND]
        if peak(near, SECOND) <= limit:
            return True
        log.remove((at, users))
        return False


def peak(log: Sequence[tuple[float, int]], window: float) -> int:
    """Return the largest sum of amounts within any window: from a stamp to just before its end.

    Args:
        log: (epoch seconds, amount), in any order.
        window: seconds.
    """
    ordered = sorted(log)
    largest = running = first = 0
    for at, amount in ordered:
        running += amount
        while ordered[first][0] <= at - window:
            running -= ordered[first][1]
            first += 1
        largest = max(largest, running)
    return largest
