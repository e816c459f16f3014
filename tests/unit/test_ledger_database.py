"""The ledger's tables, migrations and errors."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from worker.errors import Conflict, LedgerError, UsageError
from worker.ledger import open_ledger, schema


def test_migrations_lead_to_exactly_the_tables_declared(ledger):
    with ledger.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_migration_is_the_head_that_the_schema_names():
    config = Config()
    config.set_main_option("script_location", "worker/ledger/migrations")

    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_the_hash_key_is_made_once_and_kept(ledger_url):
    keys = []
    for _ in range(2):
        ledger = open_ledger(ledger_url)
        keys.append(ledger.chunks._hash_key)
        ledger.close()

    assert keys[0] == keys[1]
    assert len(keys[0]) == 32


def test_sqlite_commits_survive_a_power_cut_and_readers_do_not_wait(sqlite_ledger):
    with sqlite_ledger.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_reader_sees_one_moment_while_a_writer_writes(ledger, new_run):
    with ledger.database.read() as connection:
        before = connection.exec_driver_sql("SELECT count(*) FROM runs").scalar()
        ledger.runs.start(new_run())
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar() == before


def test_a_ledger_on_an_unknown_database_is_refused_without_repeating_the_url():
    with pytest.raises(UsageError) as caught:
        open_ledger("mysql://root:hunter2@db/x")
    assert "hunter2" not in str(caught.value)


def test_a_malformed_url_is_refused_without_repeating_it():
    with pytest.raises(UsageError) as caught:
        open_ledger("hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_ledger_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerError, match="cannot be made: Not a directory"):
        open_ledger(f"sqlite:///{tmp_path / 'file' / 'state' / 'ledger.db'}")


def test_errors_of_the_database_quote_no_values(ledger):
    with pytest.raises(LedgerError) as caught, ledger.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO meta (name, value) VALUES ('hash_key', 'alice@example.com')"
        )
    assert "alice" not in str(caught.value)


def test_a_key_written_twice_is_a_conflict_that_can_be_asked_again(ledger, new_run):
    ledger.recovery.lock("sweeper", "a", 10.0)
    with pytest.raises(Conflict), ledger.database.write() as connection:
        connection.execute(schema.locks.insert().values(name="sweeper", owner="b", until=0.0))
    assert ledger.recovery.lock("sweeper", "a", 10.0)
