"""The limiter: reserve a slot, sleep until it comes, confirm, send, tell it the answer if it asked.

    reserve -> Booked(wait_s)     sleep, then confirm
            -> Denied(retry_in_s) come back then; nothing is held
    confirm -> Go                 send at once
            -> NotYet(wait_s)     somebody before was late: sleep again, confirm again
            -> Stale              a pause or a loss voided the booking: reserve anew
    observe                       what the answer's headers said; always for a probe

Normally that is two round trips a permit, and no caller ever asks in a loop. All decisions are
taken in Redis, by one Lua script each, on Redis' own clock; `log.lua` explains the keys.
"""

from __future__ import annotations

from collections.abc import Callable
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
    Gate,
    Go,
    Loss,
    NotYet,
    Observed,
    Reservation,
    Stale,
    State,
    Why,
)

GUARD_S = 0.012
"""What may pass between the stamp and the request leaving: thread wake-ups were at worst 10 to
16 ms late when measured. The windows are longer by it, which costs about 1.2 % of the budget."""

CEILING = 1.0 / (1.0 + GUARD_S)
"""The part of `Budget.users_per_second` that can be used for long: W / (W + guard) with W = 1 s."""

SLACK_S = 0.003
"""Slots are booked so much further apart than they must be: most wake-ups are less late than this,
and then nobody behind has to move (which costs each of them a call)."""

LONGEST_RETRY_S = 25.0
"""No caller is sent away for longer: below the longest countdown of a message (30 s)."""

SHORTEST_RETRY_S = 0.05
"""Nor for shorter: a caller told to return at once would ask in a loop."""

LONGEST_PAUSE_S = 3600.0
"""No pause is longer, whatever is asked for: an hour later it does no harm to send one probe."""

PROBE_S = 25.0
"""An answer to a probe that was not reported by then is taken for lost: a request has 20 s."""

