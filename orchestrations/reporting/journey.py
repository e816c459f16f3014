"""Where the rows of a run went: a few numbers of the ledger, so that they add up at each stage."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrations.reporting.model import Journey, Part, Stage
from worker.ledger.records import ChunkRows, RunView

_AFTER_PLANNING = frozenset({"cancelled", "forgotten"})
"""Reasons for which rows are skipped that had been planned to be sent."""


def journey(view: RunView, rows: ChunkRows) -> Journey:
    """Return the journey of a run's rows.

    What ended in planning is what is in no chunk. So it can also be told once the single rows are
    not kept any more.

    Args:
        view: the run with its sums.
        rows: of its chunks.
    """
    sums, unchanged = view.rows, view.run.unchanged
    planned_out = sums.read - unchanged - rows.total
    doubled = min(planned_out, _skipped_by_planning(view))
    refused = planned_out - doubled
    sent = rows.sent + rows.on_the_way
    failed = max(0, rows.sent - sums.created - sums.updated - sums.unconfirmed)
    not_sent = rows.total - rows.sent - rows.on_the_way - rows.waiting
    cancelled = max(0, min(not_sent, sums.skipped - unchanged - doubled))
    return Journey(
        stages=(
            Stage(
                "read",
                sums.read,
                _parts(Part("refused", refused, "bad"), Part("skipped", doubled)),
            ),
            Stage("valid", sums.read - planned_out, _parts(Part("unchanged", unchanged))),
            Stage(
                "changed",
                rows.total,
                _parts(
                    Part("cancelled", cancelled, "warning"),
                    Part("failed unsent", not_sent - cancelled, "bad"),
                    Part("waiting", rows.waiting),
                ),
            ),
            Stage("sent", sent),
        ),
        ends=(
            Part("created", sums.created, "good"),
            Part("updated", sums.updated, "good"),
            Part("failed", failed, "bad"),
            Part("unconfirmed", sums.unconfirmed, "warning"),
            *_parts(Part("on the way", rows.on_the_way)),
        ),
    )


def _skipped_by_planning(view: RunView) -> int:
    return sum(
        rows
        for (kind, code), rows in view.reasons.items()
        if kind == "skipped" and code not in _AFTER_PLANNING
    )


def _parts(*parts: Part) -> tuple[Part, ...]:
    return tuple(_some(parts))


def _some(parts: Iterable[Part]) -> Iterable[Part]:
    return (part for part in parts if part.rows)
