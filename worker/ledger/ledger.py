"""The door to the ledger."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import insert, select

from worker.ledger.audit import Audit
from worker.ledger.chunks import Chunks
from worker.ledger.database import Clock, Database, open_database
from worker.ledger.history import History
from worker.ledger.host import keep_to_one_host
from worker.ledger.kept import Kept
from worker.ledger.limits import AccountLimits
from worker.ledger.outcomes import KEEP_FAILED_SECONDS, Outcomes
from worker.ledger.planning import Planning
from worker.ledger.polling import Polling
from worker.ledger.recovery import Recovery
from worker.ledger.reports import Reports
from worker.ledger.retention import Retention
from worker.ledger.runs import Runs
from worker.ledger.schema import meta
from worker.ledger.views import Views
from worker.times import Times


@dataclass(frozen=True, slots=True)
class Ledger:
    """The record of truth, by subject. Safe to use from many threads and processes.

    Attributes:
        database: the connection pool behind it all.
        runs: start, plan, pause, resume, stop, close a run.
        planning: spool rejected rows and chunks.
        chunks: claim, give back, submit a chunk.
        polling: who looks at which job when.
        limits: what people lower for a while.
        outcomes: end a chunk.
        recovery: find what stands still; locks and living workers.
        reports: who tells of a run that has ended.
        views: what people ask.
        history: how a run went: what its report asks.
        kept: what is still held of people: rows to retry, digests of what arrived.
        retention: remove what is old enough.
        audit: who did what.
    """

    database: Database
    runs: Runs
    planning: Planning
    chunks: Chunks
    polling: Polling
    limits: AccountLimits
    outcomes: Outcomes
    recovery: Recovery
    reports: Reports
    views: Views
    history: History
    kept: Kept
    retention: Retention
    audit: Audit

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


def open_ledger(
    url: str,
    times: Times | None = None,
    clock: Clock | None = None,
    keep_failed: float = KEEP_FAILED_SECONDS,
) -> Ledger:
    """Open the ledger at a SQLAlchemy URL, making or migrating its tables as needed.

    Args:
        url: where it is.
        times: leases and the like.
        clock: for tests; without, the ledger's time is that of SQLite's host or of PostgreSQL.
        keep_failed: how long rows that did not arrive are kept for `retry`, in seconds.

    Raises:
        UsageError: the URL is malformed or of a database that is not supported, or the ledger is
            SQLite and in use on another host.
        LedgerError: the database cannot be reached or written.
    """
    times = times or Times()
    database = open_database(url, clock)
    try:
        keep_to_one_host(database, times.worker_dead)
        return ledger_on(database, times, keep_failed)
    except BaseException:
        database.close()
        raise


def ledger_on(database: Database, times: Times, keep_failed: float = KEEP_FAILED_SECONDS) -> Ledger:
    """Return the ledger on a database that is open and up to date."""
    hash_key = _hash_key(database)
    runs = Runs(database, times)
    outcomes = Outcomes(database, hash_key, keep_failed)
    return Ledger(
        database=database,
        runs=runs,
        planning=Planning(database, runs, keep_failed),
        chunks=Chunks(database, times, hash_key),
        polling=Polling(database, times),
        limits=AccountLimits(database),
        outcomes=outcomes,
        recovery=Recovery(database, times, outcomes),
        reports=Reports(database),
        views=Views(database),
        history=History(database),
        kept=Kept(database, hash_key),
        retention=Retention(database),
        audit=Audit(database),
    )


def _hash_key(database: Database) -> bytes:
    """Return the key of all hashes of people's keys: random, made once with the ledger."""
    query = select(meta.c.value).where(meta.c.name == "hash_key")
    with database.read() as connection:
        found = connection.scalar(query)
    if found is None:
        with database.write() as connection:
            found = connection.scalar(query)
            if found is None:
                found = secrets.token_bytes(32)
                connection.execute(insert(meta).values(name="hash_key", value=found))
    return bytes(found)
