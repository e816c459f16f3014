"""The real ledger on a SQLite in memory, emptied for each seed, and a look at its rows from aside.

The engine is made once in a process, as compiling statements anew would cost more than running
them. All fibers share its only connection; they never meet in a transaction.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from worker.ledger import Ledger
from worker.ledger.database import Clock, Database
from worker.ledger.engines import _prepare_sqlite
from worker.ledger.ledger import ledger_on
from worker.ledger.schema import metadata
from worker.times import Times


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


@cache
def _engine() -> tuple[Engine, sqlite3.Connection, sqlite3.Connection]:
    """The engine, its connection, and an empty database to copy."""
    connection = _connect()
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    _prepare_sqlite(engine)
    metadata.create_all(engine)
    empty = _connect()
    connection.backup(empty)
    return engine, connection, empty


def fresh_ledger(times: Times, clock: Clock) -> tuple[Ledger, sqlite3.Connection]:
    """Return an empty ledger and the connection below it; the one made before is gone."""
    engine, connection, empty = _engine()
    empty.backup(connection)
    return ledger_on(Database(engine, clock), times), connection


def rows(connection: sqlite3.Connection, query: str, *values: Any) -> list[dict[str, Any]]:
    """Return what a query finds, without the ledger's code."""
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
