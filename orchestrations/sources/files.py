"""A source's files as tables of a locked DuckDB, and the one query that reads them.

The query is written by people who may write queries, not read the machine: it sees the declared
tables and nothing else. What holds it there, all of it DuckDB's own:

1. the declared files are the only paths allowed, and external access is off (no other file, no
   network, no extension, no ATTACH);
2. the settings are locked, and Python's variables are not taken for tables;
3. exactly one statement of type SELECT runs, in a database in memory that holds views only.

A CSV file has no types, so its columns are text, exactly as they stand in the file: guessed types
would turn the id 007 into 7. The query says what a column is: `CAST(points AS INTEGER)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from orchestrations.sources.headers import check_header, separator_of, uneven, uneven_row
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
)
from orchestrations.spec import Source, data_format
from orchestrations.sql import describes
from worker.errors import RunError

MEMORY_LIMIT = "256MB"
"""For sorts and joins; what does not fit goes to the scratch folder."""

THREADS = 2
"""Planning shares the machine with workers whose sends are timed to the millisecond."""

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "enable_external_file_cache": "false",  # it would fill the memory with files read once
    "threads": str(THREADS),
}

_ABOUT_THE_QUERY = (
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
)
_ABOUT_TYPES = (duckdb.ConversionException, duckdb.TypeMismatchException)
_NO_COLUMN = re.compile(
    r"Referenced column \"|does not have a column named|in (?:EXCLUDE|REPLACE|RENAME) list not"
)
_TWO_TYPES = re.compile(
    r"Cannot (?:compare|mix) values of type|argument types '|explicit cast|Cannot extract field"
)
_ABOUT_THE_MACHINE = (duckdb.OutOfMemoryException, duckdb.IOException)
_HARMLESS = (
    "More than one row returned by a subquery used as an expression",
    "Overflow in addition",
    "Overflow in subtraction",
    "Overflow in multiplication",
    "Malformed JSON",
    "Could not parse string",
    "Invalid unicode (byte sequence mismatch) detected",
    "Value with unterminated quote found",
    "Maximum line size",
    "No space left on device",
)
_TYPE = (
    r"U?INT(?:8|16|32|64|128)|U?(?:TINY|SMALL|BIG|HUGE)?INT|INTEGER|FLOAT|DOUBLE|BOOL|BOOLEAN|DATE|"
    r"TIME|TIMESTAMP|INTERVAL|UUID|JSON|DECIMAL\(\d{1,2},\d{1,2}\)"
)
_CONVERSION = re.compile(rf"\bto (?:type )?({_TYPE})\b(?: when casting| failed|$)", re.MULTILINE)
_CSV_LINE = re.compile(r"\ACSV Error on Line: (\d{1,15})$", re.MULTILINE)
_CSV_CELLS = re.compile(r"^Expected Number of Columns: (\d{1,9}) Found: (\d{1,9})$", re.MULTILINE)
_SNIFFING = "Error when sniffing file"
_JSON_VALUE = "JSON transform error"
_JSON_LINE = re.compile(
    r"\A[^\n]{1,2000}?\", (?:at byte \d{1,15} )?in (?:line|record/value) (\d{1,15}): "
)
_MIXED = (
    "a value is of another type than those that the type of its column was found from; write the "
    'file so that the column has one type from its first rows on (ids as text: "17")'
)

Tables = Mapping[Path, str]
"""Which table a file belongs to."""

T = TypeVar("T")


class OpenFiles:
    """The declared tables; made by `open_files`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables

    def query(self, sql: str, params: Params | None = None) -> Result:
        """Run a query; see `OpenSource`."""
        # Each query has a cursor of its own: another one would end the stream of the first.
        cursor = self._connection.cursor()
        try:
            columns = _start(cursor, sql, params or {}, self._tables)
        except BaseException:
            cursor.close()
            raise
        return Result(columns, _batches(cursor, sql, self._tables, private=bool(params)))


def _start(
    cursor: duckdb.DuckDBPyConnection, sql: str, params: Params, tables: Tables
) -> tuple[str, ...]:
    """Check and begin the query; return its columns."""
    _told(sql, lambda: _check_statement(cursor, sql), planning=True)
    # Asked for the plan first: an error in it cannot have seen a row, so its words may be shown.
    values = bound(sql, params)
    # But for those of parameters, which the planner knows: these must come with others, too.
    plan = partial(cursor.execute, "EXPLAIN " + sql)
    others = [partial(plan, other) for other in stand_ins(values)]
    _told(sql, partial(plan, values), tables, planning=True, others=others)
    _told(sql, lambda: _refuse_names_of_values(cursor, sql, values), tables, private=bool(values))
    _told(sql, lambda: cursor.execute(sql, values), tables, private=bool(values))
    columns = cursor.description or []
    _refuse_json([str(name) for name, kind, *_ in columns if str(kind) in ("JSON", "JSON[]")])
    return unique_columns(tuple(str(column[0]) for column in columns))


