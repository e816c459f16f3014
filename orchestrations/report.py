"""What to tell people of a run: numbers, words, verdict. From the ledger to plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from worker.explanations import EXPLANATIONS, Explanation, fill
from worker.ledger.parameters import names_of as parameters_of
from worker.ledger.records import Event, Run, RunView
from worker.ledger.states import RUN_ENDED, ChunkState, RunState

EXIT_CODES: Mapping[RunState, int] = {
    RunState.SUCCEEDED: 0,
    RunState.FINISHED_WITH_FAILURES: 3,
    RunState.FAILED: 1,
    RunState.STOPPED: 1,
    RunState.INCONSISTENT: 1,
}
"""How `run --wait` ends."""

_BUCKETS: Mapping[ChunkState, str] = {
    ChunkState.PLANNED: "planned",
    ChunkState.QUEUED: "waiting",
    ChunkState.WAITING: "waiting",
    ChunkState.AMBIGUOUS: "waiting",
    ChunkState.CLAIMED: "sending",
    ChunkState.SUBMITTING: "sending",
    ChunkState.POLLING: "polling",
    ChunkState.DONE: "done",
    ChunkState.QUARANTINED: "quarantined",
    ChunkState.CANCELLED: "cancelled",
}
"""The states people see. A split chunk is not among them: its halves are."""


def ended(run: Run) -> bool:
    """Whether a run will not change any more."""
    return run.state in RUN_ENDED


def may_be_retried(view: RunView) -> bool:
    """Whether a run has ended with rows that `retry` would send, as far as its sums tell."""
    cancelled = view.reasons.get(("skipped", "cancelled"), 0)
    left = view.rows.failed + view.rows.unconfirmed + cancelled
    return bool(left) and ended(view.run) and not view.retries and not view.rows_pruned


def chunk_buckets(view: RunView) -> dict[str, int]:
    """Return how many chunks are in each of the states that people see, and in total."""
    buckets = dict.fromkeys(("total", *dict.fromkeys(_BUCKETS.values())), 0)
    for state, count in view.chunks.items():
        if state in _BUCKETS:
            buckets[_BUCKETS[state]] += count
            buckets["total"] += count
    return buckets


def run_as_json(view: RunView) -> dict[str, Any]:
    """Return what `show RUN --json` prints."""
    run = view.run
    return {
        "ok": True,
        "run_id": run.run_id,
        "orchestration": run.orchestration,
        "destination": run.target.destination,
        "state": str(run.state),
        "origin": run.origin,
        "key": run.key,
        "parent_run": run.parent_run,
        "retries": list(view.retries),
        "rows": asdict(view.rows),
        "params": list(parameters_of(run.options)),
        "unchanged": run.unchanged,
        "warnings": list(view.warnings),
        "chunks": chunk_buckets(view),
        "posts": view.posts,
        "polls": run.polls,
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "error": error_of(run),
    }


def started_by(run: Run) -> str:
    """Say what started a run: `by its schedule, due 2026-11-24T16:30Z`."""
    match run.origin:
        case "schedule":
            return f"by its schedule, due {run.key}"
        case "after":
            return f"after {run.key}"
        case "message":
            return f"by a message with the key {run.key}"
        case _:
            named = f" with the key {run.key}" if run.key != run.run_id else ""
            return f"by {run.principal}{named}" if run.origin else "by an older version"


def error_of(run: Run) -> dict[str, str] | None:
    """Return why a run failed or is paused, with its title and commands to type as they stand."""
    return None if run.error is None else told(run.error, run)


def told(error: Mapping[str, str], run: Run) -> dict[str, str]:
    """Return an error with its title, and commands about this run.

    Args:
        error: code, message, resolution.
        run: whose names stand for the placeholders.
    """
    return {
        "code": error["code"],
        "title": title_of(error["code"]),
        "message": error["message"],
        "resolution": fill(error["resolution"], names_of(run)),
    }


def explained(code: str, run: Run) -> Explanation | None:
    """Return what a code means, its commands about this run; None for one that is not known."""
    known = EXPLANATIONS.get(code)
    if known is None:
        return None
    return known.filled({**names_of(run), "CODE": code})


def names_of(run: Run) -> dict[str, str]:
    """Return what stands for the placeholders of an explanation."""
    return {
        "RUN": run.run_id,
        "ORCHESTRATION": run.orchestration,
        "NAME": run.target.destination,
    }


def iso(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def title_of(code: str) -> str:
    """Return the title of an outcome code."""
    known = EXPLANATIONS.get(code)
    return known.title if known else code


def verdict(view: RunView) -> str:
    """Return one sentence on how the run stands."""
    rows = view.rows
    delivered = f"{rows.created + rows.updated:,} of {rows.read:,} rows delivered"
    match view.run.state:
        case RunState.SUCCEEDED:
            skipped = f", {rows.skipped:,} rightly skipped" if rows.skipped else ""
            return f"succeeded: {delivered}{skipped}"
        case RunState.FINISHED_WITH_FAILURES:
            unsure = f", {rows.unconfirmed:,} unconfirmed" if rows.unconfirmed else ""
            return f"finished with failures: {delivered}, {rows.failed:,} failed{unsure}"
        case RunState.STOPPED:
            return f"stopped: {delivered}, the rest was not sent"
        case RunState.FAILED:
            return "failed: nothing was sent" if view.posts == 0 else f"failed: {delivered}"
        case RunState.INCONSISTENT:
            return "INCONSISTENT: the sums do not agree; this is a defect, do not trust the run"
    return str(view.run.state)


def peak_users_per_second(submitted: Iterable[Event]) -> int:
    """Return the most users sent in any rolling second, judged on the send stamps.

    Args:
        submitted: the run's `chunk_submitted` events.
    """
    sent = sorted((event.data["stamp"], event.data["users"]) for event in submitted)
    peak = current = start = 0
    for stamp, users in sent:
        current += users
        while stamp - sent[start][0] > 1.0:
            current -= sent[start][1]
            start += 1
        peak = max(peak, current)
    return peak
