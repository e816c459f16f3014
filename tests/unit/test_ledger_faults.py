"""The ledger locked, cut off, restarted, full: what is tried again, and what is said."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import create_engine, event, func, select, text
from structlog.testing import capture_logs
from world import TARGET

from worker.errors import Conflict, LedgerError, Superseded
from worker.ledger import database, engines, open_ledger
from worker.ledger.database import persist
from worker.ledger.runs import lock_run
from worker.ledger.schema import chunks, locks
from worker.ledger.states import ChunkState
from worker.profile import Outcome, OutcomeKind
from worker.sweeper import Background


@pytest.fixture
def impatient(monkeypatch):
    """SQLite's own waiting is off, ours is short."""
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(database, "PATIENCE_S", 0.2)


@pytest.fixture
def holder(sqlite_ledger, tmp_path):
    """A second process' connection that holds the ledger's write lock."""
    with closing(
        sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    ) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def terminate_backends(connection):
    """End every other connection of this database, as a server that is restarted does."""
    connection.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    )


@pytest.fixture
def killer(ledger_url):
    engine = create_engine(ledger_url)

    def kill():
        with engine.begin() as connection:
            terminate_backends(connection)

    yield kill
    engine.dispose()


# --- beginning ---------------------------------------------------------------------------------


def test_a_write_waits_for_another_process_to_end_its_own(
    monkeypatch, sqlite_url, times, sqlite_ledger, holder
):
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 1)
    tried = threading.Event()
    monkeypatch.setattr(database.time, "sleep", lambda _: tried.set())
    monkeypatch.setattr(database, "PATIENCE_S", 60.0)
    waiting = engines.make_engine(sqlite_url)
    written = []

    def write():
        try:
            with database.Database(waiting).write() as connection:
                connection.execute(locks.insert().values(name="x", owner="y", until=0.0))
            written.append(True)
        except LedgerError:
            tried.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert tried.wait(60)
    assert not written
    holder.execute("COMMIT")
    thread.join(60)
    waiting.dispose()

    assert written


def test_sqlite_itself_waits_for_other_writers(sqlite_ledger):
    with sqlite_ledger.database.read() as connection:
        waits = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()

    assert waits == engines.BUSY_TIMEOUT_MS >= 10_000


def test_a_ledger_that_stays_locked_says_so(impatient, sqlite_url, sqlite_ledger, holder):
    engine = engines.make_engine(sqlite_url)
    with (
        pytest.raises(LedgerError, match="another process holds the ledger locked") as caught,
        database.Database(engine).write(),
    ):
        pytest.fail("the lock was not held")
    engine.dispose()
    assert caught.value.code == "ledger_locked"
    assert "kill -CONT" in caught.value.resolution


def test_a_worker_goes_on_once_the_ledger_is_not_locked_any_more(
    impatient, sqlite_url, sqlite_ledger, holder, times
):
    holder.execute("COMMIT")
    waiting = open_ledger(sqlite_url, times)
    holder.execute("BEGIN IMMEDIATE")
    failed, beaten = threading.Event(), threading.Event()

    class Rounds:
        def note(self, name, seconds):
            if name == "heartbeat" and seconds:  # a round is over
                (beaten if waiting.recovery.living_workers() else failed).set()

    class Nothing:
        def sweep(self):
            return ()

        def let_go(self):
            pass

    words = (Nothing(), waiting, times.scaled(0.001), "w", "host", lambda _hints: None, Rounds())
    background = Background(*words)
    with capture_logs() as lines:
        background.start()
        assert failed.wait(30)
        holder.execute("COMMIT")
        assert beaten.wait(30)
    background.stop()
    waiting.close()

    told = [line for line in lines if line["event"] == "background_failed"]
    assert told
    assert "exc_info" not in told[0]
    assert told[0]["reason"] == (
        "The ledger cannot be used: another process holds the ledger locked"
    )
    assert "kill -CONT" in told[0]["resolution"]


