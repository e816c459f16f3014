"""What many seeds reached together: nothing that was never reached was tested."""

from __future__ import annotations

from collections import Counter

from tests.simulation.dice import FAULTS, HAPPENINGS

BRANCHES = {
    "fenced write": "a worker that had been overtaken was kept from writing",
    "cold start": "the limiter found its memory lost and closed",
    "event: claim_expired": "a dead worker's claim was taken over",
    "event: chunk_unclear": "a POST or job became unclear and was left to settle",
    "event: chunk_split": "a chunk refused as a whole was bisected",
    "read back": "rows whose attempts were spent were read back",
    "tags read": "tags were read before they were added to",
    "searched": "a person with tags was searched for by e-mail",
    "event: rows_again": "rows in conflict were put into a last chunk",
    "outcome: payload_changed": "a payload that had changed was not sent",
    "event: chunk_quarantined": "a poisoned chunk was put aside",
    "event: chunk_cancelled": "a stopped run's chunk was cancelled",
    "event: run_paused": "a run was paused",
    "event: run_resumed": "a run was resumed",
    "event: run_stopping": "a run was stopped",
    "outcome: unconfirmed": "a row ended unconfirmed",
    "outcome: rejected_by_zendesk": "a row was refused by Zendesk",
    "outcome: cancelled": "a row was cancelled",
    "run: succeeded": "a run succeeded",
    "run: finished_with_failures": "a run finished with failures",
    "run: stopped": "a run ended stopped",
    "task failed": "a task ended with an error, its message with it",
    "message to nowhere": "a message was sent while Redis was away",
}
"""What must have been reached by some seed, and what it means."""


def faults() -> list[str]:
    """Return every fault that some seed must have met."""
    return ["fault: " + name for name in (*FAULTS, *HAPPENINGS)]


def missing(counts: Counter[str]) -> list[str]:
    """Return what no seed has reached."""
    return [name for name in (*faults(), *BRANCHES) if not counts[name]]


def table(counts: Counter[str]) -> str:
    """Return the table of what sometimes happens, and how often it did."""
    lines = ["fault injected                                     times"]
    lines += [f"{name.removeprefix('fault: '):45}{counts[name]:>11,}" for name in faults()]
    lines += ["", "rare branch reached                                times"]
    lines += [f"{meaning:58}{counts[name]:>8,}"[:70] for name, meaning in BRANCHES.items()]
    return "\n".join(lines)
