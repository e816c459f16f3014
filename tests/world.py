"""What many tests speak of: a destination, its limits, a clock, invented people."""

from __future__ import annotations

from worker.ledger.records import Limits, Target
from worker.profile import Profile

TARGET = Target("socktown", "127.0.0.1:8900", "http://127.0.0.1:8900", "socktown")
LIMITS = Limits(users_per_second=100, requests_per_minute=400, jobs_in_flight=20)


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def profiles(first: int, count: int) -> list[Profile]:
    """Profiles of the rows from `first` on; external_id and e-mail name the row."""
    return [
        Profile(
            row,
            {
                "external_id": f"C-{row}",
                "email": f"person{row}@example.com",
                "name": f"Person {row}",
            },
        )
        for row in range(first, first + count)
    ]
