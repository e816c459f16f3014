"""Runs with a story, written straight into a ledger: for what tells of runs."""

from __future__ import annotations

from world import LIMITS, TARGET, profiles

from worker.ledger.records import NewRun
from worker.profile import Outcome, OutcomeKind, RejectedRow

CREATED, UPDATED, FAILED = OutcomeKind.CREATED, OutcomeKind.UPDATED, OutcomeKind.FAILED

DIGESTS = {
    "orchestration": "a" * 16,
    "query": "b" * 16,
    "source": "c" * 16,
    "destination": "d" * 16,
    "whole": "0123456789abcdef",
}


def planned(ledger, *, run_id="df-1", orchestration="loyalty", rejected=(), chunks=(), **options):
    """Record a run whose planning rejected some rows and spooled chunks of these profiles."""
    unchanged = options.pop("unchanged", 0)
    key = options.pop("key", run_id)
    ledger.runs.start(NewRun(run_id, orchestration, key, TARGET, LIMITS, options, "ada"))
    run = ledger.runs.claim_plan(run_id)
    ledger.planning.configured(run, DIGESTS)
    if rejected:
        ledger.planning.add_rejected(run, 1, list(rejected))
    if chunks:
        ledger.planning.add_chunks(run, 1, list(chunks))
    ledger.planning.complete(run, unchanged)
    return run


def submit(ledger, clock, seq, run_id="df-1"):
    """Send a chunk; returns its claim."""
    ledger.chunks.admit(run_id, 100)
    claim = ledger.chunks.claim(run_id, seq, "w")
    assert ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"V3-{seq}", 1.0, clock.now)
    return claim


def finish(ledger, claim, *kinds):
    """End a chunk: its rows get these outcomes in turn, the last one for the rest."""
    found = []
    for number, profile in enumerate(claim.profiles):
        kind = kinds[min(number, len(kinds) - 1)]
        found.append(outcome(profile.row, kind))
    ledger.outcomes.finish(claim.run_id, claim.seq, claim.fence, found)


def outcome(row, kind):
    if kind == OutcomeKind.FAILED:
        return Outcome(row, kind, "rejected_by_zendesk", "Email: is already being used")
    if kind == OutcomeKind.UNCONFIRMED:
        return Outcome(row, kind, "unconfirmed")
    return Outcome(row, kind)


def refused(row, code="invalid_value", detail="user_fields.tier: is no number", **who):
    """A row that planning refused."""
    kind = OutcomeKind.SKIPPED if code == "duplicate" else OutcomeKind.FAILED
    who = who or {"external_id": f"C-{row}", "email": f"person{row}@example.com"}
    return RejectedRow(row, kind, code, detail, **who)


def story(ledger, clock, run_id="df-1", orchestration="loyalty", rejected=(), **options):
    """Play a run through everything: refused rows, a 429, a pause, failures; return its id.

    Of 100 rows: 3 refused and 2 doubled by planning, 10 unchanged, 85 in chunks of 40, 40 and 5.
    """
    made = [refused(row) for row in (1, 2, 3)] + [refused(row, "duplicate") for row in (4, 5)]
    planned(
        ledger, run_id=run_id, orchestration=orchestration, rejected=[*made, *rejected],
        chunks=[profiles(6, 40), profiles(46, 40), profiles(86, 5)], unchanged=10, **options,
    )  # fmt: skip
    clock.advance(2.0)
    first = submit(ledger, clock, 1, run_id)
    clock.advance(1.5)
    ledger.history.note_throttled(run_id, "account", 12.0)
    clock.advance(12.0)
    second = submit(ledger, clock, 2, run_id)
    finish(ledger, first, OutcomeKind.FAILED, OutcomeKind.FAILED, OutcomeKind.CREATED)
    clock.advance(3.0)
    ledger.runs.pause(run_id, by="grace")
    clock.advance(30.0)
    ledger.runs.resume(run_id, by="grace")
    third = submit(ledger, clock, 3, run_id)
    clock.advance(4.0)
    finish(ledger, second, OutcomeKind.UNCONFIRMED, OutcomeKind.UPDATED)
    finish(ledger, third, OutcomeKind.UPDATED)
    ledger.runs.close(run_id)
    return run_id
