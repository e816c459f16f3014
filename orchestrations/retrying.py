"""Retrying a run: a child run of its rows that did not arrive, from the kept rows.

The child's rows keep the numbers that they have in the parent, so that `failures` of both speak of
the same row. The parent's outcomes stay what they are. A row is not sent when a later run has read
newer values of the same person: older values never go over newer ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import orjson
import structlog

from orchestrations.access import Principal
from orchestrations.attributes import FIELD_PREFIX
from orchestrations.keys import new_run_id
from orchestrations.loader import Catalog
from orchestrations.mapping import who_of_staff
from orchestrations.runs import (
    Options,
    authorize,
    configured,
    limits_of,
    refuse_draft,
    signed,
    target_of,
    too_long,
)
from orchestrations.spec import Orchestration
from worker.errors import RunError, Superseded, UsageError
from worker.ledger import Ledger
from worker.ledger.kept import KeptRows, Retryable
from worker.ledger.records import NewRun, Run, RunView, Target
from worker.ledger.states import RUN_ENDED
from worker.profile import CHUNK_SIZE, MAX_BODY_BYTES, OutcomeKind, Profile, RejectedRow

log = structlog.get_logger(__name__)

CHUNKS_A_TRANSACTION = 20
"""Short transactions: workers of other runs write in between."""

_MOST_KEY_CHARS = 200
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry that was started, now or before.

    Attributes:
        run: the child run.
        new: whether this call started it.
        rows: the parent's rows that did not arrive, as they are now.
        later: the newest run that read the whole result after the parent, if there is one.
    """

    run: Run
    new: bool
    rows: Retryable
    later: Run | None


def retry(
    catalog: Catalog,
    parent: Run,
    *,
    ledger: Ledger,
    principal: str,
    groups: Collection[str] = (),
    codes: Sequence[str] = (),
    key: str | None = None,
) -> Retry:
    """Record a run of the rows of an ended run that failed, are unconfirmed or were cancelled.

    The same retry again is the same run: without a key it is known by parent and codes. One that
    ended before its rows were taken over (a refused credential, say) does not count.

    Args:
        catalog: the catalog as it is now.
        parent: whose rows.
        ledger: where they lie.
        principal: who asked.
        groups: those that they are in.
        codes: only rows with one of these codes; none for all.
        key: the same key again returns the same run.

    Raises:
        UsageError: the run has not ended, nothing of it can be sent again, another run of the
            orchestration is active, or the principal may not send it. Nothing was started.
    """
    _refuse_unended(parent)
    orchestration = catalog.orchestration(parent.orchestration)
    destination = catalog.destinations[orchestration.destination]
    authorize(catalog, destination, Principal(principal, frozenset(groups)), "retry")
    wanted = tuple(sorted(set(codes)))
    rows = ledger.kept.retryable(parent.run_id, wanted)
    later = ledger.kept.read_again_since(parent)
    key = key or _derived_key(ledger, parent, wanted)
    known = next((run for run in _retries(ledger, parent) if run.key == key), None)
    if known is not None:
        return Retry(known, new=False, rows=rows, later=later)
    _refuse_nothing(ledger.views.run(parent.run_id), parent, wanted, rows)
    refuse_draft(orchestration)
    asked = signed(Options(codes=wanted), groups)
    run, new = ledger.runs.start(
        _new_run(catalog, orchestration, parent, asked, key=key, principal=principal)
    )
    if run.parent_run != parent.run_id:
        raise UsageError(f"the key {key!r} is that of {run.run_id}, which is no retry of this run")
    return Retry(run, new, rows, later)


def _new_run(
    catalog: Catalog,
    orchestration: Orchestration,
    parent: Run,
    asked: Options,
    *,
    key: str,
    principal: str,
) -> NewRun:
    target = _same_account(catalog, orchestration, parent)
    options = {**configured(catalog, orchestration, asked), "max_failed_percent": None}
    return NewRun(
        run_id=new_run_id(),
        orchestration=parent.orchestration,
        key=key,
        target=target,
        limits=limits_of(catalog, target.account),
        options=options,
        principal=principal,
        parent_run=parent.run_id,
        too_long=too_long(catalog, parent.orchestration),
    )


