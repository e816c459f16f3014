"""Breaks promises on purpose, each in a copy of the tree; the tests named with it must notice."""

from __future__ import annotations

from . import alerts, delivery, fairness, gate, guards, privacy, promises, schedules, windows

MUTANTS = [
    *windows.MUTANTS,
    *gate.MUTANTS,
    *fairness.MUTANTS,
    *delivery.MUTANTS,
    *promises.MUTANTS,
    *alerts.MUTANTS,
    *privacy.MUTANTS,
    *schedules.MUTANTS,
    *guards.MUTANTS,
]
"""All of them, in the order in which they are run. A further list is added here."""
