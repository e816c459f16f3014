"""Values of parameters last as long as their run: whatever way it ends they leave the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.engine import make_url
from world import profiles

from worker.errors import RunError
from worker.ledger import open_ledger
from worker.ledger.ledger import Secrets
from worker.ledger.retention import Ages
from worker.ledger.schema import runs
from worker.ledger.states import RUN_ENDED, RunState
from worker.profile import Outcome, OutcomeKind
from worker.sealing import KeyMissing, SpoolKeys

VALUE = "canary.param@example.com"
GIVEN = {"params": {"email": VALUE, "since": "2026-01-31"}}
KEYS = SpoolKeys({"k1": bytes(range(32))})


def deliver(ledger, kind=OutcomeKind.CREATED):
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 1)])
    ledger.planning.complete(run)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, kind, "x", None, 7)])


def fail_planning(ledger):
    run = ledger.runs.claim_plan("df-1")
    ledger.runs.fail_plan(run, RunError("the query stopped"))


def lose_a_row(ledger):
    deliver(ledger)
    with ledger.database.write() as connection:
        connection.execute(update(runs).values(rows_read=5))


ENDS = {
    RunState.SUCCEEDED: deliver,
    RunState.FINISHED_WITH_FAILURES: lambda ledger: deliver(ledger, OutcomeKind.FAILED),
    RunState.STOPPED: lambda ledger: ledger.runs.stop("df-1", by="ada"),
    RunState.FAILED: fail_planning,
    RunState.INCONSISTENT: lose_a_row,
}


def bytes_of(url):
    """Every byte of the files of a ledger on SQLite, the write-ahead log too."""
    file = Path(make_url(url).database)
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob(file.name + "*")))


@pytest.fixture
def opened(sqlite_url, times, clock):
    """Return a function that opens the ledger with keys, as a worker does."""
    made = []

    def make(keys):
        made.append(open_ledger(sqlite_url, times, clock, secrets=Secrets(keys)))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


def test_there_is_an_end_here_for_every_state_that_a_run_can_end_in():
    assert {*ENDS} == {*RUN_ENDED}


@pytest.mark.parametrize("state", ENDS)
def test_however_a_run_ends_the_values_of_its_parameters_are_gone(
    ledger, ledger_url, new_run, state
):
    ledger.runs.start(new_run(options=GIVEN))
    assert ledger.kept.params("df-1") == GIVEN["params"]

    ENDS[state](ledger)
    assert ledger.runs.close("df-1") == state

    assert ledger.kept.params("df-1") is None
    assert ledger.runs.get("df-1").options["param_names"] == ["email", "since"]
    assert VALUE.encode() not in bytes_of(ledger_url)


def test_values_given_again_are_known_and_others_are_not(ledger, new_run):
    ledger.runs.start(new_run(options=GIVEN))
    ledger.runs.stop("df-1")
    ledger.runs.close("df-1")
    run = ledger.runs.get("df-1")

    assert ledger.kept.are_params_of(run, dict(reversed(GIVEN["params"].items())))
    assert not ledger.kept.are_params_of(run, {**GIVEN["params"], "email": "b@example.com"})
    assert not ledger.kept.are_params_of(run, {})


def test_the_same_values_cannot_be_seen_to_be_those_of_another_run(ledger, new_run):
    for run_id, name in (("df-1", "loyalty"), ("df-2", "orders")):
        ledger.runs.start(new_run(run_id, name, options=GIVEN))
    checks = {ledger.runs.get(run_id).options["param_check"] for run_id in ("df-1", "df-2")}
    assert len(checks) == 2


def test_in_an_encrypted_ledger_values_are_sealed_while_the_run_lives(opened, sqlite_url, new_run):
    ledger = opened(KEYS)
    ledger.secrecy.begin()
    ledger.runs.start(new_run(options=GIVEN))

    assert ledger.kept.params("df-1") == GIVEN["params"]
    assert VALUE.encode() not in bytes_of(sqlite_url)
    with pytest.raises(KeyMissing):
        opened(SpoolKeys()).kept.params("df-1")


def test_a_key_that_opens_only_parameters_of_a_run_that_lives_is_in_use(opened, new_run):
    ledger = opened(KEYS)
    ledger.secrecy.begin()
    ledger.runs.start(new_run(options=GIVEN))

    assert ledger.secrecy.look().batches == {KEYS.first: 1}
    assert opened(SpoolKeys()).secrecy.look().lacking == (KEYS.first,)


def test_who_lacks_the_key_writes_no_values_in_clear(opened, new_run):
    opened(KEYS).secrecy.begin()
    ledger = opened(SpoolKeys())
    with pytest.raises(KeyMissing):
        ledger.runs.start(new_run(options=GIVEN))
    assert ledger.runs.newest() == []
    ledger.runs.start(new_run())  # one without parameters needs no key


def test_values_whose_key_is_lost_fail_the_planning(opened, new_run):
    ledger = opened(KEYS)
    ledger.secrecy.begin()
    ledger.runs.start(new_run(options=GIVEN))
    left = opened(SpoolKeys({"k2": bytes(32), "k1": None}))
    with pytest.raises(RunError, match="the key that encrypts them is lost"):
        left.kept.params("df-1")


@pytest.mark.parametrize(
    "spoiled",
    ["no base64", "Y2FuYXJ5", "WzFd", "/w==", ""],
    ids=["no base64", "no JSON", "JSON of no values", "no text", "nothing"],
)
def test_values_that_are_spoiled_fail_the_planning_in_words(opened, new_run, spoiled):
    """Also where the blob bears no key's name any more, and so passes for one in clear."""
    ledger = opened(KEYS)
    ledger.runs.start(new_run())
    with ledger.database.write() as connection:
        connection.execute(update(runs).values(options=f'{{"params":"{spoiled}"}}'))

    with pytest.raises(RunError, match="the parameters of df-1 in the ledger are not") as caught:
        ledger.kept.params("df-1")
    assert caught.value.code == "payload_changed"


def test_values_that_an_older_version_left_go_when_the_ledger_is_pruned(
    ledger, ledger_url, new_run
):
    ledger.runs.start(new_run())
    ledger.runs.stop("df-1")
    ledger.runs.close("df-1")
    left = f'{{"sample":null,"params":{{"email":"{VALUE}"}}}}'
    with ledger.database.write() as connection:
        connection.execute(update(runs).values(options=left))

    ledger.retention.prune(Ages())

    assert ledger.runs.get("df-1").options == {"sample": None, "param_names": ["email"]}
    assert VALUE.encode() not in bytes_of(ledger_url)


def test_pruning_takes_no_values_from_a_run_that_lives(ledger, new_run):
    ledger.runs.start(new_run(options=GIVEN))
    ledger.retention.prune(Ages())
    assert ledger.kept.params("df-1") == GIVEN["params"]