def _same_account(catalog: Catalog, orchestration: Orchestration, parent: Run) -> Target:
    """Return the destination as it is declared now; the rows were meant for its account only."""
    target = target_of(catalog.destinations[orchestration.destination])
    if target.account != parent.target.account:
        raise UsageError(
            f"the rows of {parent.run_id} were for {parent.target.account}; {orchestration.name} "
            f"now goes to {target.account}",
            code="wrong_state",
            resolution=f"Run it again: deskfeed run {orchestration.name}",
        )
    return target


def _refuse_unended(parent: Run) -> None:
    if parent.state not in RUN_ENDED:
        raise UsageError(
            f"{parent.run_id} is {parent.state}; only a run that has ended can be retried",
            code="wrong_state",
            resolution=f"Wait for its end (deskfeed watch {parent.run_id}) or end it (deskfeed "
            f"stop {parent.run_id}), then retry.",
        )


def _refuse_nothing(
    view: RunView | None, parent: Run, codes: tuple[str, ...], rows: Retryable
) -> None:
    """Raise `UsageError` unless there is a row to send."""
    unknown = [code for code in codes if code not in rows.codes]
    if unknown and rows.codes:
        raise UsageError(
            f"no row of {parent.run_id} has the code {', '.join(unknown)}; there are: "
            f"{', '.join(sorted(rows.codes))}",
            code="nothing_to_retry",
        )
    if rows.kept:
        return
    if rows.gone or _even_reasons_are_gone(view):
        raise UsageError(
            f"the rows of {parent.run_id} are gone, run again",
            code="rows_gone",
            resolution="Rows that did not arrive are kept for a while only. "
            f"Run again: deskfeed run {parent.orchestration}",
        )
    if rows.refused:
        raise UsageError(
            f"{parent.run_id} has no row to retry: the {rows.refused:,} that failed were refused "
            "before anything was sent",
            code="nothing_to_retry",
            resolution="Correct them in the source (deskfeed failures "
            f"{parent.run_id} names them), then: deskfeed run {parent.orchestration}",
        )
    raise UsageError(
        f"{parent.run_id} has no row that failed, is unconfirmed or was cancelled",
        code="nothing_to_retry",
    )


def _even_reasons_are_gone(view: RunView | None) -> bool:
    """Whether rows did not arrive, of which only the sums are left."""
    if view is None or not view.rows_pruned:
        return False
    return any(kind != OutcomeKind.SKIPPED or code == "cancelled" for kind, code in view.reasons)


def _retries(ledger: Ledger, parent: Run) -> list[Run]:
    view = ledger.views.run(parent.run_id)
    found = [ledger.runs.get(run_id) for run_id in (view.retries if view else ())]
    return [run for run in found if run is not None]


def _derived_key(ledger: Ledger, parent: Run, codes: tuple[str, ...]) -> str:
    """Name a retry by what it is; the number tells it from one that came to nothing."""
    in_vain = sum(
        Options.from_json(run.options).codes == codes
        and run.state in RUN_ENDED
        and not run.spool_complete
        for run in _retries(ledger, parent)
    )
    named = ",".join(codes) or "all"
    if len(named) > _MOST_KEY_CHARS - len(parent.run_id):
        named = hashlib.sha256(named.encode()).hexdigest()
    return f"retry:{parent.run_id}:{named}:{in_vain}"


# --- planning a retry -----------------------------------------------------------------------------


def spool_kept(
    ledger: Ledger,
    run: Run,
    staff: AbstractSet[str] = frozenset(),
    withheld: Collection[str] = (),
) -> None:
    """Take the rows over from the parent, chunk by chunk in short transactions; then the run sends.

    Args:
        ledger: where they lie.
        run: the retry.
        staff: keys (`worker.profile.key_of`) of the account's agents and admins, who get nothing.
        withheld: attributes and `user_fields.<key>` that may not be sent now, though they could
            when the parent was planned.

    Raises:
        RunError: `rows_gone` when they were pruned meanwhile.
        Superseded: another planner has taken over, or the run was stopped.
    """
    seq = 1
    to_send = (without(profile, withheld) for profile in _to_send(ledger, run, staff))
    for group in batches(cut(to_send), CHUNKS_A_TRANSACTION):
        ledger.planning.add_chunks(run, seq, group)
        seq += len(group)
    found = ledger.runs.get(run.run_id)
    if found is not None and found.rows_read == 0:
        raise _gone(run)
    ledger.planning.complete(run)
    log.info("retry_spooled", parent_run=run.parent_run, chunks=seq - 1)


