"""Starting a run, and what else a person may do with one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, get_args

import structlog

from orchestrations.access import Principal, Rights, load_access
from orchestrations.alert_rules import load_rules
from orchestrations.configuration import deciding, digests
from orchestrations.keys import new_run_id
from orchestrations.loader import Catalog
from orchestrations.params import resolved
from orchestrations.spec import Destination, Orchestration
from worker.errors import CatalogError, RunError, UsageError
from worker.hints import Plan
from worker.ledger import Ledger
from worker.ledger.records import LimitName, Limits, NewRun, Origin, Run, Target

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a start may ask for beside the orchestration.

    Attributes:
        sample: send only so many rows from the top of the result; None for all.
        codes: of a retry: only rows with one of these codes; none for all.
        groups: those of whoever asked, where they asked: the planner's host may not know them.
        full: send also the rows that are unchanged.
        params: values of the query's placeholders; of a run `Ledger.kept` knows them.
    """

    sample: int | None = None
    codes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    full: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self, orchestration: Orchestration) -> Mapping[str, Any]:
        """What the ledger keeps of them, with what the orchestration says about sending.

        Thresholds are about the whole result; a sample has none.
        """
        most = orchestration.thresholds.max_failed_percent if self.sample is None else None
        return {
            "sample": self.sample,
            "max_failed_percent": most,
            "share": orchestration.share,
            **({"adds_tags": True} if orchestration.tags == "add" else {}),
            **({"codes": list(self.codes)} if self.codes else {}),
            **({"groups": list(self.groups)} if self.groups else {}),
            **({"full": True} if self.full else {}),
            **({"params": dict(self.params)} if self.params else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """Return the options that a run was started with, but for the values of parameters."""
        return cls(
            sample=data.get("sample"),
            codes=tuple(data.get("codes", ())),
            groups=tuple(data.get("groups", ())),
            full=bool(data.get("full", False)),
        )


def start(
    catalog: Catalog,
    name: str,
    *,
    ledger: Ledger,
    principal: str,
    groups: Collection[str] = (),
    key: str | None = None,
    options: Options | None = None,
    origin: Origin = "manual",
) -> tuple[Run, bool]:
    """Record a run of an orchestration; return it and whether it is new.

    The caller enqueues `Plan(run.run_id)`; if that fails the run is not lost: the sweeper finds it.

    Args:
        catalog: the catalog as it is now.
        name: the orchestration.
        ledger: where to record it.
        principal: who asked.
        groups: those that they are in.
        key: the same key again returns the same run; None makes a run of its own.
        options: what else was asked for.
        origin: what starts it.

    Raises:
        UsageError: no such orchestration, it is a draft, a parameter is wrong, a run of it is
            still active, or the principal may not start it.
        KeyMissing: the run has parameters, the ledger is encrypted, and no key is here.
    """
    orchestration = catalog.orchestration(name)
    refuse_draft(orchestration)
    destination = catalog.destinations[orchestration.destination]
    authorize(catalog, destination, Principal(principal, frozenset(groups)), "run")
    options = options or Options()
    # As they are now: a later change of the file is not of this run.
    options = replace(options, params=resolved(orchestration, options.params))
    run_id = new_run_id()
    return ledger.runs.start(
        NewRun(
            run_id=run_id,
            orchestration=orchestration.name,
            key=key or run_id,
            target=target_of(destination),
            limits=_limits(catalog, destination.account, ledger),
            options=configured(catalog, orchestration, signed(options, groups)),
            principal=principal,
            origin=origin,
            too_long=too_long(catalog, orchestration.name),
        )
    )


def configured(
    catalog: Catalog, orchestration: Orchestration, options: Options
) -> Mapping[str, Any]:
    """Return a run's options for the ledger, with the digest of what it was started from."""
    return {**options.as_json(orchestration), "decided_by": deciding(catalog, orchestration)}


def refuse_another_catalog(catalog: Catalog, run: Run) -> None:
    """Refuse to plan a run from another catalog than it was started from.

    A worker may have another folder than whoever started the run, or the files were edited
    meanwhile: it would send other people, or to another account's rules. What decides nothing of
    that (a description, limits) may differ.

    Raises:
        RunError: `catalog_differs`; nothing was sent.
    """
    orchestration = catalog.orchestration(run.orchestration)
    destination = catalog.destinations[orchestration.destination]
    if _same(catalog, orchestration, run) and target_of(destination) == run.target:
        return
    raise RunError(
        f"{run.orchestration} stands otherwise in the catalog of this worker ({catalog.folder}) "
        "than in the one that the run was started from",
        code="catalog_differs",
    )


def _same(catalog: Catalog, orchestration: Orchestration, run: Run) -> bool:
    """Whether what decides is as it was; runs of older versions noted a digest of all, or none."""
    if "decided_by" in run.options:
        return bool(run.options["decided_by"] == deciding(catalog, orchestration))
    return run.options.get("catalog") in (None, digests(catalog, orchestration)["whole"])


def _limits(catalog: Catalog, account: str, ledger: Ledger) -> Limits:
    """Return an account's limits.

    While a destination cannot be read, which may be the strictest, they are not above those of the
    account's last run.
    """
    limits = limits_of(catalog, account)
    known = None if catalog.all_limits else ledger.views.account(account)
    if known is None:
        return limits
    before = known.standing.declared
    for name in get_args(LimitName):
        limits = limits.at_most(name, before.of(name))
    return replace(limits, reserve_percent=max(limits.reserve_percent, before.reserve_percent))


def too_long(catalog: Catalog, orchestration: str) -> float | None:
    """Return the seconds after which a run of an orchestration takes too long; None: never.

    A mistake in alerts.yaml keeps no run from starting; `check`, `doctor` and ticks tell of it.
    """
    try:
        return load_rules(catalog.folder).of(orchestration).too_long
    except CatalogError as error:
        log.error("alert_rules_unusable", reason=error.message, resolution=error.resolution)
        return None


def authorize(
    catalog: Catalog, destination: Destination, principal: Principal, verb: str
) -> Rights:
    """Return somebody's rights if they may send to a destination by this verb.

    It is asked when a run is recorded and again when it is planned, from the ledger's record.

    Raises:
        UsageError: `access_denied`.
        CatalogError: the rules cannot be read.
    """
    access = load_access(catalog.folder)
    access.require(principal, verb)
    return access.require_destination(principal, destination)


def signed(options: Options, groups: Collection[str]) -> Options:
    """Return the options with the groups of whoever asked."""
    return replace(options, groups=tuple(sorted(groups)))


def principal_of(run: Run) -> Principal:
    """Return who started a run, as the ledger recorded it."""
    return Principal(run.principal, frozenset(Options.from_json(run.options).groups))


def refuse_draft(orchestration: Orchestration) -> None:
    """Raise `UsageError` for an orchestration that may not run yet."""
    if orchestration.status == "draft":
        raise UsageError(
            f"{orchestration.name} is a draft; a draft cannot run",
            code="draft_query",
            resolution=f"Set `status: active` in {orchestration.name}.yaml once it is ready. "
            f"Until then: deskfeed preview {orchestration.name}",
        )


def target_of(destination: Destination) -> Target:
    """Return what a worker must know of a destination."""
    return Target(
        destination=destination.name,
        account=destination.account,
        url=destination.url,
        credential=destination.credential,
    )


def limits_of(catalog: Catalog, account: str) -> Limits:
    """Return an account's limits: the strictest of all destinations that point at it."""
    all_limits = [d.limits for d in catalog.destinations.values() if d.account == account]
    return Limits(
        users_per_second=min(limits.users_per_second for limits in all_limits),
        requests_per_minute=min(limits.requests_per_minute for limits in all_limits),
        jobs_in_flight=min(limits.jobs_in_flight for limits in all_limits),
        reserve_percent=max(limits.reserve_percent for limits in all_limits),
    )


def plan_hint(run: Run) -> Plan:
    """Return the message that sets a new run going."""
    return Plan(run.run_id)


def find_run(ledger: Ledger, wanted: str) -> Run:
    """Return a run by its id, by a beginning of it that fits one run only, or `last`.

    Raises:
        UsageError: there is no such run, or several.
    """
    if wanted == "last":
        newest = ledger.runs.newest(1)
        if newest:
            return newest[0]
    run = ledger.runs.get(wanted)
    if run is not None:
        return run
    fitting = ledger.runs.matching(wanted) if wanted.startswith("df-") else []
    if len(fitting) == 1:
        return find_run(ledger, fitting[0])
    if len(fitting) > 1:
        raise UsageError(
            f"{wanted!r} fits {len(fitting)} runs: {', '.join(fitting)}", code="run_not_found"
        )
    near = get_close_matches(wanted, [run.run_id for run in ledger.runs.newest(50)], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UsageError(f"there is no run {wanted!r}{hint}", code="run_not_found")
