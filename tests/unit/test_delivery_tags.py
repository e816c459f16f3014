"""`tags: add`: the request has the tags that people have, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import forget
from sqlalchemy import select

from orchestrations.runs import Options
from orchestrations.spec import Orchestration
from worker.delivery import Context, Delivery
from worker.delivery.asker import Asker, NoPermit
from worker.delivery.tags import MOST_READS
from worker.errors import (
    Ambiguous,
    DestinationError,
    LimiterUnavailable,
    NotSent,
    Renewed,
    Throttled,
)
from worker.hints import Failed, Wait
from worker.ledger.recovery import MOST_UNCLEAR
from worker.ledger.schema import chunks
from worker.ledger.states import RunState
from worker.profile import Profile
from worker.zendesk.replies import RateHeaders, UserRecord


def person(row, tags=("vip",), **more):
    user = {"external_id": f"C-{row}", "email": f"person{row}@example.com", "name": "P", **more}
    return Profile(row, {**user, "tags": list(tags)} if tags is not None else user)


@pytest.fixture
def adding(ledger, new_run, delivery):
    """Return a function that makes a run of one chunk that adds tags."""

    def make(*rows, **options):
        ledger.runs.start(replace(new_run("df-1", "loyalty"), options={"adds_tags": True}))
        run = ledger.runs.claim_plan("df-1")
        ledger.planning.add_chunks(run, 1, [rows])
        ledger.planning.complete(run)
        delivery.admit("df-1")
        return rows

    return make


def tags_of(zendesk):
    return {row: user.get("tags") for row, user in zendesk.sent[-1].items()}


def test_tags_are_sent_with_those_that_people_have(adding, delivery, zendesk):
    first, _ = adding(person(1, ["vip", "new"]), person(2, None))
    zendesk.has(first, tags=["old", "vip"])
    delivery.submit("df-1", 1)
    assert tags_of(zendesk) == {1: ["old", "vip", "new"], 2: None}
    assert zendesk.reads == [["C-1"]]
    assert zendesk.searches == []


def test_what_the_ledger_holds_of_a_row_is_the_row(adding, delivery, ledger, zendesk):
    (first,) = adding(person(1))
    zendesk.has(first, tags=["old"])
    delivery.submit("df-1", 1)
    assert ledger.outcomes.profiles("df-1", 1) == (first,)


def test_a_chunk_without_tags_costs_no_request(adding, delivery, zendesk):
    adding(person(1, None), person(2, []))
    delivery.submit("df-1", 1)
    assert (zendesk.reads, zendesk.searches) == ([], [])
    assert tags_of(zendesk) == {1: None, 2: None}


def test_a_run_that_replaces_tags_reads_nothing(sending, delivery, zendesk):
    sending(1)
    delivery.admit("df-1")
    delivery.submit("df-1", 1)
    assert (zendesk.reads, len(zendesk.posts)) == ([], 1)


def found(**attributes):
    return UserRecord(7, attributes.get("external_id"), None, {"id": 7, **attributes})


@pytest.mark.parametrize(
    ("users", "tags"),
    [
        ([], ["vip"]),
        ([found(email="Person1@example.com", tags=["old"])], ["old", "vip"]),
        ([found(email="other@example.com", tags=["of a secondary address"])],
         ["of a secondary address", "vip"]),
        ([found(email="a@b.c", tags=["a"]), found(email="person1@example.com", tags=["b"])],
         ["b", "vip"]),
        ([found(email="a@b.c", tags=["a"]), found(email="b@b.c", tags=["b"])], ["vip"]),
        ([found(email=None, tags=None)], ["vip"]),
    ],
)  # fmt: skip
def test_somebody_unknown_by_external_id_is_searched_by_email(
    adding, delivery, zendesk, users, tags
):
    adding(person(1))
    zendesk.by_email["person1@example.com"] = users
    delivery.submit("df-1", 1)
    assert tags_of(zendesk) == {1: tags}
    assert zendesk.searches == ["person1@example.com"]


def test_an_external_id_that_a_list_cannot_hold_is_asked_for_alone(adding, delivery, zendesk):
    (odd,) = adding(person(1, external_id="a,b"))
    zendesk.has(odd, tags=["old"])
    delivery.submit("df-1", 1)
    assert (zendesk.reads, zendesk.searches) == ([], ["a,b"])
    assert tags_of(zendesk) == {1: ["old", "vip"]}


def test_the_tag_of_a_dropdown_that_is_sent_anew_is_not_sent_again(adding, delivery, zendesk):
    fields = {"user_fields": {"tier": "gold", "likes": ["tea"]}}
    (first,) = adding(person(1, **fields))
    shown = {"tier": "silver", "likes": ["tea", "coffee"], "other": "kept"}
    zendesk.has(first, tags=["silver", "tea", "coffee", "kept"], user_fields=shown)
    delivery.submit("df-1", 1)
    assert tags_of(zendesk) == {1: ["kept", "vip"]}


@pytest.mark.parametrize(
    ("error", "step", "why"),
    [
        (NotSent("no route"), Wait(5.0, "tags"), "tags"),
        (Throttled("slow", retry_after_seconds=25.0), Wait(25.0, "rate_limited"), "rate_limited"),
        (Renewed("changed"), Wait(0.0, "credential_renewed"), "credential_renewed"),
    ],
)
def test_tags_that_cannot_be_read_put_the_chunk_off_and_use_no_attempt(
    adding, delivery, ledger, zendesk, error, step, why
):
    adding(person(1))
    zendesk.read_answers = [error]
    assert delivery.submit("df-1", 1) == step
    view = ledger.views.run("df-1")
    assert (view.posts, view.waits, zendesk.posts) == (0, {why: 1}, [])


def test_a_refused_credential_pauses_the_destination(adding, delivery, ledger, zendesk):
    adding(person(1))
    zendesk.read_answers = [DestinationError("no", code="invalid_credentials")]
    assert delivery.submit("df-1", 1) == Failed("invalid_credentials")
    assert ledger.runs.get("df-1").state == RunState.PAUSED


@pytest.mark.parametrize(
    ("error", "step"),
    [(NoPermit(7.0), Wait(7.0, "tags_permit")), (LimiterUnavailable("away"), Wait(5.0, "limiter"))],
)
def test_without_a_permit_nothing_is_asked(adding, delivery, zendesk, monkeypatch, error, step):
    adding(person(1))

    def ask(*_):
        raise error

    monkeypatch.setattr(Asker, "ask", ask)
    assert delivery.submit("df-1", 1) == step
    assert zendesk.reads == []


def test_a_search_is_not_repeated_when_a_later_one_had_no_answer(
    adding, delivery, zendesk, clock, redis
):
    adding(person(1), person(2))
    zendesk.search_answers = [None, NotSent("no route")]
    assert delivery.submit("df-1", 1) == Wait(5.0, "tags")
    forget(redis)
    clock.advance(5.0)
    delivery.submit("df-1", 1)
    assert zendesk.searches == [f"person{n}@example.com" for n in (1, 2, 2)]
    assert len(zendesk.posts) == 1


def test_another_worker_goes_on_reading_where_the_first_one_had_no_permit(
    adding, zendesk, monkeypatch, clock, ledger, limiter, times
):
    adding(*(person(row) for row in range(1, 6)))
    asked, ask = [], Asker.ask

    def ask_twice(asker, claim, call):
        asked.append(claim)
        if len(asked) % 3 == 0:  # a minute with room for two requests
            raise NoPermit(1.0)
        return ask(asker, claim, call)

    monkeypatch.setattr(Asker, "ask", ask_twice)
    for _ in range(3):
        context = Context(
            ledger=ledger,
            limiter=limiter,
            clients=lambda _target: zendesk,
            times=times,
            owner="another",
        )
        Delivery(context).submit("df-1", 1)
        clock.advance(1.0)

    assert zendesk.reads == [[f"C-{row}" for row in range(1, 6)]]
    assert zendesk.searches == [f"person{row}@example.com" for row in range(1, 6)]
    assert len(zendesk.posts) == 1


def test_tags_that_were_read_are_forgotten_once_the_chunk_is_sent(
    adding, delivery, ledger, zendesk, clock, redis
):
    (first,) = adding(person(1))
    zendesk.has(first, tags=["old"])
    zendesk.answers = [Ambiguous("timed out")]
    delivery.submit("df-1", 1)
    with ledger.database.read() as connection:
        assert connection.scalar(select(chunks.c.tags)) is None
    zendesk.has(first, tags=["newer"])
    forget(redis)
    clock.advance(20.0)
    delivery.submit("df-1", 1)
    assert tags_of(zendesk) == {1: ["newer", "vip"]}


def test_an_empty_list_adds_nothing_and_takes_nothing_away(adding, delivery, zendesk):
    adding(person(1, []))
    delivery.submit("df-1", 1)
    assert tags_of(zendesk) == {1: None}
    assert zendesk.reads == []


def test_reading_without_a_usable_answer_ends(adding, delivery, ledger, zendesk, clock, redis):
    adding(person(1), person(2))
    for _ in range(MOST_READS):
        zendesk.search_answers = [NotSent("422", code="unclear_answer")]
        delivery.submit("df-1", 1)
        forget(redis)
        clock.advance(30.0)

    view = ledger.views.run("df-1")
    assert (view.rows.failed, view.rows.pending, view.posts) == (2, 0, 0)
    assert view.reasons == {("failed", "tags_not_read"): 2}
    assert view.run.state == RunState.FINISHED_WITH_FAILURES


def test_a_paused_run_reads_no_further(adding, delivery, ledger, zendesk):
    adding(person(1), person(2))
    seen = zendesk.users_search

    def pausing(**wanted):
        ledger.runs.pause("df-1")
        return seen(**wanted)

    zendesk.users_search = pausing
    delivery.submit("df-1", 1)
    assert zendesk.searches == ["person1@example.com"]


def test_a_read_back_takes_other_tags_for_those_that_were_there(
    adding, delivery, ledger, zendesk, clock, redis
):
    (first,) = adding(person(1))
    zendesk.has(first, tags=["old"])
    for _ in range(MOST_UNCLEAR):
        zendesk.answers = [Ambiguous("timed out")]
        delivery.submit("df-1", 1)
        forget(redis)
        clock.advance(20.0)
    zendesk.has(first, tags=["old", "vip"])
    delivery.submit("df-1", 1)
    assert ledger.views.run("df-1").rows.updated == 1


def test_the_run_remembers_that_its_orchestration_adds_tags():
    keys = {"name": "a", "description": "A", "source": "s", "query": "a.sql", "destination": "d"}
    adds = Orchestration(**keys, tags="add")
    assert Options().as_json(adds)["adds_tags"] is True
    assert "adds_tags" not in Options().as_json(Orchestration(**keys))


@pytest.mark.parametrize("known", [True, False], ids=["show_many", "search"])
def test_the_headers_of_reading_reach_the_limiter(known, adding, delivery, zendesk, redis):
    (first,) = adding(person(1))
    if known:
        zendesk.has(first, tags=["old"])
    zendesk.rate = RateHeaders(limit=700, remaining=0, reset_s=30.0)
    answer = delivery.submit("df-1", 1)
    assert isinstance(answer, Wait), "Zendesk said that nothing is left of the minute"
    assert answer.why in {"limiter", "tags_permit", "permit"} or answer.seconds > 1
    assert zendesk.posts == []
