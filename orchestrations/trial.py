"""Trying before sending: the first rows as they would go, and a whole run without its sending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrations.planning import check_thresholds, thresholds_for
from orchestrations.reading import MakeMapper, QueryReader, left_out
from orchestrations.runs import Options
from orchestrations.spec import Orchestration
from worker.errors import RunError
from worker.profile import Profile, RejectedRow


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of an orchestration.

    Attributes:
        rows: profiles, and rows that are refused.
        warnings: what its owner should know; names of columns, no values.
        withheld: what is marked as personal data and would not be sent, by its name.
    """

    rows: tuple[Profile | RejectedRow, ...] = field(repr=False)
    warnings: tuple[str, ...]
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do now. `read` is `to_send`, `held` and all `rejected` together.

    Attributes:
        read: rows of the query's result.
        to_send: rows that would be sent.
        changed: rows of them that are not what Zendesk confirmed last, new people among them.
        unchanged: rows that are what Zendesk confirmed last.
        chunks: into how many requests they would be put.
        rejected: (outcome kind, code) -> rows that would not be sent.
        warnings: what its owner should know; names of columns, no values.
        error: why the run would fail before anything is sent, or None.
    """

    read: int
    to_send: int
    changed: int
    unchanged: int
    chunks: int
    rejected: Mapping[tuple[str, str], int]
    warnings: tuple[str, ...]
    error: RunError | None


@dataclass(frozen=True, slots=True)
class Known:
    """What Zendesk confirmed last of an orchestration's people.

    Attributes:
        hash_key: keys the hashes of people's keys.
        marks: of people with what was confirmed of them (`worker.digests.mark`).
    """

    hash_key: bytes = field(repr=False)
    marks: Iterable[int] = field(repr=False)


def preview(
    reader: QueryReader, orchestration: Orchestration, options: Options, make: MakeMapper
) -> Preview:
    """Map the first rows of a query.

    Args:
        reader: runs the query.
        orchestration: whose.
        options: how many rows, and the query's parameters.
        make: makes the mapper of the result's columns.

    Raises:
        RunError: the query fails, or its columns cannot be mapped.
    """
    with reader.rows(orchestration, options) as result:
        mapper = make(result.columns)
        values = (row for batch in result.batches for row in batch)
        rows = tuple(mapper.map(number, row) for number, row in enumerate(values, start=1))
        warnings = (*mapper.warnings, *left_out(mapper.dropped))
        return Preview(rows, warnings, mapper.withheld)


def dry_run(
    reader: QueryReader,
    orchestration: Orchestration,
    options: Options,
    make: MakeMapper,
    known: Known,
) -> DryRun:
    """Do everything of a run but the sending; the ledger is not changed.

    Args:
        reader: runs the query; customers lie in its folder, which the caller removes.
        orchestration: whose.
        options: what a run would be asked for.
        make: makes the mapper of the result's columns.
        known: what Zendesk confirmed last.

    Raises:
        RunError: the query fails, or its columns cannot be mapped.
    """
    snapshot = reader.snapshot(orchestration, options, make, known.hash_key)
    with snapshot.staged as staged:
        error = _refused(lambda: check_thresholds(thresholds_for(orchestration, options), staged))
        rejected = Counter((str(row.kind), row.code) for row in staged.rejected())
        valid = staged.rows_read - rejected.total()
        send_all = orchestration.send == "all" or options.full
        all_chunks = staged.chunk_count() if send_all else 0  # before the unchanged are left out
        staged.drop_unchanged(known.marks)
        to_send = valid if send_all else valid - staged.unchanged
        return DryRun(
            read=staged.rows_read,
            to_send=to_send,
            changed=valid - staged.unchanged,
            unchanged=staged.unchanged,
            chunks=all_chunks if send_all else staged.chunk_count(),
            rejected=dict(rejected),
            warnings=tuple(snapshot.warnings()),
            error=error,
        )


def _refused(check: Callable[[], None]) -> RunError | None:
    try:
        check()
    except RunError as error:
        return error
    return None


def as_json(row: Profile | RejectedRow) -> dict[str, Any]:
    """Return a previewed row as `preview --json` shows it."""
    if isinstance(row, Profile):
        return {"row": row.row, "user": dict(row.user), "code": None, "detail": None}
    return {"row": row.row, "user": None, "code": row.code, "detail": row.detail}
