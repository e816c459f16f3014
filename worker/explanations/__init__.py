"""What each code means to people: whose fault it is, what it comes from, what to do.

One place for the command, the report, alerts and the docs: `python -m worker.explanations docs`
writes docs/errors.md and docs/runbook.md from it, and a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.explanations import commands, destinations, hosts, queries, requests, rows
from worker.explanations.model import Explanation, Fault, fill

__all__ = ["CHAPTERS", "EXPLANATIONS", "Explanation", "Fault", "explain", "fill"]

CHAPTERS: Mapping[str, Mapping[str, Explanation]] = {
    "Commands, catalog, access": commands.EXPLANATIONS,
    "Ledger, Redis, processes": hosts.EXPLANATIONS,
    "The run fails before anything is sent": queries.EXPLANATIONS,
    "The destination": destinations.EXPLANATIONS,
    "One request": requests.EXPLANATIONS,
    "Rows": rows.EXPLANATIONS,
}
"""The codes as the docs sort them."""

EXPLANATIONS: dict[str, Explanation] = {
    code: explanation for chapter in CHAPTERS.values() for code, explanation in chapter.items()
}


def explain(code: str) -> Explanation:
    """Return what an error or outcome code means."""
    return EXPLANATIONS[code]
