"""The limiter: reserve a slot, sleep until it comes, confirm, send.

    reserve -> Booked(wait_s)     sleep, then confirm
            -> Denied(retry_in_s) come back then; nothing is held
    confirm -> Go                 send at once
            -> NotYet(wait_s)     somebody before was late: sleep again, confirm again
            -> Stale              a pause or a loss voided the booking: reserve anew

Normally that is two round trips a permit, and no caller ever asks in a loop. All decisions are
taken in Redis, by one Lua script each, on Redis' own clock; `log.lua` explains the keys.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, cast

import redis
from redis.backoff import ConstantBackoff
from redis.commands.core import Script
from redis.retry import Retry

from worker.errors import LimiterUnavailable, UsageError
from worker.limiter.answers import (
    Booked,
    Budget,
    Confirmation,
    Denied,
    Go,
    Loss,
    NotYet,
    Reservation,
    Stale,
    State,
    Why,
)

GUARD_S = 0.012
"""What may pass between the stamp and the request leaving: thread wake-ups were at worst 10 to
16 ms late when measured. The windows are longer by it, which costs about 1.2 % of the budget."""

LONGEST_RETRY_S = 25.0
"""No caller is sent away for longer: below the longest countdown of a message (30 s)."""

SHORTEST_RETRY_S = 0.05
"""Nor for shorter: a caller told to return at once would ask in a loop."""

LEAD = 0.75
"""Who was denied returns this part of his `max_wait_s` before his turn: early enough that the log
never runs empty while messages travel, late enough that his slot is within his `max_wait_s`."""


def connect(url: str) -> redis.Redis:
    """Return a client for `Limiter` that gives up soon: without an answer nothing is sent anyway.

    One retry, and only where the connection broke: that heals connections which a restart of
    Redis left dead in the pool. A server that is silent for 5 s is not asked twice. (The library's
    own defaults block a caller for 3 to 5 s when nothing listens.)
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=2,
        socket_timeout=5,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ConstantBackoff(0.05), 1, supported_errors=(redis.ConnectionError,)),
    )


