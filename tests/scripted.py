"""A Zendesk by script, for the use-cases of a worker without HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from world import warm

from worker.zendesk.replies import (
    Identity,
    JobAccepted,
    JobState,
    JobStatus,
    JobStatuses,
    RateHeaders,
    ResultItem,
    UserRecord,
    UsersFound,
)

AN_AGENT = Identity(user_id=1, role="agent", suspended=False, anonymous=False)


@dataclass
class Zendesk:
    """A scripted Zendesk: pops the next answer, else accepts and completes everything."""

    answers: list = field(default_factory=list)
    statuses: list = field(default_factory=list)
    posts: list = field(default_factory=list)
    looks: list = field(default_factory=list)
    jobs: dict = field(default_factory=dict)
    users: dict = field(default_factory=dict)
    reads: list = field(default_factory=list)
    read_answers: list = field(default_factory=list)
    sent: list = field(default_factory=list)
    by_email: dict = field(default_factory=dict)
    searches: list = field(default_factory=list)
    search_answers: list = field(default_factory=list)
    rate: RateHeaders = field(default_factory=RateHeaders)
    identity: object = AN_AGENT
    asked_who: int = 0

    def whoami(self):
        self.asked_who += 1
        if isinstance(self.identity, Exception):
            raise self.identity
        return self.identity

    def create_or_update_many(self, profiles):
        self.posts.append([p.row for p in profiles])
        self.sent.append({p.row: dict(p.user) for p in profiles})
        if self.answers:
            answer = self.answers.pop(0)
            if answer is not None:
                raise answer
        job_id = f"V3-{len(self.posts)}"
        self.jobs[job_id] = tuple(
            ResultItem(
                id=p.row, external_id=p.external_id, email=p.email, status="Created", failed=False
            )
            for p in profiles
        )
        return JobAccepted(job_id)

    def job_statuses(self, job_ids):
        self.looks.append(list(job_ids))
        if self.statuses:
            answer = self.statuses.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return JobStatuses(answer)
        return JobStatuses(
            {
                job_id: JobStatus(job_id, JobState.COMPLETED, results=self.jobs[job_id])
                for job_id in job_ids
                if job_id in self.jobs
            }
        )

    def users_show_many(self, external_ids):
        self.reads.append(list(external_ids))
        if self.read_answers:
            answer = self.read_answers.pop(0)
            if answer is not None:
                raise answer
        found = tuple(self.users[key] for key in external_ids if key in self.users)
        return UsersFound(found, self.rate)

    def users_search(self, *, external_id=None, email=None):
        self.searches.append(external_id or email)
        if self.search_answers:
            answer = self.search_answers.pop(0)
            if answer is not None:
                raise answer
        found = self.users.get(external_id) if external_id else None
        users = (found,) if found else tuple(self.by_email.get(email, ()))
        return UsersFound(users, self.rate)

    def has(self, profile, created_at=None, **changes):
        """Let a profile's user be there, as it was sent but for some changes."""
        attributes = {"id": profile.row, **profile.user, **changes}
        made = None if created_at is None else datetime.fromtimestamp(created_at, UTC)
        record = UserRecord(profile.row, attributes["external_id"], made, attributes)
        self.users[profile.external_id] = record


def forget(redis):
    """Nothing was sent lately: the next permit is to be had at once."""
    redis.flushall()
    warm(redis)
