"""A database as a source: one SELECT in a session that may only read, streamed.

The URL stands in an environment variable or a secret file, never in the catalog. Nothing of it and
no value of a row or a parameter gets into an error: of a database's words only those are repeated
that it can only have about the query itself, because it says them before it has looked at a row,
and with other parameters, too.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    TextClause,
    bindparam,
    create_engine,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import NullType

from orchestrations.sources.result import (
    BATCH_ROWS,
    WITH_THESE_VALUES,
    Params,
    Result,
    after_rows,
    bound,
    place_of,
    says_again,
    stand_ins,
    unique_columns,
    words_of,
)
from orchestrations.spec import Source
from orchestrations.sql import is_one_select, with_colons
from worker.errors import RunError, UsageError

_SQLITE_STEPS = 10_000
"""SQLite asks so often whether the time is over: some thousand times a second."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a kind of database is spoken to.

    Attributes:
        install: the packages to install for it, as pip takes them.
        session: statements that make the session read-only and bound each statement's time
            (`{s}` seconds, `{ms}` milliseconds).
        explains: whether `EXPLAIN` checks a query without running it.
    """

    install: str
    session: tuple[str, ...] = ()
    explains: bool = False


_POSTGRES_SESSION = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET statement_timeout = {ms}",
)
_DIALECTS: Mapping[str, _Dialect] = {
    "postgresql": _Dialect("'deskfeed[postgres]'", _POSTGRES_SESSION, explains=True),
    "sqlite": _Dialect("", ("PRAGMA query_only = ON",), explains=True),
    "mysql": _Dialect(
        "'deskfeed[mysql]'",
        ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_execution_time = {ms}"),
        explains=True,
    ),
    "mariadb": _Dialect(
        "'deskfeed[mysql]'",
        ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_statement_time = {s}"),
        explains=True,
    ),
    # These cannot make a session read-only: there, let the URL's user read only.
    "redshift": _Dialect(
        "sqlalchemy-redshift redshift-connector", ("SET statement_timeout TO {ms}",)
    ),
    "snowflake": _Dialect(
        "snowflake-sqlalchemy", ("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = {s}",)
    ),
    "databricks": _Dialect("databricks-sqlalchemy", ("SET STATEMENT_TIMEOUT = {s}",)),
    "bigquery": _Dialect("sqlalchemy-bigquery"),
}

_ABOUT_THE_QUERY = ("42", "0A", "26")
"""Classes of SQLSTATE: syntax or access rule, not supported, statement name."""

_ABOUT_THE_QUERY_SQLITE = (
    "no such ",
    "near ",
    "ambiguous column",
    "incomplete input",
    "unrecognized token",
    "wrong number of arguments",
    "misuse of ",
)

_NO_COLUMN = re.compile(
    r"no such column|Unknown column '|invalid identifier '|Unrecognized name: ", re.IGNORECASE
)
"""SQLite, MySQL, Snowflake, BigQuery."""

_ABOUT_TYPES = frozenset({"42804", "42846", "22P02", "22007", "22018"})
"""SQLSTATE: datatype mismatch, cannot coerce, invalid text, invalid time, invalid cast."""

T = TypeVar("T")


class OpenDatabase:
    """A database that can be queried; made by `open_database`."""

    def __init__(self, connection: Connection, dialect: _Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        self._cursors = ExitStack()

    def query(self, sql: str, params: Params | None = None) -> Result:
        """Run a query; see `OpenSource`."""
        if not is_one_select(sql):
            raise RunError("the query must be exactly one SELECT statement (or WITH … SELECT)")
        values = bound(sql, params or {})
        if self._dialect.explains:
            explain = "EXPLAIN " + sql
            others = [partial(self._replan, explain, other) for other in stand_ins(values)]
            _told(sql, partial(self._plan, explain, values), planning=True, others=others)
        streaming = self._connection.execution_options(
            stream_results=True, max_row_buffer=BATCH_ROWS
        )
        cursor = _told(sql, lambda: streaming.execute(_statement(sql, values)))
        self._cursors.callback(cursor.close)
        if not cursor.returns_rows:
            raise RunError("the query returns no rows; it must be a SELECT")
        return Result(unique_columns(tuple(cursor.keys())), _batches(cursor, sql))

    def _plan(self, explain: str, values: Params) -> None:
        self._connection.execute(_statement(explain, values)).close()

    def _replan(self, explain: str, values: Params) -> None:
        self._connection.rollback()  # after an error PostgreSQL says nothing else
        self._plan(explain, values)

    def close(self) -> None:
        """End every query."""
        self._cursors.close()


@contextmanager
def open_database(source: Source, variable: Callable[[str], str | None]) -> Iterator[OpenDatabase]:
    """Open a database for queries.

    Args:
        source: its declaration.
        variable: where its URL stands.

    Raises:
        UsageError: the URL is not set or of no use, or its driver is not installed.
        RunError: the database cannot be reached.
    """
    url = _url(source, variable)
    dialect = _DIALECTS[url.get_backend_name()]
    engine = _engine(source, url, dialect)
    try:
        with _connected(source, engine) as connection:
            _prepare(connection, dialect, source.statement_timeout)
            with closing(OpenDatabase(connection, dialect)) as opened:
                yield opened
    finally:
        engine.dispose()


def _url(source: Source, variable: Callable[[str], str | None]) -> URL:
    name = source.url_env or ""
    value = variable(name)
    if not value:
        raise UsageError(
            f"source {source.name!r}: {name} is not set",
            code="source_not_set",
        )
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise UsageError(
            f"source {source.name!r}: {name} is not a SQLAlchemy URL such as "
            "postgresql://user:password@host/name",
            code="source_not_set",
        ) from None
    if url.get_backend_name() not in _DIALECTS:
        known = ", ".join(sorted(_DIALECTS))
        raise UsageError(
            f"source {source.name!r}: {name} names a kind of database that is not supported; "
            f"there are: {known}",
            code="source_not_set",
        )
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _engine(source: Source, url: URL, dialect: _Dialect) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            return create_engine("sqlite://", creator=lambda: _open_sqlite(url), poolclass=NullPool)
        return create_engine(url, poolclass=NullPool, hide_parameters=True)
    except (ModuleNotFoundError, NoSuchModuleError):
        raise UsageError(
            f"source {source.name!r}: the driver of {source.url_env} is not installed",
            code="source_not_set",
            resolution=f"Install it: pip install {dialect.install}",
        ) from None


def _open_sqlite(url: URL) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(url.database or '')}?mode=ro", uri=True)


@contextmanager
def _connected(source: Source, engine: Engine) -> Iterator[Connection]:
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        # Its words name host and user, and may name more.
        raise RunError(
            f"source {source.name!r}: the database of {source.url_env} cannot be reached, or "
            f"refuses the login ({_kind(error)})"
        ) from None
    try:
        yield connection
    finally:
        connection.close()


def _prepare(connection: Connection, dialect: _Dialect, seconds: int) -> None:
    for template in dialect.session:
        statement = text(template.format(s=seconds, ms=1000 * seconds))
        _told("", partial(connection.execute, statement))
    connection.commit()
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):  # it has no timeout of its own
        end = time.monotonic() + seconds
        driver.set_progress_handler(lambda: int(time.monotonic() > end), _SQLITE_STEPS)


def _statement(sql: str, values: Params) -> TextClause:
    # NullType: the database finds the type where the value stands, instead of taking it for text.
    binds = [bindparam(name, value, type_=NullType()) for name, value in values.items()]
    return text(with_colons(sql)).bindparams(*binds)


def _batches(cursor: CursorResult[Any], sql: str) -> Iterator[list[tuple[Any, ...]]]:
    rows = 0
    try:
        while batch := _told(sql, lambda: cursor.fetchmany(BATCH_ROWS)):
            yield [tuple(row) for row in batch]
            rows += len(batch)
    except RunError as error:
        raise after_rows(error, rows) from None
    finally:
        cursor.close()


def _told(
    sql: str,
    call: Callable[[], T],
    *,
    planning: bool = False,
    others: Sequence[Callable[[], object]] = (),
) -> T:
    """Return what a call returns, or raise its error as one of ours, without values.

    Args:
        sql: the query.
        call: what is to be done.
        planning: whether no row was read yet.
        others: the same call with stand-ins for the query's parameters; words that one of them
            brings too hold no value.
    """
    try:
        return call()
    except SQLAlchemyError as error:
        # `from None`: the original text must not reach a log by way of a traceback.
        private = bool(others) and not says_again(words_of(error), others, SQLAlchemyError)
        words = _words(error, sql, planning=planning, private=private)
        raise RunError(words, code=_code(error)) from None
    except (ValueError, OverflowError, TypeError) as error:
        raise RunError(f"a value of the result cannot be read ({type(error).__name__})") from None


def _code(error: SQLAlchemyError) -> str:
    """Return what an error of the database means to people; its words are only looked at."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    said, state = str(cause), str(getattr(cause, "sqlstate", None) or "")
    if state == "42703" or _NO_COLUMN.search(said):
        return "unresolved_column"
    if state in _ABOUT_TYPES or said.startswith("operator does not exist"):
        return "mismatched_datatype"
    return "query_failed"


def _words(error: SQLAlchemyError, sql: str, *, planning: bool, private: bool) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else None
    if cause is None:
        return f"the query failed ({_kind(error)})"
    said = str(cause)
    state = str(getattr(cause, "sqlstate", None) or "")
    facts = [place_of(said, sql)]
    if state == "57014" or said == "interrupted":
        facts.insert(0, "it took longer than statement_timeout allows")
    elif private:
        facts.insert(0, WITH_THESE_VALUES)
    elif planning and _is_about_the_query(said, state):
        facts.insert(0, said.splitlines()[0][:500])
    else:
        facts.insert(0, "its words may quote values and are left out")
    return f"{_kind(error)}: " + "; ".join(filter(None, facts))


def _is_about_the_query(said: str, state: str) -> bool:
    return state[:2] in _ABOUT_THE_QUERY if state else said.startswith(_ABOUT_THE_QUERY_SQLITE)


def _kind(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else None
    state = getattr(cause, "sqlstate", None)
    name = type(error if cause is None else cause).__name__
    return f"{name}, SQLSTATE {state}" if state else name
