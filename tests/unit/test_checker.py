"""The oracle under test: a true history passes, and each guarantee broken by hand is found."""

from __future__ import annotations

import base64
from dataclasses import replace

import orjson
import pytest
from checker import check, peak
from history import Sample, read

from worker.profile import Outcome, OutcomeKind, RejectedRow
from worker.sandbox.messages import make_request
from worker.sandbox.server import Sandbox

LOGIN = base64.b64encode(b"admin@socktown.example/token:sandbox-token").decode()
POST = "/api/v2/users/create_or_update_many.json"


def post(sandbox, profiles):
    """Send profiles as a worker does; returns the job's id."""
    body = orjson.dumps({"users": [dict(p.user) for p in profiles]})
    head = {"Authorization": f"Basic {LOGIN}"}
    request = make_request("POST", POST, head, body, sandbox.now())
    return orjson.loads(sandbox.answer(request, None).content)["job_status"]["id"]


def outcomes(sandbox, job_id, profiles):
    results = {job["id"]: job["results"] for job in sandbox.jobs()}[job_id]
    return [
        Outcome(p.row, OutcomeKind.FAILED, "rejected_by_zendesk")
        if item["status"] == "Failed"
        else Outcome(p.row, OutcomeKind(item["status"].lower()), zendesk_id=item["id"])
        for p, item in zip(profiles, results, strict=True)
    ]


@pytest.fixture
def history(ledger, new_run):
    """Two chunks, the second refused as a whole and split; one row refused by planning."""
    from world import profiles

    sandbox = Sandbox(seconds_per_user=0)
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    rejected = RejectedRow(8, OutcomeKind.FAILED, "missing_name", "column `name` is empty")
    ledger.planning.add_rejected(run, 1, [rejected])
    ledger.planning.add_chunks(run, 1, [profiles(1, 3), profiles(4, 4)])
    ledger.planning.complete(run)

    def submit(seq):
        claim = ledger.chunks.claim("df-1", seq, "w")
        assert ledger.chunks.submitting(claim)
        return claim

    def deliver(seq):
        claim = submit(seq)
        job_id = post(sandbox, claim.profiles)
        ledger.chunks.accepted(claim, job_id, 1.0, sandbox.now() - 100 + seq)
        found = outcomes(sandbox, job_id, claim.profiles)
        ledger.outcomes.finish("df-1", seq, claim.fence, found)

    ledger.chunks.admit("df-1", 8)
    deliver(1)
    refused = submit(2)
    halves = ledger.chunks.split(refused)
    for seq in halves:
        deliver(seq)
    assert ledger.runs.close("df-1")
    return read(ledger, "df-1", sandbox)


def changed(rows, index, **values):
    return [*rows[:index], {**rows[index], **values}, *rows[index + 1 :]]


def chunk(h, seq, **values):
    return replace(h, chunks={**h.chunks, seq: {**h.chunks[seq], **values}})


def posts(h):
    return [i for i, entry in enumerate(h.journal) if entry["kind"] == "bulk_upsert"]


def person(h, row):
    """The place of a delivered row's user among the users."""
    ids = {r: user_id for results in h.results.values() for r, _, user_id in results}
    return [user["id"] for user in h.users].index(ids[row])


def refused(h):
    """The POST of chunk 1, as it was refused half a second before it was accepted."""
    stamp = next(at for at, _, seq in h.stamps if seq == 1)
    return {**h.journal[posts(h)[0]], "status": 429, "job_id": None, "at": stamp - 0.5}


def event(h, kind, **values):
    return {"kind": kind, "seq": 1, "at": 0.0, "data": {}, **values}


