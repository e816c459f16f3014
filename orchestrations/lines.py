"""How a mapped row lies in the staging files: one line of JSON, one line of keys. Pure.

The line of a profile is `[row,user]` in canonical JSON, which is what a chunk in the ledger is made
of: chunks are joined from lines, and nothing is decoded and encoded again on the way. That of a row
that is not sent is `[row,[kind,code,detail,external_id,email]]`.

The line of keys is `row,id,email,rank,mark`, numbers all of them, for DuckDB: 128-bit hashes of
the external_id and of the e-mail (both without regard to case); the rank breaks ties where the
query does not say which row is later; the mark stands for the person with this payload.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from worker.digests import MARK_BYTES, canonical, key_hash, mark, sent_digest
from worker.profile import OutcomeKind, Profile, RejectedRow, key_of


class Maps(Protocol):
    """Maps one row; `orchestrations.mapping.Mapper` does. Pickled into helper processes."""

    def map(self, row: int, values: Sequence[Any]) -> Profile | RejectedRow:
        """Return the profile of a row, or why there is none; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """Some rows in a row, as they go into the staging files.

    Attributes:
        lines: one for each row.
        keys: one for each profile.
        refused: numbers of the rows that are not sent.
        failed: how many of these failed (the others are rightly not sent).
    """

    lines: bytes
    keys: bytes
    refused: tuple[int, ...]
    failed: int


@dataclass(frozen=True, slots=True)
class Encoder:
    """Maps rows and writes them as lines.

    Attributes:
        mapper: the mapping of the query's columns.
        ranked: whether ties between rows of one person are broken by payload.
        hash_key: keys the hashes of people's keys; None where no marks are needed.
        adds_tags: whether tags add to those that people have: the marks tell.
    """

    mapper: Maps
    ranked: bool = False
    hash_key: bytes | None = field(default=None, repr=False)
    adds_tags: bool = False

    def encode(self, first: int, batch: Sequence[Sequence[Any]]) -> Encoded:
        """Map and encode rows that are numbered from `first` on."""
        lines: list[bytes] = []
        keys: list[bytes] = []
        refused: list[int] = []
        failed = 0
        for row, values in enumerate(batch, start=first):
            mapped = self.mapper.map(row, values)
            if isinstance(mapped, Profile):
                text = canonical(mapped.user)
                lines.append(b"[%d,%b]\n" % (row, text))
                keys.append(self._keys(row, mapped.user, text))
            else:
                lines.append(b"[%d,%b]\n" % (row, _refused(mapped)))
                refused.append(row)
                failed += mapped.kind == OutcomeKind.FAILED
        return Encoded(b"".join(lines), b"".join(keys), tuple(refused), failed)

    def dropped(self) -> Counter[str]:
        """Return how many values of each column this mapper has left out, if it counts them."""
        return Counter(getattr(self.mapper, "dropped", None))

    def _keys(self, row: int, user: Mapping[str, Any], text: bytes) -> bytes:
        external_id, email = user.get("external_id"), user.get("email")
        of_id = b"%d" % _hash(external_id.lower()) if external_id else b""
        of_email = b"%d" % _hash(email.strip().lower()) if email else b""
        seal = b"%d" % self._mark(user, text) if self.hash_key else b""
        # Of the payload alone: the same row is chosen whether or not marks are needed.
        rank = b"%d" % _rank(text) if self.ranked else b""
        return b"%d,%b,%b,%b,%b\n" % (row, of_id, of_email, rank, seal)

    def _mark(self, user: Mapping[str, Any], text: bytes) -> int:
        key = key_of(user.get("external_id"), user.get("email")) or ""
        sent = sent_digest(user, adds_tags=self.adds_tags, text=text)
        return mark(key_hash(key, self.hash_key or b""), sent)

    def mark_of(self, profile: Profile) -> int:
        """Return the mark of a profile, as its line of keys would have it."""
        return self._mark(profile.user, canonical(profile.user))


def profile_of(line: bytes) -> Profile:
    """Return the profile of a line."""
    row, user = orjson.loads(line)
    return Profile(row, user)


def refused_of(line: bytes) -> RejectedRow:
    """Return the row that is not sent of a line."""
    row, (kind, code, detail, external_id, email) = orjson.loads(line)
    return RejectedRow(row, OutcomeKind(kind), code, detail, external_id, email)


def line_of(profile: Profile) -> bytes:
    """Return the line of a profile, without its end."""
    return canonical([profile.row, profile.user])


def user_bytes(line: bytes) -> int:
    """Return how long the user of a profile's line is, as JSON."""
    return len(line) - line.index(b",") - 2


def without_email(profile: Profile) -> Profile:
    """Return a profile that is sent without its e-mail."""
    user = {name: value for name, value in profile.user.items() if name != "email"}
    return Profile(profile.row, user)


def _refused(row: RejectedRow) -> bytes:
    return orjson.dumps([row.kind.value, row.code, row.detail, row.external_id, row.email])


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=MARK_BYTES).digest(), "big")


def _rank(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=MARK_BYTES).digest(), "big")
