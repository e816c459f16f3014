"""Connections to the ledger's database: how each of the two is spoken to, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from worker.errors import LedgerError, UsageError

BUSY_TIMEOUT_MS = 30_000
"""How long SQLite waits for another writer; a write here takes milliseconds."""

POSTGRES_SESSION = {
    # A statement that takes as long as a lease writes what nobody waits for any more.
    "statement_timeout": "30s",
    # Longer than a worker that was frozen in a transaction is let to hold its locks (below), so
    # that those who wait for them go on instead of giving up.
    "lock_timeout": "15s",
    "idle_in_transaction_session_timeout": "10s",
}
"""Ends what hangs, on the server, well inside the 35 s of a lease."""

POSTGRES_CONNECTION: dict[str, Any] = {
    "application_name": "deskfeed",
    "connect_timeout": 5,
    # A server that vanished without a word (no RST) is noticed in 15 s, not in two hours.
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""Parameters of libpq; the URL may set each of them otherwise (`?application_name=…`)."""

POSTGRES_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 24, "pool_timeout": 15.0}
"""Of one process: 34 connections serve 32 threads, the sweeper and the heartbeat at once; with
more threads some wait, for milliseconds, because no transaction is longer."""


def make_engine(url: str) -> Engine:
    """Return an engine for the ledger at a SQLAlchemy URL; nothing is connected yet.

    Raises:
        UsageError: the URL is malformed or of a database that is not supported.
        LedgerError: the folder of a SQLite file cannot be made.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.drivername == "postgresql+psycopg":
        return _postgres(parsed)
    raise UsageError(
        f"DESKFEED_LEDGER_URL: a ledger on {parsed.drivername!r} is not supported; use sqlite:/// "
        "(one host) or postgresql+psycopg:// (several)",
        code="ledger_unavailable",
    )


def is_sqlite(engine: Engine) -> bool:
    """Whether it is SQLite; else it is PostgreSQL."""
    return engine.dialect.name == "sqlite"


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port, which may be part of a password
        # The URL may hold a password: it is not repeated.
        raise UsageError(
            "DESKFEED_LEDGER_URL is not a SQLAlchemy URL such as sqlite:///ledger.db or "
            "postgresql+psycopg://user@host/name",
            code="ledger_unavailable",
        ) from None


def _sqlite(url: URL) -> Engine:
    if url.database:
        _make_folder(Path(url.database).parent)
    engine = create_engine(url, pool_size=5, max_overflow=60, hide_parameters=True)
    _prepare_sqlite(engine)
    return engine


def _postgres(url: URL) -> Engine:
    session = " ".join(f"-c {name}={value}" for name, value in POSTGRES_SESSION.items())
    ours = {**POSTGRES_CONNECTION, "options": session}
    try:
        return create_engine(
            url,
            connect_args={name: value for name, value in ours.items() if name not in url.query},
            pool_pre_ping=True,  # a server that was restarted meanwhile costs a reconnect only
            hide_parameters=True,
            **POSTGRES_POOL,
        )
    except ModuleNotFoundError:
        raise UsageError(
            "DESKFEED_LEDGER_URL names PostgreSQL, and its driver is not installed",
            code="ledger_unavailable",
            resolution="Install it: pip install 'deskfeed[postgres]'",
        ) from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # customers lie in it
    except OSError as error:
        raise LedgerError(f"the folder {folder} cannot be made: {error.strerror}") from None


def _prepare_sqlite(engine: Engine) -> None:
    """WAL so that readers never wait; FULL so that a commit survives a power cut.

    The driver's own BEGIN is switched off: a transaction that reads first and writes later could
    not upgrade its lock when another writer came between. Writers begin IMMEDIATE instead.
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # People's rows that are removed are overwritten, in the file and in what is left of the
        # log. SQLite is mostly built so.
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute("PRAGMA journal_size_limit=0")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("deskfeed_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
