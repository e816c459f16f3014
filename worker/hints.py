"""What to put on the broker next. A message is only a hint: losing or doubling one is harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WAITS: Mapping[str, str] = {
    "users": "users per second",
    "requests": "requests per minute",
    "paused": "Zendesk asked to wait",
    "cold": "the limiter's first second (Redis lost its memory)",
    "probe": "the answer to a probe",
    "share": "another run's share",
    "rate_limited": "Zendesk asked to wait",
    "too_many_jobs": "Zendesk's job limit",
    "job_slot": "a free job",
    "limiter": "Redis",
    "permit_voided": "a new permit",
    "destination_unavailable": "Zendesk to be reachable",
    "unclear_answer": "an unclear POST to settle",
    "worker_lost": "a lost worker's POST to settle",
    "job_lost": "a lost job to settle",
    "job_stuck": "a stuck job to settle",
    "results_unmatched": "unmatched results to settle",
    "tags": "Zendesk to tell what tags people have",
    "tags_permit": "leave to read people's tags",
    "read_back": "Zendesk to tell what it has of the rows",
    "read_back_permit": "leave to read back what Zendesk has",
    "interrupted": "another worker",
    "spool_key": "a worker with the key that its rows are encrypted with",
    "not_due": "its job to be due",
}
"""What a waiting chunk waits for, in words."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Look at a chunk that may be ready to send."""

    run_id: str
    seq: int
    in_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Poll:
    """Look at the jobs of the account that this chunk belongs to."""

    run_id: str
    seq: int
    in_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan a run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Finish:
    """A run has ended; tell people."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Tell:
    """There are alerts about a run to be sent."""

    run_id: str


Hint = Deliver | Poll | Plan | Finish | Tell


@dataclass(frozen=True, slots=True)
class Done:
    """There is nothing more to do here now.

    Attributes:
        hints: what to enqueue next.
        what: was done, in words for whoever looks on; without customer data.
        job_id: of the job that was made.
    """

    hints: tuple[Hint, ...] = ()
    what: str = field(default="done", compare=False)
    job_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """Not a failure: come back after `seconds`.

    Attributes:
        seconds: how long.
        why: a word for people and metrics.
        message: whether a message shall arrive then. Long waits rest in the ledger without one,
            and the sweeper finds them when their time has come.
    """

    seconds: float
    why: str
    message: bool = True

    @property
    def what(self) -> str:
        """The same in words for whoever looks on."""
        return f"waits {self.seconds:.0f} s: {WAITS.get(self.why, self.why)}"


@dataclass(frozen=True, slots=True)
class Failed:
    """Only a person can mend this; the ledger already knows.

    Attributes:
        code: a key of `worker.explanations.EXPLANATIONS`.
    """

    code: str


Step = Done | Wait | Failed
