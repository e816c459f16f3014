"""Trying before sending: the first rows as they would go, and a whole run without its sending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrations.loader import Catalog
from orchestrations.mapping import Mapper
from orchestrations.planning import (
    MakeMapper,
    check_thresholds,
    dropped_values,
    first_rows,
    thresholds_for,
)
from orchestrations.sources import Result, open_source
from orchestrations.spec import Orchestration
from orchestrations.staging import Staged, stage
from worker.errors import RunError
from worker.ledger import Ledger
from worker.ledger.spool import digest
from worker.profile import CHUNK_SIZE, Profile, RejectedRow


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of an orchestration.

    Attributes:
        rows: profiles, and rows that are refused.
        warnings: what its owner should know; names of columns, no values.
    """

    rows: tuple[Profile | RejectedRow, ...] = field(repr=False)
    warnings: tuple[str, ...]


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


def preview(
    catalog: Catalog, orchestration: Orchestration, count: int, make: MakeMapper, scratch: Path
) -> Preview:
    """Map the first rows of a query.

    Args:
        catalog: where source and query are.
        orchestration: whose.
        count: how many rows.
        make: makes the mapper of the result's columns.
        scratch: a folder for what does not fit into memory.

    Raises:
        RunError: the query fails, or its columns cannot be mapped.
    """
    source = catalog.sources[orchestration.source]
    with open_source(source, catalog.folder, scratch=scratch) as opened:
        result = first_rows(opened.query(catalog.queries[orchestration.name]), count)
        mapper = make(result.columns)
        values = (row for batch in result.batches for row in batch)
        rows = tuple(mapper.map(number, row) for number, row in enumerate(values, start=1))
        return Preview(rows, (*mapper.warnings, *dropped_values(mapper)))


def dry_run(
    catalog: Catalog,
    orchestration: Orchestration,
    make: MakeMapper,
    scratch: Path,
    *,
    count_unchanged: Callable[[tuple[Profile, ...]], int],
    sample: int | None = None,
) -> DryRun:
    """Do everything of a run but the sending; the ledger is not changed.

    Args:
        catalog: where source and query are.
        orchestration: whose.
        make: makes the mapper of the result's columns.
        scratch: a folder for the staging file, which holds customers; the caller removes it.
        count_unchanged: counts the profiles that are what Zendesk confirmed last.
        sample: only so many rows of the result; None for all.

    Raises:
        RunError: the query fails, or its columns cannot be mapped.
    """
    source = catalog.sources[orchestration.source]
    with open_source(source, catalog.folder, scratch=scratch) as opened:
        result: Result = opened.query(catalog.queries[orchestration.name])
        if sample is not None:
            result = first_rows(result, sample)
        mapper = make(result.columns)
        with stage(result, mapper, scratch) as staged:
            thresholds = thresholds_for(orchestration, sample)
            error = _refused(lambda: check_thresholds(thresholds, staged))
            return _counted(orchestration, staged, mapper, error, count_unchanged)


def _counted(
    orchestration: Orchestration,
    staged: Staged,
    mapper: Mapper,
    error: RunError | None,
    count_unchanged: Callable[[tuple[Profile, ...]], int],
) -> DryRun:
    rejected = Counter((str(row.kind), row.code) for row in staged.rejected())
    valid = unchanged = 0
    for chunk in staged.chunks():
        valid += len(chunk)
        unchanged += count_unchanged(chunk)
    to_send = valid if orchestration.send == "all" else valid - unchanged
    return DryRun(
        read=staged.rows_read,
        to_send=to_send,
        changed=valid - unchanged,
        unchanged=unchanged,
        chunks=-(-to_send // CHUNK_SIZE),
        rejected=dict(rejected),
        warnings=(*mapper.warnings, *dropped_values(mapper)),
        error=error,
    )


def _refused(check: Callable[[], None]) -> RunError | None:
    try:
        check()
    except RunError as error:
        return error
    return None


def unchanged_counter(
    ledger: Ledger, account: str, orchestration: str
) -> Callable[[tuple[Profile, ...]], int]:
    """Return what counts the profiles that are what Zendesk confirmed last."""

    def count(chunk: tuple[Profile, ...]) -> int:
        known = ledger.kept.digests(account, orchestration, chunk)
        return sum(
            confirmed == digest(profile.user)
            for profile, confirmed in zip(chunk, known, strict=True)
        )

    return count


def as_json(row: Profile | RejectedRow) -> dict[str, Any]:
    """Return a previewed row as `preview --json` shows it."""
    if isinstance(row, Profile):
        return {"row": row.row, "user": dict(row.user), "code": None, "detail": None}
    return {"row": row.row, "user": None, "code": row.code, "detail": row.detail}
