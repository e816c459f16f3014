"""What an account allows at this moment: declared in the catalog, lowered by people or by Zendesk.

`standing` is the one place that says which limits hold; whoever gives permits or counts job slots
asks it within the transaction that relies on the answer.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from worker.errors import Conflict, UsageError
from worker.ledger.audit import write
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.records import LimitName, Limits, Override, Standing
from worker.ledger.schema import accounts, chunks, limit_overrides
from worker.ledger.states import IN_FLIGHT, ChunkState
from worker.profile import CHUNK_SIZE

LONGEST_OVERRIDE_S = 7 * 24 * 3600.0
"""What is to hold for longer belongs into the destination's file."""


def declare(connection: Connection, account: str, limits: Limits) -> None:
    """Write down, within a transaction, what the catalog says of an account at a start."""
    values = {
        "users_per_second": limits.users_per_second,
        "requests_per_minute": limits.requests_per_minute,
        "jobs_in_flight": limits.jobs_in_flight,
        "reserve_percent": limits.reserve_percent,
    }
    changed = connection.execute(
        update(accounts).where(accounts.c.account == account).values(**values)
    ).rowcount
    if changed == 0:
        connection.execute(insert(accounts).values(account=account, **values))


def standing(
    connection: Connection,
    account: str,
    now: float,
    *,
    lock: bool = False,
    declared: Limits | None = None,
) -> Standing | None:
    """Return what holds for an account; None if nobody knows it.

    Args:
        connection: the transaction that relies on the answer.
        account: the Zendesk host.
        now: the ledger's time.
        lock: keep others from doing so too until the transaction ends, so that two cannot both
            take the last job slot.
        declared: what the catalog says, for an account to which nothing was sent yet.
    """
    query = select(accounts).where(accounts.c.account == account)
    # FOR NO KEY UPDATE on PostgreSQL, as an account's name never changes: see `lock_run`.
    held = query.with_for_update(key_share=True) if lock else query
    row = connection.execute(held).one_or_none()
    overrides = active_overrides(connection, account, now)
    if row is None:
        return None if declared is None else Standing(declared, overrides)
    capped = row.jobs_cap is not None and row.jobs_cap_until > now
    return Standing(
        declared=Limits(
            row.users_per_second, row.requests_per_minute, row.jobs_in_flight, row.reserve_percent
        ),
        overrides=overrides,
        jobs_cap=row.jobs_cap if capped else None,
        jobs_cap_until=row.jobs_cap_until if capped else None,
        job_seconds=row.job_seconds,
    )


def active_overrides(connection: Connection, account: str, now: float) -> tuple[Override, ...]:
    """Return what people lowered for an account and what is not over yet."""
    rows = connection.execute(
        select(limit_overrides)
        .where(limit_overrides.c.account == account, limit_overrides.c.until > now)
        .order_by(limit_overrides.c.name)
    ).mappings()
    return tuple(Override(**row) for row in rows)


def count_jobs(connection: Connection, account: str, now: float) -> int:
    """Return how many of an account's job slots are held by us.

    A chunk that may have arrived holds a slot until it has settled.
    """
    settled = and_(chunks.c.state == ChunkState.AMBIGUOUS, chunks.c.not_before <= now)
    used = connection.scalar(
        select(func.count()).where(
            chunks.c.account == account, chunks.c.state.in_(IN_FLIGHT), ~settled
        )
    )
    return int(used or 0)


class AccountLimits:
    """Limits that people lower for a while, without touching the catalog.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def lower(
        self,
        account: str,
        name: LimitName,
        value: int,
        seconds: float,
        by: str,
        *,
        declared: Limits | None = None,
    ) -> Override:
        """Lower one limit of an account for a while; a later call replaces an earlier one.

        Args:
            account: the Zendesk host.
            name: which limit.
            value: what it is at most from now on.
            seconds: how long.
            by: who wants it so.
            declared: what the catalog says, for an account to which nothing was sent yet.

        Raises:
            UsageError: this would raise the limit, could never send a chunk, or is for too long.
        """
        _refuse_time(seconds)
        try:
            with self._db.write() as connection:
                now = self._db.now(connection)
                known = standing(connection, account, now, declared=declared)
                _refuse_value(account, name, value, known)
                override = Override(account, name, value, now + seconds, by, now)
                _put(connection, override)
                self._record(connection, "limit_lowered", override, by)
                return override
        except Conflict:  # somebody lowered the same meanwhile; the later one holds
            return self.lower(account, name, value, seconds, by, declared=declared)

    def lift(self, account: str, name: LimitName | None, by: str) -> list[Override]:
        """Let the declared limit hold again, or all of them; returns what no longer holds."""
        chosen = [limit_overrides.c.account == account]
        if name is not None:
            chosen.append(limit_overrides.c.name == name)
        with self._db.write() as connection:
            active = active_overrides(connection, account, self._db.now(connection))
            lifted = [one for one in active if name in (None, one.name)]
            connection.execute(delete(limit_overrides).where(*chosen))
            for override in lifted:
                self._record(connection, "limit_lifted", override, by)
        return lifted

    def active(self, account: str) -> list[Override]:
        """Return what people lowered for an account and what is not over yet."""
        with self._db.read() as connection:
            return list(active_overrides(connection, account, self._db.now(connection)))

    def _record(self, connection: Connection, kind: str, override: Override, by: str) -> None:
        record(
            connection,
            self._db,
            kind,
            None,
            account=override.account,
            name=override.name,
            value=override.value,
            until=override.until,
            by=by,
        )
        action = "limits set" if kind == "limit_lowered" else "limits lift"
        write(
            connection,
            self._db,
            by,
            action,
            override.account,
            name=override.name,
            value=override.value,
        )


def _refuse_time(seconds: float) -> None:
    if not 0 < seconds <= LONGEST_OVERRIDE_S:
        raise UsageError(
            "a limit is lowered for at most 7 days, and not for nothing",
            resolution="Give a shorter time, e.g. --for 2h. What is to hold for longer belongs "
            "into the destination's file, under `limits:`.",
        )


def _refuse_value(account: str, name: LimitName, value: int, known: Standing | None) -> None:
    if known is None:
        raise UsageError(
            f"the ledger does not know the account {account!r}",
            code="destination_not_found",
            resolution="See the accounts there are: deskfeed limits show",
        )
    if value < 1:
        raise UsageError(
            f"{name} must be at least 1",
            resolution="To send nothing at all, pause the runs: deskfeed pause RUN",
        )
    if name == "users_per_second" and value < CHUNK_SIZE:
        raise UsageError(
            f"users_per_second cannot be lowered below {CHUNK_SIZE}: a chunk of {CHUNK_SIZE} users "
            "is sent as one request and would never get its permit. It can only be lowered where "
            f"more than {CHUNK_SIZE} is declared",
            resolution="Lower the requests instead, each chunk is one: "
            "deskfeed limits set NAME --requests-per-minute N --for 2h",
        )
    most = known.declared.of(name)
    if value > most:
        raise UsageError(
            f"{name} of {account} is declared as {most}; `limits set` only lowers, it cannot make "
            f"it {value}",
            resolution="Raise it in the destination's file, under `limits:`; it then holds from "
            "the next start of a run.",
        )


def _put(connection: Connection, override: Override) -> None:
    this = (
        limit_overrides.c.account == override.account,
        limit_overrides.c.name == override.name,
    )
    changed = connection.execute(
        update(limit_overrides).where(*this).values(**asdict(override))
    ).rowcount
    if changed == 0:
        connection.execute(insert(limit_overrides).values(**asdict(override)))
