"""How profiles, kept rows and results lie in the ledger: pure encoding, no database.

Payloads are canonical JSON (sorted keys), compressed. Canonical, because equal payloads must have
equal digests: what Zendesk confirmed is remembered as a digest only.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Iterable, Sequence

import orjson

from worker.profile import Outcome, OutcomeKind, Profile

CODEC = "zlib-json-1"
"""Names the encoding of a payload; a change of format gets a new name, old ones stay readable."""

_KIND_LETTER = {OutcomeKind.CREATED: "c", OutcomeKind.UPDATED: "u"}


def canonical(user: object) -> bytes:
    """Return the one JSON text of a user object."""
    return orjson.dumps(user, option=orjson.OPT_SORT_KEYS)


def digest(user: object) -> bytes:
    """Return 32 bytes that are equal exactly when the user objects are."""
    return hashlib.sha256(canonical(user)).digest()


def key_hash(key: str, hash_key: bytes) -> bytes:
    """Return a keyed hash of a profile's key: people are recognised, not recorded."""
    return hmac.new(hash_key, key.encode(), hashlib.sha256).digest()


def encode_profiles(profiles: Sequence[Profile]) -> bytes:
    """Return the blob of a chunk: its profiles in order."""
    rows = [[profile.row, profile.user] for profile in profiles]
    return zlib.compress(orjson.dumps(rows, option=orjson.OPT_SORT_KEYS))


def payload_digest(profiles: Sequence[Profile]) -> bytes:
    """Return 32 bytes that are equal exactly when a chunk's profiles are, order included."""
    return digest([[profile.row, profile.user] for profile in profiles])


def decode_profiles(blob: bytes, codec: str = CODEC) -> tuple[Profile, ...]:
    """Return the profiles of a blob made by `encode_profiles`.

    Raises:
        ValueError: the blob was written by a version this one does not know.
    """
    if codec != CODEC:
        raise ValueError(f"payload codec {codec!r} is not known to this version")
    return tuple(Profile(row, user) for row, user in orjson.loads(zlib.decompress(blob)))


def decode_intact(blob: bytes, codec: str, expected: bytes | None) -> tuple[Profile, ...] | None:
    """Return the profiles of a blob, or None if it is damaged or its digest is another one.

    Raises:
        ValueError: the blob was written by a version this one does not know.
    """
    if codec != CODEC:
        raise ValueError(f"payload codec {codec!r} is not known to this version")
    try:
        profiles = decode_profiles(blob, codec)
        found = payload_digest(profiles)
    except (zlib.error, ValueError, TypeError):
        return None
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
    """Return what `encode_results` was given of delivered rows."""
    if blob is None:
        return []
    kinds = {letter: kind for kind, letter in _KIND_LETTER.items()}
    return [(row, kinds[letter], id_) for row, letter, id_ in orjson.loads(zlib.decompress(blob))]


def encode_outcomes(outcomes: Iterable[Outcome]) -> bytes | None:
    """Return the outcomes of some rows, whatever their kind, or None if there are none."""
    rows = [[o.row, o.kind, o.code, o.detail, o.zendesk_id] for o in outcomes]
    return zlib.compress(orjson.dumps(rows)) if rows else None


def decode_outcomes(blob: bytes | None) -> tuple[Outcome, ...]:
    """Return what `encode_outcomes` was given."""
    if blob is None:
        return ()
    rows = orjson.loads(zlib.decompress(blob))
    return tuple(Outcome(row, OutcomeKind(kind), *rest) for row, kind, *rest in rows)