BROKEN = {
    "an outcome is lost": (
        lambda h: replace(h, outcomes=h.outcomes[1:]), "G1: 8 rows were read, 7 have an outcome"
    ),
    "a row has two outcomes": (
        lambda h: replace(h, outcomes=[*h.outcomes, {**h.outcomes[0], "row": 2, "seq": 1}]),
        "G1: rows [2] have more than one outcome",
    ),
    "a row is invented": (
        lambda h: replace(h, outcomes=changed(h.outcomes, 0, row=99)), "none of 1 to 8"
    ),
    "a count is not that of the results": (
        lambda h: chunk(h, 1, created=4), "G1: chunk 1 counts 4 created, its results 3"
    ),
    "a chunk has fewer outcomes than rows": (
        lambda h: chunk(h, 1, rows=4), "G1: chunk 1 has 4 rows and 3 outcomes"
    ),
    "a half is lost": (
        lambda h: chunk(h, 4, parent_seq=None), "G1: the halves of chunk 2 have [2] rows of 4"
    ),
    "the sums do not agree": (
        lambda h: replace(h, run={**h.run, "state": "inconsistent"}), "G1: the run is inconsistent"
    ),
    "success with failed rows": (
        lambda h: replace(h, run={**h.run, "state": "succeeded"}), "G1: the run succeeded, 1 of"
    ),
    "a chunk is lost": (
        lambda h: chunk(h, 3, state="polling"), "G3: the run is finished_with_failures, its chunks"
    ),
    "more POSTs than attempts": (
        lambda h: replace(h, journal=[*h.journal, h.journal[posts(h)[0]]]),
        "G2: chunk 1 was POSTed 2 times in 1 attempts",
    ),
    "a POST of nobody": (
        lambda h: replace(
            h, journal=changed(h.journal, posts(h)[0], external_ids=("x",) * 3, emails=("y",) * 3)
        ),
        "is of no chunk of the run",
    ),
    "two users for one external_id": (
        lambda h: replace(h, users=[*h.users, h.users[-1]]), "G2: 2 external_ids or e-mails belong"
    ),
    "a row without a key was sent": (
        lambda h: replace(
            h, journal=changed(
                h.journal, posts(h)[0], external_ids=("C-1", None, "C-3"),
                emails=("person1@example.com", "", "person3@example.com"),
            )
        ),
        "G4: request 1 holds a row without",
    ),
    "created, but nobody is there": (
        lambda h: replace(h, users=[u for u in h.users if u["external_id"] != "C-2"]),
        "G2: row 2 is created as a user whom the sandbox does not have",
    ),
    "created, but Zendesk refused the row": (
        lambda h: replace(h, users=changed(h.users, person(h, 2), applied_by=None)),
        "G2: row 2 is created, no job of its chunk wrote the user",
    ),
    "created, but they were there": (
        lambda h: replace(h, users=changed(h.users, person(h, 2), created_by=None)),
        "G2: row 2 is created, no job of its chunk made the user",
    ),
    "other values than were sent": (
        lambda h: replace(h, users=changed(h.users, person(h, 2), digest="0" * 64)),
        "G2: row 2 is delivered, the sandbox has other values",
    ),
    "the ledger remembers other values": (
        lambda h: replace(h, delivered=dict.fromkeys(h.delivered, b"")),
        "G2: row 1 is delivered, the ledger remembers other values",
    ),
    "a chunk ends twice": (
        lambda h: replace(h, events=[*h.events[:-1], event(h, "chunk_done"), h.events[-1]]),
        "G5: chunk_done after chunk 1 had ended",
    ),
    "an attempt is accepted twice": (
        lambda h: replace(
            h, events=[e for e in h.events for _ in range(1 + (e["kind"] == "chunk_submitted"))]
        ),
        "G5: attempt 1 of chunk 1 was accepted twice or late",
    ),
    "something happens after the end": (
        lambda h: replace(h, events=[*h.events, event(h, "run_paused", seq=None)]),
        "G5: run_paused after the run had ended",
    ),
    "the run ends twice": (
        lambda h: replace(h, events=[*h.events, event(h, "run_ended", seq=None)]),
        "G5: the run did not end exactly once",
    ),
    "the end is told of twice": (
        lambda h: replace(h, events=[*h.events, *2 * [event(h, "run_reported", seq=None)]]),
        "G5: it was told more than once",
    ),
    "an ended chunk has no event of it": (
        lambda h: replace(h, events=[e for e in h.events if e["kind"] != "chunk_split"]),
        "G5: the chunks that have ended are not those",
    ),
    "a fence falls in the events": (
        lambda h: replace(
            h, events=[
                event(h, "chunk_claimed", data={"fence": 2}),
                event(h, "chunk_claimed", data={"fence": 1}), *h.events,
            ]
        ),
        "G5: the fence of chunk 1 fell to 1",
    ),
    "a fence was seen to fall": (
        lambda h: replace(h, samples=[sample("claimed", 2), sample("claimed", 1)]),
        "G5: the fence of chunk 1 was 2, then 1",
    ),
    "a chunk was seen to come back": (
        lambda h: replace(h, samples=[sample("done", 2), sample("queued", 3)]),
        "G5: chunk 1 was done, then queued",
    ),
    "users above the budget": (
        lambda h: replace(h, account={**h.account, "users_per_second": 2}),
        "G6: 3 users within a second of send stamps, the budget is 2",
    ),
    "refused users above the budget": (
        lambda h: replace(
            h, account={**h.account, "users_per_second": 5}, journal=[refused(h), *h.journal]
        ),
        "G6: 6 users within a second, refused ones too, the budget is 5",
    ),
    "requests above the budget": (
        lambda h: replace(h, account={**h.account, "requests_per_minute": 2}),
        "G6: 3 requests within a minute, the budget is 2",
    ),
    "jobs above the cap": (
        lambda h: replace(
            h, account={**h.account, "jobs_in_flight": 1},
            events=[e for e in h.events if e["kind"] != "chunk_done"],
        ),
        "G6: 2 jobs in flight, the cap is 1",
    ),
    "a customer in an event": (
        lambda h: replace(
            h, events=[event(h, "x", seq=None, data={"why": "for PERSON2@example.com"}), *h.events]
        ),
        "G7: event x names a customer",
    ),
    "a customer in a detail": (
        lambda h: replace(h, outcomes=changed(h.outcomes, 0, detail="person2@example.com exists")),
        "G7: the detail of row 8 names a customer",
    ),
}  # fmt: skip


def sample(state, fence):
    return Sample(0.0, 1, state, fence, 0, None, None)


def test_a_true_history_passes(history):
    assert check(history) == []
    assert {seq: len(found) for seq, found in history.posts_by_chunk.items()} == {
        0: 0, 1: 1, 2: 0, 3: 1, 4: 1
    }  # fmt: skip


def test_a_post_without_a_stamp_is_one_whose_job_the_ledger_does_not_know(history):
    assert history.unstamped == []

    post = refused(history)
    assert replace(history, journal=[post, *history.journal]).unstamped == [post]


@pytest.mark.parametrize("name", BROKEN)
def test_it_finds_that(name, history):
    break_it, words = BROKEN[name]

    found = check(break_it(history))

    assert any(words in finding for finding in found), found


def test_without_faults_one_post_each_is_demanded(history):
    found = check(history, exact=True)  # chunk 2 was refused before it left, as it were

    assert found == ["G2: without faults chunk 2 had 0 POSTs, 1 attempts"]


def test_a_window_is_half_open():
    assert peak([(0.0, 60), (0.5, 40), (1.0, 60)], 1.0) == 100
