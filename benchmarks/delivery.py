"""`make bench-delivery`: the whole product against the sandbox, with jobs of 10 s a full chunk.

`README.md` in this folder tells what each figure means.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.figures import SECOND_US, worst_second
from benchmarks.product import Product, product_up
from benchmarks.verdict import Target, judge, table
from orchestrations.cli.up import StopAsked
from worker.errors import DeskfeedError
from worker.ledger.records import Event

USERS = {"throughput": 20_000, "fairness": 50_000}
"""Of the one run, and of the big one; `--users` changes it."""

SMALL_USERS = 500
SENDING_POSTS = 10
"""The big run is sending once it made so many POSTs."""

BUDGET = 100
LEAST_RATE = 0.97
MOST_REQUESTS = 1.3
MOST_RATIO = 2.5

COMMAND_S = 60.0
"""How long a command that starts or stops a run may take."""

POLLS = ("job_status", "job_statuses_show_many", "job_statuses")


def throughput(product: Product, users: int) -> list[Target]:
    """One run as fast as it may go: rate, requests, 429s."""
    before = product.cpu_s()
    shown = product.deskfeed("run", "throughput", "--wait", seconds=patience_s(users))
    after = product.cpu_s()
    journal = product.journal()
    posts = [entry for entry in journal if entry["kind"] == "bulk_upsert"]
    polls = sum(entry["kind"] in POLLS for entry in journal)
    refused = sum(entry["status"] == 429 for entry in journal)
    sent = product.sent(shown["run_id"])
    delivered = shown["rows"]["created"] + shown["rows"]["updated"]
    rate = rate_of([event.data["stamp"] for event in sent])
    requests = (len(posts) + polls) * 100 / delivered if delivered else float("nan")
    worst = _worst(sent)
    rows = [
        ("rows delivered", f"{delivered:,} of {shown['rows']['read']:,}"),
        ("POSTs", f"{len(posts):,}"),
        ("polls", f"{polls:,}"),
        ("429s", f"{refused:,}"),
        ("POSTs a second, by send stamps", f"{rate:.4f}"),
        ("POSTs a second, by the sandbox's journal", f"{rate_of([p['at'] for p in posts]):.4f}"),
        ("requests per 100 users, pre-flight left out", f"{requests:.3f}"),
        ("most users in any second, by send stamps", f"{worst}"),
        *_cpu(before, after),
    ]
    table(f"Throughput: {users:,} users, {product.workers} workers", ("", "found"), rows)
    return [
        Target("rows delivered", delivered, users, most=False),
        Target("POSTs a second", rate, LEAST_RATE, most=False, show="{:.4f}".format),
        Target("answers of 429", refused, 0),
        Target("requests per 100 users", requests, MOST_REQUESTS, show="{:.3f}".format),
        Target("most users in any second", worst, BUDGET),
    ]


def fairness(product: Product, users: int) -> list[Target]:
    """A small run beside a big one of the same account."""
    # The first run of an account finds everything cold, which is not what is measured.
    product.deskfeed("run", "small", "--wait", "--sample", "100", seconds=patience_s(100))
    alone = _small(product)
    big = str(product.deskfeed("run", "big", seconds=COMMAND_S)["run_id"])
    product.until(
        lambda: len(product.sent(big)) >= SENDING_POSTS,
        "the big run to send",
        patience_s(users),
    )
    beside = _small(product)
    sent = product.sent(big)
    product.deskfeed("stop", big, seconds=COMMAND_S)
    after = sum(event.data["stamp"] > _last(product, beside) for event in sent)
    ratio = _seconds(product, beside) / _seconds(product, alone)
    worst = _worst([*sent, *product.sent(beside)])
    rows = [
        _small_row(product, "alone", alone),
        _small_row(product, "beside the big run", beside),
    ]
    head = ("the small run", "start to last POST", "start to first POST", "POSTs")
    sizes = f"{SMALL_USERS:,} and {users:,} users, {product.workers} workers"
    table(f"Fairness: {sizes}; most users in any second: {worst}", head, rows)
    return [
        Target("beside the big run / alone", ratio, MOST_RATIO, show="{:.2f}".format),
        Target("POSTs of the big run after the small one's last", after, 1, most=False),
        Target("most users in any second", worst, BUDGET),
    ]


def rate_of(times: Sequence[float]) -> float:
    """Return how many a second: all after the first, by the time from the first to the last."""
    if len(times) < 2 or max(times) == min(times):
        return float("nan")
    return (len(times) - 1) / (max(times) - min(times))


def patience_s(users: int) -> float:
    """How long a run of so many users may take before something must be wrong."""
    return 120.0 + 4 * users / BUDGET


def _small(product: Product) -> str:
    words = ("run", "small", "--wait")
    seconds = patience_s(SMALL_USERS) + 60
    return str(product.deskfeed(*words, seconds=seconds)["run_id"])


def _small_row(product: Product, name: str, run_id: str) -> tuple[str, ...]:
    sent = product.sent(run_id)
    first = min(event.data["stamp"] for event in sent) - product.run(run_id).created_at
    return (name, f"{_seconds(product, run_id):.2f} s", f"{first:.2f} s", f"{len(sent)}")


def _seconds(product: Product, run_id: str) -> float:
    """From the start of a run, as its person sees it, to its last POST."""
    return _last(product, run_id) - product.run(run_id).created_at


def _last(product: Product, run_id: str) -> float:
    stamps: list[float] = [event.data["stamp"] for event in product.sent(run_id)]
    return max(stamps, default=float("nan"))


def _worst(sent: Sequence[Event]) -> int:
    return worst_second(
        [(round(event.data["stamp"] * SECOND_US), event.data["users"]) for event in sent]
    )


def _cpu(
    before: tuple[float, float] | None, after: tuple[float, float] | None
) -> list[tuple[str, str]]:
    if before is None or after is None:
        return [("CPU seconds of the workers", "not known on this system")]
    own, planning = after[0] - before[0], after[1] - before[1]
    return [
        ("CPU seconds of the workers", f"{own:.1f} s"),
        ("CPU seconds of planning", f"{planning:.1f} s"),
    ]


SCENARIOS: dict[str, Callable[[Product, int], list[Target]]] = {
    "throughput": throughput,
    "fairness": fairness,
}


def measure(scenario: str, users: int, workers: int) -> list[Target]:
    """Start everything, run a scenario, print its table, and end everything."""
    sizes = {"throughput": users}
    if scenario == "fairness":
        sizes = {"big": users, "small": SMALL_USERS}
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="deskfeed-bench-") as temp:
        print(f"{scenario}: {users:,} users, {workers} workers ...", file=sys.stderr, flush=True)
        try:
            with product_up(Path(temp), workers, sizes) as product:
                return SCENARIOS[scenario](product, users)
        finally:
            os.chdir(home)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 0 when every target is held, 1 when one is missed.

    Args:
        words: the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="default: all")
    parser.add_argument("--users", type=int, help="of the run, or of the big run")
    parser.add_argument("--workers", type=int, default=4, help="processes (default: 4)")
    asked = parser.parse_args(words)
    targets: list[Target] = []
    for scenario in asked.scenario or SCENARIOS:
        targets += measure(scenario, asked.users or USERS[scenario], asked.workers)
    return judge(targets)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (StopAsked, KeyboardInterrupt):
        print("\nEnded early; nothing is left running.", file=sys.stderr)
        sys.exit(130)
    except DeskfeedError as error:
        print(f"\n{error.message}\n{error.resolution or ''}", file=sys.stderr)
        sys.exit(1)
