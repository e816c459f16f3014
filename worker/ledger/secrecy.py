"""Encryption in the ledger: when what it holds of people is sealed, and with which keys.

The ledger decides, the keys serve: from the moment a worker with a key first opened it, every blob
with values of people is written sealed, by whomever. Who lacks the key then writes nothing instead
of writing it in clear. What was written before stays readable.

Keys travel with the connection (`Database` puts them there), so that whoever reads or writes a blob
within a transaction needs to know nothing of them.
"""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from worker.errors import Conflict, UsageError
from worker.ledger import spool
from worker.ledger.database import Database, spool_keys_of
from worker.ledger.schema import meta, payloads
from worker.sealing import Spoiled, missing, name_of

_ENCRYPTED = "encrypted"
_CHECK = "spool_key:"

_IS_ENCRYPTED = select(meta.c.name).where(meta.c.name == _ENCRYPTED)


def is_encrypted(connection: Connection) -> bool:
    """Return whether blobs with values of people are written sealed."""
    return connection.scalar(_IS_ENCRYPTED) is not None


def refuse_without_key(connection: Connection) -> None:
    """Raise `KeyMissing` when what is about to be written could not be sealed."""
    if not spool_keys_of(connection) and is_encrypted(connection):
        raise missing()


def seal(connection: Connection, place: bytes, blob: bytes) -> tuple[bytes, str | None]:
    """Return a blob as it is to be written, and the name of the key that sealed it, if one did.

    Raises:
        KeyMissing: it must be sealed, and there is no key here.
    """
    if not is_encrypted(connection):
        return blob, None
    keys = spool_keys_of(connection)
    return keys.seal(blob, place), keys.first


def unseal(connection: Connection, place: bytes, blob: bytes) -> bytes:
    """Return a blob that may be sealed in clear.

    Raises:
        KeyMissing: the key that sealed it is not here.
        Damaged: it is not what was written.
    """
    if name_of(blob) is None:
        return blob
    try:
        return spool_keys_of(connection).open(blob, place)
    except Spoiled:
        raise spool.Damaged("a blob of the ledger cannot be decrypted") from None


@dataclass(frozen=True, slots=True)
class Sealed:
    """How the rows that lie in the ledger are kept, as `doctor` tells it.

    Attributes:
        encrypted: whether they are written sealed from now on.
        first: the name of the key of this process that seals; None without one.
        batches: chunks, batches of kept rows, and parameters of runs that live, by the name of
            their key; None: in clear.
        lacking: names among them of which this process has no key.
    """

    encrypted: bool
    first: str | None
    batches: dict[str | None, int]
    lacking: tuple[str, ...]


class Secrecy:
    """Whether the keys of this process are those of the ledger.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def check(self) -> None:
        """Refuse a key that has the name of another one: it would open nothing.

        Raises:
            UsageError: `spool_key_wrong`; names the key.
        """
        checks = self._db.spool_keys.checks()
        if not checks:
            return
        names = [_CHECK + name for name in checks]
        with self._db.read() as connection:
            known = connection.execute(select(meta).where(meta.c.name.in_(names))).all()
        for row in known:
            name = row.name.removeprefix(_CHECK)
            if not hmac.compare_digest(bytes(row.value), checks[name]):
                raise UsageError(
                    f"DESKFEED_SPOOL_KEY: the key {name!r} is another one than the {name!r} that "
                    "encrypts rows in this ledger",
                    code="spool_key_wrong",
                )

    def begin(self) -> None:
        """A process that works begins: from its first key on the ledger is encrypted.

        Raises:
            UsageError: `spool_key_missing`: rows that are still to be sent, or all that is to be
                written, need a key that is not here.
        """
        keys = self._db.spool_keys
        if keys:
            self._note()
        with self._db.read() as connection:
            if not keys and is_encrypted(connection):
                raise UsageError(missing().message, code="spool_key_missing")
            used = connection.scalars(
                select(payloads.c.key_id)
                .where(payloads.c.key_id.is_not(None), payloads.c.expires_at.is_(None))
                .distinct()
            ).all()
        for name in keys.lacking(name for name in used if name):
            raise UsageError(missing(name).message, code="spool_key_missing")

    def _note(self) -> None:
        """Remember that the ledger is encrypted, and how each key is known again."""
        wanted = {_CHECK + name: value for name, value in self._db.spool_keys.checks().items()}
        wanted[_ENCRYPTED] = b"1"
        names = select(meta.c.name).where(meta.c.name.in_(wanted))
        with self._db.read() as connection:
            if len(connection.scalars(names).all()) == len(wanted):
                return
        try:
            with self._db.write() as connection:
                known = set(connection.scalars(names))
                new = [{"name": n, "value": v} for n, v in wanted.items() if n not in known]
                if new:
                    connection.execute(insert(meta), new)
        except Conflict:  # workers that start together note the same; now it is there to be found
            self._note()

    def look(self) -> Sealed:
        """Return how rows are kept now."""
        from worker.ledger import parameters  # which seals by what stands above

        count = select(payloads.c.key_id, func.count()).group_by(payloads.c.key_id)
        keys = self._db.spool_keys
        with self._db.read() as connection:
            encrypted = is_encrypted(connection)
            batches = Counter({name: int(rows) for name, rows in connection.execute(count)})
            batches.update(parameters.key_names(connection))
        lacking = keys.lacking(name for name in batches if name)
        return Sealed(encrypted, keys.first, dict(batches), tuple(lacking))
