"""Promises of schedules, and of who plans a run, broken on purpose."""

from __future__ import annotations

from .mutant import mutant

TICKING = "orchestrations/ticking.py"
SCHEDULE = "orchestrations/schedule.py"
LEDGER = "worker/ledger/schedules.py"
TICKS = "tests/unit/test_ticking.py::test_"
TIMES = "tests/unit/test_schedule.py::test_"
ENDS = "tests/unit/test_planner_ends.py::test_"

MUTANTS = [
    mutant(
        "a due minute is due again in the next tick",
        SCHEDULE,
        "if after < moment <= until",
        "if after - MINUTE < moment <= until",
        TIMES + "the_beginning_is_not_due_and_the_end_is",
    ),
    mutant(
        "a time that the clock shows twice is due twice",
        SCHEDULE,
        "return [once, again] if interval and again != once else [once]",
        "return [once, again] if again != once else [once]",
        TIMES + "a_time_that_the_clock_shows_twice_is_due_the_first_time",
    ),
    mutant(
        "a time that the clock skips is never due",
        SCHEDULE,
        "return [] if interval else [_end_of_gap(zone, again, once)]",
        "return []",
        TIMES + "a_time_that_the_clock_skips_is_due_at_the_first_instant_after_the_gap",
    ),
    mutant(
        "the key of a run does not name its minute",
        "orchestrations/keys.py",
        "%Y-%m-%dT%H:%MZ",
        "%Y-%m-%dT%HZ",
        TICKS + "a_run_is_started_at_the_due_minute_under_it_as_key_by_the_scheduler",
    ),
    mutant(
        "however late a minute is, it is started",
        TICKING,
        'missed = dues if late and schedule.catch_up == "none" else dues[:-1]',
        "missed = dues[:-1]",
        TICKS + "after_a_standstill_minutes_are_skipped_and_told_or_the_last_is_made_up_for",
    ),
    mutant(
        "ticks at once all tell what was not started",
        LEDGER,
        "                    schedules.c.checked_until == seen.checked_until,\n                )\n",
        "                )\n",
        "tests/unit/test_ledger_schedules.py::test_of_two_who_settle_the_same_one_does_and_tells",
    ),
    mutant(
        "what is changed counts for minutes before it was seen",
        LEDGER,
        '"first_seen": now, "checked_until": now,',
        '"first_seen": now, "checked_until": now - 600,',
        TICKS + "a_schedule_that_is_new_or_changed_counts_from_when_it_was_first_seen",
    ),
    mutant(
        "a run that failed is followed",
        TICKING,
        "GOES_ON = frozenset({RunState.SUCCEEDED, RunState.FINISHED_WITH_FAILURES})",
        "GOES_ON = frozenset(RunState)",
        TICKS + "what_comes_after_a_run_is_started_once_when_it_went_through",
    ),
    mutant(
        "a retry is followed under its own id",
        TICKING,
        "    while run.parent_run:\n",
        "    while False:\n",
        TICKS + "a_retry_is_followed_in_place_of_the_run_that_failed_and_never_a_second_time",
    ),
    mutant(
        "the tick starts nothing that comes after a run",
        TICKING,
        "    for ended in ledger.schedules.unfollowed():\n",
        "    for ended in ():\n",
        TICKS + "what_comes_after_a_run_is_started_once_when_it_went_through",
    ),
    mutant(
        "the end of a run starts nothing",
        "orchestrations/tasks.py",
        "    _follow(message.run_id)\n",
        "",
        TICKS + "the_end_of_a_run_starts_what_comes_after_it_and_the_tick_has_nothing_left",
    ),
    mutant(
        "a broken file is taken for one that was removed",
        TICKING,
        "    seen = ledger.schedules.see(all_declared(reading.catalog), keep=reading.broken)\n"
        "    if not may_start:\n",
        "    seen = ledger.schedules.see(all_declared(reading.catalog))\n    if not may_start:\n",
        TICKS + "a_broken_file_is_told_once_stops_no_other_and_is_made_up_for",
    ),
    mutant(
        "each message of a run starts a planner",
        "orchestrations/tasks.py",
        "        if fence == run.plan_fence and now - since <= STARTS_WITHIN_S:\n"
        "            return None\n",
        "",
        "tests/unit/test_one_planner.py::test_further_messages_start_no_further_planner",
    ),
    mutant(
        "a planner that never begins keeps its run",
        "orchestrations/tasks.py",
        "                if _stands_still(run):\n",
        "                if False:\n",
        ENDS + "a_planner_that_has_not_begun_in_time_is_killed",
    ),
    mutant(
        "a planner that is asked to end while it stands in a query does not hear it",
        "orchestrations/planner.py",
        "    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)\n",
        "",
        ENDS + "a_planner_that_stands_in_a_query_gives_back_when_it_is_asked_to_end",
    ),
    mutant(
        "helpers that are ended with their planner fail its run",
        "orchestrations/planner.py",
        "        if held.asked:  # whoever",
        "        if False:  # whoever",
        ENDS + "helpers_that_end_with_their_planner_fail_no_run",
    ),
]
