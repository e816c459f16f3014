"""What is sent is what was planned: a payload that changed in the ledger never leaves it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import delete, select, update
from world import profiles

from worker.errors import LedgerError, RunError
from worker.hints import Done, Finish
from worker.ledger import payloads as stored
from worker.ledger import spool
from worker.ledger.schema import chunks, outcomes, payloads
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind


def tamper(ledger, seq, blob, run_id="df-1"):
    """Write a payload behind the ledger's back; None removes it."""
    this = (payloads.c.run_id == run_id, payloads.c.seq == seq)
    with ledger.database.write() as connection:
        if blob is None:
            connection.execute(delete(payloads).where(*this))
        else:
            connection.execute(update(payloads).where(*this).values(blob=blob))


def forget_digest(ledger, seq):
    with ledger.database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.seq == seq).values(digest=None))


def digest_of(ledger, seq):
    with ledger.database.read() as connection:
        return connection.scalar(select(chunks.c.digest).where(chunks.c.seq == seq))


OTHER = spool.encode_profiles(
    [type(p)(p.row, {**p.user, "name": "Mallory"}) for p in profiles(1, 2)]
)
CHANGED = {
    "other values": OTHER,
    "fewer rows": spool.encode_profiles(profiles(1, 1)),
    "another order": spool.encode_profiles(profiles(1, 2)[::-1]),
    "no zlib": b"torn",
    "gone": None,
}


@pytest.fixture(params=CHANGED.values(), ids=CHANGED.keys())
def changed(request):
    return request.param


def test_a_digest_is_written_with_what_is_spooled(ledger, sending):
    sending(2, 1)

    assert digest_of(ledger, 1) == spool.payload_digest(profiles(1, 2))
    assert digest_of(ledger, 2) == spool.payload_digest(profiles(3, 1))
    assert digest_of(ledger, 1) != digest_of(ledger, 2)


def test_halves_have_digests_of_their_own(ledger, sending):
    sending(3)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.split(claim)

    assert digest_of(ledger, 2) == spool.payload_digest(profiles(1, 1))
    assert digest_of(ledger, 3) == spool.payload_digest(profiles(2, 2))
    assert ledger.chunks.claim("df-1", 3, "w").intact


def test_a_last_chunk_has_the_digest_of_all_its_rows(ledger, sending):
    sending(1, 1)
    ledger.chunks.admit("df-1", 8)
    for seq in (1, 2):
        claim = ledger.chunks.claim("df-1", seq, "w")
        ledger.chunks.submitting(claim)
        ledger.chunks.accepted(claim, f"V3-{seq}", 1.0, 0.0)
        found = [Outcome(seq, OutcomeKind.FAILED, "row_conflict")]
        ledger.outcomes.finish("df-1", seq, claim.fence, found, again={seq})

    assert digest_of(ledger, 3) == spool.payload_digest(profiles(1, 2))


def test_a_changed_payload_is_never_sent_and_its_rows_failed(
    ready, delivery, ledger, zendesk, changed
):
    ready(2)
    tamper(ledger, 1, changed)

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    assert zendesk.posts == []
    view = ledger.views.run("df-1")
    assert view.chunks == {ChunkState.QUARANTINED: 1}
    assert view.rows.agree
    assert view.reasons == {("failed", "payload_changed"): 2}
    assert view.run.state == RunState.FINISHED_WITH_FAILURES
    with ledger.database.read() as connection:
        assert connection.execute(select(payloads)).all() == []
        assert connection.scalar(select(chunks.c.why)) == "payload_changed"
        assert connection.scalar(select(chunks.c.attempt)) == 0


def test_a_claim_of_a_changed_payload_cannot_become_a_post(ready, ledger, changed):
    ready(2)
    tamper(ledger, 1, changed)
    claim = ledger.chunks.claim("df-1", 1, "w")

    assert (claim.intact, claim.profiles) == (False, ())
    with pytest.raises(LedgerError) as caught:
        ledger.chunks.submitting(claim)
    assert caught.value.code == "payload_changed"


