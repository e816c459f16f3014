"""Verifying: does Zendesk still have what was delivered?

The query and its mapping run again. A row whose digest equals that of what Zendesk confirmed is
provably what was sent; such rows are compared field by field with Zendesk. All others are counted
by why they cannot be. Nothing here names a value: row numbers and names of fields only.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from orchestrations.columns import Fields
from orchestrations.loader import Catalog
from orchestrations.mapping import mapper_for
from orchestrations.params import resolved, without_value
from orchestrations.reading import QueryReader
from orchestrations.retrying import batches
from orchestrations.runs import Options
from orchestrations.sources import Variable, no_variable
from orchestrations.spec import Orchestration
from orchestrations.staging import Staged
from worker.digests import sent_digest
from worker.errors import DeskfeedError, NotSent, Throttled, UsageError
from worker.ledger import Ledger
from worker.ledger.records import Run
from worker.ledger.states import RUN_ENDED
from worker.profile import Profile
from worker.zendesk.client import Permit
from worker.zendesk.compare import differences, unseen
from worker.zendesk.payload import is_readable, readable_batches
from worker.zendesk.replies import UserRecord, UsersFound

MOST_LISTED = 1_000
"""So many rows are listed one by one; all are counted."""

LOOKED_UP_TOGETHER = 1_000
"""Rows held in memory while Zendesk is asked about them."""

TRIES = 5
"""So often one request is made before verifying is given up."""

LookUp = Callable[[Sequence[str]], Iterable[UserRecord]]
"""Returns the users of one batch of external_ids; waits for leave to ask."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found. `read` is the sum of the other numbers; `missing` and `differs` are bad news.

    Attributes:
        read: rows of the query's result, as it is now.
        equal: no field that was sent is contradicted by what Zendesk shows.
        differs: a field is.
        missing: Zendesk has no user with this external_id.
        source_changed: the row is not what was delivered, so nothing can be said of Zendesk.
        not_delivered: nothing is known to have been delivered of this person.
        not_verifiable: delivered, but without an external_id that can be asked for.
        not_sampled: could have been compared, and was not in the sample.
        not_sent: refused by the mapping, or a duplicate: no profile.
        fields: name of a field -> rows in which it differs.
        unseen: name of a field -> rows among the equal ones in which Zendesk shows nothing by which
            it could be compared: neither proof nor contradiction.
        differing: (row, names of fields), the first of them.
        missing_rows: rows of the missing, the first of them.
    """

    read: int
    equal: int
    differs: int
    missing: int
    source_changed: int
    not_delivered: int
    not_verifiable: int
    not_sampled: int
    not_sent: int
    fields: Mapping[str, int]
    unseen: Mapping[str, int]
    differing: tuple[tuple[int, tuple[str, ...]], ...]
    missing_rows: tuple[int, ...]

    @property
    def compared(self) -> int:
        """Rows of which Zendesk was asked."""
        return self.equal + self.differs + self.missing


class Verifier:
    """Compares what was delivered with what Zendesk has.

    Args:
        ledger: knows what was delivered.
        catalog: what to query.
        look_up: asks Zendesk.
        scratch: a folder for the staging files, which hold customers; the caller removes it.
        variable: where the URLs of databases stand.
        fields: the account's user fields: rows must be mapped as they were for the run.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        look_up: LookUp,
        scratch: Path,
        variable: Variable = no_variable,
        fields: Fields = None,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._look_up = look_up
        self._scratch = scratch
        self._variable = variable
        self._fields = fields

    def verify(
        self, run: Run, sample: int | None = None, params: Mapping[str, Any] | None = None
    ) -> Verified:
        """Run query and mapping again and compare.

        Args:
            run: an ended run; the rows are those of its query as they are now.
            sample: compare only so many rows, always the same ones of a run; None for all.
            params: the values that the run was given; the ledger does not keep them.

        Raises:
            UsageError: the run has not ended, has no query of its own, or was started with other
                parameters.
            DeskfeedError: it could not be done.
        """
        refuse_unverifiable(run)
        orchestration = self._catalog.orchestration(run.orchestration)
        reader = QueryReader(self._catalog, self._variable, self._scratch)
        options = self._options(run, orchestration, params or {})
        allow_pii = self._catalog.destinations[orchestration.destination].allow_pii
        make = partial(mapper_for, orchestration, fields=self._fields, allow_pii=allow_pii)
        with reader.snapshot(orchestration, options, make).staged as staged:
            return self._compare_all(run, staged, sample, adds_tags=orchestration.tags == "add")

    def _options(self, run: Run, orchestration: Orchestration, given: Mapping[str, Any]) -> Options:
        """Return what a run was asked for, with its parameters given again."""
        missing = without_value(orchestration, given)
        values = {} if missing else resolved(orchestration, given)
        if missing or not self._ledger.kept.are_params_of(run, values):
            names = missing or [*orchestration.params]
            raise UsageError(
                f"{run.run_id} was started with other parameters than are given or declared now; "
                "their values are not kept once a run has ended",
                resolution=f"Give those that the run was given: deskfeed verify {run.run_id} "
                + " ".join(f"--param {name}=VALUE" for name in names),
            )
        return replace(Options.from_json(run.options), params=values)

    def _compare_all(
        self, run: Run, staged: Staged, sample: int | None, *, adds_tags: bool
    ) -> Verified:
        tally = _Tally()
        tally.counts["not_sent"] = sum(1 for _ in staged.rejected())
        rows: Iterable[Profile] = self._comparable(run, staged, tally, adds_tags)
        if sample is not None:
            rows = heapq.nsmallest(sample, rows, key=lambda profile: _lot(run, profile))
        for group in batches(rows, LOOKED_UP_TOGETHER):
            self._compare(group, tally, adds_tags=adds_tags)
        return tally.verified(staged.rows_read)

    def _comparable(
        self, run: Run, staged: Staged, tally: _Tally, adds_tags: bool
    ) -> Iterator[Profile]:
        """Yield the rows that can be compared; count the others."""
        for chunk in staged.chunks():
            known = self._ledger.kept.digests(run.target.account, run.orchestration, chunk)
            for profile, confirmed in zip(chunk, known, strict=True):
                now = sent_digest(profile.user, adds_tags=adds_tags)
                why = _why_not(profile, now, confirmed)
                if why is None:
                    tally.counts["comparable"] += 1
                    yield profile
                else:
                    tally.counts[why] += 1

    def _compare(self, group: Sequence[Profile], tally: _Tally, *, adds_tags: bool) -> None:
        ids = [profile.external_id or "" for profile in group]
        found: dict[str, UserRecord] = {}
        for batch in readable_batches(ids):
            for record in self._look_up(batch):
                found[(record.external_id or "").lower()] = record
        for profile in group:
            user = found.get((profile.external_id or "").lower())
            if user is None:
                tally.missing(profile)
                continue
            shown = user.attributes
            names = differences(profile.user, shown, adds_tags=adds_tags)
            if names:
                tally.differs(profile, names)
            else:
                tally.equal(unseen(profile.user, shown, adds_tags=adds_tags))