class Limiter:
    """Gives permits for an account to any number of threads, processes and machines.

    It fails closed: whatever Redis answers that is not an answer becomes `LimiterUnavailable`, and
    there is no limiter to fall back on, as each worker's own would multiply the budget.

    Args:
        client: see `connect`; may be shared by threads.
        guard_s: by how much the windows are longer than what Zendesk counts.
        users_window_s: the window of `Budget.users_per_second`; tests shorten it.
        requests_window_s: the window of `Budget.requests_per_minute`; not shorter than the other.
    """

    def __init__(
        self,
        client: redis.Redis,
        guard_s: float = GUARD_S,
        *,
        users_window_s: float = 1.0,
        requests_window_s: float = 60.0,
    ) -> None:
        if guard_s < 0 or not 0 < users_window_s <= requests_window_s:
            raise ValueError("guard_s >= 0 and 0 < users_window_s <= requests_window_s must hold")
        self._requests_window_s = requests_window_s
        windows = (_us(users_window_s + guard_s), _us(requests_window_s + guard_s))
        # Entries lie at most one window ahead and count for one more; a third is to spare.
        self._frame: tuple[int, ...] = (*windows, -(-3 * windows[1] // 1000))
        self._reserve = _script(client, "reserve")
        self._confirm = _script(client, "confirm")
        self._cancel = _script(client, "cancel")
        self._pause = _script(client, "pause")
        self._state = _script(client, "state")

    def reserve(
        self,
        account: str,
        permit: str,
        *,
        users: int,
        requests: int,
        budget: Budget,
        max_wait_s: float,
    ) -> Reservation:
        """Book the first slot at which users and requests both fit, if it is near enough.

        Args:
            account: the Zendesk host.
            permit: names this sending and no other; asking again for a booked one is harmless.
            users: users in the request; 0 for a poll.
            requests: 0 or 1.
            budget: what the account allows.
            max_wait_s: a slot further away is not booked; at most the requests' window.

        Raises:
            UsageError: more users than the budget, which could never be granted; or the permit
                was sent under already.
            LimiterUnavailable: Redis gave no answer.
        """
        self._check_costs(users, requests, budget, max_wait_s)
        costs = (budget.users_per_second, budget.requests_per_minute, permit, users, requests)
        limits = (_us(max_wait_s), _us(LONGEST_RETRY_S))
        reply = self._run(self._reserve, account, *costs, *limits)
        match _text(reply[0]):
            case "booked":
                return Booked(permit, reply[1] / 1e6, reply[2])
            case "denied":
                return _denied(reply[1] / 1e6, cast("Why", _text(reply[2])), max_wait_s)
        raise UsageError(f"permit {permit}: it was used already; each sending needs its own")

    def confirm(self, account: str, permit: str, *, budget: Budget) -> Confirmation:
        """Ask, just before sending, whether the booked permit still holds; stamp it if so.

        Returns:
            `Go`, `NotYet` or `Stale`; only `Go` allows sending.

        Raises:
            LimiterUnavailable: Redis gave no answer. The permit may count as sent; do not send.
        """
        budgets = (budget.users_per_second, budget.requests_per_minute)
        reply = self._run(self._confirm, account, *budgets, permit)
        match _text(reply[0]):
            case "go":
                return Go(reply[1], reply[2] / 1e6)
            case "not_yet":
                return NotYet(reply[1] / 1e6)
        return Stale(cast("Loss", _text(reply[1])))

    def cancel(self, account: str, permit: str) -> bool:
        """Give a booking back that will not be used; True if there was one.

        A confirmed permit stays in the logs: it was sent. Cancelling twice is harmless.
        """
        return bool(self._run(self._cancel, account, permit))

    def pause(self, account: str, seconds: float, reason: str) -> float:
        """Stop the whole account: void all bookings, and book nothing before the pause ends.

        Args:
            account: the Zendesk host.
            seconds: from now; a pause that ends later anyway stays as it is.
            reason: for people, without customer data.

        Returns:
            Seconds until the pause ends.
        """
        if seconds < 0:
            raise ValueError(f"seconds must not be negative, not {seconds:g}")
        return float(self._run(self._pause, account, _us(seconds), reason)) / 1e6

    def state(self, account: str) -> State:
        """Tell what the account uses at this moment, for people."""
        users, requests, bookings, booked_users, left_us, why = self._run(self._state, account)
        return State(users, requests, bookings, booked_users, left_us / 1e6, _text(why))

    def _check_costs(self, users: int, requests: int, budget: Budget, max_wait_s: float) -> None:
        if users > budget.users_per_second:
            raise UsageError(
                f"a request with {users} users can never be sent: the account allows "
                f"{budget.users_per_second} users per second",
                resolution="Raise limits.users_per_second in the destination's file.",
            )
        if users < 0 or requests not in (0, 1) or users + requests == 0:
            raise ValueError(f"users >= 0 and requests 0 or 1, not both 0: {users}, {requests}")
        if not 0 <= max_wait_s <= self._requests_window_s:
            raise ValueError(f"max_wait_s must be 0 to {self._requests_window_s:g}: {max_wait_s:g}")

    def _run(self, script: Script, account: str, *args: int | str) -> Any:
        try:
            return script(keys=_keys(account), args=(*self._frame, *args))
        except redis.RedisError as error:
            raise LimiterUnavailable(
                f"the rate limit of {account} cannot be asked ({type(error).__name__}), "
                "so nothing is sent"
            ) from error


def _keys(account: str) -> list[str]:
    # The braces make a cluster keep an account's keys together; one script needs all of them.
    if not account or "{" in account or "}" in account:
        raise ValueError(f"an account is a host name, not {account!r}")
    names = ("users", "requests", "booked", "pause", "turn")
    return [f"deskfeed:{{{account}}}:{name}" for name in names]


def _script(client: redis.Redis, name: str) -> Script:
    folder = resources.files(__package__)
    parts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("log", name)]
    return client.register_script("\n".join(parts))


def _denied(turn_in_s: float, why: Why, max_wait_s: float) -> Denied:
    # Before a pause ends nobody is to stand at the door, so there is no lead then.
    lead_s = 0.0 if why == "paused" else LEAD * max_wait_s
    return Denied(min(max(turn_in_s - lead_s, SHORTEST_RETRY_S), LONGEST_RETRY_S), why)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _text(value: bytes | str) -> str:
    # A client may or may not decode replies.
    return value.decode() if isinstance(value, bytes) else value
