"""`make faults`: plays every fault, prints the table, and writes it into docs/faults.md.

python -m faults.table [--times default] [--lanes N] [--only WORDS] [--no-write]

Recovery is measured in seconds, with two of slack; on a slow machine the start of a planner takes
them when it is not alone: there take one lane.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock

from faults.matrix import DEFAULT_TIMES, FAULTS, Fault
from faults.play import Told, late, play
from faults.scene import Scene, make_scene
from stage import ROOT

DOCS = ROOT / "docs" / "faults.md"
COLUMNS = (
    "| fault | times injected | duplicates | recovery (s) | verdict |\n|---|---|---|---|---|\n"
)
DEFAULT_BOUND_S = 60.0

_one_at_a_time = Lock()  # alembic, which makes the ledger's tables, knows one thread only


@dataclass(frozen=True)
class Programme:
    """What is played, and with which times.

    Attributes:
        name: of its part of the page.
        command: what prints this table.
        faults: in this order.
        time_scale: what the table of times is multiplied by.
        pace: seconds of a job per user.
        lanes: scenes beside each other.
    """

    name: str
    command: str
    faults: Sequence[Fault]
    time_scale: float
    pace: float
    lanes: int


def main(words: list[str] | None = None) -> int:
    """Play the programme; returns 0 when every verdict is good."""
    asked = _arguments(words)
    programme = _programme(asked)
    began = time.monotonic()
    told = perform(programme)
    table = COLUMNS + "".join(_line(one) for one in told)
    bad = [one for one in told if one.findings]
    summary = (
        f"{len(told)} faults, {sum(one.injected for one in told)} times injected, "
        f"{sum(one.duplicates for one in told)} duplicated POSTs, {len(bad)} bad verdicts, "
        f"in {time.monotonic() - began:.0f} s."
    )
    print(f"\n{table}\n{summary}")
    if not asked.no_write and not asked.only:
        write(programme, f"`{programme.command}` printed:\n\n{table}\n{summary}\n")
    for one in bad:
        print(f"\n{one.name}\n  " + "\n  ".join(one.findings))
    return 1 if bad else 0


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults.table", description=__doc__)
    parser.add_argument("--times", choices=("scaled", "default"), default="scaled")
    parser.add_argument("--lanes", type=int, help="scenes beside each other")
    parser.add_argument("--only", default="", help="only faults whose name fits (a pattern)")
    parser.add_argument("--no-write", action="store_true", help="leave docs/faults.md as it is")
    return parser.parse_args(words)


def _programme(asked: argparse.Namespace) -> Programme:
    if asked.times == "default":
        command = "make faults TIMES=default"
        slow = [replace(fault, patience=400.0) for fault in DEFAULT_TIMES]
        made = Programme("default times", command, slow, 1.0, 0.05, len(slow))
    else:
        made = Programme("scaled times", "make faults", FAULTS, 0.1, 0.005, 3)
    if asked.lanes:
        made = replace(made, command=f"{made.command} FAULTS_ARGS='--lanes {asked.lanes}'")
    chosen = [fault for fault in made.faults if re.search(asked.only, fault.name)]
    return replace(made, faults=chosen, lanes=asked.lanes or made.lanes)


def perform(programme: Programme) -> list[Told]:
    """Play every fault, several scenes beside each other; returns what came of them, in order."""
    todo: SimpleQueue[Fault] = SimpleQueue()
    for fault in sorted(programme.faults, key=lambda fault: -fault.patience):  # the longest first
        todo.put(fault)
    told: dict[str, Told] = {}
    with ThreadPoolExecutor(programme.lanes) as pool:
        for lane in [pool.submit(_lane, programme, todo, told) for _ in range(programme.lanes)]:
            lane.result()
    return [told[fault.name] for fault in programme.faults]


def _lane(programme: Programme, todo: SimpleQueue[Fault], told: dict[str, Told]) -> None:
    """One scene after the other; a new one only after a fault that spoilt it."""
    with ExitStack() as stack:
        scene: Scene | None = None
        while True:
            try:
                fault = todo.get_nowait()
            except Empty:
                return
            if scene is None:
                scene = _new_scene(stack, programme)
            one = told[fault.name] = _play(programme, scene, fault)
            print(_line(one), end="", flush=True)
            if one.findings:
                stack.close()
                scene = None


def _new_scene(stack: ExitStack, programme: Programme) -> Scene:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deskfeed-faults-")))
    made = make_scene(folder, time_scale=programme.time_scale, pace=programme.pace)
    with _one_at_a_time:
        return stack.enter_context(made)


def _play(programme: Programme, scene: Scene, fault: Fault) -> Told:
    try:
        told = play(scene, fault)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Told(fault.name, scene.injected, 0, None, (f"{type(error).__name__}: {error}",))
    bound = None if programme.time_scale < 1 else DEFAULT_BOUND_S
    complaint = late(told, fault, scene, bound)
    return replace(told, findings=(*told.findings, complaint)) if complaint else told


def _line(told: Told) -> str:
    seconds = "" if told.recovery_s is None else f"{told.recovery_s:.1f}"
    verdict = "good" if not told.findings else told.findings[0].splitlines()[0]
    return f"| {told.name} | {told.injected} | {told.duplicates} | {seconds} | {verdict} |\n"


def write(programme: Programme, words: str) -> None:
    """Put a programme's last output into its place on the page."""
    begin, end = f"<!-- {programme.name} -->", f"<!-- end of {programme.name} -->"
    page = DOCS.read_text(encoding="utf-8")
    place = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not place.search(page):
        raise SystemExit(f"{DOCS} has no place for the {programme.name}")
    DOCS.write_text(place.sub(lambda _: f"{begin}\n{words}{end}", page), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
