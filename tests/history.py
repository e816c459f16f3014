"""The history of a run, as the ledger's tables and the sandbox's records have it.

It shares no code with what it tells of: the ledger is read as tables. `checker` judges it.
"""

from __future__ import annotations

import hmac
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

from sqlalchemy import text

CLOCK_S = 0.05
"""What two clocks of one machine may differ by."""

DELIVERED = {"c": "created", "u": "updated"}

Record = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """A chunk as the ledger had it at a moment of the run."""

    at: float
    seq: int
    state: str
    fence: int
    looks: int
    not_before: float | None
    owner: str | None


@dataclass
class History:
    """Everything that is judged.

    Attributes:
        run: the row of `runs`.
        chunks: the rows of `chunks`, by seq.
        outcomes: the rows of `outcomes`.
        events: the rows of `events` in order, `data` decoded.
        kept: (row, user object) of the payloads that are still there, by seq.
        delivered: digest by key hash: what the ledger believes Zendesk has.
        account: the row of `accounts`.
        hash_key: keys the key hashes.
        journal: the sandbox's journal, from the beginning of the run.
        users: the sandbox's users, seeded ones too.
        samples: the chunks as they were seen during the run.
    """

    run: Record
    chunks: dict[int, Record]
    outcomes: list[Record]
    events: list[Record]
    kept: dict[int, list[tuple[int, Record]]]
    delivered: dict[bytes, bytes]
    account: Record
    hash_key: bytes
    journal: list[Record]
    users: list[Record]
    samples: Sequence[Sample] = field(default=())

    @cached_property
    def posts(self) -> list[Record]:
        return [entry for entry in self.journal if entry["kind"] == "bulk_upsert"]

    @cached_property
    def users_by_id(self) -> dict[int, Record]:
        return {user["id"]: user for user in self.users}

    @cached_property
    def results(self) -> dict[int, list[tuple[int, str, int]]]:
        """(row, created or updated, Zendesk id) of the delivered rows, by chunk."""
        return {
            seq: [
                (row, DELIVERED[letter], user_id)
                for row, letter, user_id in json.loads(zlib.decompress(chunk["results"]))
            ]
            for seq, chunk in self.chunks.items()
            if chunk["results"] is not None
        }

    @cached_property
    def posts_by_chunk(self) -> dict[int, list[Record]]:
        """The POSTs of each chunk, by the people in them; under 0 those of no chunk."""
        found: dict[int, list[Record]] = {seq: [] for seq in (0, *self.chunks)}
        for post in self.posts:
            people = set(post_keys(post))
            # A half holds some of its parent's people: the chunk is the one of the same size.
            fitting = [
                seq
                for seq, keys in self._keys.items()
                if keys & people and self.rows_sent(seq) == post["users"]
            ]
            # A row sent alone, and sent alone again, fits both: each has as many as it may.
            room = [seq for seq in fitting if len(found[seq]) < self.chunks[seq]["attempt"]]
            found[(room or fitting or [0])[0]].append(post)
        return found

    @cached_property
    def stamps(self) -> list[tuple[float, int, int]]:
        """(send stamp, users, chunk) of the POSTs whose job the ledger knows, in order."""
        return sorted(
            (event["data"]["stamp"], event["data"]["users"], event["seq"])
            for event in self.events
            if event["kind"] == "chunk_submitted"
        )

    @cached_property
    def unstamped(self) -> list[Record]:
        """The POSTs of which the ledger has no stamp: refused ones, and those without an answer."""
        left = {seq: sorted(p, key=lambda one: one["at"]) for seq, p in self.posts_by_chunk.items()}
        for stamp, _, seq in self.stamps:
            mine = next((p for p in left[seq] if p["at"] > stamp - CLOCK_S), None)
            if mine is not None:
                left[seq].remove(mine)
        return [post for posts in left.values() for post in posts]

    def rows_sent(self, seq: int) -> int:
        """How many rows a chunk was sent with: some may have moved to another one since."""
        moved = (
            e["data"]["rows"] for e in self.events if (e["kind"], e["seq"]) == ("rows_again", seq)
        )
        return int(self.chunks[seq]["rows"] + sum(moved))

    @cached_property
    def _keys(self) -> dict[int, set[str]]:
        """The people of each chunk, as far as anything still names them; a split one has both's."""
        keys: dict[int, set[str]] = {}
        for seq in sorted(self.chunks, reverse=True):  # halves have higher numbers
            mine = keys.setdefault(seq, set())
            for _, _, user_id in self.results.get(seq, ()):
                mine.update(user_keys(self.users_by_id.get(user_id, {})))
            mine.update(_key(user) for _, user in self.kept.get(seq, ()))
            parent = self.chunks[seq]["parent_seq"]
            if parent is not None:
                keys.setdefault(parent, set()).update(mine)
        return keys


def read(ledger: Any, run_id: str, sandbox: Any, samples: Sequence[Sample] = ()) -> History:
    """Read the tables of a ledger and the records of a sandbox."""
    with ledger.database.read() as connection:

        def rows(query: str, **values: Any) -> list[Record]:
            return [dict(row._mapping) for row in connection.execute(text(query), values)]

        run = rows("SELECT * FROM runs WHERE run_id = :r", r=run_id)[0]
        mine = "WHERE run_id = :r ORDER BY"
        return History(
            run=run,
            chunks={c["seq"]: c for c in rows(f"SELECT * FROM chunks {mine} seq", r=run_id)},
            outcomes=rows(f"SELECT * FROM outcomes {mine} row", r=run_id),
            events=[
                {**event, "data": json.loads(event["data"])}
                for event in rows(f"SELECT * FROM events {mine} id", r=run_id)
            ],
            kept={
                p["seq"]: [(row, user) for row, user in json.loads(zlib.decompress(p["blob"]))]
                for p in rows(f"SELECT * FROM payloads {mine} seq", r=run_id)
            },
            delivered={
                bytes(d["key_hash"]): bytes(d["digest"])
                for d in rows("SELECT * FROM delivered WHERE account = :a", a=run["account"])
            },
            account=rows("SELECT * FROM accounts WHERE account = :a", a=run["account"])[0],
            hash_key=bytes(rows("SELECT value FROM meta WHERE name = 'hash_key'")[0]["value"]),
            journal=sandbox.journal(),
            users=sandbox.users(seeded=True),
            samples=samples,
        )


# --- keys ---------------------------------------------------------------------------------------


def post_keys(post: Record) -> Iterator[str | None]:
    """Yield what identifies each user of a POST; None for one whom nothing identifies."""
    for external_id, email in zip(post["external_ids"], post["emails"], strict=True):
        yield _key({"external_id": external_id, "email": email})


def user_keys(user: Record) -> set[str]:
    """Return everything by which the ledger may know a user of the sandbox."""
    if not user:
        return set()
    keys = {f"e:{one['value']}" for one in user["identities"]}
    return keys | ({f"x:{user['external_id'].lower()}"} if user["external_id"] else set())


def sent(post: Record) -> Iterator[tuple[str | None, str]]:
    return zip(post_keys(post), post["digests"], strict=True)


def _key(user: Record) -> str | None:
    if user.get("external_id"):
        return f"x:{user['external_id'].lower()}"
    return f"e:{user['email'].strip().lower()}" if user.get("email") else None


def key_hash(key: str, hash_key: bytes) -> bytes:
    return hmac.new(hash_key, key.encode(), sha256).digest()
