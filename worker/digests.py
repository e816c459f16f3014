"""Fingerprints of payloads and of people: pure functions, light enough for a helper process.

Payloads are canonical JSON (sorted keys), because equal payloads must have equal digests: what
Zendesk confirmed is remembered as a digest only.
"""

from __future__ import annotations

import hashlib
import hmac

import orjson

MARK_BYTES = 16
"""With ten million rows two different marks are equal once in 10**24 runs."""


def canonical(user: object) -> bytes:
    """Return the one JSON text of a user object."""
    return orjson.dumps(user, option=orjson.OPT_SORT_KEYS)


def digest(user: object) -> bytes:
    """Return 32 bytes that are equal exactly when the user objects are."""
    return hashlib.sha256(canonical(user)).digest()


def key_hash(key: str, hash_key: bytes) -> bytes:
    """Return a keyed hash of a profile's key: people are recognised, not recorded."""
    return hmac.digest(hash_key, key.encode(), "sha256")


def mark(hashed_key: bytes, payload_digest: bytes) -> int:
    """Return a number below 2**128 that stands for "this person with this payload"."""
    joined = hashed_key + payload_digest
    return int.from_bytes(hashlib.blake2b(joined, digest_size=MARK_BYTES).digest(), "big")
