"""What can be on the page of metrics, as the code has it."""

from __future__ import annotations


def metrics_there_are():
    """Return (name, type, labels) of everything that can be on the page."""
    from worker.exposition import Shared
    from worker.metrics import REGISTRY

    counted = list(REGISTRY._collector_to_names)
    shared = Shared(ledger=None, limiter=None, ping=lambda: None).describe()
    for family in REGISTRY.collect():
        labels = next(one._labelnames for one in counted if one._name == family.name)
        yield family.name + "_total" * (family.type == "counter"), family.type, tuple(labels)
    for family in shared:
        yield family.name, family.type, tuple(family._labelnames)
