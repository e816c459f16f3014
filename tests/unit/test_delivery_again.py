"""Rows that fail because another job held them are sent once more, last, and once only."""

from __future__ import annotations

import pytest
from scripted import forget
from sqlalchemy import select, update
from world import profiles

from worker.errors import Ambiguous, Refused
from worker.hints import Deliver, Done, Finish
from worker.ledger import children
from worker.ledger.schema import chunks, payloads
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind
from worker.zendesk.matching import TRANSIENT_CLASSES, TRANSIENT_PHRASES, is_transient
from worker.zendesk.replies import ResultItem

CONFLICT = {"status": "Failed", "failed": True, "error": "DatabaseConflict"}


@pytest.fixture
def world(ready, delivery, ledger, zendesk, clock, redis):
    """A run's chunks sent and looked at by hand."""

    class World:
        def send(self, seq):
            forget(redis)
            return delivery.submit("df-1", seq)

        def conflict(self, seq, *rows):
            """Let the newest job end with these rows in conflict."""
            job = f"V3-{len(zendesk.posts)}"
            zendesk.jobs[job] = tuple(
                ResultItem(external_id=item.external_id, **CONFLICT)
                if int(item.external_id.removeprefix("C-")) in rows
                else item
                for item in zendesk.jobs[job]
            )

        def look(self, seq=1):
            forget(redis)
            clock.advance(60.0)
            return delivery.poll("df-1", seq)

        def sums(self):
            rows = ledger.views.run("df-1").rows
            assert rows.agree
            return rows

    return World()


def row_of(ledger, seq):
    with ledger.database.read() as connection:
        return connection.execute(select(chunks).where(chunks.c.seq == seq)).one()


def test_a_row_in_conflict_is_sent_again_in_a_last_chunk(ready, world, ledger, zendesk):
    ready(3)
    world.send(1)
    world.conflict(1, 2)

    assert Deliver("df-1", 2) in world.look().hints
    rows = world.sums()
    assert (rows.created, rows.failed, rows.pending) == (2, 0, 1)
    last = row_of(ledger, 2)
    assert (last.again, last.parent_seq, last.rows) == (True, 1, 1)
    world.send(2)
    assert world.look(2) == Done((Finish("df-1"),))
    assert zendesk.posts == [[1, 2, 3], [2]]
    assert world.sums().created == 3
    assert ledger.runs.get("df-1").state == RunState.SUCCEEDED


def test_the_second_time_it_is_final(ready, world, ledger, zendesk):
    ready(2)
    world.send(1)
    world.conflict(1, 1, 2)
    world.look()
    world.send(2)
    world.conflict(2, 1)

    assert world.look(2) == Done((Finish("df-1"),))
    rows = world.sums()
    assert (rows.created, rows.failed, rows.pending) == (1, 1, 0)
    assert ledger.views.run("df-1").reasons == {("failed", "row_conflict"): 1}
    assert len(zendesk.posts) == 2


def test_any_other_failure_is_final_the_first_time(ready, world, ledger, zendesk):
    ready(1)
    world.send(1)
    refused = ResultItem(external_id="C-1", failed=True, error="UserUpdateError", details="invalid")
    zendesk.jobs["V3-1"] = (refused,)

    assert world.look() == Done((Finish("df-1"),))
    assert ledger.views.run("df-1").reasons == {("failed", "rejected_by_zendesk"): 1}


def test_rows_of_several_chunks_go_together_when_all_others_have_ended(
    ready, world, delivery, ledger, zendesk
):
    ready(2, 2, 2)
    world.send(1)
    world.conflict(1, 1)
    world.look()
    assert row_of(ledger, 4).state == ChunkState.PLANNED
    world.send(2)
    world.conflict(2, 3, 4)
    world.look(2)
    assert row_of(ledger, 4).rows == 3
    assert delivery.admit("df-1") == ()
    assert world.sums().pending == 5

    world.send(3)
    assert Deliver("df-1", 4) in world.look(3).hints
    world.send(4)
    world.look(4)
    assert zendesk.posts[-1] == [1, 3, 4]
    assert world.sums().created == 6
    assert len(ledger.views.run("df-1").chunks) == 1


