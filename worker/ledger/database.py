"""One way to open, migrate and use the ledger's database, whatever database it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from worker.errors import Conflict, LedgerError, UsageError
from worker.ledger import schema

Clock = Callable[[], float]

BUSY_TIMEOUT_MS = 30_000
"""How long SQLite waits for another writer; a write here takes milliseconds."""

SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
"""PostgreSQL: every statement of a reading transaction sees the same moment."""


class Database:
    """An engine, its clock, and two kinds of transaction.

    Args:
        engine: made by `open_database`.
        clock: seconds since the epoch, used on SQLite (one host); PostgreSQL's own clock is used
            there, so that hosts with clocks that differ agree on leases.
    """

    def __init__(self, engine: Engine, clock: Clock = time.time) -> None:
        self._engine = engine
        self._reader = engine.execution_options(
            **({"deskfeed_read": True} if _is_sqlite(engine) else SNAPSHOT)
        )
        self._clock = clock
        self.is_sqlite = _is_sqlite(engine)

    def now(self, connection: Connection) -> float:
        """Return the ledger's time in seconds since the epoch."""
        if self.is_sqlite:
            return self._clock()
        return float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))))  # type: ignore[arg-type]

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: commits at the end, rolls back on an exception."""
        with _converted(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: every statement inside sees the same moment. Takes no write lock."""
        with _converted(), self._reader.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def open_database(url: str, clock: Clock = time.time) -> Database:
    """Open the database at a SQLAlchemy URL and bring its tables up to date.

    Raises:
        UsageError: the URL is malformed or of a database that is not supported.
        LedgerError: the database cannot be reached or written.
    """
    engine = _engine(url)
    with _converted():
        _migrate(engine)
    return Database(engine, clock)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The URL may hold a password: it is not repeated.
        raise UsageError(
            "DESKFEED_LEDGER_URL is not a SQLAlchemy URL such as sqlite:///ledger.db or "
            "postgresql+psycopg://user@host/name",
            code="ledger_unavailable",
        ) from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            _make_folder(Path(parsed.database).parent)
        engine = create_engine(parsed, pool_size=5, max_overflow=60, hide_parameters=True)
        _prepare_sqlite(engine)
        return engine
    if parsed.drivername == "postgresql+psycopg":
        return create_engine(
            parsed, pool_size=5, max_overflow=30, pool_pre_ping=True, hide_parameters=True
        )
    raise UsageError(
        f"DESKFEED_LEDGER_URL: a ledger on {parsed.drivername!r} is not supported; use sqlite:/// "
        "(one host) or postgresql+psycopg:// (several)",
        code="ledger_unavailable",
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # customers lie in it
    except OSError as error:
        raise LedgerError(f"the folder {folder} cannot be made: {error.strerror}") from None


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


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
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("deskfeed_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _migrate(engine: Engine) -> None:
    """Run the migrations that this database lacks; costs one query when it lacks none."""
    with engine.begin() as connection:
        if _revision(connection) == schema.HEAD:
            return
        from alembic import command  # slow to import, and needed once in a database's life
        from alembic.config import Config

        if not _is_sqlite(engine):  # on SQLite BEGIN IMMEDIATE already keeps others out
            connection.execute(text("SELECT pg_advisory_xact_lock(70615100)"))
        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


@contextmanager
def _converted() -> Iterator[None]:
    """Turn SQLAlchemy's errors, which quote statements, into ours, which quote nothing."""
    try:
        yield
    except IntegrityError:
        raise Conflict("another transaction wrote the same key first") from None
    except DBAPIError as error:
        reason = type(error.orig).__name__
        text_ = str(error.orig).splitlines()[0] if _is_harmless(error) else ""
        raise LedgerError(f"The ledger answered with {reason}{': ' * bool(text_)}{text_}") from None
    except SQLAlchemyError as error:
        raise LedgerError(f"The ledger cannot be used: {type(error).__name__}") from None


def _is_harmless(error: DBAPIError) -> bool:
    """Whether the driver's words may be shown: about files and locks, never about values."""
    words = (
        "unable to open",
        "readonly",
        "locked",
        "full",
        "no such",
        "malformed",
        "not a database",
    )
    return any(word in str(error.orig) for word in words)
