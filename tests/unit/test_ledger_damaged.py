"""A blob of the ledger that the disk has spoiled: one chunk suffers, and nothing else stands still.

Found by the seeded simulation, which turns bits over at random (`payload spoiled`).
"""

from __future__ import annotations

import pytest
from sqlalchemy import update

from worker.errors import RunError
from worker.hints import Finish
from worker.ledger.schema import chunks, payloads
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind


def spoil(ledger, seq, table=payloads, column="blob"):
    with ledger.database.write() as connection:
        connection.execute(update(table).where(table.c.seq == seq).values({column: b"spoiled"}))


def end(delivery, clock, redis):
    """Let everything that waits come due, several times."""
    hints = []
    for _ in range(6):
        clock.advance(60)
        redis.flushall()
        redis.hset("deskfeed:{127.0.0.1:8900}:gate", "server", "unknown")
        for seq in (1, 2):
            hints += getattr(delivery.poll("df-1", seq), "hints", ())
            hints += getattr(delivery.submit("df-1", seq), "hints", ())
    return hints


def test_a_payload_spoiled_while_its_job_runs_keeps_no_other_job_from_its_outcomes(
    ready, delivery, ledger, clock, redis, zendesk
):
    ready(2, 2)
    delivery.submit("df-1", 1)
    delivery.submit("df-1", 2)
    spoil(ledger, 1)
    hints = end(delivery, clock, redis)
    view = ledger.views.run("df-1")
    assert view.rows.created == 2
    assert view.rows.unconfirmed == 2
    assert view.chunks[ChunkState.QUARANTINED] == 1
    assert view.reasons[("unconfirmed", "payload_changed")] == 2
    assert len(zendesk.posts) == 2
    assert view.run.state == RunState.FINISHED_WITH_FAILURES
    assert Finish("df-1") in hints


def finished(ledger, kind=OutcomeKind.FAILED):
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    found = [Outcome(p.row, kind, "rejected_by_zendesk", "no") for p in claim.profiles]
    ledger.outcomes.finish("df-1", 1, claim.fence, found, leaves=(ChunkState.SUBMITTING,))


def test_rows_that_were_kept_and_are_spoiled_are_listed_without_their_names(sending, ledger):
    sending(2)
    ledger.chunks.admit("df-1", 1)
    finished(ledger)
    spoil(ledger, 1)
    listed = list(ledger.views.not_delivered("df-1"))
    assert [(row.row, row.code, row.external_id) for row in listed] == [
        (1, "rejected_by_zendesk", None),
        (2, "rejected_by_zendesk", None),
    ]


def test_rows_that_were_kept_and_are_spoiled_cannot_be_retried_and_it_says_so(sending, ledger):
    sending(2)
    ledger.chunks.admit("df-1", 1)
    finished(ledger)
    spoil(ledger, 1)
    with pytest.raises(RunError, match="chunk 1 that df-1 kept cannot be read") as caught:
        list(ledger.kept.rows("df-1"))
    assert caught.value.code == "payload_changed"


def test_what_a_job_told_of_some_rows_and_is_spoiled_does_not_keep_a_chunk_from_being_claimed(
    sending, ledger
):
    sending(2)
    ledger.chunks.admit("df-1", 1)
    spoil(ledger, 1, chunks, "known")
    assert ledger.chunks.claim("df-1", 1, "w").known == ()


def test_kept_rows_are_handed_out_between_transactions(sending, ledger):
    """Whoever takes them writes before asking for the next: no snapshot is held open meanwhile."""
    sending(2)
    ledger.chunks.admit("df-1", 1)
    finished(ledger)
    rows = ledger.kept.rows("df-1")
    next(rows)
    assert ledger.database._engine.pool.checkedout() == 0
