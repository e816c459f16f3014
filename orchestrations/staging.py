"""The whole result on disk, each person once: rows go in, chunks come out.

De-duplication needs the whole result before the first chunk, and a result may have ten million
rows. So the rows lie in files, mapped and encoded, and memory holds one byte for each:

1. Each row is mapped and written down as a line (`orchestrations.lines`); large results are mapped
   by helper processes. The keys of the profiles go as hashes into files of their own.
2. DuckDB says who stands twice and who is unchanged (`orchestrations.duplicates`); what becomes of
   a row is its verdict, one byte.
3. Chunks are joined from the lines that are sent, in the order of the result.

The files hold customer data. They are readable by their owner only and go away with `close`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

from orchestrations.duplicates import Index
from orchestrations.helpers import Batch, Crew, Writer, Written, keys_file, rows_file
from orchestrations.lines import (
    Encoder,
    line_of,
    profile_of,
    refused_of,
    user_bytes,
    without_email,
)
from orchestrations.sources import Result
from worker.errors import RunError
from worker.ledger.spool import Packed, pack_lines
from worker.profile import CHUNK_SIZE, MAX_BODY_BYTES, OutcomeKind, Profile, RejectedRow

HELPERS = 2
"""Processes that map a large result."""

INLINE_ROWS = 20_000
"""So many rows are mapped sooner than a helper process is there."""

OnSharedEmail = Literal["fail_row", "drop_email"]

_BODY_FRAME = len(b'{"users":[]}') - 1
"""What a body has besides its users; each user counts with a comma, which the last one has not."""


class Verdict(IntEnum):
    """What becomes of a row."""

    SENT = 0
    REFUSED = 1  #: by the mapping
    DUPLICATE = 2  #: another row of this person is sent
    SHARED_EMAIL = 3  #: others have this e-mail too
    WITHOUT_EMAIL = 4  #: likewise; it is sent without it
    UNCHANGED = 5  #: Zendesk has it like this


_NO_ROW = 255


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done about rows that are the same person.

    Attributes:
        ordered: whether the query says in which order its rows come.
        on_shared_email: rows whose e-mail several external_ids have fail, or go without it.
    """

    ordered: bool = True
    on_shared_email: OnSharedEmail = "fail_row"


@dataclass(frozen=True, slots=True)
class _Segment:
    """Where a batch of lines lies: the next so many bytes of a file."""

    number: int
    length: int
    first: int
    rows: int


