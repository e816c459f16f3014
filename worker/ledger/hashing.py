"""The key of all hashes by which people are known: the ledger's own, or one from the settings.

Of a key from the settings the ledger keeps a check value only. Another key would make everybody
unknown: nothing would be recognised as unchanged, and what was asked to be forgotten not be found.
So a change is refused; `forget_everybody` is the way over.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NoReturn

from sqlalchemy import Connection, delete, insert, select

from worker.errors import Conflict, UsageError
from worker.ledger import audit
from worker.ledger.database import Database
from worker.ledger.schema import delivered, forgotten, meta, workers

SILENT_S = 30.0
"""Workers say more often than this that they live."""

_OWN = "hash_key"
_CHECK = "hash_key_check"
_CHECKED = b"deskfeed hash key"


def settle_hash_key(database: Database, given: bytes | None) -> bytes:
    """Return the key of all hashes of people's keys.

    Args:
        database: where the ledger lies.
        given: the key of the settings; None: a random one is made once and kept in the ledger.

    Raises:
        UsageError: `hash_key_missing` or `hash_key_changed`: hashes were made with another key.
    """
    with database.read() as connection:
        found = _fitting(connection, given)
    if found is not None:
        return found
    try:
        with database.write() as connection:
            found = _fitting(connection, given)
            return _settle(connection, database, given) if found is None else found
    except Conflict:  # who opens a new ledger at the same time has settled it
        return settle_hash_key(database, given)


def forget_everybody(database: Database, by: str) -> int:
    """Remove every hash of a person, and the key; whoever opens the ledger next brings another.

    Args:
        database: where the ledger lies.
        by: who wants it so, for the audit.

    Returns:
        How many people were known.

    Raises:
        UsageError: a worker lives: it would go on with the key that it has.
    """
    with database.write() as connection:
        _refuse_living(connection, database)
        connection.execute(delete(meta).where(meta.c.name.in_((_OWN, _CHECK))))
        connection.execute(delete(forgotten))
        audit.write(connection, database, by, "prune", "digests")
        return int(connection.execute(delete(delivered)).rowcount)


def _fitting(connection: Connection, given: bytes | None) -> bytes | None:
    """Return the key if the ledger knows it already."""
    if given is None:
        return _value(connection, _OWN)
    check = _value(connection, _CHECK)
    return given if check is not None and hmac.compare_digest(check, _check(given)) else None


def _settle(connection: Connection, database: Database, given: bytes | None) -> bytes:
    """Take a key into use, if it replaces none that anything was hashed with."""
    check = _value(connection, _CHECK)
    if check is not None:
        if given is not None and hmac.compare_digest(check, _check(given)):
            return given  # somebody has settled it since the caller looked
        _refuse(given)
    if given is not None and _value(connection, _OWN) is not None:
        if connection.scalar(select(delivered.c.key_hash).limit(1)) is not None:
            _refuse(given)
        _refuse_living(connection, database)
        connection.execute(delete(meta).where(meta.c.name == _OWN))
    key = secrets.token_bytes(32) if given is None else given
    name, value = (_OWN, key) if given is None else (_CHECK, _check(key))
    connection.execute(insert(meta).values(name=name, value=value))
    return key


def _refuse(given: bytes | None) -> NoReturn:
    if given is None:
        raise UsageError(
            "people in this ledger are known by hashes made with DESKFEED_HASH_KEY, which is not "
            "set here",
            code="hash_key_missing",
        )
    raise UsageError(
        "DESKFEED_HASH_KEY is not the key that the hashes of people in this ledger were made with",
        code="hash_key_changed",
    )


def _refuse_living(connection: Connection, database: Database) -> None:
    since = database.now(connection) - SILENT_S
    if connection.scalar(select(workers.c.worker).where(workers.c.seen_at > since)) is not None:
        raise UsageError(
            "the key of the hashes of people can only be changed while no worker lives",
            code="hash_key_changed",
            resolution=f"Stop all workers, wait {SILENT_S:.0f} s, and try again.",
        )


def _value(connection: Connection, name: str) -> bytes | None:
    found = connection.scalar(select(meta.c.value).where(meta.c.name == name))
    return None if found is None else bytes(found)


def _check(key: bytes) -> bytes:
    return hmac.digest(key, _CHECKED, hashlib.sha256)
