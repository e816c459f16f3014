"""A ledger made by an older version is brought up to date, and what lies in it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from scripted import Zendesk
from sqlalchemy import create_engine, inspect, text
from world import TARGET, profiles

from worker.delivery import Context, Delivery
from worker.hints import Done, Finish
from worker.ledger import database, open_ledger, schema, spool
from worker.ledger.records import Limits
from worker.ledger.runs import _dump_target
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind

MIGRATIONS = Path(database.__file__).parent / "migrations"

ACCOUNT = {
    "account": TARGET.account,
    "users_per_second": 100,
    "requests_per_minute": 300,
    "jobs_in_flight": 2,
    "job_seconds": 4.5,
}
RUN = {
    "run_id": "df-1",
    "orchestration": "loyalty",
    "key": "k",
    "active": "loyalty",
    "state": "sending",
    "destination": "socktown",
    "account": TARGET.account,
    "target": _dump_target(TARGET),
    "options": '{"sample": null}',
    "principal": "tester",
    "created_at": 1.0,
    "started_at": 2.0,
    "rows_read": 2,
    "spool_complete": 1,
    **dict.fromkeys(("plan_fence", "plan_expiries", "unchanged", "polls"), 0),
}
CHUNK = {
    "run_id": "df-1",
    "seq": 1,
    "account": TARGET.account,
    "state": "waiting",
    "not_before": 10.0,
    "wake_at": 20.0,
    "why": "users",
    "rows": 2,
    **dict.fromkeys(
        ("fence", "attempt", "spent", "expiries", "looks", "created", "updated"),
        0,
    ),
}
PAYLOAD = {
    "run_id": "df-1",
    "seq": 1,
    "codec": spool.CODEC,
    "blob": spool.encode_profiles(profiles(1, 2)),
}
FIRST_LEDGER = {"accounts": ACCOUNT, "runs": RUN, "chunks": CHUNK, "payloads": PAYLOAD}
"""What version 0001 held: an account, and a run with a chunk that waits."""

SPENT_CHUNK = {**CHUNK, "state": "ambiguous", "attempt": 5, "spent": 5, "waiting_since": 3.0}
SECOND_LEDGER = {
    "accounts": {**ACCOUNT, "reserve_percent": 10, "jobs_cap": 1, "jobs_cap_until": 4.0},
    "runs": {**RUN, "state": "paused"},
    "chunks": SPENT_CHUNK,
    "payloads": PAYLOAD,
}
"""What version 0002 held: a paused run, and a chunk that was sent too often."""


def insert(connection, table, row):
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def upgrade(engine, revision):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.fixture
def first_ledger(tmp_path):
    """Return the URL of a ledger as revision 0001 left it, in the middle of a run."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    upgrade(engine, "0001")
    with engine.begin() as connection:
        assert "limit_overrides" not in inspect(connection).get_table_names()
        for table, row in FIRST_LEDGER.items():
            insert(connection, table, row)
    engine.dispose()
    return url


@pytest.fixture
def second_ledger(tmp_path, clock, times):
    """A ledger as revision 0002 left it, opened by this version."""
    url = f"sqlite:///{tmp_path / 'second.db'}"
    engine = create_engine(url)
    upgrade(engine, "0002")
    with engine.begin() as connection:
        for table, row in SECOND_LEDGER.items():
            insert(connection, table, row)
    engine.dispose()
    opened = open_ledger(url, times, clock)
    yield opened
    opened.close()


@pytest.fixture
def migrated(first_ledger, clock, times):
    opened = open_ledger(first_ledger, times, clock)
    yield opened
    opened.close()


def test_limits_and_what_was_learned_survive_and_nothing_is_left_to_others(migrated):
    account = migrated.polling.account(TARGET.account)

    assert account.limits == Limits(100, 300, 2, reserve_percent=0)
    assert account.job_seconds == 4.5