def test_readers_do_not_wait_for_a_writer(impatient, sqlite_url, sqlite_ledger, holder):
    assert sqlite_ledger.runs.get("df-1") is None


@pytest.mark.postgres
def test_a_restarted_server_costs_the_next_transaction_nothing(ledger, killer, sending):
    sending(1)
    killer()

    assert ledger.chunks.admit("df-1", 8) == [1]


def test_a_server_that_is_away_is_told_at_once_on_opening(monkeypatch):
    monkeypatch.setattr(database.time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(LedgerError, match="nothing answers at PostgreSQL's address") as caught:
        open_ledger("postgresql+psycopg://eve:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(caught.value)
    assert "eve" not in str(caught.value)


# --- in the middle, and at COMMIT --------------------------------------------------------------


@pytest.mark.postgres
def test_a_connection_lost_midway_leaves_nothing_behind(ledger, killer, sending):
    sending(1)

    def lose():
        with ledger.database.write() as connection:
            connection.execute(chunks.update().values(state=ChunkState.DONE))
            killer()
            connection.execute(select(func.count()).select_from(chunks))

    with pytest.raises(LedgerError, match=r"PostgreSQL is being stopped or started|was lost"):
        lose()
    assert ledger.chunks.admit("df-1", 8) == [1]


def lose_next_commit(ledger, *, carried_out):
    """The next COMMIT gets no answer, whether it was carried out or not."""
    engine = ledger.database._engine

    @event.listens_for(engine, "commit", once=True)
    def on_commit(connection):
        raw = connection.connection.dbapi_connection
        if carried_out:
            (raw.execute("COMMIT") if ledger.database.is_sqlite else raw.commit())
        raise LedgerError("the connection was lost")


@pytest.mark.parametrize("carried_out", [True, False])
def test_an_accepted_job_is_in_the_ledger_whatever_became_of_the_first_commit(
    ledger, sending, carried_out
):
    sending(1)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    assert ledger.chunks.submitting(claim)
    lose_next_commit(ledger, carried_out=carried_out)

    try:
        persist(lambda: ledger.chunks.accepted(claim, "V3-1", 0.0, 0.0), 35.0, lambda _: None)
    except Superseded:
        assert carried_out
    assert [due.job_id for due in ledger.polling.take_due("127.0.0.1:8900")] == ["V3-1"]
    assert [e.kind for e in ledger.views.events("df-1")].count("chunk_submitted") == 1


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_start_whose_commit_got_no_answer_is_repeated_under_its_key(ledger, new_run, carried_out):
    lose_next_commit(ledger, carried_out=carried_out)
    with pytest.raises(LedgerError):
        ledger.runs.start(new_run("df-1", key="monday"))

    run, new = ledger.runs.start(new_run("df-2", key="monday"))
    assert (run.run_id, new) == (("df-1", False) if carried_out else ("df-2", True))


@pytest.mark.parametrize("carried_out", [True, False])
def test_an_intent_whose_commit_got_no_answer_sends_nothing_and_is_found_by_the_sweeper(
    ledger, sending, clock, times, carried_out
):
    sending(1)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    lose_next_commit(ledger, carried_out=carried_out)
    with pytest.raises(LedgerError):
        ledger.chunks.submitting(claim)

    clock.advance(times.lease)
    ledger.recovery.release_expired()
    state = ChunkState.AMBIGUOUS if carried_out else ChunkState.QUEUED
    assert ledger.views.run("df-1").chunks == {state: 1}


# --- what stands still is ended by the server --------------------------------------------------


@pytest.mark.postgres
def test_a_worker_frozen_in_a_transaction_does_not_hold_up_the_others(ledger, ledger_url, sending):
    sending(1)
    frozen = database.open_database(ledger_url)

    def freeze():
        with frozen.write() as connection:
            connection.execute(chunks.update().values(owner="frozen"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
            # Waits for the frozen one's lock; goes on once the server has ended its transaction.
            with ledger.database.write() as other:
                other.execute(chunks.update().values(owner="alive"))
            connection.execute(select(chunks.c.owner))

    with pytest.raises(LedgerError, match="this process stood still"):
        freeze()
    frozen.close()
    with ledger.database.read() as connection:
        assert connection.scalar(select(chunks.c.owner)) == "alive"


@pytest.mark.postgres
def test_a_poller_does_not_wait_for_who_stands_still_with_another_job(ledger, sending, clock):
    sending(1, 1)
    ledger.chunks.admit("df-1", 8)
    for seq in (1, 2):
        claim = ledger.chunks.claim("df-1", seq, "w")
        ledger.chunks.submitting(claim)
        ledger.chunks.accepted(claim, f"V3-{seq}", 10.0, 0.0)
    clock.advance(100.0)

    with ledger.database.write() as frozen:
        frozen.execute(chunks.update().where(chunks.c.seq == 1).values(looks=7))
        assert [due.seq for due in ledger.polling.take_due(TARGET.account)] == [2]
    assert [due.seq for due in ledger.polling.take_due(TARGET.account)] == [1]


@pytest.mark.postgres
def test_a_chunk_ends_while_somebody_holds_its_run(ledger, sending):
    sending(1)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 10.0, 0.0)

    with ledger.database.write() as connection:
        lock_run(connection, "df-1")
        failed = Outcome(1, OutcomeKind.FAILED, "rejected_by_zendesk")
        ledger.outcomes.finish("df-1", 1, claim.fence, [failed])
    assert ledger.views.run("df-1").rows.failed == 1


@pytest.mark.postgres
def test_a_reader_may_be_as_slow_as_it_likes(ledger):
    with ledger.database.read() as connection:
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "0"


@pytest.mark.postgres
def test_a_session_has_the_limits_of_time_and_a_name_that_the_url_may_change(ledger_url):
    found = []
    for url in (ledger_url, f"{ledger_url}&application_name=mine"):
        opened = database.open_database(url)
        with opened.write() as connection:
            names = (*engines.POSTGRES_SESSION, "application_name")
            found.append({n: connection.scalar(text(f"SHOW {n}")) for n in names})
        opened.close()

    assert found[0] == {**engines.POSTGRES_SESSION, "application_name": "deskfeed"}
    assert found[1]["application_name"] == "mine"


# --- persist -----------------------------------------------------------------------------------


def failing(*errors):
    """A write that raises these errors one after the other and then succeeds."""
    left = list(errors)

    def write():
        if left:
            raise left.pop(0)
        return "written"

    return write


def test_a_dear_write_is_repeated_until_the_ledger_takes_it():
    pauses = []
    errors = [LedgerError("the disk is full") for _ in range(5)]

    assert persist(failing(*errors), 60.0, pauses.append) == "written"
    assert len(pauses) == 5
    assert all(0 < pause <= database.LONGEST_PAUSE_S for pause in pauses)


def test_a_dear_write_is_not_repeated_for_longer_than_told():
    with pytest.raises(LedgerError, match="full"):
        persist(failing(LedgerError("the disk is full")), 0.0, lambda _: None)


@pytest.mark.parametrize("error", [Superseded("x"), Conflict("x")])
def test_what_somebody_else_decided_is_not_tried_again(error):
    with pytest.raises(type(error)):
        persist(failing(error), 60.0, lambda _: pytest.fail("it was repeated"))


# --- whose clock -------------------------------------------------------------------------------


@pytest.mark.postgres
def test_on_postgresql_the_servers_clock_holds_whatever_the_hosts_says(ledger_url, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 42.0)
    opened = open_ledger(ledger_url)
    with opened.database.read() as connection:
        server = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        assert opened.database.now(connection) >= float(server)
    opened.close()


def test_on_sqlite_the_hosts_clock_holds(sqlite_url, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 42.0)
    opened = open_ledger(sqlite_url)
    with opened.database.read() as connection:
        assert opened.database.now(connection) == 42.0
    opened.close()
