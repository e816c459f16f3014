"""Playing one fault on a scene, and the judgement: the checker's, and what the fault may cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from checker import check
from faults.injections import standstill
from faults.matrix import Fault
from faults.scene import Scene, recovery
from history import History, read

SLACK_S = 2.0
"""What recovery may take beside a lease and a sweep."""


@dataclass(frozen=True)
class Told:
    """What came of a fault.

    Attributes:
        name: of the fault.
        injected: how often it befell.
        duplicates: POSTs beyond one for each chunk.
        recovery_s: until the last of what was under way went on, settling not counted.
        findings: what was not kept; empty when all was.
    """

    name: str
    injected: int
    duplicates: int
    recovery_s: float | None
    findings: tuple[str, ...]


def play(scene: Scene, fault: Fault) -> Told:
    """Play a fault to the end of its run, let everybody who lives settle, and judge."""
    scene.begin(fault.rows, fault.users_per_second)
    fault.inject(scene)
    scene.until_ended(fault.patience)
    scene.until_told()
    code = scene.dismiss_victim()
    scene.wake()
    scene.watch.end()
    samples = tuple(scene.watch.samples)
    if scene.count_in_the_end is not None:
        scene.injected = scene.count_in_the_end()
    history = read(scene.ledger, scene.run_id, scene.stage.sandbox, samples)
    seconds = recovery(samples, scene.fault_at) if fault.of == "chunks" else scene.told_after()
    found = [*check(history), *_outcomes(history, fault), *_departure(scene, code)]
    found += [*_injection(scene, fault), *_handed_over(scene)]
    return Told(fault.name, scene.injected, duplicates(history), seconds, tuple(found))


def duplicates(history: History) -> int:
    """Return the POSTs beyond one for each chunk."""
    return sum(max(0, len(posts) - 1) for posts in history.posts_by_chunk.values())


def late(told: Told, fault: Fault, scene: Scene, bound: float | None = None) -> str | None:
    """Return the complaint about a recovery that took too long, or that nobody saw, or None.

    Args:
        told: what came of the fault.
        fault: the fault.
        scene: its times.
        bound: in seconds; None: a lease, a sweep and a little.
    """
    bound = bound or scene.times.lease + scene.times.sweep + SLACK_S
    if fault.freezes:  # until it goes on nobody may write, and its late POST pauses the account
        bound += standstill(scene.times) + scene.times.unreachable
    if not fault.recovers:
        return None
    if told.recovery_s is None:
        return "nothing was under way at the fault, or nobody saw it go on"
    if told.recovery_s <= bound:
        return None
    return f"recovery took {told.recovery_s:.1f} s, more than {bound:.1f} s"


def _outcomes(history: History, fault: Fault) -> list[str]:
    kinds = Counter(outcome["kind"] for outcome in history.outcomes)
    for results in history.results.values():
        kinds.update(kind for _, kind, _ in results)
    odd = {kind: n for kind, n in kinds.items() if kind not in fault.may | {"created", "updated"}}
    return [f"rows ended as {odd}, which this fault does not explain"] if odd else []


def _injection(scene: Scene, fault: Fault) -> list[str]:
    """A rule that acted less often than it was to shows less than it says."""
    if scene.injected >= fault.times:
        return []
    return [f"it befell {scene.injected} times, not {fault.times}"]


def _departure(scene: Scene, code: int | None) -> list[str]:
    """A worker that is asked to end does so by itself, also one that has lost pool children."""
    must = scene.asked or scene.leaves
    return [f"the victim ended with {code}"] if must and code != 0 else []


def _handed_over(scene: Scene) -> list[str]:
    """A planner that is asked to end gives its run back: nobody waits for its lease."""
    run = scene.ledger.runs.get(scene.run_id)
    if scene.gives_back and (run is None or run.plan_expiries):
        return ["the planner was asked to end, and its run waited for its lease"]
    return []
