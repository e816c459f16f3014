"""Encryption of what the ledger holds of people: AES-256-GCM, several keys, each with a name. Pure.

A sealed blob:

    1 byte      version, 1 (a blob that is not sealed is zlib's, and begins with 0x78)
    1 byte      how long the name of the key is
    name        of the key, ASCII
    12 bytes    nonce, random for each blob
    the rest    ciphertext and tag

All before the nonce is authenticated with it, and so is the *place* where the blob lies: taken to
another row or column it cannot be opened. Nonces are random: up to 2**32 blobs of one key are safe
(NIST SP 800-38D, 8.3), which are 400 billion rows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any

from worker.errors import LedgerError

VERSION = b"\x01"

KEY_BYTES = 32

LOST = "lost"
"""In place of a key: nobody has it any more, and what it sealed counts as damaged."""

_NONCE_BYTES = 12
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_CHECKED = b"deskfeed spool key"


class KeyMissing(LedgerError):
    """A blob is sealed with a key that this process lacks; whoever has it can go on."""

    default_code = "spool_key_missing"


class Spoiled(Exception):
    """A sealed blob is not what was sealed, or does not lie where it was sealed for."""


class SpoolKeys:
    """The keys of this process.

    Args:
        keys: each key's 32 bytes by its name, the one that seals first; None for one that is lost.
    """

    def __init__(self, keys: Mapping[str, bytes | None] | None = None) -> None:
        self._keys = dict(keys or {})

    def __repr__(self) -> str:
        return f"SpoolKeys({', '.join(self._keys)})"

    def __bool__(self) -> bool:
        """Whether there is a key to seal with."""
        return self.first is not None

    @cached_property
    def first(self) -> str | None:
        """The name of the key that seals; None without one."""
        name = next(iter(self._keys), None)
        return name if name is not None and self._keys[name] is not None else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys, also of lost ones."""
        return tuple(self._keys)

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Return which of these names no key has."""
        return sorted(set(names) - set(self._keys))

    def checks(self) -> dict[str, bytes]:
        """Return for each key a value by which it is known again, and that tells nothing of it."""
        return {
            name: hmac.digest(key, _CHECKED + name.encode(), hashlib.sha256)
            for name, key in self._keys.items()
            if key is not None
        }

    def seal(self, blob: bytes, place: bytes) -> bytes:
        """Return the blob encrypted with the first key.

        Args:
            blob: what to encrypt.
            place: where it will lie.

        Raises:
            KeyMissing: there is no key.
        """
        if self.first is None:
            raise missing()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = VERSION + bytes([len(self.first)]) + self.first.encode()
        cipher = _cipher(self._keys[self.first] or b"")
        return head + nonce + bytes(cipher.encrypt(nonce, blob, head + place))

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Return what `seal` was given for this place.

        Raises:
            KeyMissing: it was sealed with another key than those here; names it.
            Spoiled: it is not what was sealed, or was not sealed for this place.
        """
        name = name_of(sealed)
        if name is None:
            raise Spoiled
        if name not in self._keys:
            raise missing(name)
        key = self._keys[name]
        rest = sealed[2 + len(name) :]
        if key is None or len(rest) < _NONCE_BYTES:
            raise Spoiled
        from cryptography.exceptions import InvalidTag  # with it comes OpenSSL: slow to import

        head = sealed[: 2 + len(name)]
        try:
            opened = _cipher(key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head + place)
        except InvalidTag:
            raise Spoiled from None
        return bytes(opened)


def place_of(column: str, run_id: str, seq: int) -> bytes:
    """Return what stands for the place of a blob in the ledger: which column of which row."""
    return f"\0{column}\0{run_id}\0{seq}".encode()


def name_of(sealed: bytes) -> str | None:
    """Return the name of the key that sealed a blob; None if it is not sealed."""
    if sealed[:1] != VERSION or len(sealed) < 2:
        return None
    try:
        name = sealed[2 : 2 + sealed[1]].decode("ascii")
    except UnicodeDecodeError:
        return None
    return name if _NAME.fullmatch(name) else None


def read_keys(text: str) -> SpoolKeys:
    """Return the keys that a setting holds: `NAME:KEY`, several with commas between them.

    Raises:
        ValueError: it is not of this form; says what is wrong without repeating any of it.
    """
    keys: dict[str, bytes | None] = {}
    for number, part in enumerate(text.split(","), start=1):
        name, colon, encoded = part.strip().partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(
                f"key {number} is not NAME:KEY (NAME: up to 32 small letters, digits, - and _)"
            )
        if name in keys:
            raise ValueError(f"key {number} has the name of another one")
        keys[name] = None if encoded == LOST else _decoded(encoded, number)
    if next(iter(keys.values())) is None:
        raise ValueError("the first key encrypts and cannot be lost")
    return SpoolKeys(keys)


def missing(name: str | None = None) -> KeyMissing:
    """Return the error that a key is not here.

    Args:
        name: of the key; None when any would do.
    """
    if name is None:
        return KeyMissing("this ledger is encrypted, and DESKFEED_SPOOL_KEY is not set here")
    return KeyMissing(
        f"rows in the ledger are encrypted with the key {name!r}, which DESKFEED_SPOOL_KEY lacks "
        "here"
    )


def _decoded(encoded: str, number: int) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"key {number} is not {KEY_BYTES} bytes in base64; make one: openssl rand -base64 32"
        )
    return key


@lru_cache(maxsize=16)
def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
