"""The whole result on disk, each person once: rows go in, chunks of profiles come out.

De-duplication needs the whole result before the first chunk, and a result may have ten million
rows. So the rows lie in a file, in order, one JSON line each, and memory holds bits:

1. Each row is mapped and written down. The keys of a profile (its external_id and its e-mail, both
   without regard to case) go as 128-bit hashes into a second file.
2. DuckDB finds the keys that stand in more than one row and numbers them; it has a memory limit and
   spills to the same folder.
3. The rows that have such keys pass from the last to the first. A row stays when neither of its
   keys was taken by a row that stayed; else it is a duplicate. Python keeps one bit per repeated
   key and one bit per row: less than 4 MB for ten million rows.

The files hold customer data. They are readable by their owner only and go away with `close`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO

import duckdb
import orjson

from orchestrations.mapping import Mapper
from orchestrations.sources import Result
from worker.errors import RunError
from worker.profile import CHUNK_SIZE, MAX_BODY_BYTES, OutcomeKind, Profile, RejectedRow

MEMORY_LIMIT = "512MB"
"""For finding repeated keys; what does not fit goes to the staging folder."""

THREADS = 2
"""Planning shares the machine with workers whose sends are timed to the millisecond."""

_BODY_FRAME = len(b'{"users":[]}') - 1
"""What a body has besides its users; each user counts with its line's end for a comma after it,
which the last one has not."""
_FETCH_ROWS = 2_000
_DUPLICATE_DETAIL = "a later row has the same external_id or the same e-mail"

_REPEATED_KEYS = """
WITH keys AS (
    SELECT * FROM read_csv(
        {file}, header = false, auto_detect = false, delim = ',', quote = '', escape = '',
        columns = {{'row': 'BIGINT', 'key': 'UHUGEINT'}}
    )
),
repeated AS (
    SELECT key, row_number() OVER () - 1 AS number FROM keys GROUP BY key HAVING count(*) > 1
)
SELECT row, list(number) AS numbers FROM keys JOIN repeated USING (key) GROUP BY row
ORDER BY row DESC
"""


class Staged:
    """A staged result; close it, or use it in a `with` statement, to remove its files.

    Attributes:
        rows_read: rows of the result; each is in `chunks` or in `rejected`, exactly once.
    """

    def __init__(self, folder: Path, rows_read: int, duplicates: _Bits) -> None:
        self.rows_read = rows_read
        self._folder = folder
        self._duplicates = duplicates

    def rejected(self) -> Iterator[RejectedRow]:
        """Yield the rows that are not sent, duplicates among them, in row order."""
        for row, line in self._lines():
            if line.startswith(b"["):
                yield _rejected_row(row, line)
            elif self._duplicates.has(row):
                profile = Profile(row, orjson.loads(line))
                yield RejectedRow(
                    row,
                    OutcomeKind.SKIPPED,
                    "duplicate",
                    _DUPLICATE_DETAIL,
                    external_id=profile.external_id,
                    email=profile.email,
                )

    def chunks(
        self, size: int = CHUNK_SIZE, max_body: int = MAX_BODY_BYTES
    ) -> Iterator[tuple[Profile, ...]]:
        """Yield the profiles in row order.

        Args:
            size: profiles in a chunk; only the last chunk and one cut at `max_body` have fewer.
            max_body: most bytes of the request body, as compact UTF-8 JSON. A single profile that
                is larger makes a chunk of its own (`mapping.MAX_ROW_BYTES` is far below).
        """
        chunk: list[Profile] = []
        body = _BODY_FRAME
        for row, line in self._lines():
            if line.startswith(b"[") or self._duplicates.has(row):
                continue
            if chunk and (len(chunk) == size or body + len(line) > max_body):
                yield tuple(chunk)
                chunk, body = [], _BODY_FRAME
            chunk.append(Profile(row, orjson.loads(line)))
            body += len(line)
        if chunk:
            yield tuple(chunk)

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with _rows_file(self._folder).open("rb") as file:
            yield from enumerate(file, start=1)


def stage(
    result: Result,
    mapper: Mapper,
    folder: Path,
    progress: Callable[[int], object] | None = None,
) -> Staged:
    """Read a whole result, map its rows and find the duplicates.

    Of rows with the same external_id, or the same e-mail, the last one stays. Rows are taken from
    the last to the first, and one that is itself dropped drops no other: with A(id 1, e-mail x),
    B(id 2, e-mail x), C(id 2, e-mail y) C stays, B goes because of C, and A stays.

    Args:
        result: what the query returned; read to its end.
        mapper: made for the result's columns.
        folder: where the files may lie; a folder of its own is made in it.
        progress: called with the number of rows read so far, after each batch.

    Raises:
        RunError: the query failed on the way, or the disk is full; the files are removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix="staging-", dir=folder))
        try:
            rows_read = _write(result, mapper, own, progress)
            return Staged(own, rows_read, _duplicates(own, rows_read))
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
    except OSError as error:
        raise RunError(f"the rows cannot be staged on disk: {error.strerror}") from None


