"""A Zendesk with its own store of users and jobs, in virtual time, with faults by the dice.

It shares nothing with the ledger: what it applied is the truth that outcomes are judged by. Its
answers are bytes that the client's real readers read.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from tests.simulation.dice import Dice
from tests.simulation.loop import Loop
from tests.simulation.tally import Say
from worker.errors import Ambiguous, NotSent
from worker.ledger.recovery import MOST_UNCLEAR
from worker.profile import Profile
from worker.zendesk.answer import Answer
from worker.zendesk.payload import encode_users
from worker.zendesk.replies import (
    Identity,
    JobAccepted,
    JobStatuses,
    UsersFound,
    read_job_accepted,
    read_job_statuses,
    read_users,
)

DEADLINE_S = 20.0
TRANSIENT = {"error": "DatabaseConflict", "details": "Database collision"}
PERMANENT = {"error": "UserUpdateError", "details": "Name: is too short"}


@dataclass
class Job:
    """A background job."""

    job_id: str
    users: list[dict[str, Any]]
    seen_from: float
    status: str = "queued"
    results: Any = None
    fate: str = "completed"
    seen_until: float = math.inf


@dataclass
class Truth:
    """What really became of a row, by its name in the user's `notes`: `<run>/<row>`."""

    applied: int = 0
    created: int = 0
    failed: int = 0
    refused: int = 0


@dataclass
class Zendesk:
    """The service; `port` gives a worker its client.

    Args:
        loop: virtual time.
        dice: chance.
        say: the trace and the tally.
        limit: requests a minute of the account.
        bad: names of rows whose update fails for good.
        refusing: names of rows for whose sake a request is refused as a whole.
    """

    loop: Loop
    dice: Dice
    say: Say
    limit: int
    bad: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    users: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    truth: dict[str, Truth] = field(default_factory=lambda: defaultdict(Truth))
    posts: list[tuple[float, str, int, int]] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    stamps: list[tuple[int, int, bool]] = field(default_factory=list)
    broken_until: float = 0.0

    # --- requests -----------------------------------------------------------------------------

    def post(self, users: list[dict[str, Any]]) -> Answer:
        """POST create_or_update_many."""
        if not self._arrived():
            return self._answer(401, {"error": "Couldn't authenticate you"})
        names = {user["notes"] for user in users}
        if names & self.refusing or self._happens("chunk refused"):
            self.say.count("refused")
            for name in names:
                self.truth[name].refused += 1
            return self._answer(422, {"error": "RecordInvalid", "description": "Name: is bad"})
        for fault, answer in (
            ("429 of the account", (429, {"error": "RateLimited"}, self._retry_after())),
            ("429 of a chunk", (429, "you changed a single unique user too often", {})),
            ("too many jobs", (429, {"error": "TooManyJobs"}, {})),
            ("5xx before", (503, "<html>", {})),
        ):
            if self._happens(fault):
                return self._answer(*answer)
        return self._accepted(users)

    def _accepted(self, users: list[dict[str, Any]]) -> Answer:
        job = self._queue(users)
        if self._happens("5xx after"):
            return self._answer(502, "<html>")
        if self._happens("time out after"):
            self.loop.sleep(DEADLINE_S)
            raise Ambiguous("Zendesk's answer did not arrive whole and in time")
        if self._happens("no JSON"):
            return self._answer(200, "<html>")
        return self._answer(200, {"job_status": {"id": job.job_id, "status": "queued"}})

    def look(self, job_ids: Sequence[str]) -> Answer:
        """GET job_statuses/show_many."""
        if not self._arrived():
            return self._answer(401, {"error": "Couldn't authenticate you"})
        if self._happens("look failed"):
            return self._answer(500, "oops")
        if self._happens("look throttled"):
            return self._answer(429, {"error": "RateLimited"}, self._retry_after())
        found = [self.jobs[job_id] for job_id in job_ids]
        known = [
            j
            for j in found
            if j.fate != "job vanished" and j.seen_from <= self.loop.now < j.seen_until
        ]
        if not known:
            return self._answer(404, {"error": "RecordNotFound", "description": "Not found"})
        statuses = [{"id": j.job_id, "status": j.status, "results": j.results} for j in known]
        return self._answer(200, {"job_statuses": statuses})

    def show(self, external_ids: Sequence[str]) -> Answer:
        """GET users/show_many."""
        if not self._arrived():
            return self._answer(401, {"error": "Couldn't authenticate you"})
        if self._happens("look failed"):
            return self._answer(500, "oops")
        assert self.loop.current is not None
        spent = self.loop.current.claim.spent >= MOST_UNCLEAR
        self.say.count("read back" if spent else "tags read")
        wanted = {external_id.lower() for external_id in external_ids}
        users = [u for u in self.users if str(u.get("external_id", "")).lower() in wanted]
        return self._answer(200, {"users": users})

    def search(self, *, external_id: str | None, email: str | None) -> Answer:
        """GET users/search, which lags behind nothing here."""
        if not self._arrived():
            return self._answer(401, {"error": "Couldn't authenticate you"})
        if self._happens("look failed"):
            return self._answer(500, "oops")
        self.say.count("searched")
        key, value = ("external_id", external_id) if external_id else ("email", email)
        users = [u for u in self.users if str(u.get(key, "")).lower() == str(value).lower()]
        return self._answer(200, {"users": users})

    def _arrived(self) -> bool:
        """A request is on its way and arrives; returns whether its credential is accepted."""
        assert self.loop.current is not None
        self.stamps.append(self.loop.current.stamp)  # what never left is in nobody's way
        self.loop.sleep(self.dice.between(0.02, 0.4))
        self.requests.append(self.loop.now)
        return self.loop.now >= self.broken_until

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
        told = dict(headers or {})
        if not self._happens("no rate headers"):
            lately = sum(at > self.loop.now - 60 for at in self.requests)
            told["x-rate-limit"] = str(self.limit)
            told["x-rate-limit-remaining"] = str(max(0, self.limit - lately))
        text = body.encode() if isinstance(body, str) else orjson.dumps(body)
        return Answer(status, told, text)

    def _retry_after(self) -> dict[str, str]:
        seconds = self.dice.rng.choice((None, 1, 7, 45))
        return {} if seconds is None else {"retry-after": str(seconds)}

    def _happens(self, fault: str) -> bool:
        if not self.dice.happens(fault):
            return False
        self.say.fault(fault)
        return True

    # --- jobs ---------------------------------------------------------------------------------

    def _queue(self, users: list[dict[str, Any]]) -> Job:
        seen_from = self.loop.now
        if self._happens("job unknown at first"):
            seen_from += self.dice.between(0, 15)
        job = Job(f"V3-{len(self.jobs):032x}", users, seen_from)
        self.jobs[job.job_id] = job
        for fate in ("job stuck", "job killed", "job failed", "job vanished"):
            if self._happens(fate):
                job.fate = fate
        takes = self.dice.between(0.2, 8)
        if self._happens("job slow"):
            takes = self.dice.between(8, 19)
        self.loop.call_in(takes / 2, lambda: setattr(job, "status", "working"))
        self.loop.call_in(takes, lambda: self._work(job))
        return job

    def _work(self, job: Job) -> None:
        reach = len(job.users)
        if job.fate != "completed":  # it may have done all, some or nothing of its work
            reach = self.dice.rng.randint(0, reach)
        results = [self._upsert(user) for user in job.users[:reach]]
        if job.fate == "job stuck":
            return
        job.status = {"job killed": "killed", "job failed": "failed"}.get(job.fate, "completed")
        job.results = self._told(job, results)
        if self._happens("job forgotten"):
            job.seen_until = self.loop.now + self.dice.between(1, 20)

    def _told(self, job: Job, results: list[dict[str, Any]]) -> Any:
        if self._happens("results permuted"):
            self.dice.rng.shuffle(results)
        if self._happens("results short"):
            results = results[: self.dice.rng.randint(0, max(0, len(results) - 1))]
        if self._happens("results null"):
            return None
        if self._happens("results no list"):
            for user in job.users:  # it says so, whatever it did
                self.truth[user["notes"]].failed += 1
            return {"errors": "something"}
        return results

    def _upsert(self, user: dict[str, Any]) -> dict[str, Any]:
        truth = self.truth[user["notes"]]
        echo = {key: user[key] for key in ("external_id", "email") if key in user}
        if user["notes"] in self.bad or self._happens("row transient"):
            truth.failed += 1
            why = PERMANENT if user["notes"] in self.bad else TRANSIENT
            return {**echo, "status": "Failed", "success": False, **why}
        found = self._find(user)
        status = "Updated" if found else "Created"
        if found is None:
            at = datetime.fromtimestamp(self.loop.now, UTC).isoformat()
            found = {"id": 9_000_000 + len(self.users), "created_at": at}
            self.users.append(found)
            truth.created += 1
        found.update(user)
        truth.applied += 1
        return {**echo, "id": found["id"], "status": status, "success": True}

    def _find(self, user: dict[str, Any]) -> dict[str, Any] | None:
        for key in ("external_id", "email"):
            value = str(user.get(key) or "").lower()
            for known in self.users if value else ():
                if str(known.get(key) or "").lower() == value:
                    return known
        return None


