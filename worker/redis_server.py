"""What Deskfeed needs of a Redis server, and whether this one gives it.

Everything is read from INFO, which managed servers allow although they forbid CONFIG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import redis
import structlog

from worker.errors import LimiterUnavailable, UsageError

log = structlog.get_logger(__name__)

NEEDED = "noeviction"


@dataclass(frozen=True, slots=True)
class RedisServer:
    """What a server says of itself; None where it says nothing.

    Attributes:
        version: as it calls itself.
        policy: what it does when its memory is full.
        append_only: whether it writes an append-only file.
    """

    version: str | None
    policy: str | None
    append_only: bool | None

    def refuse_eviction(self) -> None:
        """Raise `UsageError` if the server may throw away keys that nobody told it to.

        Also where no memory limit is set now: a limit set later must not begin to cost permits.
        """
        if self.policy is not None and self.policy != NEEDED:
            raise UsageError(
                f"Redis may evict keys: its maxmemory-policy is {self.policy!r}",
                code="redis_may_evict",
            )


def inspect_server(client: redis.Redis) -> RedisServer:
    """Ask a server.

    Raises:
        LimiterUnavailable: it does not answer, or refuses to.
    """
    try:
        said = client.info()
    except (redis.RedisError, OSError) as error:
        raise LimiterUnavailable(f"Redis does not answer: {type(error).__name__}") from None
    aof = said.get("aof_enabled")
    return RedisServer(
        version=_text(said.get("valkey_version") or said.get("redis_version")),
        policy=_text(said.get("maxmemory_policy")),
        append_only=None if aof is None else aof == 1,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def refuse_unfit(client: redis.Redis) -> None:
    """Refuse to work with a server that may throw keys away; warn of one that forgets.

    Raises:
        UsageError: it may.
    """
    try:
        with client:
            server = inspect_server(client)
    except LimiterUnavailable as error:  # away: that is no reason not to wait for it
        log.warning("redis_not_checked", reason=error.message)
        return
    server.refuse_eviction()
    if not server.append_only:
        log.warning(
            "redis_without_append_only",
            reason="a restart of Redis forgets all messages; the sweeper restores them, late",
            resolution="Set `appendonly yes` in the configuration of Redis.",
        )


def measure(client: redis.Redis, clock: Callable[[], float]) -> tuple[float, float]:
    """Return how long a round trip takes, and how far the server's clock is ahead, in seconds.

    Raises:
        LimiterUnavailable: it does not answer.
    """
    before = clock()
    try:
        seconds, micros = client.time()
    except (redis.RedisError, OSError) as error:
        raise LimiterUnavailable(f"Redis does not answer: {type(error).__name__}") from None
    after = clock()
    return after - before, seconds + micros / 1e6 - (before + after) / 2
