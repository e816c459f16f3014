"""How profiles, kept rows and results lie in the ledger: pure encoding, no database.

Payloads are canonical JSON (sorted keys), compressed; `worker.digests` says why canonical.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from worker.digests import canonical, digest
from worker.errors import LedgerError
from worker.profile import Outcome, OutcomeKind, Profile

CODEC = "zlib-json-1"
"""Names the encoding of a payload; a change of format gets a new name, old ones stay readable."""


LEVEL = 1
"""Of compression: the highest costs planning three times as much for a fifth less on disk, and what
was sent leaves the ledger anyway."""


class Damaged(LedgerError):
    """A blob of the ledger cannot be read: it is not what was written."""

    default_code = "payload_changed"


_KIND_LETTER = {OutcomeKind.CREATED: "c", OutcomeKind.UPDATED: "u"}


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk as it lies in the ledger.

    Attributes:
        rows: how many profiles it has.
        digest: 32 bytes that are equal exactly when the profiles are, order included.
        blob: the profiles, encoded.
    """

    rows: int
    digest: bytes
    blob: bytes


def pack(profiles: Sequence[Profile]) -> Packed:
    """Return a chunk of profiles, encoded."""
    return pack_lines([canonical([profile.row, profile.user]) for profile in profiles])


def pack_lines(lines: Sequence[bytes]) -> Packed:
    """Return a chunk of profiles that are encoded already, each as canonical `[row,user]`."""
    body = b"[" + b",".join(lines) + b"]"
    return Packed(len(lines), hashlib.sha256(body).digest(), zlib.compress(body, LEVEL))


def encode_profiles(profiles: Sequence[Profile]) -> bytes:
    """Return the blob of a chunk: its profiles in order."""
    return pack(profiles).blob


def payload_digest(profiles: Sequence[Profile]) -> bytes:
    """Return 32 bytes that are equal exactly when a chunk's profiles are, order included."""
    return digest([[profile.row, profile.user] for profile in profiles])


def decode_profiles(blob: bytes, codec: str = CODEC) -> tuple[Profile, ...]:
    """Return the profiles of a blob made by `encode_profiles`.

    Raises:
        ValueError: the blob was written by a version this one does not know.
        Damaged: it is not what was written.
    """
    if codec != CODEC:
        raise ValueError(f"payload codec {codec!r} is not known to this version")
    rows = _unpacked(blob)
    if not all(isinstance(row, int) and isinstance(user, dict) for row, user in rows):
        raise Damaged("rows in the ledger cannot be read")
    return tuple(Profile(row, user) for row, user in rows)


def decode_intact(blob: bytes, codec: str, expected: bytes | None) -> tuple[Profile, ...] | None:
    """Return the profiles of a blob, or None if it is damaged or its digest is another one.

    Raises:
        ValueError: the blob was written by a version this one does not know.
    """
    try:
        profiles = decode_profiles(blob, codec)
    except Damaged:
        return None
    found = payload_digest(profiles)
    return profiles if expected is None or hmac.compare_digest(found, expected) else None


def encode_results(outcomes: Iterable[Outcome]) -> bytes | None:
    """Return the compact vector of the delivered rows (row, kind, Zendesk id), or None."""
    delivered = [
        [outcome.row, _KIND_LETTER[outcome.kind], outcome.zendesk_id]
        for outcome in outcomes
        if outcome.kind in _KIND_LETTER
    ]
    return zlib.compress(orjson.dumps(delivered)) if delivered else None


def decode_results(blob: bytes | None) -> list[tuple[int, OutcomeKind, int | None]]:
    """Return what `encode_results` was given of delivered rows.

    Raises:
        Damaged: the blob is not what was written.
    """
    if blob is None:
        return []
    kinds = {letter: kind for kind, letter in _KIND_LETTER.items()}
    try:
        return [(row, kinds[letter], id_) for row, letter, id_ in _unpacked(blob, width=3)]
    except (KeyError, TypeError):
        raise Damaged("the results of a chunk cannot be read") from None


def encode_outcomes(outcomes: Iterable[Outcome]) -> bytes | None:
    """Return the outcomes of some rows, whatever their kind, or None if there are none."""
    rows = [[o.row, o.kind, o.code, o.detail, o.zendesk_id] for o in outcomes]
    return zlib.compress(orjson.dumps(rows)) if rows else None


def decode_outcomes(blob: bytes | None) -> tuple[Outcome, ...]:
    """Return what `encode_outcomes` was given; nothing of a blob that is not what was written.

    What a job told of some rows spares us a look at Zendesk. Without it they are looked up.
    """
    if blob is None:
        return ()
    try:
        rows = _unpacked(blob, width=5)
        return tuple(Outcome(row, OutcomeKind(kind), *rest) for row, kind, *rest in rows)
    except (Damaged, ValueError):
        return ()


def encode_tags(tags: Mapping[int, list[str] | None]) -> bytes | None:
    """Return tags by row compressed, or None if there are none."""
    return zlib.compress(orjson.dumps([*tags.items()])) if tags else None


def decode_tags(blob: bytes | None) -> dict[int, list[str] | None]:
    """Return what `encode_tags` was given; of a blob that is not what was written, what can be.

    They are read again where they are missing.
    """
    try:
        return {row: tags for row, tags in _unpacked(blob) if _are_tags(row, tags)} if blob else {}
    except Damaged:
        return {}


def _are_tags(row: Any, tags: Any) -> bool:
    listed = isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
    return isinstance(row, int) and (tags is None or listed)


def _unpacked(blob: bytes, width: int = 2) -> list[list[Any]]:
    """Return the list of lists of equal length that a blob holds, or raise `Damaged`."""
    try:
        rows = orjson.loads(zlib.decompress(blob))
    except (zlib.error, ValueError):
        rows = None
    if not isinstance(rows, list) or not all(_is_list(row, width) for row in rows):
        raise Damaged("a blob of the ledger cannot be read: it is not what was written")
    return rows


def _is_list(value: object, length: int) -> bool:
    return isinstance(value, list) and len(value) == length
