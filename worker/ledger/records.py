"""What goes into the ledger and comes out of it, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, Profile


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run delivers: everything a worker needs to know of a destination.

    Attributes:
        destination: its name in the catalog.
        account: the Zendesk host; limits belong to it.
        url: scheme and host of the API.
        credential: the name of a credential; never the credential itself.
    """

    destination: str
    account: str
    url: str
    credential: str


LimitName = Literal["users_per_second", "requests_per_minute", "jobs_in_flight"]
"""The limits that people may lower for a while."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets of one account: the smallest of all destinations that point at it.

    Attributes:
        reserve_percent: the share of the account's own requests per minute that is left to others;
            of the destinations the largest holds.
    """

    users_per_second: int
    requests_per_minute: int
    jobs_in_flight: int
    reserve_percent: int = 0

    def of(self, name: LimitName) -> int:
        """Return one of them by its name."""
        return int(getattr(self, name))

    def at_most(self, name: LimitName, value: int) -> Limits:
        """Return them with one that is not above a value."""
        return replace(self, **{name: min(self.of(name), value)})


@dataclass(frozen=True, slots=True)
class Override:
    """A limit that a person lowered for a while.

    Attributes:
        name: which of the account's limits.
        value: what it is at most.
        until: ledger time of its end; from then on it is as if it were not there.
        set_by: who lowered it.
        set_at: ledger time.
    """

    account: str
    name: LimitName
    value: int
    until: float
    set_by: str
    set_at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """An account's limits and why they are what they are.

    Attributes:
        declared: what the catalog said when a run was last started.
        overrides: what people lowered and what is not over yet.
        jobs_cap: the most jobs of ours while Zendesk has too many of all clients; None when not.
        jobs_cap_until: ledger time of its end.
        job_seconds: learned: how long a full chunk's job takes; None before the first.
    """

    declared: Limits
    overrides: tuple[Override, ...] = ()
    jobs_cap: int | None = None
    jobs_cap_until: float | None = None
    job_seconds: float | None = None

    @property
    def limits(self) -> Limits:
        """What holds: the smallest of all that is said."""
        found = self.declared
        for override in self.overrides:
            found = found.at_most(override.name, override.value)
        return found if self.jobs_cap is None else found.at_most("jobs_in_flight", self.jobs_cap)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the ledger knows it.

    Attributes:
        limits: its budgets as they hold now: declared, and lowered by people or by Zendesk.
        job_seconds: how long a full chunk's job takes: learned, or a guess before the first.
    """

    account: str
    limits: Limits
    job_seconds: float


Origin = Literal["manual", "message", "schedule", "after"]
"""What starts a run: the command, a message on the broker, its schedule, another run's end."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """What `start` asks the ledger to record.

    Attributes:
        parent_run: the run whose rows this one retries; None if it has a query.
        origin: what starts it.
        too_long: seconds after which somebody is told that it still goes on; None: never.
    """

    run_id: str
    orchestration: str
    key: str
    target: Target
    limits: Limits
    options: Mapping[str, Any]
    principal: str
    parent_run: str | None = None
    origin: Origin = "manual"
    too_long: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as recorded, without its sums.

    Attributes:
        options: what `start` was asked for (sample, …), JSON values. Those of parameters may be
            sealed, and go with the end of the run: `Kept.params` reads them.
        plan_fence: raised whenever planning is taken up; a planner overtaken may not write.
        plan_expiries: planners whose lease expired.
        origin: what started it; None: a version that did not record it.
    """

    run_id: str
    orchestration: str
    key: str
    state: RunState
    target: Target
    options: Mapping[str, Any]
    principal: str
    parent_run: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    plan_fence: int
    plan_expiries: int
    rows_read: int
    unchanged: int
    spool_complete: bool
    ends_as: RunState | None
    error: Mapping[str, str] | None
    polls: int
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk in a worker's hands.

    Attributes:
        fence: every later write of this worker must name it.
        attempt: POSTs so far that may have left.
        spent: attempts that ended unclear; too many end in `unconfirmed`.
        share: the run's weight among the runs that send to the account.
        more: whether chunks of the run still wait to be let into its window.
        intact: whether the profiles are those that were spooled. If not there are none here, and
            nothing may be sent.
        first_submitted_at: ledger time before the first POST; None before.
        read_backs: read-backs that failed.
        known: what a job said of some rows when the attempts were spent.
        adds_tags: whether the tags that people have are read, and sent with those of the rows.
        tags: those that were read so far, by row; None for a person whom Zendesk does not know by
            their external_id and who is still to be searched for.
    """

    run_id: str
    seq: int
    fence: int
    attempt: int
    spent: int
    orchestration: str
    target: Target
    profiles: tuple[Profile, ...]
    share: float = 1.0
    more: bool = False
    intact: bool = True
    first_submitted_at: float | None = None
    read_backs: int = 0
    known: tuple[Outcome, ...] = ()
    adds_tags: bool = False
    tags: Mapping[int, list[str] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """When the job will be looked at.

    Attributes:
        poll_at: ledger time of the look.
        in_seconds: the same, from now.
        message: whether a message shall arrive then. Not when another chunk is looked at in that
            very moment, nor when it is so far away that it rests in the ledger without one.
    """

    poll_at: float
    in_seconds: float
    message: bool


@dataclass(frozen=True, slots=True)
class DueChunk:
    """A chunk whose job is to be looked at now; `poll_at` was moved ahead as a lease.

    Attributes:
        age_seconds: since the job was accepted.
        looks: how often it was looked at, this time included.
    """

    run_id: str
    seq: int
    fence: int
    attempt: int
    spent: int
    job_id: str
    age_seconds: float
    looks: int
    rows: int
    target: Target


@dataclass(frozen=True, slots=True)
class RowSums:
    """What became of the rows of a run; always derived, never counted up."""

    read: int = 0
    created: int = 0
    updated: int = 0
    failed: int = 0
    skipped: int = 0
    unconfirmed: int = 0
    pending: int = 0

    @property
    def agree(self) -> bool:
        """Whether every row read has exactly one outcome or is still pending."""
        parts = self.created + self.updated + self.failed + self.skipped + self.unconfirmed
        return self.read == parts + self.pending


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its sums: what `show` shows.

    Attributes:
        chunks: how many chunks are in each state.
        waits: what the waiting chunks wait for, with how many wait for it.
        posts: POSTs that may have left.
        reasons: (outcome kind, code) -> rows.
        retries: the runs that retry rows of this one, oldest first.
        rows_pruned: whether the single rows are gone, and only their sums are left.
        warnings: what somebody should know of how it was planned.
    """

    run: Run
    rows: RowSums
    chunks: Mapping[ChunkState, int]
    waits: Mapping[str, int]
    posts: int
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)
    retries: tuple[str, ...] = ()
    rows_pruned: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Chunks of one run that wait for the same.

    Attributes:
        state: of the run: one that is paused does not go on by itself.
        why: what they wait for, a word for people and metrics.
        chunks: how many.
        waited_seconds: since the first of them was given back and not accepted by Zendesk since;
            None if that was by a version that did not record it.
        next_in_seconds: until the first of them may go; 0 when it may.
    """

    run_id: str
    orchestration: str
    state: RunState
    why: str
    chunks: int
    waited_seconds: float | None
    next_in_seconds: float


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account at one moment: what `limits show` shows.

    Attributes:
        at: the ledger's time of all this.
        standing: its limits and why they are what they are.
        jobs: job slots that are held by us.
        waiting: who waits for what, the longest first.
    """

    account: str
    at: float
    standing: Standing
    jobs: int
    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """A row that was not delivered, as `failures` lists it.

    Attributes:
        external_id: None once the kept rows are gone.
        email: likewise.
    """

    row: int
    external_id: str | None
    email: str | None
    kind: str
    code: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a run; never with customer data."""

    at: float
    kind: str
    seq: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Post:
    """A POST that Zendesk accepted.

    Attributes:
        at: ledger time of the job's id.
        stamp: when it left, by the limiter's clock; seconds since the epoch.
        users: how many were in it.
    """

    at: float
    stamp: float
    users: int


@dataclass(frozen=True, slots=True)
class ChunkRows:
    """The rows of a run that got into chunks.

    Attributes:
        total: all of them.
        sent: they were sent, and have their outcome.
        on_the_way: they were sent, or are being sent, and have none yet.
        waiting: still to be sent.
    """

    total: int
    sent: int
    on_the_way: int
    waiting: int
