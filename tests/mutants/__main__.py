"""`python -m tests.mutants`: a table of mutants and the tests that killed them; 1 if one lives."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from . import every
from .mutant import Mutant, OutOfDate
from .runner import Result, Runner, named_tests

SIGTERMED = 143


def main() -> int:
    """Run what is asked for; returns the exit code."""
    options = _options()
    chosen = [m for m in every.MUTANTS if not options.only or m.name in options.only]
    if options.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    unknown = set(options.only) - {mutant.name for mutant in chosen}
    if unknown:
        print("no such mutant (see --list):", *sorted(unknown), sep="\n  ", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(SIGTERMED))
    with tempfile.TemporaryDirectory(prefix="deskfeed-mutants-") as folder:
        runner = Runner(Path(folder))
        try:
            return _run(runner, chosen, options.jobs)
        except OutOfDate as error:
            print(f"the list of mutants is out of date: {error}", file=sys.stderr)
            return 2
        finally:
            runner.end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutants", description=every.__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="one of them")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at a time")
    parser.add_argument("--list", action="store_true", help="tell their names only")
    return parser.parse_args()


def _run(runner: Runner, chosen: Sequence[Mutant], jobs: int) -> int:
    tests = named_tests(chosen)
    begin = time.monotonic()
    runner.copy_tree()
    for mutant in chosen:
        mutant.changed(runner.template)
    control = runner.control(tests)
    if control.code != 0:
        print(control.output)
        print("without any mutant these tests must pass; nothing else was run", file=sys.stderr)
        return 2
    took = time.monotonic() - begin
    print(f"control: {len(tests)} arguments pass without any mutant, {took:.1f} s", flush=True)
    width = max(len(mutant.name) for mutant in chosen)
    results = []
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        for result in pool.map(runner.judge, range(len(chosen)), chosen):
            print(_line(result, width), flush=True)
            results.append(result)
    finally:
        runner.end()
        pool.shutdown(cancel_futures=True)
    return _summary(results, time.monotonic() - begin)


def _line(result: Result, width: int) -> str:
    told = result.by if result.verdict == "killed" else f"{result.verdict} {result.by}"
    return f"{result.name:{width}}  {result.seconds:5.1f} s  {told.rstrip()}"


def _summary(results: Sequence[Result], seconds: float) -> int:
    count = partial(_count, results)
    print(
        f"\n{len(results)} mutants: {count('killed')} killed, {count('SURVIVED')} survived, "
        f"{count('BROKEN')} broken; {seconds:.0f} s"
    )
    return 0 if count("killed") == len(results) else 1


def _count(results: Sequence[Result], verdict: str) -> int:
    return sum(result.verdict == verdict for result in results)


if __name__ == "__main__":
    sys.exit(main())