class Port:
    """One worker's client.

    Args:
        zendesk: the service.
    """

    def __init__(self, zendesk: Zendesk) -> None:
        self._zendesk = zendesk

    def whoami(self) -> Identity:
        """As the real client's; an agent's login."""
        return Identity(user_id=1, role="agent", suspended=False, anonymous=False)

    def create_or_update_many(self, profiles: Sequence[Profile]) -> JobAccepted:
        """As the real client's."""
        zendesk = self._zendesk
        if zendesk._happens("not sent"):
            raise NotSent("Zendesk cannot be reached; nothing was sent")
        users = orjson.loads(encode_users(profiles))["users"]
        assert zendesk.loop.current is not None
        claim = zendesk.loop.current.claim
        zendesk.posts.append((zendesk.loop.now, claim.run_id, claim.seq, claim.fence))
        return read_job_accepted(zendesk.post(users))

    def job_statuses(self, job_ids: Sequence[str]) -> JobStatuses:
        """As the real client's."""
        return read_job_statuses(self._zendesk.look(job_ids), job_ids)

    def users_show_many(self, external_ids: Sequence[str]) -> UsersFound:
        """As the real client's."""
        return read_users(self._zendesk.show(external_ids))

    def users_search(
        self, *, external_id: str | None = None, email: str | None = None
    ) -> UsersFound:
        """As the real client's."""
        return read_users(self._zendesk.search(external_id=external_id, email=email))
