"""Rows that were not delivered, as text, CSV or JSON lines, each with how to mend it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from orchestrations.report import explained
from worker.ledger.records import RowOutcome, Run

COLUMNS = (
    "row", "external_id", "email", "outcome", "code", "detail", "title", "resolution",
)  # fmt: skip
"""Of the CSV file and keys of each JSON object, in this order."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, full-width forms included."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Characters that a terminal obeys and does not show, directions of writing among them."""

_CONTROLS = ("\t", "\r", "\n", "\0")


def as_json(row: RowOutcome, run: Run) -> dict[str, Any]:
    """Return a row as one JSON object; its keys are `COLUMNS`."""
    known = explained(row.code, run)
    return {
        "row": row.row,
        "external_id": row.external_id,
        "email": row.email,
        "outcome": row.kind,
        "code": row.code,
        "detail": row.detail,
        "title": known.title if known else None,
        "resolution": known.resolution if known else None,
    }


def lines(rows: Iterator[RowOutcome], run: Run, style: str) -> Iterator[str]:
    """Yield the rows as lines of a file, without their ends.

    Args:
        rows: what was not delivered.
        run: whose rows they are; commands in resolutions name it.
        style: `jsonl`, `csv` (safe to open in a spreadsheet) or `table` (for a terminal).
    """
    if style == "csv":
        yield ",".join(COLUMNS)
    codes: dict[str, None] = {}
    for row in rows:
        codes[row.code] = None
        if style == "jsonl":
            yield orjson.dumps(as_json(row, run)).decode()
        elif style == "csv":
            yield _csv_line(as_json(row, run).values())
        else:
            who = row.external_id or row.email or "-"
            line = f"row {row.row}  {who}  {row.kind}  {row.code}  {row.detail or ''}".rstrip()
            yield visible(line)
    if style == "table":
        yield from _remedies(codes, run)


def _remedies(codes: Iterable[str], run: Run) -> Iterator[str]:
    """Yield what each code means and what to do, once for all its rows."""
    for code in codes:
        known = explained(code, run)
        if known:
            yield ""
            yield f"{code}: {known.title}. Whose fault: {known.fault.words}."
            yield f"  What to do: {known.resolution}"
            yield f"  More: deskfeed explain {code}"


def _csv_line(values: Any) -> str:
    buffer = io.StringIO()
    # Before Python 3.13 only characters of the line's end are quoted inside a value.
    csv.writer(buffer, lineterminator="\r\n").writerow(cell(value) for value in values)
    return buffer.getvalue().removesuffix("\r\n")


def visible(text: str) -> str:
    """Return text for a terminal: what would move its cursor or turn its words is written out.

    A value of the source could else hide lines, or show others than there are.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def cell(value: object) -> object:
    """Return a value for a cell: what a spreadsheet would take for a formula is made text.

    CWE-1236: whoever can put a name into the source could else run a formula on the machine of
    whoever opens the file.
    """
    if isinstance(value, str) and (
        value.startswith(_CONTROLS) or value.lstrip().startswith(_FORMULA)
    ):
        return "'" + value
    return value
