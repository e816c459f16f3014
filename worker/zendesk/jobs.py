"""Zendesk's background jobs as values: what was queued, how far it is, what it says per user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.zendesk.answer import RateHeaders


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """Zendesk queued a job. Nothing has been delivered yet.

    Attributes:
        job_id: names the job at Zendesk.
        rate: what the answer's headers said about the request budget.
    """

    job_id: str
    rate: RateHeaders = field(default_factory=RateHeaders)


class JobState(StrEnum):
    """Where a job stands.

    The documentation names the first four; clients in the field also meet `killed`.
    """

    QUEUED = "queued"  #: waits at Zendesk
    WORKING = "working"  #: under way; there are no results before the end
    COMPLETED = "completed"  #: ended; each user has a result of its own, failed ones too
    FAILED = "failed"  #: ended early; there may be results all the same
    KILLED = "killed"  #: ended by Zendesk; there may be results all the same
    UNKNOWN = "unknown"  #: a word that we do not know, or answers that contradict each other

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of the job."""
        return self in {JobState.COMPLETED, JobState.FAILED, JobState.KILLED}


@dataclass(frozen=True, slots=True)
class ResultItem:
    """What a job says about one user; every part may be missing.

    The parts that can hold customer values are in no repr.

    Attributes:
        id: the user's id at Zendesk, or, with a failure, perhaps the position in the request.
        index: position in the request, from 0; other job kinds of this family send it.
        external_id: echoed.
        email: echoed; the user's primary address, not always the one that was sent.
        status: `Created`, `Updated`, `Failed`.
        failed: an error is there, or `status` or `success` says so.
        error: the class of the error, such as `UserUpdateError`.
        details: Zendesk's words. They quote customer values: only `redaction.redact` may pass
            them on.
    """

    id: int | None = None
    index: int | None = None
    external_id: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)
    status: str | None = field(default=None, repr=False)
    failed: bool = False
    error: str | None = field(default=None, repr=False)
    details: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is.

    Attributes:
        job_id: names the job.
        state: see `JobState`.
        total: users in the job; None when Zendesk does not say.
        progress: users done; None while queued.
        results: one item per user, as far as Zendesk sent them: the list may be short. None when
            there are none (always so before the end).
    """

    job_id: str
    state: JobState
    total: int | None = None
    progress: int | None = None
    results: tuple[ResultItem, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class JobStatuses(Mapping[str, JobStatus]):
    """The jobs, by id, that Zendesk knows of those asked for. A job that expired is missing.

    Attributes:
        by_id: the jobs.
        rate: what the answer's headers said about the request budget.
    """

    by_id: Mapping[str, JobStatus]
    rate: RateHeaders = field(default_factory=RateHeaders)

    def __getitem__(self, job_id: str) -> JobStatus:
        return self.by_id[job_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_id)

    def __len__(self) -> int:
        return len(self.by_id)