def _write(
    result: Result, mapper: Mapper, folder: Path, progress: Callable[[int], object] | None
) -> int:
    """Write down every row and the keys of every profile; return how many rows there were."""
    row = 0
    with _rows_file(folder).open("wb") as rows, _keys_file(folder).open("wb") as keys:
        for batch in result.batches:
            for values in batch:
                row += 1
                mapped = mapper.map(row, values)
                if isinstance(mapped, Profile):
                    rows.write(orjson.dumps(mapped.user) + b"\n")
                    _write_keys(keys, mapped)
                else:
                    rows.write(_rejected_line(mapped) + b"\n")
            if progress:
                progress(row)
    return row


def _write_keys(file: IO[bytes], profile: Profile) -> None:
    if profile.external_id:
        file.write(b"%d,%d\n" % (profile.row, _hash("x:" + profile.external_id.lower())))
    if profile.email:
        file.write(b"%d,%d\n" % (profile.row, _hash("e:" + profile.email.strip().lower())))


def _hash(key: str) -> int:
    """Return 128 bits for a key: with ten million keys, two share them once in 10**24 runs."""
    return int.from_bytes(blake2b(key.encode(), digest_size=16).digest(), "big")


def _duplicates(folder: Path, rows_read: int) -> _Bits:
    """Return the rows that go because of a later one."""
    dropped, taken = _Bits(rows_read + 1), _Bits(0)
    if not _keys_file(folder).stat().st_size:
        return dropped
    for row, numbers in _rows_with_repeated_keys(folder):
        if any(taken.has(number) for number in numbers):
            dropped.add(row)
        else:
            for number in numbers:
                taken.add(number)
    _keys_file(folder).unlink()
    return dropped


def _rows_with_repeated_keys(folder: Path) -> Iterator[tuple[int, list[int]]]:
    """Yield row and numbers of its repeated keys, the last row first."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "threads": str(THREADS),
        "temp_directory": str(folder),
    }
    path = str(_keys_file(folder)).replace("'", "''")
    connection = duckdb.connect(":memory:", config=settings)
    try:
        cursor = connection.execute(_REPEATED_KEYS.format(file=f"'{path}'"))
        while batch := cursor.fetchmany(_FETCH_ROWS):
            yield from batch
    except duckdb.Error as error:
        # Hashes and row numbers are all that its words could quote.
        raise RunError(f"looking for duplicates failed: {error}") from None
    finally:
        connection.close()


def _rejected_line(rejected: RejectedRow) -> bytes:
    return orjson.dumps(
        [
            rejected.kind.value,
            rejected.code,
            rejected.detail,
            rejected.external_id,
            rejected.email,
        ]
    )


def _rejected_row(row: int, line: bytes) -> RejectedRow:
    kind, code, detail, external_id, email = orjson.loads(line)
    return RejectedRow(row, OutcomeKind(kind), code, detail, external_id, email)


def _rows_file(folder: Path) -> Path:
    return folder / "rows.jsonl"


def _keys_file(folder: Path) -> Path:
    return folder / "keys.csv"


class _Bits:
    """A set of small whole numbers, one bit each; it grows as needed."""

    __slots__ = ("_bytes",)

    def __init__(self, size: int) -> None:
        self._bytes = bytearray(size // 8 + 1)

    def add(self, number: int) -> None:
        place, bit = divmod(number, 8)
        if place >= len(self._bytes):
            self._bytes.extend(bytes(max(place + 1 - len(self._bytes), len(self._bytes))))
        self._bytes[place] |= 1 << bit

    def has(self, number: int) -> bool:
        place, bit = divmod(number, 8)
        return place < len(self._bytes) and bool(self._bytes[place] >> bit & 1)
