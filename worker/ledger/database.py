"""One way to open, migrate and use the ledger's database, whatever database it is.

A blind repeat of a transaction is safe, also when its COMMIT got no answer: each transition is a
compare-and-set, so a repeat of one that was carried out touches no row and is `Superseded`; each
insert has a key of its own and becomes a `Conflict`. What is repeated, and where:

- *Beginning* (connecting, SQLite's lock): here, for `PATIENCE_S`; nothing was done yet.
- *The job's id after a POST* (`accepted`): by its caller with `persist`, as long as the claim is
  its own. It is the one write whose loss costs more than our time: a settle and a second POST.
- *All others*: not in place. They end as `LedgerError`, the worker drops what it holds, and the
  sweeper finds it by `wake_at` once the ledger answers again, as if the worker had died.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from worker.errors import Conflict, LedgerError, Superseded
from worker.ledger import faults, schema
from worker.ledger.engines import BUSY_TIMEOUT_MS, is_sqlite, make_engine
from worker.ledger.forks import Gate
from worker.sealing import SpoolKeys

log = structlog.get_logger(__name__)

Clock = Callable[[], float]
T = TypeVar("T")

PATIENCE_S = 10.0
"""So long a transaction tries to begin when the database is locked, cut off or being restarted."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Pauses between two tries: doubled each time, with jitter so that workers do not march in step."""

WIPE_PATIENCE_MS = 1_000
"""Others write nothing while the write-ahead log is being emptied."""

_alembic = threading.Lock()
"""Alembic keeps the migration under way in module globals: one at a time in a process."""

SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
"""PostgreSQL: every statement of a reading transaction sees the same moment."""

_SPOOL_KEYS = "deskfeed_spool_keys"


class Database:
    """An engine, its clock, and two kinds of transaction.

    Args:
        engine: made by `make_engine`.
        clock: seconds since the epoch. Only tests pass one. Without, SQLite (one host) takes the
            host's clock and PostgreSQL its own, so that hosts with clocks that differ agree on
            leases.
        spool_keys: encrypt what lies in the ledger of people; they travel with each connection.
    """

    def __init__(
        self, engine: Engine, clock: Clock | None = None, spool_keys: SpoolKeys | None = None
    ) -> None:
        self.is_sqlite = is_sqlite(engine)
        self.spool_keys = spool_keys or SpoolKeys()
        self._engine = engine.execution_options(**{_SPOOL_KEYS: self.spool_keys})
        self._reader = self._engine.execution_options(
            **({"deskfeed_read": True} if self.is_sqlite else SNAPSHOT)
        )
        self._gate = Gate(engine)
        self._clock = time.time if clock is None and self.is_sqlite else clock

    def now(self, connection: Connection) -> float:
        """Return the ledger's time in seconds since the epoch."""
        if self._clock is not None:
            return self._clock()
        return float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))))  # type: ignore[arg-type]

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: commits at the end, rolls back on an exception."""
        with _converted(), self._gate.passage(), ExitStack() as stack:
            yield _begin(stack, self._engine, faults.passes)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: every statement inside sees the same moment. Takes no write lock."""
        with _converted(), self._gate.passage(), ExitStack() as stack:
            connection = _begin(stack, self._reader, faults.passes)
            if not self.is_sqlite:  # it holds up nobody, and whoever reads may be a slow pipe
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield connection

    def wipe(self) -> None:
        """Let nothing that was removed linger in SQLite's write-ahead log, if nobody reads now.

        What is removed is overwritten in the file (`secure_delete`), and its old pages stand in
        the log until that is emptied. Whoever reads for long is not waited for.
        """
        if not self.is_sqlite:
            return
        with _converted(), self._gate.passage(), closing(self._engine.raw_connection()) as raw:
            cursor = raw.cursor()
            cursor.execute(f"PRAGMA busy_timeout={WIPE_PATIENCE_MS}")
            with suppress(sqlite3.Error):  # a later one does it
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            cursor.close()

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def spool_keys_of(connection: Connection) -> SpoolKeys:
    """Return the keys that a connection of the ledger brings along."""
    found: SpoolKeys = connection.get_execution_options()[_SPOOL_KEYS]
    return found


def open_database(
    url: str, clock: Clock | None = None, spool_keys: SpoolKeys | None = None
) -> Database:
    """Open the database at a SQLAlchemy URL and bring its tables up to date.

    Raises:
        UsageError: the URL is malformed or of a database that is not supported.
        LedgerError: the database cannot be reached or written.
    """
    engine = make_engine(url)
    try:
        with _converted():
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Database(engine, clock, spool_keys)


def persist(write: Callable[[], T], seconds: float, sleep: Callable[[float], None]) -> T:
    """Make a write whose loss would be dear: try again whatever the ledger answers, for a while.

    Args:
        write: one transition. If the ledger carried it out and could not say so, the repeat is
            `Superseded`, and what was written stands.
        seconds: no new try after this long.
        sleep: waits between two tries.

    Raises:
        Superseded, Conflict: as the write does, at once.
        LedgerError: what the last try met.
    """
    end = time.monotonic() + seconds
    for pause in _pauses():
        try:
            return write()
        except (Superseded, Conflict):
            raise
        except LedgerError as error:
            if time.monotonic() + pause > end:
                raise
            log.warning("ledger_write_repeated", reason=error.message)
            sleep(pause)
    raise AssertionError("pauses never end")


def _begin(stack: ExitStack, engine: Engine, passes: Callable[[DBAPIError], bool]) -> Connection:
    """Enter a transaction; while the database is away or locked try again, nothing was done yet."""
    end = time.monotonic() + PATIENCE_S
    for pause in _pauses():
        try:
            return stack.enter_context(engine.begin())
        except DBAPIError as error:
            if not passes(error) or time.monotonic() + pause > end:
                raise
            time.sleep(pause)
    raise AssertionError("pauses never end")


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311  # not for secrets
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _migrate(engine: Engine) -> None:
    """Run the migrations that this database lacks; costs one query when it lacks none."""
    with ExitStack() as stack:
        # Processes that start together meet at a lock; a server that is away is told at once.
        connection = _begin(stack, engine, faults.is_locked)
        if _revision(connection) == schema.HEAD:
            return
        from alembic import command  # slow to import, and needed once in a database's life
        from alembic.config import Config

        if not is_sqlite(engine):  # on SQLite BEGIN IMMEDIATE already keeps others out
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # tables may be long
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(70615100)"))
        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        config.attributes["connection"] = connection
        with _alembic:
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
        raise LedgerError(
            f"The ledger cannot be used: {faults.sentence(error)}", code=faults.code(error)
        ) from None
    except SQLAlchemyError as error:
        raise LedgerError(f"The ledger cannot be used: {type(error).__name__}") from None
