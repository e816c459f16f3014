"""What the limiter says of an account, for somebody who looks on: never an error, never often."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.errors import LimiterUnavailable, UsageError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from worker.limiter import Limiter, State

ASK_EVERY_S = 1.0
REST_S = 15.0
"""A Redis that did not answer is not asked again sooner: the picture must not wait for it."""


class Gates:
    """Asks Redis what keeps accounts from sending.

    Args:
        redis_url: None: nobody is asked.
        clock: seconds, monotonic.
    """

    def __init__(
        self, redis_url: SecretStr | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = redis_url
        self._clock = clock
        self._limiter: Limiter | None = None
        self._next = clock()
        self._last: State | None = None

    def state(self, account: str) -> State | None:
        """Return what an account uses at this moment, or a second ago; None if nobody can tell."""
        if self._url is None or self._clock() < self._next:
            return self._last
        try:
            self._last = self._connected(self._url).state(account)
            self._next = self._clock() + ASK_EVERY_S
        except (LimiterUnavailable, UsageError, ValueError):  # ValueError: of a URL that is none
            self._last = None
            self._next = self._clock() + REST_S
        return self._last

    def _connected(self, url: SecretStr) -> Limiter:
        from worker.limiter import Limiter, connect

        if self._limiter is None:
            self._limiter = Limiter(connect(url.get_secret_value()))
        return self._limiter
