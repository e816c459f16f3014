"""The account: everything the sandbox remembers, as one thing that moves with the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from worker.sandbox.config import ROLE_IDS_FROM, Config
from worker.sandbox.faults import FaultBook, Rule
from worker.sandbox.fields import RowRefused
from worker.sandbox.jobs import NO_FAULT, Job, JobBook, JobFault, Results
from worker.sandbox.journal import Entry, Journal
from worker.sandbox.limits import RequestWindow, UserWindow
from worker.sandbox.logins import Logins
from worker.sandbox.messages import Request, row_digest
from worker.sandbox.rows import read_row
from worker.sandbox.rules import parse_rule
from worker.sandbox.settings import Misconfigured
from worker.sandbox.users import People, User

CANONICAL_URL = "https://socktown-canonical.invalid"
"""Host of every `url` in an answer. Zendesk's differs from the host that was called as well, so a
client must not follow it; a name under .invalid cannot even be looked up."""


class Account:
    """A Zendesk account in memory. Not thread-safe: `server.Sandbox` holds the lock.

    The time is an argument of every method that needs it; it must not run backwards.

    Args:
        config: what the account is made of.
        now: epoch seconds.

    Raises:
        Misconfigured: a seeded user or a fault of the configuration cannot be understood.
    """

    def __init__(self, config: Config, now: float) -> None:
        self._config = config
        self.reset(now)

    def reset(self, now: float) -> None:
        """Return to what the configuration says; jobs, tokens and the journal are gone."""
        config = self._config
        self.started_at = now
        self.settings = config.settings
        self.people = People(config.user_fields, config.organizations)
        self.jobs = JobBook()
        self.requests = RequestWindow()
        self.users_posted = UserWindow()
        self.logins = Logins.of(config.logins, config.clients)
        self.faults = FaultBook()
        self.journal = Journal(config.settings.keep_journal)
        self.bugs = 0
        self._rows: Counter[str] = Counter(created=0, updated=0, failed=0)
        self._seed(config, now)

    def _seed(self, config: Config, now: float) -> None:
        self.roles = {ROLE_IDS_FROM + place: role for place, role in enumerate(config.roles)}
        ids = {role.name: role_id for role_id, role in self.roles.items()}
        for login in config.logins:
            self.people.add_login(login, now, ids.get(login.custom_role or ""))
        for raw in config.users:
            try:
                self.people.upsert(
                    read_row(raw, self.people.fields, self.settings), now, seeded=True
                )
            except RowRefused as refusal:
                raise Misconfigured(f"`users`: {refusal}") from None
        for spec in config.faults:
            self.add_fault(spec)

    def advance(self, now: float) -> None:
        """Let everything happen that is due: jobs end and are applied, old ones expire."""
        for job in self.jobs.take_due(now):
            job.end(self._apply(job))
        self.jobs.forget(now + self.settings.clock_shift - self.settings.job_expiry_seconds)

    def change_settings(self, changes: Mapping[str, Any], now: float) -> None:
        """Adjust settings; a new pace holds for the rest of the running jobs' work too.

        Raises:
            Misconfigured: a setting is unknown or its value wrong; then nothing is changed.
        """
        settings = self.settings.patched(changes)
        self.advance(now)
        if settings.seconds_per_user != self.settings.seconds_per_user:
            self.jobs.change_pace(now, settings.seconds_per_user)
        self.settings = settings
        self.advance(now)

    def add_fault(self, spec: Mapping[str, Any]) -> Rule:
        """Add a fault rule.

        Raises:
            Misconfigured: the rule cannot be understood.
        """
        selection, fault = parse_rule(spec)
        return self.faults.add(selection, fault, spec)

    def queue_job(
        self,
        rows: Sequence[Mapping[str, Any]],
        now: float,
        *,
        by_admin: bool,
        fault: JobFault = NO_FAULT,
    ) -> Job | None:
        """Queue a bulk upsert; None if the account's job limit is reached."""
        if self.jobs.active + self.settings.foreign_jobs >= self.settings.job_limit:
            return None
        return self.jobs.queue(
            rows,
            now,
            seconds_per_user=self.settings.seconds_per_user,
            queue_seconds=self.settings.queue_seconds,
            by_admin=by_admin,
            fault=fault,
        )

    def _apply(self, job: Job) -> Results:
        applied = job.fault.rows_applied(job.total)
        return [
            self._apply_row(job, position, raw) for position, raw in enumerate(job.rows[:applied])
        ]

    def _apply_row(self, job: Job, position: int, raw: Mapping[str, Any]) -> dict[str, Any]:
        fault = job.fault
        try:
            if fault.fail_rows and fault.fails(position, raw):
                raise RowRefused(fault.details)
            user, created = self.people.upsert(
                read_row(raw, self.people.fields, self.settings),
                job.finishes_at,
                by_admin=job.by_admin,
                create_organizations=self.settings.create_organizations,
            )
        except RowRefused as refusal:
            self._rows["failed"] += 1
            # Recorded: the `id` of a failure is the row's position, not a user's id.
            return {
                "id": position, "error": fault.error, "details": str(refusal), "status": "Failed"
            }  # fmt: skip
        self._rows["created" if created else "updated"] += 1
        user.note(job.id, row_digest(raw), created=created)
        return _success(user, created=created)

    def record(
        self,
        request: Request,
        kind: str,
        status: int | None,
        *,
        login: str | None = None,
        job_id: str | None = None,
        fault: int | None = None,
    ) -> None:
        """Write a request into the journal."""
        rows = (request.rows or []) if kind == "bulk_upsert" else []
        entry = Entry(
            seq=self.journal.last_seq + 1,
            at=request.at,
            method=request.method,
            path=request.path,
            query=request.query,
            kind=kind,
            status=status,
            login=login,
            users=len(rows),
            external_ids=tuple(row.get("external_id") for row in rows),
            emails=tuple(row.get("email") for row in rows),
            digests=request.digests if rows else (),
            job_id=job_id,
            fault=fault,
        )
        self.journal.add(entry)

    def stats(self, now: float) -> dict[str, Any]:
        """Return sums over everything since the start or the last reset."""
        self.advance(now)
        seeded = sum(user.seeded for user in self.people)
        return {
            **self.journal.stats(),
            "jobs_by_state": self.jobs.counted(now),
            "peak_concurrent_jobs": self.jobs.peak_active,
            "rows_created": self._rows["created"],
            "rows_updated": self._rows["updated"],
            "rows_failed": self._rows["failed"],
            "users_stored": len(self.people) - seeded,
            "users_seeded": seeded,
            "verification_mails": self.people.mails_sent,
            "bugs": self.bugs,
        }

    def users(self, now: float, *, seeded: bool = False) -> list[User]:
        """Return everybody whom upserts created, in that order.

        Args:
            now: epoch seconds.
            seeded: True adds those who were there before the first request.
        """
        self.advance(now)
        return [user for user in self.people if seeded or not user.seeded]


def _success(user: User, *, created: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"id": user.id, "status": "Created" if created else "Updated"}
    if user.email is not None:
        item["email"] = user.email
    if user.external_id is not None:
        item["external_id"] = user.external_id
    return item
