"""What goes into the limiter and what it answers: frozen values, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worker.errors import UsageError

Why = Literal["paused", "cold", "probe", "users", "requests", "share"]
Loss = Literal["paused", "cold", "lost", "budget"]
Gate = Literal["open", "paused", "cold", "probe"]

POLLS_SHARE = 0.3
"""This part of the requests budget is never given to a POST, so that polls find room."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an account allows.

    Attributes:
        users_per_second: most users in the requests of any one second.
        requests_per_minute: most requests in any one minute.
    """

    users_per_second: int
    requests_per_minute: int

    def __post_init__(self) -> None:
        if self.users_per_second < 1 or self.requests_per_minute < 1:
            raise UsageError("limits: users_per_second and requests_per_minute must be at least 1")


@dataclass(frozen=True, slots=True)
class Booked:
    """A slot is held for the permit.

    Attributes:
        permit: the caller's name for it.
        wait_s: sleep this long, then confirm.
        slot_us: the slot, in microseconds of Redis' clock.
    """

    permit: str
    wait_s: float
    slot_us: int


@dataclass(frozen=True, slots=True)
class Denied:
    """No slot is near enough; nothing is held.

    Attributes:
        retry_in_s: when to ask again. Callers denied together are told different times.
        why: what stands in the way the longest. `paused`: Zendesk asked to wait; `cold`: Redis has
            no memory of the last second; `probe`: one request is out whose answer decides; `users`
            and `requests`: the budget; `share`: another run has had less than its share.
    """

    retry_in_s: float
    why: Why


@dataclass(frozen=True, slots=True)
class Go:
    """Send now: the permit counts as sent from here on, whatever happens.

    Attributes:
        stamp_us: the time of sending, in microseconds of Redis' clock.
        late_s: how long after its slot it was confirmed.
        probe: this is the one request whose answer everybody waits for: `observe` it.
        next_in_s: when the next permit of the same run is worth asking for; 0: at once.
        used: requests of ours in the minute that ends now, this one included.
        requests_cap: requests a minute that headers leave to us; None while they tell nothing.
    """

    stamp_us: int
    late_s: float
    probe: bool = False
    next_in_s: float = 0.0
    used: int = field(default=0, compare=False)
    requests_cap: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NotYet:
    """The slot is still to come, or was moved by a late permit before it.

    Attributes:
        wait_s: sleep this long, then confirm again.
    """

    wait_s: float


@dataclass(frozen=True, slots=True)
class Stale:
    """The booking no longer exists; nothing may be sent under it.

    Attributes:
        why: `paused` and `cold`: the account has to wait; `lost`: voided by a pause that is over,
            late by more than a window, or Redis lost it; `budget`: it became smaller than the
            permit.
    """

    why: Loss


@dataclass(frozen=True, slots=True)
class Observed:
    """What the headers of an answer came to.

    Attributes:
        requests_cap: requests a minute that are ours as far as others leave them; None: not told.
        rest_s: how long the account rests because nothing is left for us; 0: it does not.
    """

    requests_cap: int | None
    rest_s: float


@dataclass(frozen=True, slots=True)
class State:
    """What an account uses at this moment, for people.

    Attributes:
        users: users in the second (and guard) that ends now.
        requests: requests in the minute (and guard) that ends now.
        bookings: permits booked and not yet confirmed.
        booked_users: users in these.
        paused_s: how long nothing may go; 0 when something may.
        pause_reason: why, empty when something may go.
        gate: `open`; `paused` or `cold` while nothing may go; `probe`: one request may go, and the
            others when its answer was seen.
        requests_cap: requests a minute that are ours as far as headers tell; None: they do not.
    """

    users: int
    requests: int
    bookings: int
    booked_users: int
    paused_s: float
    pause_reason: str
    gate: Gate = "open"
    requests_cap: int | None = None


Reservation = Booked | Denied
"""What reserving answers."""

Confirmation = Go | NotYet | Stale
"""What confirming answers; only `Go` allows sending."""