def test_a_last_chunk_that_is_full_gets_another_beside_it(ready, world, ledger):
    ready(60, 60)
    for seq, rows in ((1, range(1, 61)), (2, range(61, 121))):
        world.send(seq)
        world.conflict(seq, *rows)
        world.look(seq)

    assert [row_of(ledger, seq).rows for seq in (3, 4)] == [60, 60]
    assert [row_of(ledger, seq).parent_seq for seq in (3, 4)] == [1, 2]
    assert world.sums().pending == 120


def test_a_last_chunk_is_not_made_too_large_to_send(ready, world, ledger, monkeypatch):
    ready(2, 2)
    monkeypatch.setattr(children, "MAX_BODY_BYTES", 150)
    for seq, rows in ((1, (1, 2)), (2, (3, 4))):
        world.send(seq)
        world.conflict(seq, *rows)
        world.look(seq)

    assert [row_of(ledger, seq).rows for seq in (3, 4)] == [2, 2]


def test_rows_do_not_join_a_last_chunk_whose_payload_is_not_what_was_spooled(ready, world, ledger):
    ready(1, 1)
    world.send(1)
    world.conflict(1, 1)
    world.look()
    with ledger.database.write() as connection:
        connection.execute(update(payloads).where(payloads.c.seq == 3).values(blob=b"x"))
    world.send(2)
    world.conflict(2, 2)
    world.look(2)

    assert (row_of(ledger, 3).rows, row_of(ledger, 4).rows) == (1, 1)


def test_a_run_is_not_closed_while_its_last_chunk_waits(ready, world, ledger):
    ready(1)
    world.send(1)
    world.conflict(1, 1)
    world.look()

    assert ledger.runs.close("df-1") is None
    assert world.sums().pending == 1


def test_a_paused_run_keeps_its_last_chunk_until_it_goes_on(ready, world, delivery, ledger):
    ready(1)
    world.send(1)
    ledger.runs.pause("df-1")
    world.conflict(1, 1)
    assert world.look() == Done()
    assert row_of(ledger, 2).state == ChunkState.PLANNED

    ledger.runs.resume("df-1")
    assert delivery.admit("df-1") == (Deliver("df-1", 2, 0.0),)


def test_rows_that_wait_to_be_sent_again_fail_when_the_run_is_stopped(ready, world, ledger):
    ready(2, 1)
    world.send(1)
    world.conflict(1, 2)
    world.look()
    ledger.runs.stop("df-1")

    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") == RunState.STOPPED
    view = ledger.views.run("df-1")
    assert view.reasons == {("failed", "row_conflict"): 1, ("skipped", "cancelled"): 1}


def test_a_last_chunk_that_may_have_arrived_is_unconfirmed_when_stopped(
    ready, world, ledger, zendesk, clock, times
):
    ready(1)
    world.send(1)
    world.conflict(1, 1)
    world.look()
    zendesk.answers = [Ambiguous("timed out")]
    world.send(2)
    ledger.runs.stop("df-1")
    clock.advance(times.settle)

    ledger.outcomes.cancel_some("df-1")
    assert ledger.views.run("df-1").reasons == {("unconfirmed", "unconfirmed"): 1}


def test_in_a_run_being_stopped_nothing_is_sent_again(ready, world, ledger):
    ready(2)
    world.send(1)
    ledger.runs.stop("df-1")
    world.conflict(1, 2)

    assert world.look() == Done((Finish("df-1"),))
    assert ledger.views.run("df-1").reasons == {("failed", "row_conflict"): 1}
    assert world.sums().created == 1


def test_the_halves_of_a_last_chunk_are_last_too(ready, world, ledger, zendesk):
    ready(2)
    world.send(1)
    world.conflict(1, 1, 2)
    world.look()
    zendesk.answers = [Refused("422")]
    world.send(2)
    world.send(3)
    world.conflict(3, 1)

    world.look(3)
    assert (row_of(ledger, 3).again, row_of(ledger, 4).again) == (True, True)
    rows = world.sums()
    assert (rows.failed, rows.pending) == (1, 1)


