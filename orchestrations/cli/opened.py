"""What the verbs open: the catalog, the ledger, the broker; each only when a verb needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.settings import settings
from worker.times import Times

if TYPE_CHECKING:
    from orchestrations.access import Principal, Rights
    from orchestrations.loader import Catalog
    from orchestrations.preflight import PreFlight, Probe
    from worker.ledger import Ledger
    from worker.ledger.database import Database
    from worker.ledger.retention import Ages
    from worker.zendesk.client import Permit
    from worker.zendesk.fields import UserField


def catalog() -> Catalog:
    """Load the catalog that the settings name."""
    from orchestrations.loader import load_catalog  # DuckDB and YAML are slow to import

    return load_catalog(settings().catalog)


@contextmanager
def ledger() -> Iterator[Ledger]:
    """Open the ledger that the settings name, and close it at the end."""
    from worker.ledger import open_ledger  # SQLAlchemy is slow to import
    from worker.ledger.ledger import Secrets

    config = settings()
    secrets = Secrets(config.spool_keys, config.hash_key_bytes)
    keep_failed = config.retention.failed_payload
    opened = open_ledger(config.ledger, times(), keep_failed=keep_failed, secrets=secrets)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def database() -> Iterator[Database]:
    """Open the ledger's database without asking whether the keys are those that it knows."""
    from worker.ledger.database import open_database
    from worker.ledger.host import keep_to_one_host

    opened = open_database(settings().ledger)
    try:
        keep_to_one_host(opened, times().worker_dead)
        yield opened
    finally:
        opened.close()


def fields_of(probe: Probe, permit: Permit, account: str) -> tuple[UserField, ...]:
    """Return the user fields of an account, as they are now or were within the last minute."""
    return pre_flight(probe, permit, account).fields()


def pre_flight(probe: Probe, permit: Permit, account: str, *, allow_pii: bool = False) -> PreFlight:
    """Return what asks an account before a run, with the cache of the state folder."""
    from orchestrations.field_cache import FieldCache
    from orchestrations.preflight import PreFlight

    cache = FieldCache(settings().state_dir / "fields")
    return PreFlight(probe, permit, account, cache, allow_pii)


def ages() -> Ages:
    """Return how long the settings keep things."""
    from orchestrations.upkeep import ages_of  # with it comes SQLAlchemy

    kept = settings().retention
    return ages_of(outcomes=kept.outcomes, events=kept.events, runs=kept.runs, audit=kept.audit)


def times() -> Times:
    """Return the table of times, scaled as the settings say."""
    return Times().scaled(settings().time_scale)


def principal() -> str:
    """Return who is at the keyboard, as the operating system knows them."""
    return myself().name


def myself() -> Principal:
    """Return who is at the keyboard, with their groups."""
    from orchestrations.access import myself as whoever_runs_this  # with it comes pydantic

    return whoever_runs_this()


ASKS_THE_LEDGER = frozenset({"failures", "forget", "prune", "report"})
"""Verbs that show people from the ledger, or take something out of it for good. A catalog without
rules is not enough for them: it may be another folder than that of the workers, which has some."""


def rights(verb: str) -> Rights:
    """Return the rights of whoever is at the keyboard, if they may use a verb.

    Raises:
        UsageError: `access_denied`.
        CatalogError: the rules cannot be read.
        LedgerError: nor can it be asked whether the workers' catalog has some.
    """
    from orchestrations.access import load_access, missing_rules

    folder = settings().catalog
    access = load_access(folder)
    if access.everybody and verb in ASKS_THE_LEDGER and _ledger_knows_rules():
        access = missing_rules(folder)
    return access.require(myself(), verb)


def _ledger_knows_rules() -> bool:
    """Whether the workers' catalog has an access.yaml. Who cannot tell does not say no."""
    from worker.ledger.schedules import has_rules

    with database() as opened:
        return has_rules(opened)