REST_LEAST_S = 5.0
REST_USUAL_S = 10.0
"""How long to rest when headers say that nothing is left for us: at least, and where they do not
say for how long. Then one probe asks again; so probes take little of what is left to others."""

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
        slack_s: by how much slots are further apart than the windows demand.
        probe_s: how long the answer to a probe is waited for.
        on_cold_start: called when this limiter found that Redis had lost its memory.
    """

    def __init__(
        self,
        client: redis.Redis,
        guard_s: float = GUARD_S,
        *,
        users_window_s: float = 1.0,
        requests_window_s: float = 60.0,
        slack_s: float = SLACK_S,
        probe_s: float = PROBE_S,
        on_cold_start: Callable[[str], None] = lambda _account: None,
    ) -> None:
        if guard_s < 0 or not 0 < users_window_s <= requests_window_s:
            raise ValueError("guard_s >= 0 and 0 < users_window_s <= requests_window_s must hold")
        self._requests_window_s = requests_window_s
        self._on_cold_start = on_cold_start
        windows = (_us(users_window_s + guard_s), _us(requests_window_s + guard_s))
        # Entries lie at most one window ahead and count for one more; a third is to spare.
        self._frame: tuple[int, ...] = (
            *windows,
            -(-3 * windows[1] // 1000),
            _us(probe_s),
            _us(slack_s),
        )
        self._reserve = _script(client, "fair", "reserve")
        self._confirm = _script(client, "fair", "confirm")
        self._cancel = _script(client, "cancel")
        self._pause = _script(client, "pause")
        self._observe = _script(client, "observe")
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
        flow: str = "",
        share: float = 1.0,
    ) -> Reservation:
        """Book the first slot at which users and requests both fit, if it is near enough.

        Args:
            account: the Zendesk host.
            permit: names this sending and no other; asking again for a booked one is harmless.
            users: users in the request; 0 for a poll.
            requests: 0 or 1.
            budget: what the account allows.
            max_wait_s: a slot further away is not booked; at most the requests' window.
            flow: the run that asks. Runs that compete get permits by their shares; permits
                without a flow (polls) stand outside.
            share: what this run gets against another one with share 1.

        Raises:
            UsageError: more users than the budget, which could never be granted; or the permit
                was sent under already.
            LimiterUnavailable: Redis gave no answer.
        """
        self._check_costs(users, requests, budget, max_wait_s)
        if not share > 0:
            raise ValueError(f"share must be more than 0, not {share:g}")
        costs = (budget.users_per_second, budget.requests_per_minute, permit, users, requests)
        limits = (_us(max_wait_s), _us(LONGEST_RETRY_S))
        runs = (flow, f"{share:.6g}", _us(LEAD * max_wait_s))
        reply = self._run(self._reserve, account, *costs, *limits, *runs)
        if _text(reply[0]) == "used":
            raise UsageError(f"permit {permit}: it was used already; each sending needs its own")
        self._note_cold(account, reply[3])
        if _text(reply[0]) == "booked":
            return Booked(permit, reply[1] / 1e6, reply[2])
        return _denied(reply[1] / 1e6, cast("Why", _text(reply[2])), max_wait_s)

    def confirm(
        self,
        account: str,
        permit: str,
        *,
        budget: Budget,
        flow: str = "",
        share: float = 1.0,
        max_wait_s: float = 0.0,
    ) -> Confirmation:
        """Ask, just before sending, whether the booked permit still holds; stamp it if so.

        Args:
            account: the Zendesk host.
            permit: what was booked.
            budget: what the account allows.
            flow: the run, if it wants to know when to ask for its next permit.
            share: as for `reserve`.
            max_wait_s: how far away that next permit's slot may be.

        Returns:
            `Go`, `NotYet` or `Stale`; only `Go` allows sending.

        Raises:
            LimiterUnavailable: Redis gave no answer. The permit may count as sent; do not send.
        """
        costs = (budget.users_per_second, budget.requests_per_minute, permit)
        turns = (_us(LONGEST_RETRY_S), _us(LEAD * max_wait_s))
        reply = self._run(self._confirm, account, *costs, *turns, flow, f"{share:.6g}")
        match _text(reply[0]):
            case "go":
                next_in_s = min(reply[4] / 1e6, LONGEST_RETRY_S)
                cap = None if reply[6] < 0 else reply[6]
                return Go(reply[1], reply[2] / 1e6, bool(reply[3]), next_in_s, reply[5], cap)
            case "not_yet":
                return NotYet(reply[1] / 1e6)
        self._note_cold(account, reply[2])
        return Stale(cast("Loss", _text(reply[1])))

    def observe(
        self,
        account: str,
        permit: str,
        *,
        budget: Budget,
        answered: bool = True,
        limit: int | None = None,
        remaining: int | None = None,
        reset_s: float | None = None,
        reserve_percent: int = 0,
    ) -> Observed:
        """Say what became of a request, if it was a probe or its headers tell something.

        Headers only ever tighten: they tell how much of the minute others use, never that more
        may be sent than the budget. In the minute after a cold start, whatever was used may have
        been ours: as much less of the budget is left.

        Args:
            account: the Zendesk host.
            permit: what the request was sent under.
            budget: what the account allows.
            answered: False when no answer came: a probe that told nothing is followed by another.
            limit: requests a minute of the account, all clients together.
            remaining: how many of them are left.
            reset_s: seconds until there are more.
            reserve_percent: this part of the limit is left to others.

        Raises:
            LimiterUnavailable: Redis gave no answer.
        """
        told = [-1 if value is None else value for value in (limit, remaining)]
        reset_us = -1 if reset_s is None else _us(max(reset_s, 0.0))
        rests = (_us(REST_LEAST_S), _us(REST_USUAL_S))
        shares = (reserve_percent, *rests, budget.requests_per_minute)
        cap, rest_us, cold = self._run(
            self._observe, account, permit, int(answered), *told, reset_us, *shares
        )
        self._note_cold(account, cold)
        return Observed(None if cap < 0 else cap, rest_us / 1e6)

    def cancel(self, account: str, permit: str) -> bool:
        """Give a booking back that will not be used; True if there was one.

        A confirmed permit stays in the logs: it was sent. Cancelling twice is harmless.
        """
        return bool(self._run(self._cancel, account, permit))

    def pause(self, account: str, seconds: float, reason: str) -> float:
        """Stop the whole account: void all bookings, and book nothing before the pause ends.

        Then one request goes as a probe, and the others once its answer was observed.

        Args:
            account: the Zendesk host.
            seconds: from now, at most an hour; a pause that ends later anyway stays as it is.
            reason: for people, without customer data.

        Returns:
            Seconds until the pause ends.
        """
        if seconds < 0:
            raise ValueError(f"seconds must not be negative, not {seconds:g}")
        seconds = min(seconds, LONGEST_PAUSE_S)
        left_us, cold = self._run(self._pause, account, _us(seconds), reason)
        self._note_cold(account, cold)
        return float(left_us) / 1e6

    def state(self, account: str) -> State:
        """Tell what the account uses at this moment, for people."""
        reply = self._run(self._state, account)
        users, requests, bookings, booked_users, left_us, why, gate, cap = reply
        return State(
            users,
            requests,
            bookings,
            booked_users,
            left_us / 1e6,
            _text(why),
            cast("Gate", _text(gate)),
            None if cap < 0 else cap,
        )

    def _note_cold(self, account: str, cold: int) -> None:
        if cold:
            self._on_cold_start(account)

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
    names = ("users", "requests", "posts", "booked", "gate", "turn", "flows")
    return [f"deskfeed:{{{account}}}:{name}" for name in names]


def _script(client: redis.Redis, *names: str) -> Script:
    folder = resources.files(__package__)
    parts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("log", *names)]
    return client.register_script("\n".join(parts))


def _denied(turn_in_s: float, why: Why, max_wait_s: float) -> Denied:
    # A budget's turn is an estimate, and early is better than late. Before a gate opens nobody is
    # to stand at the door, and `share` means: only if nobody else comes.
    lead_s = LEAD * max_wait_s if why in ("users", "requests") else 0.0
    return Denied(min(max(turn_in_s - lead_s, SHORTEST_RETRY_S), LONGEST_RETRY_S), why)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _text(value: bytes | str) -> str:
    # A client may or may not decode replies.
    return value.decode() if isinstance(value, bytes) else value
