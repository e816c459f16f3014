"""Processes that map rows beside the one that reads them: mapping is what planning spends time on.

The reader hands out batches in turn; each helper maps its batches and appends them to files of its
own, and answers with how long they became. A helper lives no longer than its reader: its standard
input ends with it. Small results never get here: starting a process takes longer than mapping them.

This module imports neither DuckDB nor the ledger, so a helper is small and soon there.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from orchestrations.lines import Encoder
from worker.errors import DeskfeedError, RunError

POLITE = 5
"""How much a helper steps back for the workers, whose sends are timed to the millisecond."""

AHEAD = 2
"""Answers of one helper that may be outstanding: it never waits for work, and no answer for room
in its pipe."""

_RUN = "import sys; from orchestrations.helpers import main; sys.exit(main())"
# Not -m: what is pickled must have the same name on both ends.

Batch = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch.

    Attributes:
        number: of the files that it went to.
        length: bytes of its lines.
        first: number of its first row.
        rows: how many it has.
        refused: numbers of the rows that are not sent.
        failed: how many of these failed.
    """

    number: int
    length: int
    first: int
    rows: int
    refused: tuple[int, ...]
    failed: int


class Writer:
    """Appends encoded batches to a pair of files: `rows-N` and `keys-N` of a folder."""

    def __init__(self, encoder: Encoder, folder: Path, number: int) -> None:
        self._encoder = encoder
        self._number = number
        with ExitStack() as stack:
            self._rows = stack.enter_context(rows_file(folder, number).open("wb"))
            self._keys = stack.enter_context(keys_file(folder, number).open("wb"))
            self._files = stack.pop_all()

    def write(self, first: int, batch: Batch) -> Written:
        """Map and write rows that are numbered from `first` on."""
        encoded = self._encoder.encode(first, batch)
        self._rows.write(encoded.lines)
        self._keys.write(encoded.keys)
        return Written(
            self._number,
            len(encoded.lines),
            first,
            len(batch),
            encoded.refused,
            encoded.failed,
        )

    def close(self) -> None:
        """Write out what is buffered."""
        self._files.close()


def rows_file(folder: Path, number: int) -> Path:
    """Return where the lines of a writer lie."""
    return folder / f"rows-{number}"


def keys_file(folder: Path, number: int) -> Path:
    """Return where the keys of a writer lie."""
    return folder / f"keys-{number}"


class Crew:
    """Some helpers at work; use it in a `with` statement.

    Args:
        encoder: pickled into each helper.
        folder: where their files lie.
        numbers: of their files; one helper for each.

    Attributes:
        dropped: values that their mappers left out, by column; complete after `finish`.
    """

    def __init__(self, encoder: Encoder, folder: Path, numbers: Sequence[int]) -> None:
        self.dropped: Counter[str] = Counter()
        self._helpers: list[_Helper] = []
        self._turn: deque[_Helper] = deque()
        try:
            for number in numbers:
                self._helpers.append(_Helper(encoder, folder, number))
        except BaseException:
            self._kill()
            raise
        self._turn.extend(self._helpers)

    def write(self, first: int, batch: Batch) -> list[Written]:
        """Hand a batch to the next helper; return what has been written meanwhile.

        Raises:
            RunError: a helper cannot go on, or has died.
        """
        helper = self._turn[0]
        self._turn.rotate(-1)
        answers = [helper.answer()] if helper.outstanding == AHEAD else []
        helper.send((first, batch))
        helper.outstanding += 1
        return answers

    def finish(self) -> list[Written]:
        """Wait for everything that was handed out; return what has been written meanwhile."""
        answers = []
        for helper in self._helpers:
            helper.send(None)
        for helper in self._helpers:
            while helper.outstanding:
                answers.append(helper.answer())
            self.dropped += helper.end()
        return answers

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()

    def _kill(self) -> None:
        for helper in self._helpers:
            helper.kill()


class _Helper:
    """The reader's end of one helper."""

    def __init__(self, encoder: Encoder, folder: Path, number: int) -> None:
        self.outstanding = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-c", _RUN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.send((encoder, folder, number))

    def send(self, message: object) -> None:
        try:
            _write(self._in, message)
        except BrokenPipeError:
            # It said why before it ended, or died without a word.
            self.answer()
            raise self._died() from None

    def answer(self) -> Written:
        """Return the next answer; raise what the helper raised."""
        try:
            answer = pickle.load(self._out)  # noqa: S301 - our own process wrote it
        except (EOFError, pickle.UnpicklingError):
            raise self._died() from None
        if isinstance(answer, DeskfeedError):
            raise answer
        self.outstanding -= 1
        assert isinstance(answer, Written)  # noqa: S101 - a helper answers with nothing else
        return answer

    def end(self) -> Counter[str]:
        """Wait until its files are complete; return what its mapper left out."""
        self._in.close()
        try:
            answer = pickle.load(self._out)  # noqa: S301 - our own process wrote it
        except (EOFError, pickle.UnpicklingError):
            answer = None
        if isinstance(answer, DeskfeedError):
            raise answer
        if self._process.wait() or not isinstance(answer, Counter):
            raise self._died()
        return answer

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with suppress(BrokenPipeError):  # what it did not read is of no use any more
            self._in.close()
        self._out.close()
        self._process.wait()

    def _died(self) -> RunError:
        code = self._process.wait()
        return RunError(
            f"a helper process of planning ended unexpectedly (exit code {code})",
            code="plan_crashed",
        )

    @property
    def _in(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        return self._process.stdin

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        return self._process.stdout


def _write(file: IO[bytes], message: object) -> None:
    file.write(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
    file.flush()


def main() -> int:
    """Map what comes on standard input until it ends; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # for whoever started the reader, who ends this
        signal.signal(number, signal.SIG_IGN)
    os.nice(POLITE)
    # Whatever prints must not get into the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        try:
            _serve(sys.stdin.buffer, answers)
        except (EOFError, pickle.UnpicklingError, BrokenPipeError):
            return 1  # the reader is gone, perhaps in the middle of a message
        except DeskfeedError as error:
            _write(answers, error)
        except OSError as error:
            why = RunError(f"the rows cannot be staged on disk: {error.strerror}")
            _write(answers, why)
        except Exception as error:  # noqa: BLE001 - told by type only: its words may hold values
            why = RunError(f"mapping failed: {type(error).__name__}", code="plan_crashed")
            _write(answers, why)
    return 0


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    encoder, folder, number = pickle.load(questions)  # noqa: S301 - our own reader wrote it
    before = encoder.dropped()  # of the reader, which pickled its mapping
    writer = Writer(encoder, folder, number)
    try:
        while (message := pickle.load(questions)) is not None:  # noqa: S301 - see above
            _write(answers, writer.write(*message))
    finally:
        writer.close()
    _write(answers, encoder.dropped() - before)
