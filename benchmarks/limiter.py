"""`make bench-limiter`: the limiter beside two well-known libraries, under what breaks limiters.

`README.md` in this folder tells what each figure means.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contestants import BUDGET, Kind, Seat
from benchmarks.figures import Figures, Grant, by_caller, figures, silence_s
from benchmarks.race import Result, race, warm_up
from benchmarks.server import Server, end_on_sigterm
from benchmarks.verdict import Target, judge, percent, table
from worker.limiter.limiter import CEILING, GUARD_S

CALLERS = 8
MOST_ROUND_TRIPS = 2.2
LEAST_SHARE = 0.98
"""Of the ceiling, which is the most that can be used with windows that are longer by the guard."""

CLOCKS_S = (0.0, 0.5, -0.5, 2.0)
"""How far the callers' clocks are ahead, in turn."""

SKEWED_USERS = 10
"""Users of a request where clocks differ: many permits, so that starving shows."""

FLOW_CALLERS = {"A": 24, "B": 2}
FLOW_SECONDS = 25.0

NAMES: dict[Kind, str] = {
    "patient": "Deskfeed, patient callers",
    "worker": "Deskfeed, as workers use it",
    "limits": "limits, moving window",
    "pyrate": "pyrate-limiter, Redis bucket",
}

HEAD = (
    "", "permits", "calls/permit", "use", "of ceiling", "worst 1 s", "by TIME after", "least gap",
    "fairness", "Jain", "wait p50", "p99",
)  # fmt: skip


@dataclass(slots=True)
class Bench:
    """The whole measurement, one part after the other.

    Attributes:
        seconds: of each row.
        folder: for the servers' files.
        targets: what was found out so far.
    """

    seconds: float
    folder: Path
    targets: list[Target] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def contention(self, server: Server) -> None:
        """Eight processes that never have enough."""
        rows = []
        for kind, name in NAMES.items():
            result = self._race(kind, self._seats(server, CALLERS))
            found = _figures(result, CALLERS)
            rows.append(_row(name, found, ours=_is_ours(kind)))
            if _is_ours(kind):
                self._hold(kind, found)
        title = f"{CALLERS} processes, requests of 100 users, budget {BUDGET.users_per_second}/s"
        table(title, HEAD, rows)

    def clocks(self, server: Server) -> None:
        """The same with clocks that are wrong: permits by clock."""
        rows, shares = [], []
        for kind, name in NAMES.items():
            seats = self._seats(server, CALLERS, users=SKEWED_USERS, clocks=CLOCKS_S)
            result = self._race(kind, seats)
            found = _figures(result, CALLERS)
            rows.append(_row(name, found, ours=_is_ours(kind)))
            shares.append((name, *_by(result, seats, lambda seat: f"{seat.clock_s:+g} s")))
            if _is_ours(kind):
                self._within_budget(f"{name}, clocks skewed", found)
        table(f"Clocks of the processes skewed, requests of {SKEWED_USERS} users", HEAD, rows)
        table("Permits by clock", ("", *(f"{clock:+g} s" for clock in CLOCKS_S)), shares)

    def restarts(self) -> None:
        """Redis is killed right after a permit and started again at once."""
        rows = []
        for empty in (False, True):
            how = "empty" if empty else "with its append-only file"
            with Server(self.folder / f"restart-{empty}") as server:
                killer = Killer(server, self.seconds / 2, empty=empty)
                result = self._race("worker", self._seats(server, CALLERS), on_grant=killer)
            found = _figures(result, CALLERS)
            silence = silence_s(result.grants, killer.killed_at)
            rows.append(
                (how, f"{found.permits}", f"{found.worst}", f"{killer.down_s:.2f} s",
                 f"{silence:.2f} s")
            )  # fmt: skip
            self._within_budget(f"Redis killed, back {how}", found)
        head = ("Redis comes back", "permits", "worst 1 s", "was away", "without permits")
        table("Redis killed in mid-run (Deskfeed, as workers use it)", head, rows)

    def flows(self, server: Server) -> None:
        """Two runs of one account, one with twelve times the callers."""
        rows = []
        for shares in ({"A": 1.0, "B": 1.0}, {"A": 3.0, "B": 1.0}):
            seats = self._flow_seats(server, shares)
            result = self._race("worker", seats, seconds=min(self.seconds, FLOW_SECONDS))
            found = _figures(result, len(seats))
            permits = _by(result, seats, lambda seat: seat.flow)
            ratio = f"{shares['A']:g}:{shares['B']:g}"
            rows.append(
                (f"shares {ratio}", *permits, f"{found.round_trips:.1f}", percent(found.use),
                 f"{found.worst}")
            )  # fmt: skip
            self._within_budget(f"two flows, shares {ratio}", found)
        names = (f"{name} ({callers} callers)" for name, callers in FLOW_CALLERS.items())
        head = ("", *names, "calls/permit", "use", "worst 1 s")
        table("Permits of two flows (Deskfeed, as workers use it)", head, rows)

    def _race(
        self,
        kind: Kind,
        seats: Sequence[Seat],
        *,
        seconds: float | None = None,
        on_grant: Callable[[Grant], None] = lambda _grant: None,
    ) -> Result:
        seconds = seconds or self.seconds
        print(f"{seats[0].account}: {NAMES[kind]}, {seconds:g} s ...", file=sys.stderr, flush=True)
        if _is_ours(kind):
            warm_up(seats[0])
        return race(kind, seats, seconds, on_grant)

    def _seats(
        self, server: Server, callers: int, *, users: int = 100, clocks: Sequence[float] = (0.0,)
    ) -> list[Seat]:
        account = f"account-{next(self._numbers)}"
        return [
            Seat(
                number=number,
                url=server.url,
                account=account,
                users=users,
                flow="one run",
                clock_s=clocks[number % len(clocks)],
            )
            for number in range(callers)
        ]

    def _flow_seats(self, server: Server, shares: dict[str, float]) -> list[Seat]:
        account = f"account-{next(self._numbers)}"
        flows = [flow for flow, callers in FLOW_CALLERS.items() for _ in range(callers)]
        return [
            Seat(number=number, url=server.url, account=account, flow=flow, share=shares[flow])
            for number, flow in enumerate(flows)
        ]

    def _hold(self, kind: Kind, found: Figures) -> None:
        name = NAMES[kind]
        if kind == "patient":
            what = f"{name}: calls a permit"
            self.targets.append(
                Target(what, found.round_trips, MOST_ROUND_TRIPS, show="{:.2f}".format)
            )
        use = Target(
            f"{name}: use of the ceiling", found.use / CEILING, LEAST_SHARE, most=False,
            show=percent,
        )  # fmt: skip
        self.targets.append(use)
        self._within_budget(name, found)

    def _within_budget(self, name: str, found: Figures) -> None:
        what = f"{name}: most users in any second"
        # Where nobody got a permit nothing was shown.
        worst = found.worst if found.permits else float("nan")
        self.targets.append(Target(what, worst, BUDGET.users_per_second))


