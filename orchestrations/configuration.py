"""What a run was configured with, as digests: equal digests are equal files.

A digest tells whether two runs were planned alike without keeping what the files say.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel

from orchestrations.loader import Catalog
from orchestrations.spec import Orchestration
from worker.digests import canonical

SHOWN = 16
"""So many hexadecimal digits are told apart by people, and by any two files in practice."""


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


def _of_model(model: BaseModel) -> str:
    return hashlib.sha256(canonical(model.model_dump(mode="json"))).hexdigest()[:SHOWN]


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SHOWN]
