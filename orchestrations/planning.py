"""Planning a run: pre-flight, query, mapping, de-duplication, spooling. Nothing is sent here.

Rows stream from the query into staging files and from there into the ledger, so memory stays
bounded whatever the size. The planner holds a lease on the run and renews it as it goes; should it
die, another one begins anew, for nothing of the run was sent yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from orchestrations.configuration import digests
from orchestrations.field_cache import FieldCache
from orchestrations.leftovers import remove_leftovers
from orchestrations.loader import Catalog
from orchestrations.preflight import Connection, PreFlight, Probe
from orchestrations.reading import MakeMapper, QueryReader
from orchestrations.retrying import batches, spool_kept
from orchestrations.rules import MappingRules
from orchestrations.runs import Options, authorize, principal_of, refuse_another_catalog
from orchestrations.sources import Variable, no_variable
from orchestrations.spec import Destination, Orchestration, Thresholds
from orchestrations.staging import Staged
from worker.errors import NotSent, RunError
from worker.failpoints import reach
from worker.ledger import Ledger
from worker.ledger.records import Run
from worker.zendesk.client import Permit

log = structlog.get_logger(__name__)

REJECTED_A_TRANSACTION = 500

CHUNKS_A_TRANSACTION = 50
"""Half a megabyte, written in milliseconds: workers of other runs write in between."""

PRE_FLIGHTS = 3
"""So often the destination is tried before the run fails because it cannot be reached."""


class Planner:
    """Plans one run.

    Args:
        ledger: where the chunks go.
        catalog: what to query, and where the files lie.
        probe: the destination, for pre-flight.
        permit: blocks until one more request may be sent; returns what its answer is told to.
        scratch: a folder for the staging files; it is emptied again.
        variable: where the URLs of databases stand.
        cache: keeps the account's user fields for a short time.
        retry_after: seconds before a destination that could not be reached is tried again.
        sleep: waits for that; tests pass their own.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        catalog: Catalog,
        probe: Probe,
        permit: Permit,
        scratch: Path,
        variable: Variable = no_variable,
        cache: FieldCache | None = None,
        retry_after: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._probe = probe
        self._permit = permit
        self._scratch = scratch
        self._variable = variable
        self._cache = cache
        self._retry_after = retry_after
        self._sleep = sleep

    def plan(self, run: Run) -> None:
        """Plan a claimed run to the end: afterwards it sends.

        Raises:
            DeskfeedError: why the run cannot go on; the caller fails the run with it.
            Superseded: another planner has taken over, or the run was stopped.
        """
        refuse_another_catalog(self._catalog, run)
        orchestration = self._catalog.orchestration(run.orchestration)
        destination = self._catalog.destinations[orchestration.destination]
        self._authorize(run, destination)
        allow_pii = destination.allow_pii
        pre_flight = PreFlight(
            self._probe, self._permit, run.target.account, self._cache, allow_pii
        )
        self._ledger.planning.clear(run)
        self._ledger.planning.configured(run, digests(self._catalog, orchestration))
        found = self._check(pre_flight, orchestration)
        self._warn(run, found.doubts)
        if run.parent_run is not None:  # its rows lie in the ledger; nothing is queried
            # Whoever has become an agent since the rows were mapped must not be overwritten.
            withheld = () if allow_pii else orchestration.pii
            spool_kept(self._ledger, run, found.staff, withheld)
            return
        make = partial(pre_flight.mapper, orchestration, found=found)
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A planner that was killed left rows of customers; they go before new ones come.
        remove_leftovers(self._ledger, self._scratch, besides=run.run_id)
        with TemporaryDirectory(dir=self._scratch, prefix=f"{run.run_id}-") as folder:
            self._stage_and_spool(run, orchestration, make, Path(folder))

    def _authorize(self, run: Run, destination: Destination) -> None:
        """Ask again whether whoever started the run may: its record is all that is trusted."""
        verb = "run" if run.parent_run is None else "retry"
        authorize(self._catalog, destination, principal_of(run), verb)

    def _check(self, pre_flight: PreFlight, rules: MappingRules | None = None) -> Connection:
        """A hiccup of the network must not fail the run; a destination that is away does."""
        for _ in range(PRE_FLIGHTS - 1):
            try:
                return pre_flight.check(rules)
            except NotSent as error:
                log.warning("destination_unavailable", reason=error.message)
                self._sleep(self._retry_after)
        return pre_flight.check(rules)

    def _stage_and_spool(
        self, run: Run, orchestration: Orchestration, make: MakeMapper, folder: Path
    ) -> None:
        kept = self._ledger.kept
        options = replace(Options.from_json(run.options), params=kept.params(run.run_id) or {})
        only_changed = orchestration.send == "changed" and not options.full
        reader = QueryReader(self._catalog, self._variable, folder)
        hash_key = kept.hash_key if only_changed else None
        snapshot = reader.snapshot(orchestration, options, make, hash_key)
        with snapshot.staged as staged:
            check_thresholds(thresholds_for(orchestration, options), staged)
            if only_changed:
                staged.drop_unchanged(kept.marks(run.target.account, orchestration.name))
            self._warn(run, snapshot.warnings())
            self._spool(run, staged)

    def _warn(self, run: Run, warnings: Iterable[str]) -> None:
        for warning in warnings:
            log.warning("planning_warning", reason=warning)
            self._ledger.planning.warn(run, warning)

    def _spool(self, run: Run, staged: Staged) -> None:
        refused = batches(staged.rejected(), REJECTED_A_TRANSACTION)
        for number, rejected in enumerate(refused, start=1):
            self._ledger.planning.add_rejected(run, number, rejected)
        seq = 1
        for group in batches(staged.packed(), CHUNKS_A_TRANSACTION):
            self._ledger.planning.add_packed(run, seq, group)
            seq += len(group)
            reach("plan.spooling")
        self._ledger.planning.complete(run, staged.unchanged)
        log.info("run_spooled", rows=staged.rows_read, chunks=seq - 1, unchanged=staged.unchanged)


def thresholds_for(orchestration: Orchestration, options: Options) -> Thresholds:
    """Return the bounds of a result. They are about a whole one; of a sample nothing is nothing."""
    bounds = orchestration.thresholds
    if options.sample is None:
        return bounds
    return Thresholds(fail_below=min(bounds.fail_below, 1))


def check_thresholds(thresholds: Thresholds, staged: Staged) -> None:
    """Raise `RunError` when the result is too small, too large, or too much of it is refused."""
    rows = staged.rows_read
    if rows < thresholds.fail_below:
        what = "no rows" if rows == 0 else f"{rows:,} rows"
        raise RunError(
            f"the query returned {what}; thresholds.fail_below is {thresholds.fail_below:,}",
            code="threshold_exceeded",
        )
    if thresholds.fail_above is not None and rows > thresholds.fail_above:
        raise RunError(
            f"the query returned {rows:,} rows; thresholds.fail_above is {thresholds.fail_above:,}",
            code="threshold_exceeded",
        )
    if thresholds.max_failed_percent is None or rows == 0:
        return
    failed = staged.failed
    if 100 * failed > thresholds.max_failed_percent * rows:
        raise RunError(
            f"{failed:,} of {rows:,} rows cannot be sent, more than thresholds.max_failed_percent "
            f"({thresholds.max_failed_percent:g} %) allows",
            code="threshold_exceeded",
        )
