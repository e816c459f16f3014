"""Keeping the ledger small: what is old enough is removed once a day."""

from __future__ import annotations

import secrets

import structlog

from worker.ledger import Ledger
from worker.ledger.retention import DAY_S, Ages, Pruned

log = structlog.get_logger(__name__)

LOCK = "retention"

AGAIN_AFTER_DEATH_S = 3600.0
"""A pruning whose process died is begun again after this."""


def ages_of(*, outcomes: float, events: float, runs: float, audit: float) -> Ages:
    """Return how long things are kept, in seconds. Kept rows have their end written on them."""
    return Ages(outcomes=outcomes, events=events, runs=runs, audit=audit, kept_rows=runs)


def prune_daily(ledger: Ledger, ages: Ages) -> Pruned | None:
    """Prune unless somebody did within a day; returns what was removed, None if it was not due."""
    # A name of its own for each call: one that is known would renew the lock and prune each time.
    owner = secrets.token_hex(8)
    if not ledger.recovery.lock(LOCK, owner, AGAIN_AFTER_DEATH_S):
        return None
    done = ledger.retention.prune(ages)
    ledger.recovery.lock(LOCK, owner, DAY_S)
    return done