def test_only_failed_rows_are_moved_and_the_rest_keep_their_outcome(ledger, sending):
    sending(3)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    found = [
        Outcome(1, OutcomeKind.CREATED),
        Outcome(2, OutcomeKind.FAILED, "row_conflict", "busy"),
        Outcome(3, OutcomeKind.FAILED, "rejected_by_zendesk", "no"),
    ]

    assert ledger.outcomes.finish("df-1", 1, claim.fence, found, again={1, 2}) == 2
    assert ledger.outcomes.profiles("df-1", 2) == tuple(profiles(2, 1))
    view = ledger.views.run("df-1")
    assert (view.rows.created, view.rows.failed, view.rows.pending) == (1, 1, 1)
    assert row_of(ledger, 1).rows == 2
    assert [(e.kind, e.data) for e in ledger.views.events("df-1") if e.kind == "rows_again"] == [
        ("rows_again", {"rows": 1, "to": 2})
    ]


@pytest.mark.parametrize("error", sorted(TRANSIENT_CLASSES))
def test_a_class_of_the_table_passes_by_itself(error):
    assert is_transient(ResultItem(failed=True, error=error))


@pytest.mark.parametrize("phrase", TRANSIENT_PHRASES)
def test_words_of_the_table_pass_by_themselves(phrase):
    said = f"Name: {phrase.capitalize()}; wait"
    assert is_transient(ResultItem(failed=True, error="UserUpdateError", details=said))


@pytest.mark.parametrize(
    "said",
    ["Email: a@example.com is already being used by another user", "Name: cannot be blank", None],
)
def test_what_a_person_must_mend_does_not_pass_by_itself(said):
    assert not is_transient(ResultItem(failed=True, error="UserUpdateError", details=said))


# --- chunks refused as a whole --------------------------------------------------------------------


def refusing(zendesk, *reasons):
    zendesk.answers = [Refused(f"refused ({reason})", reason=reason) for reason in reasons]


def test_three_chunks_refused_whole_with_no_good_row_pause_the_destination(
    ready, world, ledger, zendesk
):
    ready(4, 4, 4, 4)
    refusing(zendesk, "http_422", "http_422", "http_422")
    world.send(1)
    world.send(2)
    step = world.send(3)

    assert step.code == "chunks_refused"
    run = ledger.runs.get("df-1")
    assert (run.state, run.error["code"]) == (RunState.PAUSED, "chunks_refused")
    assert "refused 3 chunks of df-1 as a whole" in run.error["message"]
    third = row_of(ledger, 3)
    assert (third.state, third.spent, third.attempt) == (ChunkState.WAITING, 0, 1)
    assert world.sums().pending == 16
    assert world.send(4) == Done()
    assert len(zendesk.posts) == 3


def test_after_resume_the_first_refusal_pauses_again_and_the_first_good_row_ends_it(
    ready, world, delivery, ledger, zendesk
):
    ready(4, 4, 4, 4)
    refusing(zendesk, *["http_422"] * 4)
    for seq in (1, 2, 3):
        world.send(seq)
    ledger.runs.resume("df-1")
    assert world.send(5).code == "chunks_refused"

    ledger.runs.resume("df-1")
    world.send(4)
    refusing(zendesk, "http_422")
    assert isinstance(world.send(5), Done)
    world.look(4)
    refusing(zendesk, "http_422")
    assert isinstance(world.send(6), Done)
    assert ledger.runs.get("df-1").state == RunState.SENDING


def test_refusals_of_different_kinds_are_about_different_things(ready, world, ledger, zendesk):
    ready(2, 2, 2)
    refusing(zendesk, "http_422", "http_400", "http_413")

    assert all(isinstance(world.send(seq), Done) for seq in (1, 2, 3))
    assert ledger.runs.get("df-1").state == RunState.SENDING


def test_refusals_of_our_own_do_not_pause(ready, world, ledger, zendesk):
    ready(2, 2, 2)
    zendesk.answers = [Refused("the request would have too many bytes")] * 3

    assert all(isinstance(world.send(seq), Done) for seq in (1, 2, 3))
    assert ledger.runs.get("df-1").state == RunState.SENDING


def test_one_bad_row_is_found_by_halving_whatever_the_number_of_refusals(
    ready, world, ledger, zendesk
):
    ready(16)
    refusing(zendesk, *["http_422"] * 5)
    seq = 1
    while row_of(ledger, seq).rows > 1:
        step = world.send(seq)
        seq = step.hints[0].seq
    world.send(seq)

    assert ledger.views.run("df-1").rows.failed == 1
    assert ledger.runs.get("df-1").state == RunState.SENDING
