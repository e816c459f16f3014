"""Who else writes what an orchestration writes: the last one wins, and `send: changed` never knows.

An orchestration remembers what Zendesk confirmed of its own rows. If another one writes the same
field of the same account, that goes unnoticed, and the first one's value does not come back until
it changes in the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrations.loader import Catalog

_OF_EVERYBODY = frozenset({"external_id", "email", "name"})
"""Columns that say who a person is: every orchestration has them."""


def contested(catalog: Catalog, columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return for each orchestration one sentence for each that writes some of the same fields.

    Args:
        catalog: says which account each one writes to; drafts write nothing.
        columns: the columns of each one's result, by name.
    """
    active = sorted(name for name in columns if catalog.orchestrations[name].status == "active")
    found: dict[str, list[str]] = {name: [] for name in columns}
    for name in active:
        for other in active:
            both = set(columns[name]) & set(columns[other]) - _OF_EVERYBODY
            if other != name and both and _account(catalog, name) == _account(catalog, other):
                fields = ", ".join(sorted(both))
                found[name].append(f"{other} writes to the same account: {fields}; the last wins")
    return found


def neighbours(catalog: Catalog, name: str) -> list[str]:
    """Return an orchestration and the active ones that write to the same account, by name."""
    return [
        other
        for other, spec in sorted(catalog.orchestrations.items())
        if other == name
        or (spec.status == "active" and _account(catalog, other) == _account(catalog, name))
    ]


def _account(catalog: Catalog, name: str) -> str:
    return catalog.destinations[catalog.orchestrations[name].destination].account
