"""Running an orchestration's query: source, parameters, sample. And its snapshot, staged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrations.lines import Encoder
from orchestrations.loader import Catalog
from orchestrations.mapping import Mapper
from orchestrations.params import resolved
from orchestrations.runs import Options
from orchestrations.sources import Result, Variable, open_source
from orchestrations.sources.result import first_rows
from orchestrations.spec import Orchestration
from orchestrations.sql import is_ordered
from orchestrations.staging import Rules, Staged, stage

MakeMapper = Callable[[Sequence[str]], Mapper]
"""Makes the mapper of a result's columns; may ask the destination."""


@dataclass(frozen=True, slots=True)
class QueryReader:
    """Reads what orchestrations query.

    Attributes:
        catalog: queries and sources.
        variable: where the URLs of databases stand.
        scratch: a folder for what does not fit into memory; customers may lie in it.
    """

    catalog: Catalog
    variable: Variable
    scratch: Path

    @contextmanager
    def rows(self, orchestration: Orchestration, options: Options) -> Iterator[Result]:
        """Run the query; the rows are read as they are taken.

        Raises:
            RunError: the query or its source is at fault.
            UsageError: a parameter is, or the URL of the source is not set.
        """
        source = self.catalog.sources[orchestration.source]
        opening = open_source(
            source, self.catalog.folder, scratch=self.scratch, variable=self.variable
        )
        with opening as opened:
            params = resolved(orchestration, options.params)
            result = opened.query(self.catalog.queries[orchestration.name], params)
            yield result if options.sample is None else first_rows(result, options.sample)

    def snapshot(
        self,
        orchestration: Orchestration,
        options: Options,
        make: MakeMapper,
        hash_key: bytes | None = None,
    ) -> Snapshot:
        """Read the whole result once, map it and put it on disk; the source is closed then.

        Args:
            orchestration: whose query.
            options: what the run was asked for.
            make: makes the mapper of the result's columns.
            hash_key: keys the hashes of people's keys; needed to tell which rows are unchanged.
        """
        ordered = is_ordered(self.catalog.queries[orchestration.name])
        rules = Rules(ordered=ordered, on_shared_email=orchestration.on_shared_email)
        with self.rows(orchestration, options) as result:
            mapper = make(result.columns)
            adds = orchestration.tags == "add"
            encoder = Encoder(mapper, ranked=not ordered, hash_key=hash_key, adds_tags=adds)
            return Snapshot(stage(result, encoder, self.scratch, rules), tuple(mapper.warnings))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A staged result; `staged` must be closed.

    Attributes:
        staged: the rows.
        columns_ignored: one sentence for each column that is not sent.
    """

    staged: Staged
    columns_ignored: tuple[str, ...]

    def warnings(self) -> list[str]:
        """Return what somebody should know of it, in sentences without values."""
        found = [*self.columns_ignored, *left_out(self.staged.dropped)]
        if self.staged.ambiguous:
            found.append(unordered(self.staged.ambiguous))
        return found


def left_out(dropped: Mapping[str, int]) -> list[str]:
    """Return a sentence for each column of which values were left out."""
    return [
        f"column {name!r}: {count:,} value{'' if count == 1 else 's'} that cannot be sent left out "
        "(on_invalid_value: drop_field)"
        for name, count in sorted(dropped.items())
    ]


def unordered(rows: int) -> str:
    """Say that a result without an order has rows of the same person."""
    return (
        f"{rows:,} rows are other rows' duplicates, and the query has no ORDER BY: which row of a "
        "person is sent is always the same, but arbitrary; order the query so that the right row "
        "is the last"
    )
