"""What the ledger still holds of people: kept rows, for a while, and digests of what arrived.

`retry` reads the kept rows of failed, unconfirmed and cancelled rows; `verify` and `retry` ask what
Zendesk confirmed last. The parameters of a live run may name people, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from worker.digests import key_hash, mark
from worker.errors import RunError
from worker.ledger import parameters, spool
from worker.ledger.database import Database
from worker.ledger.payloads import load_profiles
from worker.ledger.records import Run
from worker.ledger.runs import as_run
from worker.ledger.schema import chunks, delivered, outcomes, payloads, runs
from worker.profile import OutcomeKind, Profile

MARKS_A_LOOK = 20_000
"""Some megabytes, read in a fraction of a second."""

_RETRIED = or_(
    outcomes.c.kind.in_((OutcomeKind.FAILED, OutcomeKind.UNCONFIRMED)),
    and_(outcomes.c.kind == OutcomeKind.SKIPPED, outcomes.c.code == "cancelled"),
)
"""Rows that may be sent again: nobody has, or can tell that somebody has."""


@dataclass(frozen=True, slots=True)
class Retryable:
    """The rows of a run that did not arrive.

    Attributes:
        kept: rows that can be sent again.
        gone: rows that were profiles, and are no longer kept, or were forgotten.
        refused: rows that planning refused; they never were profiles.
        codes: every code of these three, with its rows, whatever codes were asked for.
    """

    kept: int = 0
    gone: int = 0
    refused: int = 0
    codes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Kept rows of one chunk.

    Attributes:
        profiles: the rows, as they were to be sent.
        posted: whether the chunk may have left; what Zendesk had of these people was forgotten
            then, so whatever is known now was told later.
    """

    profiles: tuple[Profile, ...]
    posted: bool


