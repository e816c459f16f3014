"""Audit: who started, paused, stopped, resumed, retried or changed what, and when.

Lines are added in the transaction of what they tell of, and nothing here changes or removes one.
They are kept for years; only retention removes what is older. Never with secrets or customer data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from worker.ledger.database import Database
from worker.ledger.schema import audit


@dataclass(frozen=True, slots=True)
class Line:
    """One deed.

    Attributes:
        number: its place in the order of the ledger, from 1.
        at: seconds since the epoch, by the ledger's clock.
        principal: who did it, as the operating system knows them; or `scheduler`.
        action: what, in the words of the command: `run`, `pause`, `limits set`.
        subject: to what: a run, an account, a destination.
        data: what else is worth knowing.
    """

    number: int
    at: float
    principal: str
    action: str
    subject: str
    data: Mapping[str, Any]


def write(
    connection: Connection,
    database: Database,
    principal: str,
    action: str,
    subject: str,
    **data: Any,
) -> None:
    """Add a line within the transaction of what it tells of."""
    connection.execute(
        insert(audit).values(
            at=database.now(connection),
            principal=principal,
            action=action,
            subject=subject,
            data=orjson.dumps(data).decode(),
        )
    )


class Audit:
    """Reads the audit, and adds what has no transaction of its own in the ledger.

    Args:
        database: the ledger's.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def note(self, principal: str, action: str, subject: str, **data: Any) -> None:
        """Add a line of a deed that changed nothing else in the ledger."""
        with self._db.write() as connection:
            write(connection, self._db, principal, action, subject, **data)

    def newest(self, limit: int = 50, subject: str | None = None) -> list[Line]:
        """Return the newest lines, newest first.

        Args:
            limit: at most so many.
            subject: only those about this; None for all.
        """
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return [
            Line(row.id, row.at, row.principal, row.action, row.subject, orjson.loads(row.data))
            for row in rows
        ]
