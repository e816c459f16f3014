"""Background jobs: queued, working, ended. Their state is a function of the time.

A job works through `seconds_per_user` for each of its rows, jobs beside each other. Its rows are
applied to the account all at once at the moment it ends; until then its results are null, as
Zendesk's are.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.clock import spoken
from worker.sandbox.settings import Misconfigured

Results = list[dict[str, Any]]
_OBJECT_RESULTS = {"success": True}
_STATES = ("stuck", "failed", "killed", "vanish")
_SHAPES = ("short", "permuted", "null", "object", "missing")


@dataclass(frozen=True, slots=True)
class JobFault:
    """What goes wrong with a job; see `docs/sandbox.md`.

    Attributes:
        state: `stuck` never ends; `failed` and `killed` end so; a job that is to `vanish` is
            not found when asked for, though it works. None: completes.
        results: what the results look like at the end: `short` (the last `drop` are missing),
            `permuted` (each one place further), `null`, `object`, `missing` (no such key), or a
            list that is shown as it is. None: as they should be, but null for `failed` and
            `killed` jobs that applied nothing.
        drop: how many results `short` leaves out.
        fail_rows: rows that fail, by position from 0 or by external_id or e-mail.
        error: the class of their error.
        details: the words of their error.
        seconds: work of the whole job, in place of `seconds_per_user` for each row.
        applied: only so many rows, from the first, are applied. None: all, but none of a `failed`
            or `killed` job.
    """

    state: str | None = None
    results: str | tuple[Any, ...] | None = None
    drop: int = 1
    fail_rows: tuple[int | str, ...] = field(default=(), repr=False)
    error: str = "UserUpdateError"
    details: str = "Name: Sandbox: this row was told to fail"
    seconds: float | None = None
    applied: int | None = None

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in _STATES:
            raise Misconfigured(f"`state` must be one of {', '.join(_STATES)}")
        if isinstance(self.results, str) and self.results not in _SHAPES:
            raise Misconfigured(f"`results` must be a list or one of {', '.join(_SHAPES)}")

    @property
    def end(self) -> str:
        """The state in which the job ends."""
        return self.state if self.state in {"failed", "killed"} else "completed"

    def rows_applied(self, total: int) -> int:
        """Return how many rows, from the first, are applied."""
        if self.applied is None:
            return total if self.end == "completed" else 0
        return min(self.applied, total)

    def fails(self, position: int, row: Mapping[str, Any]) -> bool:
        """Say whether the row is one of those that are told to fail."""
        keys = {str(row.get(key)).lower() for key in ("external_id", "email") if row.get(key)}
        return position in self.fail_rows or any(
            isinstance(wanted, str) and wanted.lower() in keys for wanted in self.fail_rows
        )

    def shape(self, results: Results) -> Any:
        """Return the results as the ended job shows them."""
        if isinstance(self.results, tuple):
            return list(self.results)
        if self.results == "short":
            return results[: max(0, len(results) - self.drop)]
        if self.results == "permuted":
            return results[1:] + results[:1]
        if self.results == "object":
            return _OBJECT_RESULTS
        untold = self.results is None and self.end != "completed" and not results
        return None if untold or self.results in {"null", "missing"} else results


NO_FAULT = JobFault()


@dataclass(slots=True)
class Job:
    """One bulk upsert at work.

    Attributes:
        id: `V3-` and 32 hexadecimal digits.
        rows: as they came.
        by_admin: whether an admin sent them; agents may write end-users only.
        created_at: epoch seconds.
        begins_at: when it stops being queued.
        finishes_at: when it ends; infinite for a stuck one.
        seconds_per_user: its pace.
        fault: what goes wrong with it.
        ended: whether its rows have been applied.
        results: what it shows once ended.
    """

    id: str
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    by_admin: bool
    created_at: float
    begins_at: float
    finishes_at: float
    seconds_per_user: float
    fault: JobFault = NO_FAULT
    ended: bool = False
    results: Any = field(default=None, repr=False)
    total: int = 0

    def state(self, now: float) -> str:
        """Return `queued`, `working`, `completed`, `failed` or `killed`."""
        if self.ended:
            return self.fault.end
        return "queued" if now < self.begins_at else "working"

    def users_left(self, now: float) -> float:
        """Return how many users' work is left of a job that has not ended."""
        if now < self.begins_at or self.seconds_per_user == 0:
            return float(self.total)
        if math.isinf(self.finishes_at):  # a stuck job gets half way
            done = (now - self.begins_at) / self.seconds_per_user
            return max(self.total - done, self.total / 2)
        return max(0.0, (self.finishes_at - now) / self.seconds_per_user)

    def change_pace(self, now: float, seconds_per_user: float) -> None:
        """Do what is left of the work at another pace."""
        if self.ended or self.fault.seconds is not None or math.isinf(self.finishes_at):
            return
        begin = max(now, self.begins_at)
        left = self.users_left(begin)
        self.seconds_per_user = seconds_per_user
        self.finishes_at = begin + left * seconds_per_user

    def end(self, results: Results) -> None:
        """Close the job with the results of the rows that were applied."""
        self.ended = True
        self.results = self.fault.shape(results)
        self.rows = ()

    def document(self, now: float, base_url: str) -> dict[str, Any]:
        """Return the job as the API shows it (OpenAPI: JobStatusObject)."""
        state = self.state(now)
        document: dict[str, Any] = {
            "id": self.id,
            "url": f"{base_url}/api/v2/job_statuses/{self.id}.json",
            "job_type": "Bulk Create or Update User",
            "total": self.total,
            "progress": self._progress(now, state),
            "status": state,
            "message": self._message(now, state),
            "results": self.results,
        }
        if self.ended and self.fault.results == "missing":
            del document["results"]
        return document

    def _progress(self, now: float, state: str) -> int | None:
        if state == "queued":
            return None
        if state == "working":
            # Epoch seconds have steps of 0.2 µs: without the addend, 3 users count as 2.999…
            return int(self.total - self.users_left(now) + 1e-4)
        return self.fault.rows_applied(self.total)

    def _message(self, now: float, state: str) -> str | None:
        if state == "queued":
            return None
        if state == "working":
            return f"Updating user #{self._progress(now, state)}"
        return f"{state.capitalize()} at {spoken(self.finishes_at)}"


