"""Runs of one account get permits by their shares; nobody starves, no slot goes empty for it."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from limiter_bench import ACCOUNT, SECOND, START, Bench

from worker.limiter import Booked, Budget, Denied, Go, NotYet

BUDGET = Budget(users_per_second=100, requests_per_minute=400)


@pytest.fixture
def real(monkeypatch):
    """A limiter with the slack that it has in production."""
    made = Bench(slack_s=0.003)
    made.set(monkeypatch)
    made.warm()
    return made


@dataclass
class Run:
    """A run with so many chunks, of which a window asks for permits at a time."""

    name: str
    chunks: int
    share: float = 1.0
    window: int = 8
    users: int = 100
    begins: int = 0
    sent: list[int] = field(default_factory=list)
    asked: int = 0


class Play:
    """Plays runs against the limiter on a clock of its own, as workers do."""

    def __init__(self, bench: Bench, runs: list[Run], seed: int = 0) -> None:
        self.bench, self.runs = bench, runs
        self.dice = random.Random(seed)
        self.agenda: list[tuple[int, int, object]] = []
        self.number = 0
        self.calls = 0
        self.asked: list[tuple[str, bool]] = []
        for run in runs:
            for _ in range(min(run.window, run.chunks)):
                self.admit(run, START + run.begins)

    def admit(self, run: Run, at: int) -> None:
        if run.asked < run.chunks:
            run.asked += 1
            self.at(at, lambda: self.ask(run))

    def at(self, us: float, act) -> None:
        # A worker is a little late, now and then.
        self.number += 1
        late = self.dice.choice([0, 150, 300, 700, 1500]) + self.dice.choice([0] * 24 + [8000])
        heapq.heappush(self.agenda, (round(us) + late, self.number, act))

    def play(self, until: int | None = None) -> None:
        while self.agenda and (until is None or self.agenda[0][0] <= until):
            self.bench.us, _, act = heapq.heappop(self.agenda)
            act()

    def ask(self, run: Run) -> None:
        self.calls += 1
        permit = f"{run.name}:{self.number}:{self.calls}"
        answer = self.bench.reserve(
            permit, users=run.users, budget=BUDGET, flow=run.name, share=run.share
        )
        self.asked.append((run.name, isinstance(answer, Booked)))
        if isinstance(answer, Denied):
            self.at(self.bench.us + answer.retry_in_s * 1e6, lambda: self.ask(run))
        else:
            assert isinstance(answer, Booked)
            self.at(answer.slot_us, lambda: self.send(run, permit))

    def send(self, run: Run, permit: str) -> None:
        self.calls += 1
        flow = run.name if run.asked < run.chunks else ""
        answer = self.bench.confirm(permit, BUDGET, flow=flow, share=run.share, max_wait_s=2.0)
        if isinstance(answer, NotYet):
            self.at(self.bench.us + answer.wait_s * 1e6, lambda: self.send(run, permit))
            return
        assert isinstance(answer, Go), answer
        run.sent.append(answer.stamp_us)
        self.admit(run, self.bench.us + round(answer.next_in_s * 1e6))


def furthest_from_its_part(play: Play) -> float:
    """The most chunks by which a run was ahead of its part, or behind it, at any booking.

    Its part of a booking is what falls to it among the runs that had come by then.
    """
    share = {run.name: run.share for run in play.runs}
    ahead: dict[str, float] = {}
    worst = 0.0
    for name, booked in play.asked:
        ahead.setdefault(name, 0.0)
        if booked:
            shares = sum(share[there] for there in ahead)
            ahead = {there: n - share[there] / shares for there, n in ahead.items()}
            ahead[name] += 1
            worst = max(worst, *map(abs, ahead.values()))
    return worst


def all_sent(runs: list[Run]) -> list[int]:
    return sorted(stamp for run in runs for stamp in run.sent)


def use(stamps: list[int]) -> float:
    """Part of the slots between the first and the last that were used."""
    return (len(stamps) - 1) * SECOND / (stamps[-1] - stamps[0])


def share_error(one: Run, other: Run) -> float:
    """By how many chunks one of two equal runs was ever away from half, while both were sending."""
    ahead = worst = 0
    for stamp in all_sent([one, other]):
        ahead += 1 if stamp in one.sent else -1
        if stamp < min(one.sent[-1], other.sent[-1]):
            worst = max(worst, abs(ahead))
    return worst / 2


@pytest.mark.parametrize("seed", range(2))
def test_a_run_alone_uses_every_slot_with_two_calls_a_permit(real, seed):
    run = Run("df-1", chunks=60)
    play = Play(real, [run], seed)
    play.play()
    assert len(run.sent) == 60
    assert use(run.sent) > 0.99
    assert play.calls / 60 <= 2.2


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("windows", [(8, 8), (24, 2), (2, 24), (1, 1)])
def test_two_runs_with_equal_shares_are_never_more_than_a_chunk_from_half(bench, windows, seed):
    runs = [Run("df-1", 60, window=windows[0]), Run("df-2", 60, window=windows[1])]
    Play(bench, runs, seed).play()
    assert use(all_sent(runs)) > 0.985
    assert share_error(*runs) <= 1


SHARES = [[1.0] * count for count in (2, 3, 5, 8)] + [
    [9.0, 1.0],
    [5.0, 2.0, 1.0],
    [0.5, 1.0, 2.5],
    [9.0, *[1.0] * 7],
    [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
]


@pytest.mark.parametrize("shares", SHARES, ids=str)
def test_no_run_is_ever_a_whole_chunk_from_its_part(real, shares):
    """With the windows that runs of one account have: they share eight, and each has two."""
    window = max(2, 8 // len(shares))
    runs = [Run(f"df-{n}", 200, share, window) for n, share in enumerate(shares)]
    play = Play(real, runs)
    play.play(until=START + 60 * SECOND)
    assert furthest_from_its_part(play) < 1
    stamps = all_sent(runs)
    assert use(stamps) > 0.99
    assert play.calls / len(stamps) <= (2.5 if len(set(shares)) == 1 else 3)


@pytest.mark.parametrize("window", [3, 8])
def test_however_many_callers_a_run_has_it_gets_its_part(real, window):
    """So many that most are sent away for longer than anybody may be."""
    runs = [Run(f"df-{n}", 200, 1.0 if n else 9.0, window) for n in range(8)]
    play = Play(real, runs)
    play.play(until=START + 60 * SECOND)
    assert furthest_from_its_part(play) < 1
    assert use(all_sent(runs)) > 0.99


def test_a_run_that_comes_later_is_owed_nothing_and_owes_nothing(real):
    runs = [Run("df-1", 200), Run("df-2", 200, share=2.0, begins=10 * SECOND)]
    runs.append(Run("df-3", 200, begins=20 * SECOND + SECOND // 2))
    play = Play(real, runs)
    play.play(until=START + 60 * SECOND)
    assert furthest_from_its_part(play) < 1


@pytest.mark.parametrize("seed", range(2))
def test_shares_are_kept(bench, seed):
    runs = [Run("df-1", 90, share=3.0), Run("df-2", 90)]
    play = Play(bench, runs, seed)
    play.play(until=START + 80 * SECOND)
    sent = [len(run.sent) for run in runs]
    assert sent[0] == pytest.approx(60, abs=2)
    assert sent[1] == pytest.approx(20, abs=2)


@pytest.mark.parametrize("seed", range(2))
def test_a_small_run_is_not_stuck_behind_a_large_one(bench, seed):
    large, small = Run("df-1", 500), Run("df-2", 5, begins=20 * SECOND)
    Play(bench, [large, small], seed).play(until=START + 60 * SECOND)
    assert len(small.sent) == 5
    # Alone it takes 4 slots; every other slot is its own now, and two were booked already.
    assert (small.sent[-1] - START - small.begins) / SECOND <= 11


def test_a_run_that_comes_back_claims_nothing_of_the_past(bench):
    one = Run("df-1", 40)
    early = Run("df-2", 1)
    play = Play(bench, [one, early])
    play.play(until=START + 30 * SECOND)
    late = Run("df-2", 8, begins=30 * SECOND)
    play.runs.append(late)
    for _ in range(8):
        play.admit(late, START + late.begins)
    play.play(until=START + 38 * SECOND)
    assert len([stamp for stamp in one.sent if stamp > START + 30 * SECOND]) >= 3
    assert len(late.sent) >= 3


def test_three_runs_of_which_one_ends_leave_no_slot_empty(bench):
    runs = [Run("df-1", 50), Run("df-2", 4), Run("df-3", 50)]
    Play(bench, runs).play()
    assert [len(run.sent) for run in runs] == [50, 4, 50]
    assert use(all_sent(runs)) > 0.98


def test_a_run_that_does_not_come_costs_less_than_a_slot(bench):
    """Its callers were promised turns and then its workers died."""
    for number in range(6):
        bench.reserve(f"gone-{number}", budget=BUDGET, flow="df-gone", max_wait_s=0.0)
    run = Run("df-1", 20)
    Play(bench, [run]).play()
    assert run.sent[-1] - run.sent[0] < 20 * SECOND


def test_a_run_that_does_not_come_competes_for_one_window_more_and_no_longer(bench):
    bench.send("before", budget=BUDGET)
    bench.reserve("gone", budget=BUDGET, flow="df-gone", max_wait_s=0.5)
    bench.us = START + SECOND + 1 + SECOND  # a window after the turn that it was promised
    bench.reserve("a", budget=BUDGET, flow="df-1")
    assert bench.reserve("b", budget=BUDGET, flow="df-1").why == "share"
    bench.us += 1
    assert isinstance(bench.reserve("c", budget=BUDGET, flow="df-1"), Booked)


def test_polls_stand_outside_the_order_of_runs(bench):
    for number in range(6):
        bench.reserve(f"other-{number}", budget=BUDGET, flow="df-other")
    assert bench.reserve("poll", users=0, budget=BUDGET).wait_s == 0
    bench.us += SECOND
    few = Budget(users_per_second=100, requests_per_minute=4)
    for number in range(3):
        poll = bench.reserve(f"poll-{number}", users=0, budget=few, max_wait_s=60)
        assert isinstance(poll, Booked)
    assert b"r:" not in bench.client.hkeys(f"deskfeed:{{{ACCOUNT}}}:flows")


def test_a_run_behind_its_share_is_let_in_before_another(bench):
    bench.reserve("a", budget=BUDGET, flow="df-1")
    assert bench.reserve("b", budget=BUDGET, flow="df-2", max_wait_s=0.5).why == "users"
    bench.us += SECOND // 2  # the next slot is half a second away
    assert bench.reserve("c", budget=BUDGET, flow="df-1").why == "share"
    assert isinstance(bench.reserve("d", budget=BUDGET, flow="df-2"), Booked)


def test_who_steps_back_returns_just_before_the_slot_would_go_empty(bench):
    bench.reserve("a", budget=BUDGET, flow="df-1")
    bench.reserve("b", budget=BUDGET, flow="df-2", max_wait_s=0.5)
    denied = bench.reserve("c", budget=BUDGET, flow="df-1")
    assert denied == Denied((SECOND + 1 - SECOND / 4) / 1e6, "share")
    bench.us += SECOND + 1 - SECOND // 4
    assert isinstance(bench.reserve("c", budget=BUDGET, flow="df-1"), Booked)


def test_runs_long_gone_are_forgotten(bench):
    bench.reserve("a", budget=BUDGET, flow="df-1")
    bench.us += 120 * SECOND
    for number in range(3):
        bench.reserve(f"b{number}", budget=BUDGET, flow="df-2", max_wait_s=5)
    assert set(bench.client.hkeys(f"deskfeed:{{{ACCOUNT}}}:flows")) == {b"V", b"r:df-2"}


def test_what_an_earlier_version_left_of_runs_is_no_obstacle(bench):
    flows = f"deskfeed:{{{ACCOUNT}}}:flows"
    bench.client.hset(flows, mapping={"V": 5, "f:df-1": "7 1 9", "f:df-2": "7 1"})
    assert isinstance(bench.reserve("a", budget=BUDGET, flow="df-1"), Booked)
    assert bench.confirm("a", flow="df-1").next_in_s > 0


def test_who_is_late_by_no_more_than_the_slack_moves_nobody(real):
    real.reserve("a", budget=BUDGET)
    slot = real.reserve("b", budget=BUDGET).slot_us
    assert slot == START + SECOND + 1 + 3_000
    real.us += 3_000
    assert real.confirm("a", BUDGET) == Go(real.us, 0.003)
    real.us = slot
    assert real.confirm("b", BUDGET) == Go(slot, 0.0)


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan")])
def test_a_share_of_nothing_is_refused(bench, share):
    with pytest.raises(ValueError, match="share"):
        bench.reserve("a", flow="df-1", share=share)