class Kept:
    """Questions about people that the ledger still holds.

    Args:
        database: where the ledger lies.
        hash_key: keys the hashes of people's keys.
    """

    def __init__(self, database: Database, hash_key: bytes) -> None:
        self._db = database
        self._hash_key = hash_key

    @property
    def hash_key(self) -> bytes:
        """What keys the hashes of people's keys."""
        return self._hash_key

    def params(self, run_id: str) -> dict[str, Any] | None:
        """Return the values that a run was started with; None when they are gone: it has ended.

        Raises:
            KeyMissing: they are encrypted with a key that is not here.
            RunError: they cannot be read by anybody any more.
        """
        with self._db.read() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one()
            try:
                return parameters.values_of(connection, row)
            except spool.Damaged:
                raise RunError(
                    f"the parameters of {run_id} in the ledger are not those that it was started "
                    "with, or the key that encrypts them is lost",
                    code="payload_changed",
                ) from None

    def are_params_of(self, run: Run, values: Mapping[str, Any]) -> bool:
        """Whether a run was started with these values, as far as the ledger can tell."""
        return parameters.are_those(run.run_id, run.options, values, self._hash_key)

    def marks(self, account: str, orchestration: str) -> Iterator[int]:
        """Yield the mark of everybody of whom Zendesk confirmed something, some at a time.

        Each look is a transaction of its own: what is written meanwhile may be among them or not.
        """
        after = b""
        while True:
            with self._db.read() as connection:
                rows = connection.execute(
                    select(delivered.c.key_hash, delivered.c.digest)
                    .where(
                        delivered.c.account == account,
                        delivered.c.orchestration == orchestration,
                        delivered.c.key_hash > after,
                    )
                    .order_by(delivered.c.key_hash)
                    .limit(MARKS_A_LOOK)
                ).all()
            yield from (mark(hashed, confirmed) for hashed, confirmed in rows)
            if len(rows) < MARKS_A_LOOK:
                return
            after = rows[-1].key_hash

    def retryable(self, run_id: str, codes: Sequence[str] = ()) -> Retryable:
        """Count the rows of an ended run that did not arrive.

        Args:
            run_id: which run.
            codes: only rows with one of these codes; none for all.
        """
        there = and_(payloads.c.seq.is_not(None), ~outcomes.c.forgotten).label("there")
        refused = outcomes.c.seq.is_(None).label("refused")
        query = (
            select(outcomes.c.code, refused, there, func.count().label("n"))
            .outerjoin(
                payloads,
                and_(payloads.c.run_id == outcomes.c.run_id, payloads.c.seq == outcomes.c.seq),
            )
            .where(outcomes.c.run_id == run_id, _RETRIED)
            .group_by(outcomes.c.code, refused, there)
        )
        counts = {"kept": 0, "gone": 0, "refused": 0}
        found: dict[str, int] = {}
        with self._db.read() as connection:
            for row in connection.execute(query):
                found[row.code] = found.get(row.code, 0) + row.n
                if not codes or row.code in codes:
                    counts["refused" if row.refused else "kept" if row.there else "gone"] += row.n
        return Retryable(**counts, codes=found)

    def rows(self, run_id: str, codes: Sequence[str] = ()) -> Iterator[KeptRows]:
        """Yield the rows that can be sent again, chunk by chunk, each read for itself."""
        wanted = [outcomes.c.run_id == run_id, _RETRIED, outcomes.c.seq.is_not(None)]
        if codes:
            wanted.append(outcomes.c.code.in_(codes))
        with self._db.read() as connection:
            query = (
                select(outcomes.c.seq)
                .join(
                    payloads,
                    and_(payloads.c.run_id == outcomes.c.run_id, payloads.c.seq == outcomes.c.seq),
                )
                .where(*wanted)
                .distinct()
                .order_by(outcomes.c.seq)
            )
            numbers = list(connection.scalars(query))
        for seq in numbers:
            with self._db.read() as connection:
                found = _rows_of(connection, run_id, seq, wanted)
            yield found  # outside: whoever takes them writes before asking for the next

    def digests(
        self, account: str, orchestration: str, profiles: Sequence[Profile]
    ) -> list[bytes | None]:
        """Return for each profile the digest of what Zendesk confirmed of this person last.

        None: nothing was confirmed, or something was sent since that was not.
        """
        hashes = [key_hash(profile.key, self._hash_key) for profile in profiles]
        query = select(delivered.c.key_hash, delivered.c.digest).where(
            delivered.c.account == account,
            delivered.c.orchestration == orchestration,
            delivered.c.key_hash.in_(hashes),
        )
        with self._db.read() as connection:
            known = {bytes(row.key_hash): bytes(row.digest) for row in connection.execute(query)}
        return [known.get(key) for key in hashes]

    def read_again_since(self, run: Run) -> Run | None:
        """Return the newest run that read the whole result of the same orchestration later."""
        query = (
            select(runs)
            .where(
                runs.c.orchestration == run.orchestration,
                runs.c.account == run.target.account,
                runs.c.created_at > run.created_at,
                runs.c.parent_run.is_(None),
                runs.c.spool_complete.is_(True),
            )
            .order_by(runs.c.created_at.desc())
        )
        with self._db.read() as connection:
            later = [as_run(row) for row in connection.execute(query)]
        return next((run for run in later if run.options.get("sample") is None), None)


def _rows_of(
    connection: Connection, run_id: str, seq: int, wanted: Sequence[ColumnElement[bool]]
) -> KeptRows:
    """Return the wanted rows of a chunk.

    Raises:
        Superseded: they were pruned this very moment.
        RunError: they cannot be read any more.
    """
    numbers = set(connection.scalars(select(outcomes.c.row).where(*wanted, outcomes.c.seq == seq)))
    attempt = connection.scalar(
        select(chunks.c.attempt).where(chunks.c.run_id == run_id, chunks.c.seq == seq)
    )
    try:
        profiles = load_profiles(connection, run_id, seq)
    except spool.Damaged:
        raise RunError(
            f"the rows of chunk {seq} that {run_id} kept cannot be read any more",
            code="payload_changed",
            resolution="Run the orchestration again: it reads the rows anew.",
        ) from None
    return KeptRows(tuple(p for p in profiles if p.row in numbers), posted=bool(attempt))