def _refuse_names_of_values(cursor: duckdb.DuckDBPyConnection, sql: str, values: Params) -> None:
    """Raise `RunError` when columns are called after values of parameters, as PIVOT calls them.

    Names of columns are repeated in errors and warnings, values of parameters are not.
    """

    def names(given: Params) -> list[str]:
        described = cursor.execute("DESCRIBE " + sql, given).fetchall()
        return [str(name) for name, *_ in described]

    others = stand_ins(values)
    called = names(values) if others else []
    for other in others:
        with suppress(duckdb.Error):  # the query does not take this one
            if names(other) != called:
                raise RunError(
                    "the query names columns after values of its parameters; give each a name of "
                    "its own, such as IN ($kind AS chosen)",
                    code="invalid_columns",
                )


def _refuse_json(names: list[str]) -> None:
    """Raise `RunError` when there are columns whose values would be sent as pieces of JSON."""
    if names:
        name = names[0]
        raise RunError(
            f"column {name!r} of the result is JSON: it has several types in the file, and its "
            f"texts would be sent in quotes; write x->>'$' AS {_quoted(name)} in the query, with "
            "the column's name for x (of a list: list_transform(x, lambda v: v->>'$')), or leave "
            "the column out",
            code="invalid_columns",
        )


@contextmanager
def open_files(
    source: Source,
    folder: Path,
    *,
    scratch: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Iterator[OpenFiles]:
    """Open the files of a source for queries.

    Args:
        source: its declaration.
        folder: the catalog folder; files outside it are refused, also through symbolic links.
        scratch: a folder for what does not fit into memory; without one such a query fails.
        memory_limit: bound of DuckDB's own memory, e.g. "1GB".

    Raises:
        RunError: `query_failed` when a table's files are missing, outside, or not readable.
    """
    tables = {name: _files(folder, name, paths) for name, paths in (source.tables or {}).items()}
    connection = duckdb.connect(":memory:", config={**_SETTINGS, "memory_limit": memory_limit})
    try:
        for name, files in tables.items():
            _create_view(connection, name, files)
        _lock(connection, [str(file) for files in tables.values() for file in files], scratch)
        yield OpenFiles(connection, {file: name for name in tables for file in tables[name]})
    finally:
        connection.close()


def _files(folder: Path, table: str, patterns: tuple[str, ...]) -> list[Path]:
    """Return the real paths of a table's files; every pattern must match one."""
    base = folder.resolve()
    files: dict[Path, None] = {}
    for pattern in patterns:
        literal = base / pattern
        found = [literal] if literal.is_file() else sorted(base.glob(pattern))
        real = [path.resolve() for path in found if path.is_file()]
        if not real:
            raise RunError(f"table {table!r}: no file matches {pattern!r} in the catalog folder")
        if not all(path.is_relative_to(base) for path in real):
            raise RunError(f"table {table!r}: {pattern!r} leads out of the catalog folder")
        files.update(dict.fromkeys(real))
    return list(files)


def _create_view(connection: duckdb.DuckDBPyConnection, table: str, files: list[Path]) -> None:
    """Make the files a table's rows; columns of several files are matched by name."""
    readers = {_reader(file) for file in files}
    if len(readers) > 1:
        raise RunError(f"table {table!r}: its files are of different kinds")
    function, options = readers.pop()
    if function == "read_csv":
        for file in files:
            check_header(table, file)
    paths = ", ".join(_literal(str(file)) for file in files)
    options += ", union_by_name = true" if len(files) > 1 else ""
    view = f'CREATE VIEW "{table}" AS SELECT * FROM {function}([{paths}]{options})'  # noqa: S608
    try:
        connection.execute(view)
    except duckdb.Error as error:
        place = _place(str(error), dict.fromkeys(files, table))
        words = _words(error, "", place, planning=True, private=False)
        raise RunError(words if place and place in words else f"table {table!r}: {words}") from None


def _reader(file: Path) -> tuple[str, str]:
    """Return DuckDB's table function for a file, and its options; nothing is left to guess."""
    kind = data_format(file.name)
    if kind != "csv":
        return f"read_{kind}", ", hive_partitioning = false"
    separator = separator_of(file) or ","
    return "read_csv", (
        f", all_varchar = true, header = true, delim = {_literal(separator)}, quote = '\"', "
        "escape = '\"', comment = '', skip = 0, hive_partitioning = false"
    )


def _lock(connection: duckdb.DuckDBPyConnection, files: list[str], scratch: Path | None) -> None:
    """Take everything away that the query does not need; the order matters."""
    # DuckDB 2.0 pushes casts into the CSV reader, where TRY_CAST fails like CAST and errors name
    # the wrong column (github.com/duckdb/duckdb/issues/23818).
    connection.execute("SET disabled_optimizers = 'type_pushdown'")
    connection.execute(
        "SET temp_directory = " + _literal(str(scratch.resolve()) if scratch else "")
    )
    connection.execute(f"SET allowed_paths = [{', '.join(map(_literal, files))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if describes(sql) or len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise RunError("the query must be exactly one SELECT statement (WITH … SELECT is one, too)")


def _batches(
    cursor: duckdb.DuckDBPyConnection, sql: str, tables: Tables, *, private: bool
) -> Iterator[list[tuple[Any, ...]]]:
    rows = 0
    try:
        while batch := _told(sql, lambda: cursor.fetchmany(BATCH_ROWS), tables, private=private):
            yield batch
            rows += len(batch)
    except RunError as error:
        raise after_rows(error, rows) from None
    finally:
        cursor.close()


def _told(
    sql: str,
    call: Callable[[], T],
    tables: Tables | None = None,
    *,
    planning: bool = False,
    private: bool = False,
    others: Sequence[Callable[[], object]] = (),
) -> T:
    """Return what a call returns, or raise its error as one of ours, without values.

    Args:
        sql: the query.
        call: what is to be done.
        tables: whose files an error may name.
        planning: whether no row was read yet.
        private: whether the query has parameters, whose values the words may hold.
        others: the same call with stand-ins for the parameters; words that one of them brings
            too hold no value.
    """
    try:
        return call()
    except duckdb.Error as error:
        place = _place(str(error), tables or {})
        # `from None`: the original text must not reach a log by way of a traceback.
        if others:
            private = not says_again(str(error), others, duckdb.Error)
        words = _words(error, sql, place, planning=planning, private=private)
        raise RunError(words, code=_code(error)) from None
    except (ValueError, OverflowError) as error:
        raise RunError(f"a value of the result cannot be read ({type(error).__name__})") from None


def _code(error: duckdb.Error) -> str:
    """Return what an error of the database means to people; its words are only looked at."""
    text = str(error)
    if isinstance(error, duckdb.BinderException) and _NO_COLUMN.search(text):
        return "unresolved_column"
    if isinstance(error, _ABOUT_TYPES) or (
        isinstance(error, duckdb.BinderException) and _TWO_TYPES.search(text)
    ):
        return "mismatched_datatype"
    return "query_failed"


def _words(error: duckdb.Error, sql: str, place: str, *, planning: bool, private: bool) -> str:
    """Return DuckDB's words, as far as they can only quote the query."""
    text = str(error)
    about = (*_ABOUT_THE_MACHINE, *(_ABOUT_THE_QUERY if planning else ()))
    if isinstance(error, duckdb.OutOfMemoryException) or (isinstance(error, about) and not private):
        return _one_line(text)
    kind, _, rest = text.partition(": ")
    kind = kind if re.fullmatch(r"[A-Za-z ]{1,40} Error", kind) else type(error).__name__
    facts = [place, *(word for word in _HARMLESS if _says(rest, word))]
    if conversion := _CONVERSION.search(rest):
        facts.append(f"a value cannot be converted to {conversion[1]}")
    if not place and (csv_line := _CSV_LINE.search(rest)):
        facts.append(f"line {csv_line[1]} of a CSV file")
    facts.append(place_of(rest, sql))
    if planning and private:
        facts.append(WITH_THESE_VALUES)
    known = "; ".join(filter(None, facts))
    return f"{kind}: {known or 'its words may quote values and are left out'}"


def _says(rest: str, word: str) -> bool:
    """Whether an error begins a line, or ends, with words that are the same for every value."""
    return rest.startswith(word) or f"\n{word}" in rest or rest.endswith(f": {word}")


def _place(text: str, tables: Tables) -> str:
    """Return the file that an error speaks of, where in it, and what to do: no value of it."""
    rest = text.partition(": ")[2]
    named = (file for file in tables if f'"{file}"' in rest or f"\n  file = {file}\n" in rest)
    file = next(named, None)
    if file is None:
        return ""
    facts = ""
    if rest.startswith(_SNIFFING):
        facts = uneven_row(file) or 'it cannot be read as CSV with a header, UTF-8 and quotes "'
    elif csv_line := _CSV_LINE.search(rest):
        cells = _CSV_CELLS.search(rest)
        facts = f"line {csv_line[1]}"
        facts += f": {uneven(int(cells[1]), int(cells[2]))}" if cells else ""
    elif json_line := _JSON_LINE.search(rest):
        facts = f"line {json_line[1]}"
        facts += f": {_MIXED}" if rest.startswith(_JSON_VALUE) else ""
    return f"table {tables[file]!r}, file {file.name}" + (f", {facts}" if facts else "")


def _one_line(text: str) -> str:
    """Join DuckDB's lines, without carets and without advice on settings that are locked here."""
    lines = (line.strip() for line in text.partition("Possible solutions:")[0].splitlines())
    return " ".join(line for line in lines if line.strip("^~ "))[:1_000]


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_]+", name) else '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
