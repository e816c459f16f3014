"""Mutants of the fair order: first come first served, shares ignored, slots that go empty."""

from __future__ import annotations

from .mutant import mutant
from .windows import CONFIRM, LIMITER, RESERVE, SLOTS

FAIR = "worker/limiter/fair.lua"
RUNS = "tests/unit/test_limiter_fair.py::test_"

HALVES = RUNS + "two_runs_with_equal_shares_are_never_more_than_a_chunk_from_half"
SHARES = RUNS + "shares_are_kept"
PARTS = RUNS + "no_run_is_ever_a_whole_chunk_from_its_part"
CALLERS = RUNS + "however_many_callers_a_run_has_it_gets_its_part"
GONE = RUNS + "a_run_that_does_not_come_costs_less_than_a_slot"
ALL_SLOTS = RUNS + "three_runs_of_which_one_ends_leave_no_slot_empty"
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
        "if slot - NOW > PINCH and not is_next(flow) then",
        "if false then",
        BEHIND,
    ),
    mutant(
        "who is ahead of his share steps back though the slot would go empty",
        RESERVE,
        "if slot - NOW > PINCH and not",
        "if not",
        RUNS + "who_steps_back_returns_just_before_the_slot_would_go_empty",
    ),
    mutant(
        "all shares are equal",
        FAIR,
        "flows[flow].share, flows[flow].cost = share, cost",
        "flows[flow].share, flows[flow].cost = 1, cost",
        SHARES,
    ),
    mutant(
        "a run pays nothing for what it had",
        FAIR,
        "  it.tag = it.tag + it.cost / it.share\n  it.served",
        "  it.served",
        PARTS,
    ),
    mutant(
        "a run that comes back claims the past",
        FAIR,
        "{name = flow, tag = V, ",
        "{name = flow, tag = 0, ",
        RUNS + "a_run_that_comes_later_is_owed_nothing_and_owes_nothing",
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
    mutant(
        "whoever is furthest behind goes first, however far ahead that brings him",
        FAIR,
        "  line = math.max(line, v) + EVEN",
        "  line = math.huge",
        PARTS,
    ),
    mutant(
        "of those who may go the one with the lowest tag goes",
        FAIR,
        "  local sooner = one.tag + one.cost / one.share - (other.tag + other.cost / other.share)",
        "  local sooner = one.tag - other.tag",
        PARTS,
    ),
    mutant(
        "a new run waits for one that sends already",
        FAIR,
        "  return one.served < other.served or",
        "  return one.served > other.served or",
        RUNS + "a_small_run_is_not_stuck_behind_a_large_one",
        HALVES,
    ),
    mutant(
        "a run all of whose callers have slots is not there",
        FAIR,
        "  return #it.turns > 0 or it.served >= NOW - PINCH",
        "  return #it.turns > 0",
        PARTS,
    ),
    mutant(
        "a caller who is sent away for the longest time covers slots before",
        FAIR,
        "  note(flow, turn)\n  return turn",
        "  note(flow, turn - lead)\n  return turn",
        CALLERS,
        PARTS,
    ),
    mutant(
        "slots are kept for a run that does not come",
        FAIR,
        "if name == flow or not (it.turns[1] and it.turns[1] < NOW) then",
        "if true then",
        GONE,
    ),
    mutant(
        "a slot that somebody left is not found",
        FAIR,
        "if not (turns[k] and turns[k] <= slot + it.cost / 2) then",
        "if k > #turns then",
        GONE,
        ALL_SLOTS,
        PARTS,
    ),
]