def refuse_unverifiable(run: Run) -> None:
    """Raise `UsageError` for a run of which nothing can be verified (yet)."""
    if run.state not in RUN_ENDED:
        raise UsageError(
            f"{run.run_id} is {run.state}; only a run that has ended can be verified",
            code="wrong_state",
            resolution=f"Wait for its end: deskfeed watch {run.run_id}",
        )
    if run.parent_run is not None:
        raise UsageError(
            f"{run.run_id} is a retry and has no query of its own",
            code="wrong_state",
            resolution=f"Verify the run that it retries: deskfeed verify {run.parent_run}",
        )


def _why_not(profile: Profile, now: bytes, confirmed: bytes | None) -> str | None:
    """Return why a row cannot be compared, or None."""
    if confirmed is None:
        return "not_delivered"
    if confirmed != now:
        return "source_changed"
    if profile.external_id is None or not is_readable(profile.external_id):
        return "not_verifiable"
    return None


def _lot(run: Run, profile: Profile) -> bytes:
    """A number drawn for a row: the same for the same run and person, whenever it is drawn."""
    return sha256(f"{run.run_id} {profile.key}".encode()).digest()


class _Tally:
    """Counts as rows go by; lists only the first of the bad ones."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._fields: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()
        self._differing: list[tuple[int, tuple[str, ...]]] = []
        self._missing: list[int] = []

    def missing(self, profile: Profile) -> None:
        """Count a row that Zendesk does not have."""
        self.counts["missing"] += 1
        self._missing.append(profile.row)
        del self._missing[MOST_LISTED:]

    def differs(self, profile: Profile, names: tuple[str, ...]) -> None:
        """Count a row of which Zendesk shows these fields otherwise."""
        self.counts["differs"] += 1
        self._fields.update(names)
        self._differing.append((profile.row, names))
        del self._differing[MOST_LISTED:]

    def equal(self, unseen_names: tuple[str, ...]) -> None:
        """Count a row that nothing contradicts, and the fields of it that nothing proves."""
        self.counts["equal"] += 1
        self._unseen.update(unseen_names)

    def verified(self, read: int) -> Verified:
        """Return the result."""
        counts = self.counts
        looked_up = counts["equal"] + counts["differs"] + counts["missing"]
        return Verified(
            read=read,
            equal=counts["equal"],
            differs=counts["differs"],
            missing=counts["missing"],
            source_changed=counts["source_changed"],
            not_delivered=counts["not_delivered"],
            not_verifiable=counts["not_verifiable"],
            not_sampled=counts["comparable"] - looked_up,
            not_sent=counts["not_sent"],
            fields=dict(self._fields.most_common()),
            unseen=dict(self._unseen.most_common()),
            differing=tuple(sorted(self._differing)),
            missing_rows=tuple(sorted(self._missing)),
        )


class Users(Protocol):
    """What looking up needs of Zendesk; `worker.zendesk.client.ZendeskClient` is one."""

    def users_show_many(self, external_ids: Sequence[str]) -> UsersFound:
        """Return the users that have these external_ids."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks Zendesk for users with leave, again when it asks to wait or does not answer.

    Attributes:
        users: the destination.
        permit: waits for leave to send one request; returns what its answer is told to.
        failed: is told of a request that failed; returns the seconds to wait before the next.
        sleep: waits for that; tests pass their own.
    """

    users: Users
    permit: Permit
    failed: Callable[[DeskfeedError], float]
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, external_ids: Sequence[str]) -> tuple[UserRecord, ...]:
        """Return the users of one batch.

        Raises:
            DeskfeedError: it could not be done, after `TRIES` times or at once.
        """
        for left in reversed(range(TRIES)):
            report = self.permit()
            try:
                found = self.users.users_show_many(external_ids)
            except (NotSent, Throttled) as error:
                seconds = self.failed(error)
                if not left:
                    raise
                self.sleep(seconds)
            except DeskfeedError as error:
                self.failed(error)
                raise
            else:
                report(found.rate)
                return found.users
        raise AssertionError("the last try returns or raises")
