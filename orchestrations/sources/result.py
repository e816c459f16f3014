"""What a query returned, and what may be said of it when it fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrations.sql import placeholders
from worker.errors import RunError

BATCH_ROWS = 2_000
"""Rows that are Python objects at a time."""

Params = Mapping[str, str | int | float | bool | None]
"""Values of a query's placeholders, by name; bound by the database, never written into the text."""

WITH_THESE_VALUES = (
    "its words may quote values of the query's parameters and are left out; to read them, run the "
    "query with these values in a client of your own"
)
"""Said in place of words that come with the given values only."""

_POSITION = re.compile(r"^LINE (\d{1,6}): ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a query returned.

    Attributes:
        columns: names in order, each once.
        batches: lists of at most `BATCH_ROWS` rows, in order, read as they are taken; taking one
            may raise `RunError`.
    """

    columns: tuple[str, ...]
    batches: Iterator[list[tuple[Any, ...]]]


class OpenSource(Protocol):
    """A source that can be queried."""

    def query(self, sql: str, params: Params | None = None) -> Result:
        """Run a query.

        Args:
            sql: exactly one SELECT.
            params: the values of its placeholders.

        Raises:
            RunError: `query_failed`, `unresolved_column` or `mismatched_datatype`, with the
                database's words as far as they cannot quote values of rows or parameters;
                `invalid_columns` when two columns of the result have the same name.
        """
        ...


def first_rows(result: Result, count: int) -> Result:
    """Return a result that ends after so many rows."""

    def batches() -> Iterator[list[tuple[Any, ...]]]:
        left = count
        while left > 0 and (batch := next(result.batches, None)) is not None:
            yield batch[:left]
            left -= len(batch)

    return Result(columns=result.columns, batches=batches())


def bound(sql: str, params: Params) -> dict[str, str | int | float | bool | None]:
    """Return the values that a query's placeholders take.

    Raises:
        RunError: one has no value, or no name.
    """
    names = placeholders(sql)
    unnamed = [name for name in names if name == "?" or name.isdigit()]
    if unnamed:
        raise RunError("the query has a placeholder without a name; write $name and declare it")
    missing = [name for name in names if name not in params]
    if missing:
        named = ", ".join(f"${name}" for name in missing)
        raise RunError(f"the query's {named} has no value; declare it under `params:`")
    return {name: params[name] for name in names}


def unique_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns, or raise `RunError` when two have the same name."""
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        names = ", ".join(map(repr, repeated))
        raise RunError(f"two columns of the query are named {names}", code="invalid_columns")
    return columns


def stand_ins(values: Params) -> tuple[dict[str, str | int | float | bool | None], ...]:
    """Return other values for a query's placeholders, none of them a secret.

    A database names what it looked for by the values, or by what the query made of them, so that
    nothing can be found in its words by looking for the values. Words that it says with other
    values, too, are about the query alone.
    """
    if not values:
        return ()
    return {name: _stand_in(value) for name, value in values.items()}, dict.fromkeys(values)


def _stand_in(value: str | int | float | bool | None) -> str | int | float | bool | None:
    """Return another value of the same type: errors about types depend on it."""
    if value is None or isinstance(value, bool):
        return None if value is None else not value
    if isinstance(value, str):
        return "~" if value != "~" else "~~"
    return type(value)(0 if value else 1)


def says_again(words: str, calls: Iterable[Callable[[], object]], failure: type[Exception]) -> bool:
    """Whether one of the calls ends in an error with exactly these words.

    Args:
        words: of the error of the same query with the values that it was given.
        calls: the query with stand-ins.
        failure: what the library raises.
    """
    for call in calls:
        try:
            call()
        except failure as error:
            if words_of(error) == words:
                return True
        except (ValueError, OverflowError, TypeError):
            continue
    return False


def words_of(error: Exception) -> str:
    """Return the words of a database, without those of the library that brings them."""
    return str(getattr(error, "orig", None) or error)


def place_of(text: str, sql: str) -> str:
    """Return the line of the query that an error points at, quoted from the query itself."""
    positions = _POSITION.findall(text)
    lines = sql.splitlines()
    number = int(positions[-1]) if positions else 0
    if not 0 < number <= len(lines):
        return ""
    return f"line {number} of the query: {lines[number - 1].strip()[:120]}"


def after_rows(error: RunError, rows: int) -> RunError:
    """Return the error of a query that had given so many rows when it failed."""
    if not rows:
        return error
    return RunError(f"{error.message} (after about {rows:,} rows)", code=error.code)