def test_a_run_of_the_first_ledger_is_sent_to_its_end(migrated):
    claim = migrated.chunks.claim("df-1", 1, "w")
    assert [profile.row for profile in claim.profiles] == [1, 2]
    assert migrated.chunks.submitting(claim)
    migrated.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    migrated.outcomes.finish(
        "df-1", 1, claim.fence, [Outcome(row, OutcomeKind.CREATED) for row in (1, 2)]
    )

    assert migrated.runs.close("df-1") == RunState.SUCCEEDED
    assert migrated.views.run("df-1").chunks == {ChunkState.DONE: 1}


def test_a_second_opening_finds_nothing_to_migrate(first_ledger, migrated, clock, times):
    again = open_ledger(first_ledger, times, clock)

    assert again.runs.get("df-1").state == RunState.SENDING
    again.close()


def test_a_run_paused_before_there_were_digests_is_resumed(second_ledger):
    assert second_ledger.runs.resume("df-1")

    claim = second_ledger.chunks.claim("df-1", 1, "w")
    assert claim.intact
    assert [profile.row for profile in claim.profiles] == [1, 2]
    assert (claim.read_backs, claim.first_submitted_at, claim.known) == (0, None, ())


def test_a_chunk_of_an_older_version_that_was_sent_too_often_is_read_back(
    second_ledger, limiter, times
):
    zendesk = Zendesk()
    for profile in profiles(1, 2):
        zendesk.has(profile, created_at=1.0)
    second_ledger.runs.resume("df-1")
    delivery = Delivery(
        Context(
            ledger=second_ledger,
            limiter=limiter,
            clients=lambda _target: zendesk,
            times=times,
            owner="w",
        )
    )

    assert delivery.submit("df-1", 1) == Done((Finish("df-1"),))
    rows = second_ledger.views.run("df-1").rows
    assert (rows.updated, rows.created) == (2, 0)
    assert zendesk.posts == []


def test_a_row_of_an_older_version_in_conflict_is_sent_again(migrated):
    claim = migrated.chunks.claim("df-1", 1, "w")
    migrated.chunks.submitting(claim)
    migrated.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    found = [
        Outcome(1, OutcomeKind.CREATED),
        Outcome(2, OutcomeKind.FAILED, "row_conflict", "busy"),
    ]

    assert migrated.outcomes.finish("df-1", 1, claim.fence, found, again={2}) == 2
    assert migrated.chunks.admit("df-1", 8) == [2]
    assert migrated.chunks.claim("df-1", 2, "w").intact


def test_runs_that_ended_before_there_were_schedules_are_followed_by_nothing(
    tmp_path, clock, times
):
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        insert(connection, "runs", RUN)
        old = {**RUN, "run_id": "df-0", "key": "old", "active": None}
        insert(connection, "runs", {**old, "state": "succeeded", "ended_at": 9.0})
    engine.dispose()
    opened = open_ledger(url, times, clock)

    assert opened.schedules.unfollowed() == []
    assert opened.runs.get("df-0").origin is None
    opened.runs.stop("df-1")
    opened.runs.close("df-1")
    assert [run.run_id for run in opened.schedules.unfollowed()] == ["df-1"]
    opened.close()


LEDGERS = sorted((Path(__file__).parents[1] / "fixtures" / "ledgers").glob("*.db"))


@pytest.mark.parametrize("file", LEDGERS, ids=lambda file: file.stem)
def test_the_specimen_of_every_schema_goes_on_where_it_stood(file, tmp_path, clock, times):
    shutil.copyfile(file, tmp_path / "ledger.db")
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", times, clock)
    (run,) = opened.runs.newest(1)
    view = opened.views.run(run.run_id)

    assert view.rows.agree
    assert (view.rows.read, view.rows.created, view.rows.pending) == (70, 10, 60)
    claim = opened.chunks.claim(run.run_id, 5, "w")
    assert claim.intact
    assert [profile.row for profile in claim.profiles] == list(range(41, 51))
    opened.close()


def test_there_is_a_specimen_of_every_schema_before_this_one():
    assert [file.stem for file in LEDGERS] == [f"{n:04d}" for n in range(1, int(schema.HEAD))]
