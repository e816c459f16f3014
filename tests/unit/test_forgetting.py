"""A person is forgotten everywhere, in every state of a run, and the sums still agree."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from world import profiles

from worker.digests import key_hash
from worker.errors import Superseded
from worker.hints import Done
from worker.ledger.forgetting import Erased
from worker.ledger.schema import chunks, delivered, forgotten, outcomes, payloads
from worker.ledger.spool import decode_profiles, decode_results, payload_digest
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind, Profile, RejectedRow

ADA, BOB = "x:c-1", "x:c-2"  # rows 1 and 2 of `world.profiles`
BY_EMAIL = "e:person1@example.com"


def forget(ledger, key=ADA):
    return ledger.forgetting.forget(key, "eve")


def chunk(ledger, seq=1):
    with ledger.database.read() as connection:
        return connection.execute(select(chunks).where(chunks.c.seq == seq)).one()


def held(ledger):
    """Row numbers by (run, number) of everything that lies in the ledger."""
    with ledger.database.read() as connection:
        rows = connection.execute(select(payloads.c.run_id, payloads.c.seq, payloads.c.blob)).all()
    return {(r.run_id, r.seq): [p.row for p in decode_profiles(r.blob)] for r in rows}


def marks(ledger):
    with ledger.database.read() as connection:
        return len(connection.scalars(select(forgotten.c.hash)).all())


def known(ledger):
    with ledger.database.read() as connection:
        return len(connection.scalars(select(delivered.c.key_hash)).all())


def submitted(ledger, seq=1, run_id="df-1"):
    claim = ledger.chunks.claim(run_id, seq, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"V3-{seq}", 0.0, 0.0)
    return claim


def ended(ledger, *found, seq=1, run_id="df-1", **kwargs):
    claim = submitted(ledger, seq, run_id)
    return ledger.outcomes.finish(run_id, seq, claim.fence, list(found), **kwargs)


def created(row):
    return Outcome(row, OutcomeKind.CREATED, zendesk_id=900 + row)


def failed(row, code="rejected_by_zendesk"):
    return Outcome(row, OutcomeKind.FAILED, code, "a detail", 900 + row)


def rows(ledger):
    view = ledger.views.run("df-1").rows
    assert view.agree
    return view


@pytest.fixture(params=["planned", "queued", "waiting", "claimed"])
def unsent(request, ledger, sending):
    """A run of two rows that were not sent, its chunk in each state that it may be in."""
    sending(2)
    claim = None
    if request.param != "planned":
        ledger.chunks.admit("df-1", 8)
    if request.param in ("waiting", "claimed"):
        claim = ledger.chunks.claim("df-1", 1, "w")
    if request.param == "waiting":
        ledger.chunks.wait(claim, 0.0, "users")
    return claim


@pytest.mark.parametrize("key", [ADA, BY_EMAIL])
def test_a_row_that_is_not_sent_is_skipped_and_the_rest_can_be_sent(ledger, unsent, key):
    assert forget(ledger, key) == Erased(unsent_rows=1)

    assert held(ledger) == {("df-1", 1): [2]}
    assert ledger.views.run("df-1").reasons == {("skipped", "forgotten"): 1}
    assert (rows(ledger).pending, rows(ledger).skipped) == (1, 1)
    assert chunk(ledger).digest == payload_digest(profiles(2, 1))
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    assert claim.intact
    assert [p.row for p in claim.profiles] == [2]


def test_a_worker_that_held_the_row_is_overtaken_before_it_sends(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    forget(ledger)

    with pytest.raises(Superseded):
        ledger.chunks.submitting(claim)
    assert ("df-1", 1) in ledger.recovery.find_lost().deliver


def test_a_chunk_that_becomes_empty_ends_and_so_does_its_run(ledger, unsent, sending):
    forget(ledger)
    forget(ledger, BOB)

    assert held(ledger) == {}
    assert chunk(ledger).state == ChunkState.DONE
    assert (chunk(ledger).rows, chunk(ledger).wake_at) == (0, None)
    assert ledger.runs.close("df-1") == RunState.SUCCEEDED
    assert rows(ledger).skipped == 2


def test_a_row_with_zendesk_is_not_taken_back_and_nothing_of_it_is_kept(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = submitted(ledger)
    assert forget(ledger) == Erased(in_flight_rows=1)
    assert held(ledger) == {("df-1", 1): [1, 2]}
    assert marks(ledger) == 1

    ledger.outcomes.finish("df-1", 1, claim.fence, [failed(1), failed(2)])
    assert held(ledger) == {("df-1", 1): [2]}
    found = {row.row: row for row in ledger.views.not_delivered("df-1")}
    assert (found[1].external_id, found[1].detail, found[1].code) == (
        None, None, "rejected_by_zendesk",
    )  # fmt: skip
    assert found[2].detail == "a detail"
    assert rows(ledger).failed == 2


def test_a_delivered_row_that_was_with_zendesk_leaves_no_digest_and_no_id(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = submitted(ledger)
    forget(ledger)
    ledger.outcomes.finish("df-1", 1, claim.fence, [created(1), created(2)])

    assert known(ledger) == 1
    assert decode_results(chunk(ledger).results) == [
        (1, OutcomeKind.CREATED, None), (2, OutcomeKind.CREATED, 902),
    ]  # fmt: skip
    assert rows(ledger).created == 2


def test_a_row_that_would_be_sent_again_is_not(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = submitted(ledger)
    forget(ledger)
    found = [failed(1, "row_conflict"), failed(2, "row_conflict")]
    to = ledger.outcomes.finish("df-1", 1, claim.fence, found, again={1, 2})

    assert held(ledger) == {("df-1", to): [2]}
    assert ledger.views.run("df-1").reasons == {("skipped", "forgotten"): 1}
    assert rows(ledger).pending == 1


def test_a_row_that_may_have_arrived_is_not_sent_again_and_is_unconfirmed(ledger, sending, clock):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.unclear(claim, 5.0, "unclear_answer")
    assert forget(ledger) == Erased(in_flight_rows=1)

    clock.advance(6.0)
    assert [p.row for p in ledger.chunks.claim("df-1", 1, "w").profiles] == [2]
    assert ledger.views.run("df-1").reasons == {("unconfirmed", "unconfirmed"): 1}
    assert rows(ledger).unconfirmed == 1


def test_kept_rows_of_ended_runs_are_erased_with_what_was_said_of_them(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    ended(ledger, failed(1), failed(2))
    ledger.runs.close("df-1")
    before = rows(ledger)

    assert forget(ledger) == Erased(kept_rows=1)
    assert held(ledger) == {("df-1", 1): [2]}
    with ledger.database.read() as connection:
        row = connection.execute(select(outcomes).where(outcomes.c.row == 1)).one()
        assert connection.scalar(select(payloads.c.expires_at)) is not None
    assert (row.detail, row.zendesk_id, row.kind, row.forgotten) == (None, None, "failed", True)
    assert rows(ledger) == before
    retryable = ledger.kept.retryable("df-1")
    assert (retryable.kept, retryable.gone) == (1, 1)
    assert marks(ledger) == 0


def test_rows_that_planning_refused_are_erased_too(ledger, new_run):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    row = RejectedRow(1, OutcomeKind.FAILED, "missing_name", "no name", "c-1", None)
    ledger.planning.add_rejected(run, 1, [row])
    ledger.planning.complete(run)

    assert forget(ledger, "x:c-1") == Erased(kept_rows=1)
    assert held(ledger) == {}
    assert rows(ledger).failed == 1


def test_digests_go_by_id_and_by_e_mail_in_all_accounts_and_orchestrations(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    ended(ledger, created(1), created(2))
    ledger.runs.close("df-1")
    with ledger.database.write() as connection:
        for n, name in enumerate(("other", "third")):
            connection.execute(
                delivered.insert().values(
                    account="elsewhere",
                    orchestration=name,
                    key_hash=key_hash(ADA if n else "x:another-id", ledger.kept.hash_key),
                    email_hash=key_hash(BY_EMAIL, ledger.kept.hash_key),
                    digest=b"d",
                )
            )

    assert ledger.forgetting.look(BY_EMAIL) == Erased(digests=3)
    assert forget(ledger) == Erased(digests=2)
    assert forget(ledger, BY_EMAIL) == Erased(digests=1)
    assert known(ledger) == 1


def test_a_run_that_is_being_planned_does_not_send_the_person(ledger, new_run):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    forget(ledger)
    ledger.planning.add_chunks(run, 1, [profiles(1, 2)])  # spooled after it
    refused = RejectedRow(3, OutcomeKind.SKIPPED, "duplicate", "twice", "C-1", None)
    ledger.planning.add_rejected(run, 1, [refused])
    ledger.planning.complete(run)

    assert held(ledger) == {("df-1", 1): [2]}
    assert rows(ledger).pending == 1


def test_who_slips_through_planning_is_stopped_at_the_claim(ledger, new_run, monkeypatch):
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    forget(ledger)
    monkeypatch.setattr(type(ledger.forgetting), "apply", lambda *_: None)
    ledger.planning.add_chunks(run, 1, [profiles(1, 1)])
    ledger.planning.add_chunks(run, 2, [profiles(2, 1)])
    ledger.planning.complete(run)
    ledger.chunks.admit("df-1", 8)

    assert ledger.chunks.claim("df-1", 1, "w") is None
    assert chunk(ledger).state == ChunkState.DONE
    assert [p.row for p in ledger.chunks.claim("df-1", 2, "w").profiles] == [2]
    assert rows(ledger).skipped == 1


def test_the_next_run_sends_the_person_again(ledger, sending, clock):
    sending(1)
    forget(ledger)
    ledger.runs.close("df-1")
    clock.advance(1.0)
    ledger.forgetting.lift()

    sending(1, run_id="df-2")
    ledger.chunks.admit("df-2", 8)
    assert [p.row for p in ledger.chunks.claim("df-2", 1, "w").profiles] == [1]


def test_a_mark_stays_for_as_long_as_a_run_that_began_before_it_goes_on(ledger, sending, clock):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = submitted(ledger)
    forget(ledger)
    clock.advance(1e6)
    assert ledger.forgetting.lift() == 0

    ledger.outcomes.finish("df-1", 1, claim.fence, [created(1), created(2)])
    ledger.runs.close("df-1")
    assert ledger.forgetting.lift() == 1


def test_a_stopped_run_keeps_nothing_of_a_forgotten_person(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    forget(ledger)
    ledger.chunks.unsubmit(claim, 0.0, "users", sent=False)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")

    assert held(ledger) == {("df-1", 1): [2]}
    assert rows(ledger).skipped == 2
    assert (ledger.kept.retryable("df-1").kept, ledger.kept.retryable("df-1").gone) == (1, 1)


def test_looking_changes_nothing(ledger, sending):
    sending(2)
    assert ledger.forgetting.look(ADA) == Erased(unsent_rows=1)
    assert held(ledger) == {("df-1", 1): [1, 2]}
    assert marks(ledger) == 0
    assert [line.action for line in ledger.audit.newest()] == ["run"]


def test_the_audit_tells_the_deed_and_not_the_person(ledger, sending):
    sending(1)
    forget(ledger)
    line = ledger.audit.newest(1)[0]
    assert (line.principal, line.action, line.subject, line.data) == (
        "eve", "forget", "a person", {},
    )  # fmt: skip


def test_damaged_rows_are_counted_and_stop_nothing(ledger, sending):
    sending(1, 1)
    with ledger.database.write() as connection:
        connection.execute(update(payloads).where(payloads.c.seq == 1).values(blob=b"torn"))

    assert forget(ledger, BOB) == Erased(unsent_rows=1, unreadable=1)


def test_tags_that_were_read_for_the_person_go_with_the_row(ledger, sending):
    sending(2)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.keep_tags(claim, {1: ["secret"], 2: ["vip"]})
    ledger.chunks.wait(claim, 0.0, "users")
    forget(ledger)
    assert ledger.chunks.claim("df-1", 1, "w").tags == {2: ["vip"]}


def test_a_whole_delivery_goes_on_without_the_person(ready, delivery, ledger, zendesk, clock):
    ready(3)
    forget(ledger, BOB)
    delivery.submit("df-1", 1)
    clock.advance(60.0)
    done = delivery.poll("df-1", 1)

    assert isinstance(done, Done)
    assert zendesk.posts == [[1, 3]]
    assert ledger.runs.get("df-1").state == RunState.SUCCEEDED
    assert (rows(ledger).created, rows(ledger).skipped) == (2, 1)


def test_case_and_blanks_do_not_matter():
    from orchestrations.cli.forget_verb import _key
    from worker.ledger.forgotten import rows_of

    person = Profile(1, {"external_id": "ÄB-1", "email": " Ada@Example.com ", "name": "Ada"})
    for kind, value in (("external_id", "äb-1"), ("email", "ADA@example.COM  ")):
        assert rows_of([person], {key_hash(_key(kind, value), b"k")}, b"k") == {1}
    assert rows_of([person], {key_hash("x:ada@example.com", b"k")}, b"k") == frozenset()
