"""Mutants of the fair order: first come first served, shares ignored, slots that go empty."""

from __future__ import annotations

from .mutant import mutant
from .windows import CONFIRM, LIMITER, RESERVE, SLOTS

FAIR = "worker/limiter/fair.lua"
RUNS = "tests/unit/test_limiter_fair.py::test_"

HALVES = RUNS + "two_runs_with_equal_shares_are_never_more_than_a_chunk_from_half"
SHARES = RUNS + "shares_are_kept"
BEHIND = RUNS + "a_run_behind_its_share_is_let_in_before_another"

MUTANTS = [
    mutant(
        "first come, first served",
        RESERVE,
        "local fair = users > 0 and flow ~= ''",
        "local fair = false",
        BEHIND,
        HALVES,
    ),
    mutant(
        "who is ahead of his share does not step back",
        RESERVE,
        "if lowest and start_of(flows[flow]) > lowest and slot - NOW > PINCH then",
        "if false then",
        BEHIND,
    ),
    mutant(
        "who is ahead of his share steps back though the slot would go empty",
        RESERVE,
        " and slot - NOW > PINCH then",
        " then",
        RUNS + "who_steps_back_returns_just_before_the_slot_would_go_empty",
    ),
    mutant(
        "all shares are equal",
        FAIR,
        "flows[flow].share = share",
        "flows[flow].share = 1",
        SHARES,
    ),
    mutant(
        "a run pays nothing for what it had",
        FAIR,
        "it.tag = start + cost / it.share",
        "it.tag = start",
        BEHIND,
    ),
    mutant(
        "a run that comes back claims the past",
        FAIR,
        "return math.max(it.tag, V)",
        "return it.tag",
        RUNS + "a_run_that_comes_back_claims_nothing_of_the_past",
    ),
    mutant(
        "who does not come keeps the others waiting",
        FAIR,
        "if numbers[i] >= NOW - GRACE then",
        "if true then",
        RUNS + "a_run_that_does_not_come_competes_for_one_window_more_and_no_longer",
    ),
    mutant(
        "polls stand in the order of runs",
        RESERVE,
        "local fair = users > 0 and flow ~= ''",
        "local fair = true",
        RUNS + "polls_stand_outside_the_order_of_runs",
    ),
    mutant(
        "a run is not told its next turn",
        CONFIRM,
        "if users > 0 and flow ~= '' then",
        "if false then",
        RUNS + "a_run_alone_uses_every_slot_with_two_calls_a_permit",
    ),
    mutant(
        "a run of no share gets its turn",
        LIMITER,
        "if not share > 0:",
        "if share < -1:",
        RUNS + "a_share_of_nothing_is_refused",
    ),
    mutant(
        "callers denied together return together",
        RESERVE,
        "    redis.call('HSET', TURN, why, int(turn + step))\n",
        "",
        SLOTS + "callers_denied_together_return_one_permit_apart",
    ),
    mutant(
        "slots are booked without slack",
        RESERVE,
        "EXTRA = tonumber(ARGV[5])",
        "EXTRA = 0",
        RUNS + "who_is_late_by_no_more_than_the_slack_moves_nobody",
    ),
]
