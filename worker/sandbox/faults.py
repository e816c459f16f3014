"""Faults by script: rules that say which requests go wrong, and how. Nothing is random.

A rule first selects requests (`method`, `path`, `holding`), then counts those that it selects and
picks some of them (`after`, `nth`, `every`, `count`), then does its `action` to them. Of several
rules that pick a request the first one acts; all of them count it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.jobs import NO_FAULT, JobFault
from worker.sandbox.messages import Request, Response


@dataclass(frozen=True, slots=True)
class Selection:
    """Which requests a rule acts on.

    Attributes:
        method: None for any.
        path: the beginning of the path; `.json` at its end does not matter.
        holding: only bulk upserts with a user of this external_id or e-mail, in any case.
        after: so many selected requests go well first.
        nth: the positions, from 1, of those that go wrong, after these; empty for all.
        every: each so-manieth goes wrong.
        count: most times that the rule acts; None for no end.
    """

    method: str | None = None
    path: str = "/"
    holding: str | None = field(default=None, repr=False)
    after: int = 0
    nth: frozenset[int] = frozenset()
    every: int = 1
    count: int | None = None

    def selects(self, request: Request) -> bool:
        """Say whether the rule is about this request at all."""
        if self.method is not None and request.method != self.method:
            return False
        if not request.path.startswith(self.path):
            return False
        return self.holding is None or self._holds(request, self.holding.lower())

    def picks(self, seen: int, hits: int) -> bool:
        """Say whether the rule acts on the request that it selected as its `seen`-th, from 1."""
        place = seen - self.after
        if place < 1 or (self.count is not None and hits >= self.count):
            return False
        return place in self.nth if self.nth else place % self.every == 0

    @staticmethod
    def _holds(request: Request, wanted: str) -> bool:
        keys = (
            str(row.get(key, "")).lower()
            for row in request.rows or ()
            for key in ("external_id", "email")
        )
        return wanted in keys


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer reaches the client.

    Attributes:
        kind: `whole`; `hang` (never; the connection stays open), `close` (never; closed),
            `reset` (never; TCP reset), `truncate` (only `octets` of the body, then closed), `drip`
            (`octets` at a time, `seconds` between).
        octets: see there.
        seconds: see there.
        part: what drips: `head` (and then the body) or `body`.
    """

    kind: str = "whole"
    octets: int = 1
    seconds: float = 0.0
    part: str = "body"

    @property
    def answers(self) -> bool:
        """Whether at least a status line is sent."""
        return self.kind in {"whole", "truncate", "drip"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a request.

    Attributes:
        action: its name, for the list of rules.
        apply: whether the account works on the request before anything goes wrong.
        seconds_before: pause before the account works on it.
        seconds_after: pause between that and the answer.
        answer: the answer in place of the account's; None keeps the account's.
        delivery: how the answer is sent.
        job: what goes wrong with the job of a bulk upsert.
    """

    action: str
    apply: bool = True
    seconds_before: float = 0.0
    seconds_after: float = 0.0
    answer: Response | None = None
    delivery: Delivery = Delivery()
    job: JobFault = NO_FAULT


@dataclass(slots=True)
class Rule:
    """A rule and its counts.

    Attributes:
        id: assigned when it is added.
        selection: which requests it acts on.
        fault: what it does to them.
        spec: as it was given.
        seen: requests that it selected.
        hits: requests that it acted on.
    """

    id: int
    selection: Selection
    fault: Fault
    spec: Mapping[str, Any] = field(repr=False)
    seen: int = 0
    hits: int = 0

    def document(self) -> dict[str, Any]:
        """Return the rule with its counts as a JSON object."""
        return {"id": self.id, "seen": self.seen, "hits": self.hits, "rule": dict(self.spec)}


class FaultBook:
    """The rules in force. Not thread-safe."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._added = 0

    def add(self, selection: Selection, fault: Fault, spec: Mapping[str, Any]) -> Rule:
        """Add a rule behind the others.

        Args:
            selection: which requests it acts on.
            fault: what it does to them.
            spec: the rule as it was given, for the list of rules.
        """
        self._added += 1
        rule = Rule(self._added, selection, fault, dict(spec))
        self.rules.append(rule)
        return rule

    def clear(self, rule_id: int | None = None) -> int:
        """Remove one rule or all, and return how many were removed."""
        kept = [rule for rule in self.rules if rule_id is not None and rule.id != rule_id]
        removed = len(self.rules) - len(kept)
        self.rules = kept
        return removed

    def pick(self, request: Request) -> Rule | None:
        """Count the request with every rule that selects it, and return the one that acts."""
        acting: Rule | None = None
        for rule in self.rules:
            if not rule.selection.selects(request):
                continue
            rule.seen += 1
            if acting is None and rule.selection.picks(rule.seen, rule.hits):
                rule.hits += 1
                acting = rule
        return acting
