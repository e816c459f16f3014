"""What the report of a run says, as frozen values without any HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worker.ledger.records import RowOutcome, RunView

Tone = Literal["good", "warning", "bad", "neutral"]
"""How something is to be taken; always said in words as well."""


@dataclass(frozen=True, slots=True)
class Part:
    """So many rows that go one way.

    Attributes:
        name: an outcome, or a reason, in words.
        rows: how many.
        tone: how to take it.
    """

    name: str
    rows: int
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Stage:
    """How far rows got: as many as arrived here went on or were left here.

    Attributes:
        name: in a word.
        rows: that arrived.
        left: those that went no further, by why; parts of nothing are left out.
    """

    name: str
    rows: int
    left: tuple[Part, ...] = ()

    @property
    def went_on(self) -> int:
        """Rows that reached the next stage."""
        return self.rows - sum(part.rows for part in self.left)


@dataclass(frozen=True, slots=True)
class Journey:
    """The rows of a run from the query to their outcomes.

    Attributes:
        stages: read, valid, changed, sent; each as large as what went on from the one before.
        ends: what became of the rows that were sent.
    """

    stages: tuple[Stage, ...]
    ends: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A part of the time in which a run sent.

    Attributes:
        at: when it begins, in seconds since the first POST.
        users: sent in it.
        per_second: the same, as a rate.
    """

    at: float
    users: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a run did not send, or was asked not to.

    Attributes:
        at: seconds since the first POST; it may be before it.
        seconds: how long; 0 for a moment.
        what: in words.
        kind: `paused` by people or for the destination; `throttled`: Zendesk asked to wait (429).
    """

    at: float
    seconds: float
    what: str
    kind: Literal["paused", "throttled"]


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a run sent.

    Attributes:
        begins: ledger time of the first POST.
        seconds: from there to the last, or until now.
        width: of each bucket, in seconds.
        buckets: all of them, empty ones too.
        budget: users a second that the account may be sent; None when it is not known any more.
        peak: most users in any rolling second.
        spans: pauses and 429s.
        more_spans: how many are not among them, because they are too many.
        refused: how often Zendesk answered 429.
    """

    begins: float
    seconds: float
    width: float
    buckets: tuple[Bucket, ...]
    budget: int | None
    peak: int
    spans: tuple[Span, ...] = ()
    more_spans: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Bin:
    """Jobs that took about as long: at least `least` and less than `below` seconds."""

    least: float
    below: float
    jobs: int


@dataclass(frozen=True, slots=True)
class Jobs:
    """How long Zendesk's jobs took, in seconds, from its answer to the outcomes in the ledger."""

    count: int
    median: float
    p95: float
    longest: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Rows that were not delivered for one reason.

    Attributes:
        outcome: failed, unconfirmed or skipped.
        code: of the reason.
        title: in a few words.
        rows: how many.
        fault: who has to do something, in words; empty where the code is not known.
        causes: what it may come from.
        steps: what to do, one after the other.
        command: what to type; empty where the code is not known.
        examples: the first of them; masked where access demands it.
        tone: how to take it.
    """

    outcome: str
    code: str
    title: str
    rows: int
    fault: str
    causes: tuple[str, ...]
    steps: tuple[str, ...]
    command: str
    examples: tuple[RowOutcome, ...]
    tone: Tone


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, in a sentence; `times` of them at once where they are many."""

    at: float
    what: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the run stands, in a sentence.

    Attributes:
        word: one or two words.
        sentence: the whole of it.
        tone: how to take it.
        ended: whether it will not change any more.
    """

    word: str
    sentence: str
    tone: Tone
    ended: bool


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that the report of a run says.

    Attributes:
        view: the run with its sums.
        made_at: ledger time; of a run that goes on it holds so far.
        verdict: how it stands.
        journey: where its rows went.
        rate: how fast it sent; None when nothing was sent, or its events are not kept any more.
        jobs: how long Zendesk took; None when no job has ended.
        reasons: of what was not delivered: what somebody must mend first, then the rest.
        moments: what happened, in order.
        left_out: moments that are not among them, because they are too many.
        troubles: what delivery had to cope with, by what it was, with how often.
        digests: of the configuration that it was planned with; empty when not kept.
        options: what start was asked for, in words.
        masked: whether whose rows these are is not shown.
        next_commands: (what it does, command to type).
    """

    view: RunView
    made_at: float
    verdict: Verdict
    journey: Journey
    rate: Rate | None
    jobs: Jobs | None
    reasons: tuple[Reason, ...]
    moments: tuple[Moment, ...]
    left_out: int
    troubles: tuple[Part, ...]
    digests: Mapping[str, Any]
    options: tuple[tuple[str, str], ...]
    masked: bool
    next_commands: tuple[tuple[str, str], ...]
