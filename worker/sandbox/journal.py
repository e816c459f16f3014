"""What happened: every API request in a journal, and sums over all of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from worker.sandbox.limits import MINUTE, SECOND, peak

SHORT_SECOND = 0.95
"""Seconds. A thread that reads a head a little late makes two arrivals look closer together than
they were; a window this long forgives 50 ms of that."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One API request.

    Attributes:
        seq: rises by one with each entry.
        at: epoch seconds at which the head arrived; entries are in the order of handling.
        method: `GET`, `POST`, …
        path: without query and `.json`.
        query: raw.
        kind: what was asked for, such as `bulk_upsert`; `other` for unknown paths.
        status: of the answer that was meant to be sent; None if none was.
        login: who asked; None for nobody.
        users: number of users in a bulk upsert, in whatever way it was answered.
        external_ids: of these users, in order; null where there is none.
        emails: likewise, as they were sent.
        digests: of these users: SHA-256 of each as JSON with sorted keys.
        job_id: of the job that was queued.
        fault: id of the rule that acted.
    """

    seq: int
    at: float
    method: str
    path: str
    query: str = field(repr=False)
    kind: str
    status: int | None
    login: str | None = field(repr=False)
    users: int = 0
    external_ids: tuple[Any, ...] = field(default=(), repr=False)
    emails: tuple[Any, ...] = field(default=(), repr=False)
    digests: tuple[str, ...] = field(default=(), repr=False)
    job_id: str | None = None
    fault: int | None = None

    def document(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        return asdict(self)


class Journal:
    """The entries, the oldest dropped when there are too many, and sums that never drop any.

    Not thread-safe.

    Args:
        keep: most entries to keep.
    """

    def __init__(self, keep: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._by_kind: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._users_by_arrival: list[tuple[float, int]] = []
        self._requests_by_arrival: list[tuple[float, int]] = []
        self._accepted_posts = self._accepted_users = self._faulted = 0
        self.last_seq = 0

    def add(self, entry: Entry) -> None:
        """Append an entry; its `seq` must be `last_seq + 1`."""
        self.last_seq = entry.seq
        self._entries.append(entry)
        self._by_kind[entry.kind] += 1
        self._by_status[str(entry.status)] += 1
        self._faulted += entry.fault is not None
        self._requests_by_arrival.append((entry.at, 1))
        if entry.kind == "bulk_upsert":
            self._users_by_arrival.append((entry.at, entry.users))
        if entry.job_id is not None:
            self._accepted_posts += 1
            self._accepted_users += entry.users

    def since(self, seq: int, limit: int | None = None) -> Sequence[Entry]:
        """Return the entries after `seq`, at most `limit` of them."""
        if not self._entries:
            return ()
        start = max(0, seq + 1 - self._entries[0].seq)
        end = len(self._entries) if limit is None else min(len(self._entries), start + limit)
        return list(islice(self._entries, start, end))

    def stats(self) -> dict[str, Any]:
        """Return the sums. Posts and users count however they were answered, unless `accepted`."""
        return {
            "requests": sum(self._by_kind.values()),
            "requests_by_kind": dict(self._by_kind),
            "responses_by_status": dict(self._by_status),
            "responses_429": self._by_status["429"],
            "faults_hit": self._faulted,
            "posts": self._by_kind["bulk_upsert"],
            "users_posted": sum(users for _, users in self._users_by_arrival),
            "posts_accepted": self._accepted_posts,
            "users_accepted": self._accepted_users,
            "peak_users_in_1_s": peak(self._users_by_arrival, SECOND),
            "peak_users_in_950_ms": peak(self._users_by_arrival, SHORT_SECOND),
            "peak_requests_in_60_s": peak(self._requests_by_arrival, MINUTE),
        }
