"""Sources: where rows come from. Two kinds, one shape: open it, run one SELECT, take the rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from orchestrations.sources.database import open_database
from orchestrations.sources.files import open_files
from orchestrations.sources.result import BATCH_ROWS, OpenSource, Params, Result
from orchestrations.spec import Source

__all__ = ["BATCH_ROWS", "OpenSource", "Params", "Result", "Variable", "no_variable", "open_source"]

Variable = Callable[[str], str | None]
"""Returns the value of an environment variable or secret file, or None if it is not set."""


def no_variable(_name: str) -> str | None:
    """For sources that need none."""
    return None


def open_source(
    source: Source,
    folder: Path,
    *,
    scratch: Path | None = None,
    variable: Variable = no_variable,
) -> AbstractContextManager[OpenSource]:
    """Open a source for queries.

    Args:
        source: its declaration.
        folder: the catalog folder; files outside it are refused, also through symbolic links.
        scratch: a folder for what does not fit into memory; without one such a query fails.
        variable: where the URL of a database stands.

    Raises:
        RunError: `query_failed` when a table's files are missing, outside, or not readable; or the
            database cannot be reached. UsageError when its URL is not set or of no use.
    """
    if source.type == "database":
        return open_database(source, variable)
    return open_files(source, folder, scratch=scratch)
