"""CSV files as plain text: what their headers say, and which row does not fit.

DuckDB renames a column that stands twice, takes the columns of a file with another separator for
one, and says of an uneven row at the beginning only that it could not guess the file's dialect.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import RunError

SEPARATORS = {".csv": ",", ".tsv": "\t"}

MAX_ROWS = 100_000
"""DuckDB guesses from the first 20,480 rows, so an uneven one that it tells nothing of is there."""


_PERSON = re.compile(r"[^\s@]@[^\s@]+\.\w|^\s*\+\d[\d ()/.-]{6,}$")
"""What is no name of a column: an e-mail address, a phone number."""


def separator_of(file: Path) -> str | None:
    """Return what separates the columns of a file, or None when it is no CSV file."""
    return SEPARATORS.get(Path(file.name.removesuffix(".gz")).suffix)


def check_header(table: str, file: Path) -> None:
    """Refuse a CSV file of which not all columns could be named.

    Where there is no header the first row is taken for it, and errors, which repeat the names of
    columns, would repeat what stands in it.

    Raises:
        RunError: it is a row and no header, the columns are not separated as its ending says, or
            two have the same name.
    """
    with _rows(file) as rows:
        line, header = next(rows, (0, []))
    if any(_PERSON.search(name) for name in header):
        raise RunError(
            f"table {table!r}, file {file.name}: line {line} is to be the header, and an e-mail "
            "address or a phone number stands in it; put a line with the names of the columns "
            "above it"
        )
    others = ";|," if separator_of(file) == "\t" else ";|\t"
    if len(header) == 1 and any(separator in header[0] for separator in others):
        raise RunError(
            f"table {table!r}, file {file.name}: the columns of a .csv file are separated by "
            f"commas, of a .tsv file by tabs; these are not: {header[0][:60]!r}"
        )
    named = Counter(name.lower() for name in header if name)
    twice = sorted({name for name in header if named[name.lower()] > 1})
    if twice:
        names = ", ".join(repr(name[:60]) for name in twice)
        raise RunError(
            f"table {table!r}, file {file.name}: several columns of the header have the same name "
            f"(upper and lower case are alike): {names}; rename one of them in the file"
        )


def uneven_row(file: Path) -> str:
    """Return where a CSV file has a row with more or fewer cells than its header, or nothing."""
    with _rows(file) as rows:
        first, header = next(rows, (0, []))
        for count, (line, row) in enumerate(rows):
            if len(row) != len(header):
                return f"line {line}: {uneven(len(header), len(row))}{_early(first, line)}"
            if count >= MAX_ROWS:
                break
    return ""


def uneven(expected: int, found: int) -> str:
    """Say of a row that it has another number of cells than the header, and what to do."""
    return (
        f"it has {found} cell{'' if found == 1 else 's'}, the header has {expected}; correct the "
        'row, and put a value that holds the separator between quotes "'
    )


def _early(first: int, line: int) -> str:
    return f". The header is line {first}: nothing may stand above it" if line == first + 1 else ""


@contextmanager
def _rows(file: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Give the rows of a file that are not empty, each with the line that it ends in."""
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8-sig", errors="replace", newline="") as text:
        yield _read(text, separator_of(file) or ",")


def _read(text: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, delimiter=separator)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except (csv.Error, OSError, EOFError):  # DuckDB reads the file, too, and says what it thinks
        return
