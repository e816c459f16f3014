"""The newest runs at one glance: for the shell's completion, which must not wait or change a thing.

Opening the ledger makes and migrates its tables, and takes it for this host. Here nothing of that
happens: one SELECT on a connection that may only read, with a short time limit, by the databases'
own drivers (SQLAlchemy alone takes longer to import than a person wants to wait for a tab key).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

WAIT_S = 1.0

_NEWEST = "SELECT run_id, orchestration, state FROM runs ORDER BY created_at DESC, run_id DESC"

_SQLITE, _POSTGRES = "sqlite:///", "postgresql+psycopg://"

Glance = tuple[str, str, str]
"""A run's id, its orchestration, its state."""


def newest_runs(url: str, limit: int) -> list[Glance]:
    """Return the newest runs of the ledger at a SQLAlchemy URL.

    Raises:
        Exception: whatever the driver raises; there is no ledger, or it does not answer in time.
    """
    query = f"{_NEWEST} LIMIT {limit:d}"
    if url.startswith(_SQLITE):
        return _of_sqlite(unquote(url.removeprefix(_SQLITE).partition("?")[0]), query)
    if url.startswith(_POSTGRES):
        return _of_postgres("postgresql://" + url.removeprefix(_POSTGRES), query)
    return []


def _of_sqlite(path: str, query: str) -> list[Glance]:
    uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as connection:
        return connection.execute(query).fetchall()


def _of_postgres(url: str, query: str) -> list[Glance]:
    import psycopg  # an extra

    settings = f"-c statement_timeout={WAIT_S * 1000:.0f} -c default_transaction_read_only=on"
    # The least that libpq takes is 2 s.
    with psycopg.connect(url, connect_timeout=2, options=settings) as connection:
        found = connection.execute(query)
        return [(str(a), str(b), str(c)) for a, b, c in found.fetchall()]
