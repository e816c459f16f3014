"""One rate limit for all workers of an account: permits to send at a time, kept in Redis.

`docs/limiter.md` tells why it is a sliding-window log and proves what it promises.
"""

from worker.limiter.answers import (
    Booked,
    Budget,
    Confirmation,
    Denied,
    Go,
    NotYet,
    Observed,
    Reservation,
    Stale,
    State,
)
from worker.limiter.limiter import Limiter, connect

__all__ = [
    "Booked",
    "Budget",
    "Confirmation",
    "Denied",
    "Go",
    "Limiter",
    "NotYet",
    "Observed",
    "Reservation",
    "Stale",
    "State",
    "connect",
]
