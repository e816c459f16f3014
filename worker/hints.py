"""What to put on the broker next. A message is only a hint: losing or doubling one is harmless."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    hints: tuple[Hint, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Failed:
    """Only a person can mend this; the ledger already knows.

    Attributes:
        code: a key of `worker.explanations.EXPLANATIONS`.
    """

    code: str


Step = Done | Wait | Failed
