"""What goes into the limiter and what it answers: frozen values, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worker.errors import UsageError

Why = Literal["paused", "users", "requests"]
Loss = Literal["paused", "lost", "budget"]


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
        why: what stands in the way the longest.
    """

    retry_in_s: float
    why: Why


@dataclass(frozen=True, slots=True)
class Go:
    """Send now: the permit counts as sent from here on, whatever happens.

    Attributes:
        stamp_us: the time of sending, in microseconds of Redis' clock.
        late_s: how long after its slot it was confirmed.
    """

    stamp_us: int
    late_s: float


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
        why: `paused`: the account has to wait; `lost`: voided by a pause that is over, late by more
            than a window, or Redis lost it; `budget`: it became smaller than the permit.
    """

    why: Loss


@dataclass(frozen=True, slots=True)
class State:
    """What an account uses at this moment, for people.

    Attributes:
        users: users in the second (and guard) that ends now.
        requests: requests in the minute (and guard) that ends now.
        bookings: permits booked and not yet confirmed.
        booked_users: users in these.
        paused_s: how long the account still waits; 0 when it does not.
        pause_reason: why, empty when it does not.
    """

    users: int
    requests: int
    bookings: int
    booked_users: int
    paused_s: float
    pause_reason: str


Reservation = Booked | Denied
"""What reserving answers."""

Confirmation = Go | NotYet | Stale
"""What confirming answers; only `Go` allows sending."""
