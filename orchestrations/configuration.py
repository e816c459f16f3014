"""What a run was configured with, as digests: equal digests are equal files.

A digest tells whether two runs were planned alike without keeping what the files say. Another one
tells whether a run that was started may still be planned: it leaves out what does not decide which
rows go where and how, so that a word in a description fails no run that waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from orchestrations.loader import Catalog
from orchestrations.spec import Destination, Orchestration, Source
from worker.digests import canonical

SHOWN = 16
"""So many hexadecimal digits are told apart by people, and by any two files in practice."""

DECIDES_NOTHING: Mapping[type[BaseModel], frozenset[str]] = {
    # Its runs start when they start; `share` is noted with the run.
    Orchestration: frozenset({"description", "schedule", "after", "share"}),
    # How long a query may take, not what it returns.
    Source: frozenset({"description", "statement_timeout"}),
    # Limits are noted when a run is started; the strictest of the account holds.
    Destination: frozenset({"description", "limits"}),
}
"""Keys that may change between the start of a run and its planning. All others count."""


def digests(catalog: Catalog, orchestration: Orchestration) -> dict[str, str]:
    """Return the digests of what an orchestration consists of, and `whole`: of all of it.

    Args:
        catalog: the catalog as it is now.
        orchestration: one of its orchestrations.
    """
    parts = {
        "orchestration": _of_model(orchestration),
        "query": _of_text(catalog.queries[orchestration.name]),
        "source": _of_model(catalog.sources[orchestration.source]),
        "destination": _of_model(catalog.destinations[orchestration.destination]),
    }
    return {**parts, "whole": hashlib.sha256(canonical(parts)).hexdigest()[:SHOWN]}


def deciding(catalog: Catalog, orchestration: Orchestration) -> str:
    """Return the digest of what decides which rows go where and how.

    Args:
        catalog: the catalog as it is now.
        orchestration: one of its orchestrations.
    """
    parts = [
        _deciding_keys(orchestration),
        catalog.queries[orchestration.name],
        _deciding_keys(catalog.sources[orchestration.source]),
        _deciding_keys(catalog.destinations[orchestration.destination]),
    ]
    return hashlib.sha256(canonical(parts)).hexdigest()[:SHOWN]


def _deciding_keys(model: BaseModel) -> dict[str, Any]:
    # Without what has its default: a version that knows one key more must plan the runs that wait
    # since the version before, of which no file names that key. So a default is never changed.
    return model.model_dump(
        mode="json", exclude=set(DECIDES_NOTHING[type(model)]), exclude_defaults=True
    )


def _of_model(model: BaseModel) -> str:
    return hashlib.sha256(canonical(model.model_dump(mode="json"))).hexdigest()[:SHOWN]


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SHOWN]
