"""The door to the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.ledger.alerts import Alerts
from worker.ledger.audit import Audit
from worker.ledger.chunks import Chunks
from worker.ledger.database import Clock, Database, open_database
from worker.ledger.forgetting import Forgetting
from worker.ledger.hashing import settle_hash_key
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
from worker.ledger.schedules import Schedules
from worker.ledger.secrecy import Secrecy
from worker.ledger.views import Views
from worker.sealing import SpoolKeys
from worker.times import Times


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the settings give to keep people's data secret; nothing by default.

    Attributes:
        spool_keys: encrypt rows.
        hash_key: keys the hashes by which people are known; None: the ledger's own, random one.
    """

    spool_keys: SpoolKeys = field(default_factory=SpoolKeys)
    hash_key: bytes | None = field(default=None, repr=False)


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
        alerts: what must reach people, and what did.
        views: what people ask.
        history: how a run went: what its report asks.
        kept: what is still held of people: rows to retry, digests of what arrived.
        retention: remove what is old enough.
        audit: who did what.
        forgetting: erase a person.
        secrecy: whether rows are encrypted, and whether the keys here are those of the ledger.
        schedules: what is due and how far that is dealt with.
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
    alerts: Alerts
    views: Views
    history: History
    kept: Kept
    retention: Retention
    audit: Audit
    forgetting: Forgetting
    secrecy: Secrecy
    schedules: Schedules

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


def open_ledger(
    url: str,
    times: Times | None = None,
    clock: Clock | None = None,
    keep_failed: float = KEEP_FAILED_SECONDS,
    secrets: Secrets | None = None,
) -> Ledger:
    """Open the ledger at a SQLAlchemy URL, making or migrating its tables as needed.

    Args:
        url: where it is.
        times: leases and the like.
        clock: for tests; without, the ledger's time is that of SQLite's host or of PostgreSQL.
        keep_failed: how long rows that did not arrive are kept for `retry`, in seconds.
        secrets: the keys that the settings give.

    Raises:
        UsageError: the URL is malformed or of a database that is not supported, or the ledger is
            SQLite and in use on another host, or a key is not the one that it was.
        LedgerError: the database cannot be reached or written.
    """
    times = times or Times()
    secrets = secrets or Secrets()
    database = open_database(url, clock, secrets.spool_keys)
    try:
        keep_to_one_host(database, times.worker_dead)
        return ledger_on(database, times, keep_failed, secrets.hash_key)
    except BaseException:
        database.close()
        raise


def ledger_on(
    database: Database,
    times: Times,
    keep_failed: float = KEEP_FAILED_SECONDS,
    hash_key: bytes | None = None,
) -> Ledger:
    """Return the ledger on a database that is open and up to date."""
    secrecy = Secrecy(database)
    secrecy.check()
    hash_key = settle_hash_key(database, hash_key)
    runs = Runs(database, times, hash_key)
    forgetting = Forgetting(database, hash_key)
    outcomes = Outcomes(database, hash_key, keep_failed)
    return Ledger(
        database=database,
        runs=runs,
        planning=Planning(database, runs, forgetting, keep_failed),
        chunks=Chunks(database, times, hash_key),
        polling=Polling(database, times),
        limits=AccountLimits(database),
        outcomes=outcomes,
        recovery=Recovery(database, times, outcomes),
        reports=Reports(database),
        alerts=Alerts(database, times),
        views=Views(database),
        history=History(database),
        kept=Kept(database, hash_key),
        retention=Retention(database),
        audit=Audit(database),
        forgetting=forgetting,
        secrecy=secrecy,
        schedules=Schedules(database),
    )
