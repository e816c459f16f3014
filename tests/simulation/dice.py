"""The dice of one seed. Each seed has its own mixture of faults: some happen often, many never.

A mixture in which everything happens a little would hardly ever reach what takes three of a kind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

FAULTS: dict[str, float] = {
    # how often at most, each time it could happen
    "crash before": 0.03,
    "crash after": 0.03,
    "freeze": 0.05,
    "preempt": 0.3,
    "ledger away": 0.02,
    "ledger committed, answer lost": 0.02,
    "message lost": 0.3,
    "message doubled": 0.3,
    "message late": 0.4,
    "messages reordered": 0.5,
    "429 of the account": 0.3,
    "429 of a chunk": 0.3,
    "too many jobs": 0.3,
    "5xx before": 0.4,
    "5xx after": 0.4,
    "time out after": 0.3,
    "not sent": 0.3,
    "no JSON": 0.3,
    "look failed": 0.4,
    "look throttled": 0.3,
    "job stuck": 0.2,
    "job killed": 0.4,
    "job failed": 0.4,
    "job vanished": 0.4,
    "job forgotten": 0.5,
    "job unknown at first": 0.4,
    "job slow": 0.3,
    "results short": 0.4,
    "results permuted": 0.3,
    "results null": 0.4,
    "results no list": 0.3,
    "row transient": 0.4,
    "chunk refused": 0.15,
    "no rate headers": 0.5,
}
"""Also the list for the table at the end: each must happen in some seed."""

HAPPENINGS = (
    "redis flushed",
    "redis restarted",
    "redis away",
    "credential broken",
    "operator paused",
    "operator resumed",
    "operator stopped",
    "operator retried",
    "worker replaced",
    "poisoned chunk",
    "payload spoiled",
    "row refused by Zendesk",
    "refusing row",
)
"""What a scenario plans, by time or by row, rather than what may happen at each call."""


@dataclass
class Dice:
    """Chance, all from one seed.

    Args:
        seed: which.
    """

    seed: int
    rng: random.Random = field(init=False)
    rates: dict[str, float] = field(init=False)
    calm: bool = field(init=False)
    haunted: bool = field(init=False)  # nothing becomes clear for so long that attempts are spent
    over: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(f"deskfeed {self.seed}")
        self.calm = self.rng.random() < 0.05
        self.haunted = not self.calm and self.rng.random() < 0.04
        some = self.rng.choice((0.2, 0.5, 0.8))
        self.rates = {
            name: most * self.rng.random() if self.rng.random() < some and not self.calm else 0.0
            for name, most in FAULTS.items()
        }
        if self.haunted:
            self.rates.update(dict.fromkeys(("crash before", "crash after", "freeze"), 0.0))
            self.rates[self.rng.choice(("5xx after", "no JSON", "results null"))] = 0.97

    def happens(self, fault: str) -> bool:
        """Whether a fault happens here; none does once the faults are over."""
        rate = self.rates[fault]
        return rate > 0 and not self.over and self.rng.random() < rate

    def chance(self, probability: float) -> bool:
        """A choice of the scenario; nothing of the kind in a calm seed."""
        return not self.calm and self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        """A number of seconds."""
        return self.rng.uniform(low, high)
