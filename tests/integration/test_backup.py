"""The backups of docs/operations.md, tried: what comes back is what was there."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import postgres
import pytest
from sqlalchemy import make_url

from worker.ledger import open_ledger
from worker.profile import Outcome, OutcomeKind

DOCS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def documented(program):
    """Return the switches that the documentation gives a program."""
    (words,) = set(re.findall(rf"^\$ {program} (.*)$", DOCS, re.MULTILINE))
    return [word for word in words.split() if word.startswith("--")]


@pytest.fixture
def delivered(ledger, sending):
    """Deliver a run with a failed row, and return what the ledger says of it."""
    sending(2, 1)
    for seq, rows in ((1, (1, 2)), (2, (3,))):
        ledger.chunks.admit("df-1", 8)
        claim = ledger.chunks.claim("df-1", seq, "w")
        ledger.chunks.submitting(claim)
        ledger.chunks.accepted(claim, f"V3-{seq}", 1.0, 0.0)
        kinds = [Outcome(row, OutcomeKind.CREATED) for row in rows if row != 3]
        kinds += [Outcome(row, OutcomeKind.FAILED, code="shared_email") for row in rows if row == 3]
        ledger.outcomes.finish("df-1", seq, claim.fence, kinds)
    return told(ledger)


def told(ledger):
    return ledger.views.run("df-1"), list(ledger.views.not_delivered("df-1"))


@pytest.mark.postgres
def test_a_dump_of_postgresql_brings_everything_back(
    backend, ledger, ledger_url, delivered, tmp_path, times, clock
):
    binaries = postgres.find_binaries()
    if binaries is None or not (binaries / "pg_dump").exists():
        pytest.fail("PostgreSQL answers the tests, and its pg_dump is not there")
    dump = tmp_path / "ledger.dump"

    said = subprocess.run(
        [binaries / "pg_dump", *documented("pg_dump"), f"--file={dump}", libpq(ledger_url)],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    with postgres.database(f"deskfeed_restored_{os.getpid()}") as restored:
        said = subprocess.run(
            [
                binaries / "pg_restore",
                *documented("pg_restore"),
                f"--dbname={libpq(restored)}",
                dump,
            ],
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        with closing(open_ledger(restored, times, clock)) as again:
            assert told(again) == delivered


def libpq(url):
    """Return a SQLAlchemy URL as PostgreSQL's own programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_copy_of_sqlite_made_while_it_is_used_brings_everything_back(
    sqlite_url, sqlite_ledger, new_run, tmp_path, times, clock
):
    assert 'sqlite3 /state/ledger.db "VACUUM INTO' in DOCS
    sqlite_ledger.runs.start(new_run())
    copy = tmp_path / "copy.db"

    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as source:
        source.execute("VACUUM INTO ?", (str(copy),))
    sqlite_ledger.runs.start(new_run("df-2", "later"))

    with closing(open_ledger(f"sqlite:///{copy}", times, clock)) as again:
        assert [run.run_id for run in again.runs.newest()] == ["df-1"]
        again.runs.start(new_run("df-3", "goes-on"))