class JobBook:
    """Every job of the account that has not expired. Not thread-safe."""

    def __init__(self) -> None:
        self.peak_active = 0
        self._jobs: dict[str, Job] = {}
        self._unfinished: dict[str, Job] = {}

    def queue(
        self,
        rows: Sequence[Mapping[str, Any]],
        now: float,
        *,
        seconds_per_user: float,
        queue_seconds: float,
        by_admin: bool = True,
        fault: JobFault = NO_FAULT,
    ) -> Job:
        """Add a job and return it."""
        pace = seconds_per_user
        if fault.seconds is not None:
            pace = fault.seconds / max(1, len(rows))
        begins_at = now + queue_seconds
        work = math.inf if fault.state == "stuck" else pace * len(rows)
        job = Job(
            id=f"V3-{secrets.token_hex(16)}",
            rows=rows,
            by_admin=by_admin,
            created_at=now,
            begins_at=begins_at,
            finishes_at=begins_at + work,
            seconds_per_user=pace,
            fault=fault,
            total=len(rows),
        )
        self._jobs[job.id] = job
        self._unfinished[job.id] = job
        self.peak_active = max(self.peak_active, self.active)
        return job

    @property
    def active(self) -> int:
        """How many jobs are queued or working; right after the due ones were ended."""
        return len(self._unfinished)

    def take_due(self, now: float) -> list[Job]:
        """Remove the jobs whose work is done from the active ones, and return them in order."""
        due = [job for job in self._unfinished.values() if job.finishes_at <= now]
        for job in due:
            del self._unfinished[job.id]
        return sorted(due, key=lambda job: job.finishes_at)

    def forget(self, created_until: float) -> None:
        """Drop the jobs that were created at that time or before: they have expired."""
        while self._jobs:
            oldest = next(iter(self._jobs.values()))
            if oldest.created_at > created_until:
                return
            del self._jobs[oldest.id]
            self._unfinished.pop(oldest.id, None)

    def change_pace(self, now: float, seconds_per_user: float) -> None:
        """Do what is left of every job at another pace."""
        for job in self._unfinished.values():
            job.change_pace(now, seconds_per_user)

    def find(self, job_id: str) -> Job | None:
        """Return a job; None if there is none, it expired, or it vanished."""
        job = self._jobs.get(job_id)
        return None if job is None or job.fault.state == "vanish" else job

    def listed(self) -> list[Job]:
        """Return the jobs that can be found: the one that ended last first, then the newest."""
        shown = [job for job in self._jobs.values() if job.fault.state != "vanish"]
        return sorted(
            shown, key=lambda job: (job.ended, job.finishes_at, job.created_at), reverse=True
        )

    def counted(self, now: float) -> dict[str, int]:
        """Return how many jobs are in each state, vanished ones too."""
        counts = dict.fromkeys(("queued", "working", "completed", "failed", "killed"), 0)
        for job in self._jobs.values():
            counts[job.state(now)] += 1
        return counts