@dataclass(slots=True)
class Killer:
    """Kills Redis right after the first grant of the second half, and starts it again.

    Attributes:
        server: whom to kill.
        after_s: since the first grant.
        empty: start it without what it knew.
        killed_at: on the monotonic clock; 0 before.
        down_s: from its death until it answered again.
    """

    server: Server
    after_s: float
    empty: bool
    killed_at: float = 0.0
    down_s: float = 0.0
    _first_at: float = 0.0

    def __call__(self, grant: Grant) -> None:
        """Hear of a grant."""
        self._first_at = self._first_at or grant.at
        if self.killed_at or grant.at - self._first_at < self.after_s:
            return
        self.server.kill()
        self.killed_at = time.monotonic()
        if self.empty:
            self.server.forget()
        self.server.start()
        self.down_s = time.monotonic() - self.killed_at


def _is_ours(kind: Kind) -> bool:
    return kind in ("patient", "worker")


def _figures(result: Result, callers: int) -> Figures:
    return figures(result.grants, result.calls, callers, BUDGET.users_per_second)


def _by(result: Result, seats: Sequence[Seat], key: Callable[[Seat], str]) -> list[str]:
    """Return the permits of each group of callers, groups in the order of the seats."""
    sums: dict[str, int] = defaultdict(int)
    counts = by_caller(result.grants, len(seats))
    for seat in seats:
        sums[key(seat)] += counts[seat.number]
    return [f"{count}" for count in sums.values()]


def _row(name: str, found: Figures, *, ours: bool) -> tuple[str, ...]:
    return (
        name,
        f"{found.permits}",
        f"{found.round_trips:.2f}",
        percent(found.use),
        percent(found.use / CEILING) if ours else "",
        f"{found.worst}",
        f"{found.worst_seen}",
        f"{found.gap_ms:.0f} ms",
        f"{found.fewest}..{found.most}",
        f"{found.jain:.2f}",
        f"{found.p50_s:.2f} s",
        f"{found.p99_s:.2f} s",
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 0 when every target is held, 1 when one is missed.

    Args:
        words: the command line.
    """
    parts = ("contention", "clocks", "restarts", "flows")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limiter", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each row (default: 30)")
    parser.add_argument("--only", choices=parts, action="append", help="only this part")
    asked = parser.parse_args(words)
    end_on_sigterm()
    print(
        f"budget {BUDGET.users_per_second} users a second, guard {GUARD_S * 1000:g} ms, so the "
        f"ceiling is W/(W+guard) = {percent(CEILING)} of it; {asked.seconds:g} s a row"
    )
    with tempfile.TemporaryDirectory(prefix="deskfeed-bench-") as temp:
        bench = Bench(asked.seconds, Path(temp))
        with Server(Path(temp) / "redis") as server:
            for part in asked.only or parts:
                if part == "restarts":
                    bench.restarts()
                else:
                    getattr(bench, part)(server)
        return judge(bench.targets)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nEnded early; nothing is left running.", file=sys.stderr)
        sys.exit(130)