class Staged:
    """A staged result; close it, or use it in a `with` statement, to remove its files.

    Attributes:
        rows_read: rows of the result; each is in `chunks`, in `rejected`, or unchanged.
        dropped: values that the mapping left out because they cannot be sent, by column.
    """

    def __init__(self, folder: Path, rules: Rules, encoder: Encoder) -> None:
        self.rows_read = 0
        self.dropped: Counter[str] = Counter()
        self._folder = folder
        self._rules = rules
        self._encoder = encoder
        self._segments: list[_Segment] = []
        self._refused_failed = 0
        self._verdicts = bytearray([_NO_ROW])
        self._index: Index | None = None

    def count(self, *verdicts: Verdict) -> int:
        """Return how many rows have one of these verdicts."""
        return sum(self._verdicts.count(verdict) for verdict in verdicts)

    @property
    def failed(self) -> int:
        """Rows that are not sent and that somebody must mend."""
        return self._refused_failed + self.count(Verdict.SHARED_EMAIL)

    @property
    def unchanged(self) -> int:
        """Rows that are not sent because Zendesk has them."""
        return self.count(Verdict.UNCHANGED)

    @property
    def ambiguous(self) -> int:
        """Duplicates of which the query does not say which row is the last."""
        return 0 if self._rules.ordered else self.count(Verdict.DUPLICATE)

    def drop_unchanged(self, marks: Iterable[int]) -> None:
        """Send no row of a person whom Zendesk has exactly like this.

        Args:
            marks: of what Zendesk confirmed (`worker.digests.mark`).
        """
        if self._index is None:
            raise RuntimeError("the result is not staged to the end")
        self._index.confirm(marks)
        for row in self._index.unchanged():
            if self._verdicts[row] == Verdict.SENT:
                self._verdicts[row] = Verdict.UNCHANGED
        if self.count(Verdict.WITHOUT_EMAIL):
            for row, line in self._with_verdicts({Verdict.WITHOUT_EMAIL}):
                if self._index.knows(self._encoder.mark_of(without_email(profile_of(line)))):
                    self._verdicts[row] = Verdict.UNCHANGED

    def rejected(self) -> Iterator[RejectedRow]:
        """Yield the rows that are not sent, but for unchanged ones, in row order."""
        wanted = {Verdict.REFUSED, Verdict.DUPLICATE, Verdict.SHARED_EMAIL}
        for row, line in self._with_verdicts(wanted):
            if self._verdicts[row] == Verdict.REFUSED:
                yield refused_of(line)
            else:
                yield self._same_person(profile_of(line))

    def _same_person(self, profile: Profile) -> RejectedRow:
        if self._verdicts[profile.row] == Verdict.DUPLICATE:
            which = "a later row" if self._rules.ordered else "another row"
            why = f"{which} has the same external_id or the same e-mail"
            kind, code = OutcomeKind.SKIPPED, "duplicate"
        else:
            why = "rows with other external_ids have the same e-mail"
            kind, code = OutcomeKind.FAILED, "shared_email"
        return RejectedRow(
            profile.row, kind, code, why, external_id=profile.external_id, email=profile.email
        )

    def chunks(
        self, size: int = CHUNK_SIZE, max_body: int = MAX_BODY_BYTES
    ) -> Iterator[tuple[Profile, ...]]:
        """Yield the profiles that are sent, in row order; arguments as those of `packed`."""
        for lines in self._cut(size, max_body):
            yield tuple(map(profile_of, lines))

    def packed(self, size: int = CHUNK_SIZE, max_body: int = MAX_BODY_BYTES) -> Iterator[Packed]:
        """Yield the chunks as they lie in the ledger, in row order.

        Args:
            size: profiles in a chunk; only the last chunk and one cut at `max_body` have fewer.
            max_body: most bytes of the request body, as compact UTF-8 JSON. A single profile that
                is larger makes a chunk of its own (`mapping.MAX_ROW_BYTES` is far below).
        """
        return map(pack_lines, self._cut(size, max_body))

    def chunk_count(self, size: int = CHUNK_SIZE, max_body: int = MAX_BODY_BYTES) -> int:
        """Return how many chunks `packed` would yield."""
        return sum(1 for _ in self._cut(size, max_body))

    def close(self) -> None:
        """Remove the files."""
        if self._index is not None:
            self._index.close()
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

    # --- writing --------------------------------------------------------------------------------

    def read(self, result: Result, progress: Callable[[int], object] | None) -> None:
        """Map and write down a whole result, then judge its rows; once."""
        self._write(result, progress)
        self._judge()

    def _write(self, result: Result, progress: Callable[[int], object] | None) -> None:
        own = Writer(self._encoder, self._folder, 0)
        try:
            for batch in result.batches:
                self._note([own.write(self._begin(batch), batch)])
                if progress:
                    progress(self.rows_read)
                if self.rows_read >= INLINE_ROWS:
                    break
        finally:
            own.close()
        self.dropped += self._encoder.dropped()
        first = next(result.batches, None)
        if first is not None:
            self._write_more(first, result, progress)

    def _write_more(
        self, first: Batch, result: Result, progress: Callable[[int], object] | None
    ) -> None:
        with Crew(self._encoder, self._folder, range(1, HELPERS + 1)) as crew:
            batch: Batch | None = first
            while batch is not None:
                self._note(crew.write(self._begin(batch), batch))
                if progress:
                    progress(self.rows_read)
                batch = next(result.batches, None)
            self._note(crew.finish())
            self.dropped += crew.dropped
        self._segments.sort(key=lambda segment: segment.first)

    def _begin(self, batch: Batch) -> int:
        """Count a batch; return the number of its first row."""
        first = self.rows_read + 1
        self.rows_read += len(batch)
        self._verdicts.extend(bytes(len(batch)))
        return first

    def _note(self, written: Iterable[Written]) -> None:
        for w in written:
            self._segments.append(_Segment(w.number, w.length, w.first, w.rows))
            self._refused_failed += w.failed
            for row in w.refused:
                self._verdicts[row] = Verdict.REFUSED

    def _judge(self) -> None:
        numbers = sorted({segment.number for segment in self._segments} | {0})
        self._index = Index(self._folder, [keys_file(self._folder, n) for n in numbers])
        self._index.find()
        for row in self._index.older():
            self._verdicts[row] = Verdict.DUPLICATE
        dropped = self._rules.on_shared_email == "drop_email"
        with_id = Verdict.WITHOUT_EMAIL if dropped else Verdict.SHARED_EMAIL
        for row in self._index.shared(with_id=True):
            self._verdicts[row] = with_id
        for row in self._index.shared(with_id=False):
            self._verdicts[row] = Verdict.SHARED_EMAIL

    # --- reading --------------------------------------------------------------------------------

    def _blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the lines batch by batch, with the number of the first row."""
        files: dict[int, IO[bytes]] = {}
        try:
            for segment in self._segments:
                file = files.get(segment.number)
                if file is None:
                    file = rows_file(self._folder, segment.number).open("rb")
                    files[segment.number] = file
                yield segment.first, file.read(segment.length)[:-1].split(b"\n")
        finally:
            for file in files.values():
                file.close()

    def _with_verdicts(self, wanted: set[Verdict]) -> Iterator[tuple[int, bytes]]:
        for first, lines in self._blocks():
            verdicts = self._verdicts[first : first + len(lines)]
            if any(verdict in verdicts for verdict in wanted):
                for row, line in enumerate(lines, start=first):
                    if self._verdicts[row] in wanted:
                        yield row, line

    def _leaving(self) -> Iterator[list[bytes]]:
        """Yield the lines that are sent, batch by batch."""
        for first, lines in self._blocks():
            verdicts = self._verdicts[first : first + len(lines)]
            yield list(_as_sent(lines, verdicts)) if any(verdicts) else lines

    def _cut(self, size: int, max_body: int) -> Iterator[list[bytes]]:
        """Yield the lines that are sent, chunk by chunk."""
        waiting: list[bytes] = []
        for lines in self._leaving():
            waiting += lines
            start = 0
            while len(waiting) - start >= size:
                chunk = _fitting(waiting[start : start + size], max_body)
                yield chunk
                start += len(chunk)
            del waiting[:start]
        while waiting:
            chunk = _fitting(waiting[:size], max_body)
            yield chunk
            del waiting[: len(chunk)]


def _as_sent(lines: list[bytes], verdicts: bytearray) -> Iterator[bytes]:
    for line, verdict in zip(lines, verdicts, strict=True):
        if verdict == Verdict.SENT:
            yield line
        elif verdict == Verdict.WITHOUT_EMAIL:
            yield line_of(without_email(profile_of(line)))


def _fitting(lines: list[bytes], max_body: int) -> list[bytes]:
    """Return as many of the first lines as fit into a body, one at least."""
    if _BODY_FRAME + sum(map(len, lines)) <= max_body:  # a line is longer than its user and a comma
        return lines
    body = _BODY_FRAME
    for count, line in enumerate(lines):
        body += user_bytes(line) + 1
        if body > max_body and count:
            return lines[:count]
    return lines


def stage(
    result: Result,
    encoder: Encoder,
    folder: Path,
    rules: Rules | None = None,
    progress: Callable[[int], object] | None = None,
) -> Staged:
    """Read a whole result, map its rows and find the rows that are the same person.

    Args:
        result: what the query returned; read to its end.
        encoder: holds the mapping of the result's columns.
        folder: where the files may lie; a folder of its own is made in it.
        rules: what is done about rows that are the same person.
        progress: called with the number of rows read so far, after each batch.

    Raises:
        RunError: the query failed on the way, or the disk is full; the files are removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix="staging-", dir=folder))
        staged = Staged(own, rules or Rules(), encoder)
        try:
            staged.read(result, progress)
        except BaseException:
            staged.close()
            raise
    except OSError as error:
        raise RunError(f"the rows cannot be staged on disk: {error.strerror}") from None
    return staged
