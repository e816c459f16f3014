"""Forgetting a person: digests, kept rows, rows that are still to be sent, in all runs.

A mark is written first (`worker.ledger.forgotten`), so that whatever is written meanwhile keeps
nothing of the person either. Then all that is there is looked through, in short transactions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, or_, select, tuple_, update

from worker.digests import key_hash
from worker.errors import Superseded
from worker.ledger import audit, spool
from worker.ledger.database import Database
from worker.ledger.forgotten import marks, rows_of, take_out
from worker.ledger.payloads import load_profiles, remove_profiles, store_profiles
from worker.ledger.schema import chunks, delivered, forgotten, outcomes, payloads, runs
from worker.ledger.states import CHUNK_ENDED, IN_FLIGHT, RUN_ENDED, ChunkState
from worker.profile import Profile
from worker.sealing import missing

READ_AT_A_TIME = 100
"""Payloads that are looked through in one snapshot: some megabytes at most."""

_WHILE_LOOKING_S = 3_600.0
"""A mark is valid for runs that begin within this time, should looking through never end."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased of a person, or would be.

    Attributes:
        digests: of what Zendesk confirmed, over all accounts and orchestrations.
        kept_rows: rows that were not delivered and were kept.
        unsent_rows: rows of runs that go on, now skipped (unconfirmed if they may have been sent).
        in_flight_rows: rows that are with Zendesk now. Nothing of them is kept when they end.
        unreadable: chunks whose rows are damaged: nobody can say whose they are.
    """

    digests: int = 0
    kept_rows: int = 0
    unsent_rows: int = 0
    in_flight_rows: int = 0
    unreadable: int = 0

    @property
    def anything(self) -> bool:
        """Whether there was anything of the person."""
        return bool(self.digests or self.kept_rows or self.unsent_rows or self.in_flight_rows)

    def plus(self, **more: int) -> Erased:
        """Return the same with some numbers raised."""
        return replace(self, **{name: getattr(self, name) + n for name, n in more.items()})


class Forgetting:
    """Erases people.

    Args:
        database: where the ledger lies.
        hash_key: keys the hashes of people's keys.
    """

    def __init__(self, database: Database, hash_key: bytes) -> None:
        self._db = database
        self._hash_key = hash_key

    def look(self, key: str) -> Erased:
        """Count what `forget` would erase now; see there."""
        self._refuse_lacking_keys()
        hashed = key_hash(key, self._hash_key)
        found = Erased(digests=len(self._digests(hashed)))
        for run_id, seq, rows in self._holders({hashed}):
            with self._db.read() as connection:
                chunk = _chunk(connection, run_id, seq, lock=False)
            found = found.plus(**{_what(seq, chunk): rows} if rows else {"unreadable": 1})
        return found

    def forget(self, key: str, by: str) -> Erased:
        """Erase a person.

        Args:
            key: what identifies the person (`worker.profile.key_of`); it is written down nowhere.
            by: who wants it so, for the audit.

        Raises:
            KeyMissing: rows are encrypted with a key that is not here; nothing was erased.
        """
        self._refuse_lacking_keys()
        hashed = key_hash(key, self._hash_key)
        with self._db.write() as connection:
            self._mark(connection, hashed, _WHILE_LOOKING_S)
            audit.write(connection, self._db, by, "forget", "a person")
        found = Erased(digests=self._remove_digests(hashed))
        found = self._erase_all({hashed}, found)
        with self._db.write() as connection:
            self._mark(connection, hashed, 0.0)
        self.lift()
        self._db.wipe()
        return found

    def apply(self, run_id: str) -> None:
        """Erase those from a run who are to be forgotten, before it sends."""
        with self._db.read() as connection:
            hashes = marks(connection, run_id)
        if hashes:
            self._erase_all(hashes, Erased(), run_id)

    def lift(self) -> int:
        """Remove the marks that no run needs any more; returns how many."""
        concerned = exists().where(
            runs.c.state.not_in(RUN_ENDED), runs.c.created_at <= forgotten.c.at
        )
        with self._db.read() as connection:
            over = connection.scalars(select(forgotten.c.hash).where(~concerned)).all()
        if not over:
            return 0
        with self._db.write() as connection:
            gone = delete(forgotten).where(~concerned, forgotten.c.hash.in_(over))
            return int(connection.execute(gone).rowcount)

    def _mark(self, connection: Connection, hashed: bytes, seconds: float) -> None:
        at = self._db.now(connection) + seconds
        known = connection.execute(
            update(forgotten).where(forgotten.c.hash == hashed).values(at=at)
        ).rowcount
        if not known:
            connection.execute(insert(forgotten).values(hash=hashed, at=at))

    def _refuse_lacking_keys(self) -> None:
        with self._db.read() as connection:
            names = connection.scalars(select(payloads.c.key_id).distinct()).all()
        for name in self._db.spool_keys.lacking(name for name in names if name):
            raise missing(name)

    # --- digests ------------------------------------------------------------------------------

    def _digests(self, hashed: bytes) -> list[tuple[Any, ...]]:
        mine = or_(delivered.c.key_hash == hashed, delivered.c.email_hash == hashed)
        with self._db.read() as connection:
            rows = connection.execute(select(*delivered.primary_key.columns).where(mine))
            return [tuple(row) for row in rows]

    def _remove_digests(self, hashed: bytes) -> int:
        """Found first, and removed then: to look through all of them takes a while."""
        doomed = self._digests(hashed)
        if not doomed:
            return 0
        key = tuple_(*delivered.primary_key.columns)
        with self._db.write() as connection:
            return int(connection.execute(delete(delivered).where(key.in_(doomed))).rowcount)

    # --- rows ---------------------------------------------------------------------------------

    def _holders(
        self, hashes: Collection[bytes], run_id: str | None = None
    ) -> Iterator[tuple[str, int, int]]:
        """Yield (run, number, rows) of what holds a row of the person; no rows: unreadable."""
        after: tuple[str, int] | None = None
        while True:
            with self._db.read() as connection:
                places = _places(connection, after, run_id)
                held = [self._held(connection, place, hashes) for place in places]
            yield from (one for one in held if one is not None)
            if len(places) < READ_AT_A_TIME:
                return
            after = places[-1]

    def _held(
        self, connection: Connection, place: tuple[str, int], hashes: Collection[bytes]
    ) -> tuple[str, int, int] | None:
        try:
            profiles = load_profiles(connection, *place)
        except spool.Damaged:
            return (*place, 0)
        rows = len(rows_of(profiles, hashes, self._hash_key))
        return (*place, rows) if rows else None

    def _erase_all(
        self, hashes: Collection[bytes], found: Erased, run_id: str | None = None
    ) -> Erased:
        for at, seq, rows in self._holders(hashes, run_id):
            if not rows:
                found = found.plus(unreadable=1)
                continue
            with self._db.write() as connection:
                try:
                    found = found.plus(**self._erase(connection, at, seq, hashes))
                except Superseded:
                    continue  # it ended meanwhile, which asked for the mark, or was pruned
        return found

    def _erase(
        self, connection: Connection, run_id: str, seq: int, hashes: Collection[bytes]
    ) -> dict[str, int]:
        chunk = _chunk(connection, run_id, seq, lock=True)
        profiles = load_profiles(connection, run_id, seq)
        doomed = rows_of(profiles, hashes, self._hash_key)
        what = _what(seq, chunk)
        if not doomed or what == "in_flight_rows":
            return {what: len(doomed)}
        if chunk is None or chunk.state in CHUNK_ENDED:
            self._erase_kept(connection, run_id, seq, profiles, doomed)
        else:
            if chunk.state == ChunkState.CLAIMED:
                self._seize(connection, chunk)
            take_out(connection, self._db, chunk, profiles, doomed)
        return {what: len(doomed)}

    def _seize(self, connection: Connection, chunk: Row[Any]) -> None:
        """Take a chunk from the worker that is about to send it; it will find itself overtaken."""
        connection.execute(
            update(chunks)
            .where(chunks.c.run_id == chunk.run_id, chunks.c.seq == chunk.seq)
            .values(
                state=ChunkState.QUEUED,
                fence=chunks.c.fence + 1,
                owner=None,
                wake_at=self._db.now(connection),
            )
        )

    def _erase_kept(
        self,
        connection: Connection,
        run_id: str,
        seq: int,
        profiles: Collection[Profile],
        doomed: Collection[int],
    ) -> None:
        this = (payloads.c.run_id == run_id, payloads.c.seq == seq)
        expires_at = connection.scalar(select(payloads.c.expires_at).where(*this))
        remove_profiles(connection, run_id, seq)
        left = [profile for profile in profiles if profile.row not in doomed]
        if left:
            store_profiles(connection, run_id, seq, left, expires_at)
        connection.execute(
            update(outcomes)
            .where(outcomes.c.run_id == run_id, outcomes.c.row.in_(doomed))
            .values(detail=None, zendesk_id=None, forgotten=True)
        )


def _places(
    connection: Connection, after: tuple[str, int] | None, run_id: str | None
) -> list[tuple[str, int]]:
    key = (payloads.c.run_id, payloads.c.seq)
    query = select(*key).order_by(*key).limit(READ_AT_A_TIME)
    if run_id is not None:
        query = query.where(payloads.c.run_id == run_id)
    if after is not None:
        query = query.where(tuple_(*key) > after)
    return [(row.run_id, row.seq) for row in connection.execute(query)]


def _chunk(connection: Connection, run_id: str, seq: int, *, lock: bool) -> Row[Any] | None:
    """Return the row of a chunk; None of a batch of rows that planning refused."""
    if seq < 0:
        return None
    query = select(chunks).where(chunks.c.run_id == run_id, chunks.c.seq == seq)
    return connection.execute(
        query.with_for_update(key_share=True) if lock else query
    ).one_or_none()


def _what(seq: int, chunk: Row[Any] | None) -> str:
    """Return which of the numbers of `Erased` the rows of a payload count for."""
    if seq < 0 or chunk is None or chunk.state in CHUNK_ENDED:
        return "kept_rows"
    return "in_flight_rows" if chunk.state in IN_FLIGHT else "unsent_rows"
