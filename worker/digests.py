"""Fingerprints of payloads and of people: pure functions, light enough for a helper process.

Payloads are canonical JSON (sorted keys), because equal payloads must have equal digests: what
Zendesk confirmed is remembered as a digest only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

MARK_BYTES = 16
"""With ten million rows two different marks are equal once in 10**24 runs."""

_BLOCK = 64

_ADDED_TAGS = b"tags: add "


def canonical(user: object) -> bytes:
    """Return the one JSON text of a user object."""
    return orjson.dumps(user, option=orjson.OPT_SORT_KEYS)


def digest(user: object) -> bytes:
    """Return 32 bytes that are equal exactly when the user objects are."""
    return hashlib.sha256(canonical(user)).digest()


def sent_digest(user: Mapping[str, Any], *, adds_tags: bool, text: bytes | None = None) -> bytes:
    """Return 32 bytes that are equal exactly when the same is asked of Zendesk for a user.

    Tags that are added ask something else than the same tags in place of all others. Of a user
    without tags, and where tags replace, it is the digest of the user object.

    Args:
        user: as a row has it, without the tags that the person has.
        adds_tags: whether tags add to those that the person has.
        text: `canonical(user)`, if it is at hand.
    """
    text = canonical(user) if text is None else text
    if adds_tags and "tags" in user:
        text = _ADDED_TAGS + text  # no JSON begins like this
    return hashlib.sha256(text).digest()


def key_hash(key: str, hash_key: bytes) -> bytes:
    """Return a keyed hash of a profile's key: people are recognised, not recorded.

    It is HMAC-SHA-256, written out: the standard library's way takes twice as long.
    """
    inner, outer = _pads(hash_key)
    return hashlib.sha256(outer + hashlib.sha256(inner + key.encode()).digest()).digest()


@lru_cache(maxsize=8)
def _pads(hash_key: bytes) -> tuple[bytes, bytes]:
    if len(hash_key) > _BLOCK:
        hash_key = hashlib.sha256(hash_key).digest()
    block = hash_key.ljust(_BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def mark(hashed_key: bytes, payload_digest: bytes) -> int:
    """Return a number below 2**128 that stands for "this person with this payload"."""
    joined = hashed_key + payload_digest
    return int.from_bytes(hashlib.blake2b(joined, digest_size=MARK_BYTES).digest(), "big")
