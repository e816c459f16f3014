"""The keys of all staged rows in DuckDB: who stands twice, and who is as Zendesk has them.

It works set by set, within a memory limit, and spills into the staging folder. What it holds are
hashes and row numbers; no value of a row gets here. Two rows are the same person:

1. *Same external_id.* The last row stays, the others are duplicates and take no further part.
2. *Same e-mail* among those left. With one external_id at most among them, the last row stays. With
   several, nobody can tell whose address it is: all of them share it.

Which row is the last one, the order of the result says if the query orders it. Else the order may
be another one the next time, and the highest rank (a hash of the payload) counts instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import duckdb

from worker.errors import RunError

MEMORY_LIMIT = "160MB"
"""What does not fit goes to the staging folder."""

THREADS = 2
"""Planning shares the machine with workers whose sends are timed to the millisecond."""

_FETCH_ROWS = 10_000
_MARKS_A_WRITE = 50_000

_READ = """
CREATE TABLE {table} AS FROM read_csv(
    [{files}], header = false, auto_detect = false, delim = ',', quote = '', escape = '',
    columns = {{{columns}}}
)
"""
_KEYS = {"row": "BIGINT", "id": "UHUGEINT", "email": "UHUGEINT", "rank": "UHUGEINT",
         "mark": "UHUGEINT"}  # fmt: skip
_MARKS = {"mark": "UHUGEINT"}

# The keys that stand more than once are few: what follows looks at their rows only.
_OLDER = """
CREATE TABLE older AS
SELECT row FROM (
    SELECT row, row_number() OVER (PARTITION BY id ORDER BY rank DESC, row DESC) AS place
    FROM keys WHERE id IN (SELECT id FROM keys WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1)
) WHERE place > 1
"""
_SAME_EMAIL = """
CREATE TABLE same_email AS
WITH of_email AS (
    SELECT row, id, email, rank FROM keys
    WHERE email IN (
        SELECT email FROM keys WHERE email IS NOT NULL GROUP BY email HAVING count(*) > 1
    ) AND row NOT IN (SELECT row FROM older)
)
SELECT row, id,
    count(id) OVER (PARTITION BY email) AS ids,
    row_number() OVER (PARTITION BY email ORDER BY rank DESC, row DESC) AS place
FROM of_email
"""
_UNCHANGED = "SELECT row FROM keys SEMI JOIN confirmed USING (mark)"


class Index:
    """The keys of staged rows; close it when done.

    Args:
        folder: where it spills to.
        files: the lines of keys, as `orchestrations.lines` writes them.

    Raises:
        RunError: memory or disk do not suffice.
    """

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._folder = folder
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "temp_directory": str(folder),
                "memory_limit": MEMORY_LIMIT,
                "threads": str(THREADS),
                "preserve_insertion_order": "false",
            },
        )
        try:
            self._read("keys", files, _KEYS)
        except BaseException:
            self.close()
            raise

    def find(self) -> None:
        """Find the persons that stand twice; `older`, `later_email` and `shared` then answer."""
        self._execute(_OLDER)
        self._execute(_SAME_EMAIL)

    def older(self) -> Iterator[int]:
        """Yield the rows of persons of whom a later row stays."""
        yield from self._rows("SELECT row FROM older")
        yield from self._rows("SELECT row FROM same_email WHERE ids < 2 AND place > 1")

    def shared(self, *, with_id: bool) -> Iterator[int]:
        """Yield the rows whose e-mail several external_ids have: those with an id, or without."""
        known = "id IS NOT NULL" if with_id else "id IS NULL"
        yield from self._rows(f"SELECT row FROM same_email WHERE ids > 1 AND {known}")  # noqa: S608

    def confirm(self, marks: Iterable[int]) -> None:
        """Take in what Zendesk has."""
        path = self._folder / "confirmed"
        with path.open("wb") as file:
            marks = iter(marks)
            while some := list(islice(marks, _MARKS_A_WRITE)):
                file.write(b"".join(b"%d\n" % mark for mark in some))
        self._read("confirmed", [path], _MARKS)

    def unchanged(self) -> Iterator[int]:
        """Yield the rows of persons whom Zendesk has exactly like this."""
        yield from self._rows(_UNCHANGED)

    def knows(self, mark: int) -> bool:
        """Whether Zendesk has a person exactly like this."""
        found = self._execute("SELECT 1 FROM confirmed WHERE mark = ?::UHUGEINT", [str(mark)])
        return found.fetchone() is not None

    def close(self) -> None:
        """Let go of the memory; what was spilled goes away with the folder."""
        self._connection.close()

    def _read(self, table: str, files: Sequence[Path], columns: dict[str, str]) -> None:
        paths = [file for file in files if file.stat().st_size]
        if not paths:
            declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            self._execute(f"CREATE TABLE {table} ({declared})")
            return
        quoted = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        declared = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
        self._execute(_READ.format(table=table, files=quoted, columns=declared))
        for path in paths:
            path.unlink()

    def _rows(self, query: str) -> Iterator[int]:
        cursor = self._execute(query)
        while batch := cursor.fetchmany(_FETCH_ROWS):
            for row in batch:
                yield row[0]

    def _execute(self, query: str, values: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(query, list(values))
        except duckdb.Error as error:
            # Hashes and row numbers are all that its words could quote.
            raise RunError(f"comparing the rows failed: {error}") from None
