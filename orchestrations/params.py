"""The values of a query's placeholders: declared by the orchestration, given by whoever runs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrations.spec import Orchestration
from worker.errors import UsageError

MOST = 2**63
"""Integers are below it and not below its negative: databases and JSON know no larger ones."""


def resolved(orchestration: Orchestration, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter: given, or declared.

    Raises:
        UsageError: one is not declared, has no value, or cannot be what the declared one is.
    """
    declared = orchestration.params
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise UsageError(
            f"{orchestration.name} has no parameter {unknown[0]!r}; it declares: {known}",
            resolution=f"Declare it under `params:` in {orchestration.name}.yaml.",
        )
    values = {**declared, **given}
    missing = without_value(orchestration, given)
    if missing:
        raise UsageError(
            f"{orchestration.name} needs a value for {', '.join(missing)}",
            resolution=f"Give it: --param {missing[0]}=VALUE",
        )
    return {
        name: _within(name, _like(name, value, declared[name])) for name, value in values.items()
    }


def without_value(orchestration: Orchestration, given: Mapping[str, Any]) -> list[str]:
    """Return the parameters that an orchestration declares without a value and that need one."""
    values = {**orchestration.params, **given}
    return [name for name, value in values.items() if value is None]


def shared_out(
    orchestrations: Mapping[str, Orchestration], given: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return for each orchestration those of the given parameters that it declares.

    Raises:
        UsageError: none declares one of them.
    """
    declared = {name for one in orchestrations.values() for name in one.params}
    unknown = sorted(set(given) - declared)
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise UsageError(
            f"no orchestration has a parameter {unknown[0]!r}; they declare: {known}",
            resolution="Declare it under `params:` of the orchestration whose query uses it.",
        )
    return {
        name: {key: value for key, value in given.items() if key in one.params}
        for name, one in orchestrations.items()
    }


def _like(name: str, value: Any, declared: Any) -> Any:
    """Return a value that was given as text as what the declared value is."""
    if not isinstance(value, str) or isinstance(declared, str | None):
        return value
    try:
        if isinstance(declared, bool):
            return {"true": True, "false": False}[value.lower()]
        return type(declared)(value)
    except (KeyError, ValueError):
        raise UsageError(
            f"the parameter {name} must be a {type(declared).__name__}, as in the file"
        ) from None


def _within(name: str, value: Any) -> Any:
    """Return a value that databases and the ledger can hold."""
    if isinstance(value, int) and not -MOST <= value < MOST:
        raise UsageError(
            f"the parameter {name} is too large a number",
            resolution=f"Give an integer from {-MOST} to {MOST - 1}: --param {name}=NUMBER",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            f"the parameter {name} is not a finite number",
            resolution=f"Give a number such as 1.5: --param {name}=NUMBER",
        )
    return value


def params_of(words: Sequence[str]) -> Mapping[str, str]:
    """Return the parameters given as `name=value`.

    Raises:
        UsageError: a word is not of that form.
    """
    pairs = [word.partition("=") for word in words]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise UsageError("--param is written name=value, e.g. --param since=2026-01-31")
    return {name: value for name, _, value in pairs}