def _to_send(ledger: Ledger, run: Run, staff: AbstractSet[str]) -> Iterator[Profile]:
    """Yield the rows to send; those of staff or with newer values get their outcome on the way."""
    parent = ledger.runs.get(run.parent_run or "")
    if parent is None:
        raise _gone(run)
    read_again = ledger.kept.read_again_since(parent) is not None
    codes = Options.from_json(run.options).codes
    batch = 0
    for rows in _kept_rows(ledger, run, codes):
        newer = _with_newer_values(ledger, run, rows, read_again=read_again)
        left_out = [_skipped(p, rows) for p in rows.profiles if p.row in newer]
        left_out += _of_staff((p for p in rows.profiles if p.row not in newer), staff)
        out = {row.row for row in left_out}
        yield from (profile for profile in rows.profiles if profile.row not in out)
        if left_out:
            batch += 1
            ledger.planning.add_rejected(run, batch, left_out)


def without(profile: Profile, withheld: Collection[str]) -> Profile:
    """Return a profile without what may not be sent.

    Raises:
        RunError: nothing would tell any more whose it is.
    """
    if not withheld:
        return profile
    user = {key: value for key, value in profile.user.items() if key not in withheld}
    fields = {
        key: value
        for key, value in user.pop("user_fields", {}).items()
        if FIELD_PREFIX + key not in withheld
    }
    if "name" not in user or not {"external_id", "email"} & user.keys():
        raise RunError(
            "the kept rows name people only by what is marked as personal data (`pii`), and the "
            "destination does not say `allow_pii: true`",
            code="missing_required_field",
            resolution="Set `allow_pii: true` in the destination's file, or take the mark away.",
        )
    return replace(profile, user=user | ({"user_fields": fields} if fields else {}))


def _kept_rows(ledger: Ledger, run: Run, codes: tuple[str, ...]) -> Iterator[KeptRows]:
    rows = ledger.kept.rows(run.parent_run or "", codes)
    while True:
        try:
            found = next(rows, None)
        except Superseded:  # pruned since they were counted
            raise _gone(run) from None
        if found is None:
            return
        yield found


def _with_newer_values(
    ledger: Ledger, run: Run, rows: KeptRows, *, read_again: bool
) -> frozenset[int]:
    """Return the rows whose person a later run has delivered.

    A digest of a person that was posted came later, as the POST removes it. One of a person that
    was not may be older than the row; it counts only if a later run has read newer values.
    """
    if not rows.posted and not read_again:
        return frozenset()
    known = ledger.kept.digests(run.target.account, run.orchestration, rows.profiles)
    return frozenset(
        profile.row
        for profile, digest in zip(rows.profiles, known, strict=True)
        if digest is not None
    )


def _skipped(profile: Profile, rows: KeptRows) -> RejectedRow:
    has = "has delivered this person" if rows.posted else "has read newer values of this person"
    return RejectedRow(
        profile.row,
        OutcomeKind.SKIPPED,
        "newer_run",
        f"a later run {has}",
        external_id=profile.external_id,
        email=profile.email,
    )


def _of_staff(profiles: Iterable[Profile], staff: AbstractSet[str]) -> list[RejectedRow]:
    """Return the outcome of each that has become somebody of the account's staff meanwhile."""
    found = ((profile, who_of_staff(profile.user, staff)) for profile in profiles)
    return [
        RejectedRow(
            profile.row,
            OutcomeKind.FAILED,
            "staff_member",
            detail,
            external_id=profile.external_id,
            email=profile.email,
        )
        for profile, detail in found
        if detail is not None
    ]


def _gone(run: Run) -> RunError:
    return RunError(
        f"the rows of {run.parent_run} are gone, run again",
        code="rows_gone",
        resolution=f"Run again: deskfeed run {run.orchestration}",
    )


def cut(
    profiles: Iterable[Profile], size: int = CHUNK_SIZE, max_body: int = MAX_BODY_BYTES
) -> Iterator[tuple[Profile, ...]]:
    """Yield chunks of at most `size` profiles and `max_body` bytes of JSON."""
    chunk: list[Profile] = []
    frame = body = len(b'{"users":[]}')
    for profile in profiles:
        length = len(orjson.dumps(profile.user)) + 1
        if chunk and (len(chunk) == size or body + length > max_body):
            yield tuple(chunk)
            chunk, body = [], frame
        chunk.append(profile)
        body += length
    if chunk:
        yield tuple(chunk)


def batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in lists of at most so many."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