@pytest.mark.parametrize(
    ("blob", "rows"),
    [
        (OTHER, [1, 2]),
        (b"torn", [-100, -101]),
        (spool.encode_profiles(profiles(1, 1)), [-100, -101]),
    ],
)
def test_rows_that_cannot_be_told_are_numbered_below_zero(ready, delivery, ledger, blob, rows):
    ready(2)
    tamper(ledger, 1, blob)
    delivery.submit("df-1", 1)

    with ledger.database.read() as connection:
        assert sorted(connection.scalars(select(outcomes.c.row)), key=abs) == rows


def test_rows_of_another_chunk_are_not_taken_for_those_that_were_lost(
    ready, delivery, ledger, zendesk
):
    ready(1, 1)
    tamper(ledger, 1, spool.encode_profiles(profiles(2, 1)))
    tamper(ledger, 2, b"torn")
    with ledger.database.write() as connection:
        connection.execute(
            outcomes.insert().values(run_id="df-1", row=2, kind="failed", code="invalid_value")
        )
    delivery.submit("df-1", 1)

    with ledger.database.read() as connection:
        assert sorted(connection.scalars(select(outcomes.c.row))) == [-100, 2]


def test_what_may_have_been_sent_before_it_changed_is_unconfirmed(ready, delivery, ledger, clock):
    ready(2)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 0.0, "unclear_answer")
    tamper(ledger, 1, OTHER)

    delivery.submit("df-1", 1)
    assert ledger.views.run("df-1").reasons == {("unconfirmed", "payload_changed"): 2}


def test_resume_refuses_a_run_whose_rows_changed(ledger, sending, changed):
    sending(1, 2)
    tamper(ledger, 2, changed)
    ledger.runs.pause("df-1")

    with pytest.raises(RunError) as caught:
        ledger.runs.resume("df-1")
    assert caught.value.code == "payload_changed"
    assert "chunk 2 " in caught.value.message
    assert ledger.runs.get("df-1").state == RunState.PAUSED


def test_a_run_that_resume_refused_can_be_stopped(ledger, sending, changed):
    sending(2)
    tamper(ledger, 1, changed)
    ledger.runs.stop("df-1")

    assert ledger.outcomes.cancel_some("df-1") == 1
    assert ledger.runs.close("df-1") == RunState.STOPPED
    view = ledger.views.run("df-1")
    assert view.reasons == {("skipped", "cancelled"): 2}
    assert view.rows.agree


def test_resume_looks_through_all_chunks_in_batches(ledger, sending, monkeypatch):
    monkeypatch.setattr(stored, "CHECKED_AT_A_TIME", 2)
    sending(*[1] * 7)
    ledger.runs.pause("df-1")
    assert ledger.runs.resume("df-1")

    tamper(ledger, 7, b"torn")
    ledger.runs.pause("df-1")
    with pytest.raises(RunError):
        ledger.runs.resume("df-1")


def test_chunks_that_have_ended_are_not_looked_at(ledger, sending):
    sending(1, 1)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])
    ledger.runs.pause("df-1")

    assert ledger.runs.resume("df-1")


def test_rows_of_a_ledger_without_digests_are_sent_unchecked(ready, delivery, ledger, zendesk):
    ready(2)
    forget_digest(ledger, 1)
    tamper(ledger, 1, OTHER)
    ledger.runs.pause("df-1")

    assert ledger.runs.resume("df-1")
    delivery.submit("df-1", 1)
    assert zendesk.posts == [[1, 2]]


def test_resume_twice_at_once_lets_the_run_go_on_once(ledger, sending):
    sending(*[1] * 3)
    ledger.runs.pause("df-1")
    barrier = threading.Barrier(8)
    done = []

    def resume():
        barrier.wait(timeout=30)
        done.append(ledger.runs.resume("df-1"))

    threads = [threading.Thread(target=resume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(done) == [False] * 7 + [True]
    assert ledger.runs.get("df-1").state == RunState.SENDING
    assert [e.kind for e in ledger.views.events("df-1")].count("run_resumed") == 1


def test_digests_tell_values_and_order_apart_but_not_the_order_of_keys():
    first, second = profiles(1, 2)
    turned = type(first)(1, dict(reversed(first.user.items())))

    assert spool.payload_digest([first]) == spool.payload_digest([turned])
    assert spool.payload_digest([first, second]) != spool.payload_digest([second, first])
    assert spool.payload_digest([first]) != spool.payload_digest([second])
