"""`python -m tests.simulation`: play many seeds on all cores, or one with its trace."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from tests.simulation.report import missing, table
from tests.simulation.scenario import play

BATCH = 50
ENOUGH_FOR_ALL = 2_000
"""With so many seeds everything rare must have been reached, else the simulation fails."""


def main(argv: Sequence[str] | None = None) -> int:
    """Play; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one")
    parser.add_argument("--trace", action="store_true", help="with --seed: show every step")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    args = parser.parse_args(argv)
    if args.seed is not None:
        return _play_one(args.seed, trace=args.trace)
    return _play_many(range(args.first, args.first + args.seeds), args.jobs)


def _play_one(seed: int, *, trace: bool) -> int:
    try:
        play(seed, print if trace else None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        if not isinstance(error, AssertionError):
            traceback.print_exc()
        print(told(seed, error))
        return 1
    print(f"seed {seed}: every guarantee holds")
    return 0


def told(seed: int, error: BaseException) -> str:
    """Return the one line that reproduces a failure."""
    what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return f"FAILED {what}  reproduce: python -m tests.simulation --seed {seed} --trace"


def play_batch(seeds: Sequence[int]) -> tuple[Counter[str], list[str]]:
    """Play some seeds in this process; returns what they reached and what failed."""
    counts: Counter[str] = Counter()
    failed = []
    with _uncollected():
        for seed in seeds:
            try:
                counts.update(play(seed).counts)
            except Exception as error:  # noqa: BLE001 - each is a finding
                failed.append(told(seed, error))
    return counts, failed


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for cycles of garbage once a batch: else the collector takes a sixth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
        gc.collect()


def _play_many(seeds: Sequence[int], jobs: int) -> int:
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failed: list[str] = []
    batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    with ProcessPoolExecutor(jobs) as pool:
        for reached, found in pool.map(play_batch, batches):
            counts.update(reached)
            for line in found:
                print(line, flush=True)
            failed += found
    seconds = time.monotonic() - began
    print(table(counts))
    print(
        f"\n{len(seeds):,} seeds from {seeds[0]} in {seconds:.0f} s on {jobs} processes "
        f"({len(seeds) / seconds:.1f} a second): {len(failed)} failed"
    )
    unreached = missing(counts) if len(seeds) >= ENOUGH_FOR_ALL else []
    if unreached:
        print("NEVER REACHED: " + "; ".join(unreached))
    return 1 if failed or unreached else 0


if __name__ == "__main__":
    sys.exit(main())
