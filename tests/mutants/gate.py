"""Mutants of what stands before the logs: pauses, cold starts, probes, headers of answers."""

from __future__ import annotations

from .mutant import mutant
from .windows import CONFIRM, GATE, LIMITER, LOG, RESERVE, SERVER, SLOTS

OBSERVE = "worker/limiter/observe.lua"
PAUSE = "worker/limiter/pause.lua"
ANSWER = "worker/zendesk/answer.py"
HEADERS = "tests/unit/test_zendesk_answer.py::test_"

OTHER_SERVER = GATE + "another_server_with_the_same_data_is_a_cold_start"
FLUSHED = GATE + "a_flushed_server_is_a_cold_start"
NO_MEMORY = GATE + "without_a_memory_nothing_goes_for_a_window_and_then_one_probe"
MAY_BE_SENT = GATE + "what_may_have_been_sent_before_a_restart_still_counts"
ONE_GOES = GATE + "after_a_pause_one_permit_goes_and_the_others_wait_for_its_answer"
GIVEN_UP = GATE + "a_probe_that_was_never_reported_is_given_up_after_its_time"
RETRY_AFTER = HEADERS + "retry_after_is_seconds_within_bounds_or_none"
ANY_RETRY_AFTER = HEADERS + "no_retry_after_raises_or_leaves_its_bounds"

PAUSES = [
    mutant(
        "a pause voids no booking",
        PAUSE,
        "remove_all_booked()\n",
        "",
        SLOTS + "pause_voids_every_booking_and_keeps_what_was_sent",
    ),
    mutant(
        "a booked permit is confirmed inside a pause",
        CONFIRM,
        "local closed = NOW < closed_until()",
        "local closed = false",
        SLOTS + "pause_voids_every_booking_and_keeps_what_was_sent",
        SLOTS + "booking_behind_a_pause_cannot_be_confirmed_inside_it",
    ),
    mutant(
        "a pause lasts 1 us longer for who is booked at its end",
        CONFIRM,
        "local closed = NOW < closed_until()",
        "local closed = NOW <= closed_until()",
        SLOTS + "booking_behind_a_pause_goes_at_its_very_end",
    ),
    mutant(
        "slots are booked inside a pause",
        RESERVE,
        "math.max(NOW, closed, free)",
        "math.max(NOW, free)",
        SLOTS + "slots_begin_when_the_pause_ends",
    ),
    mutant(
        "a shorter pause ends a longer one",
        LOG,
        "if until_us > closed_until() then",
        "if until_us then",
        SLOTS + "shorter_pause_shortens_nothing",
    ),
    mutant(
        "a longer pause lengthens nothing",
        LOG,
        "if until_us > closed_until() then",
        "if closed_until() == 0 then",
        SLOTS + "longer_pause_lengthens",
    ),
    mutant(
        "a pause has no longest",
        LIMITER,
        "        seconds = min(seconds, LONGEST_PAUSE_S)\n",
        "",
        GATE + "no_pause_is_longer_than_an_hour",
    ),
    mutant(
        "a negative pause is none",
        LIMITER,
        "if seconds < 0:",
        "if seconds != seconds:",
        SLOTS + "negative_pause_is_refused",
    ),
]

RETRY_AFTERS = [
    mutant(
        "Retry-After in seconds has no bound",
        ANSWER,
        "return min(float(text), LONGEST_RETRY_AFTER_S)",
        "return float(text)",
        RETRY_AFTER,
    ),
    mutant(
        "Retry-After as a date has no bound",
        ANSWER,
        "return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)",
        "return max((until - now).total_seconds(), 0.0)",
        RETRY_AFTER,
    ),
    mutant(
        "Retry-After as a date in the past is negative",
        ANSWER,
        "min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)",
        "min((until - now).total_seconds(), LONGEST_RETRY_AFTER_S)",
        RETRY_AFTER,
    ),
    mutant(
        "a negative Retry-After is taken at its word",
        ANSWER,
        r'r"\d{1,12}(\.\d{1,9})?"',
        r'r"-?\d{1,12}(\.\d{1,9})?"',
        RETRY_AFTER,
    ),
    mutant(
        "a Retry-After that is no date raises",
        ANSWER,
        "except (TypeError, ValueError, OverflowError, IndexError):",
        "except OverflowError:",
        RETRY_AFTER,
        ANY_RETRY_AFTER,
    ),
    mutant(
        "any word is a number of seconds",
        ANSWER,
        "if _SECONDS.fullmatch(text):",
        "if not _http_date(text):",
        RETRY_AFTER,
    ),
    mutant(
        "garbage in Retry-After means: at once",
        ANSWER,
        "    if until is None:\n        return None",
        "    if until is None:\n        return 0.0",
        RETRY_AFTER,
    ),
    mutant(
        "Retry-After as a date is compared with our clock",
        ANSWER,
        '_http_date(date or "") or datetime.now(UTC)',
        "datetime.now(UTC)",
        RETRY_AFTER,
    ),
]

COLD = [
    mutant(
        "a cold start closes nothing",
        LOG,
        "  close(NOW + USERS_WINDOW + 1, 'cold', 'cold start')\n",
        "",
        NO_MEMORY,
        FLUSHED,
    ),
    mutant(
        "a cold start ends 1 us too early",
        LOG,
        "close(NOW + USERS_WINDOW + 1, 'cold'",
        "close(NOW + USERS_WINDOW, 'cold'",
        NO_MEMORY,
    ),
    mutant(
        "a flushed server goes unnoticed",
        LOG,
        "if gate.server == server and not set_back then",
        "if not gate.server or gate.server == server then",
        FLUSHED,
    ),
    mutant(
        "another run_id goes unnoticed",
        LOG,
        "if gate.server == server and not set_back then",
        "if gate.server then",
        OTHER_SERVER,
    ),
    mutant(
        "all servers are taken for one",
        LOG,
        "string.match(info, 'run_id:(%x+)') or 'unknown'",
        "'unknown'",
        OTHER_SERVER,
    ),
    mutant(
        "a real server's run_id is not found",
        LOG,
        "'run_id:(%x+)'",
        "'run_id=(%x+)'",
        SERVER + "a_restart_that_kept_all_data_is_a_cold_start",
    ),
    mutant(
        "reserving does not notice a cold start",
        RESERVE,
        "local cold = wake()",
        "local cold = 0",
        FLUSHED,
    ),
    mutant(
        "confirming does not notice a cold start",
        CONFIRM,
        "local cold = wake()",
        "local cold = 0",
        OTHER_SERVER,
    ),
    mutant(
        "a pause hides a cold start",
        PAUSE,
        "wake()\n",
        "",
        GATE + "a_pause_does_not_forget_what_may_have_been_sent_before_a_restart",
    ),
    mutant(
        "an answer hides a cold start",
        OBSERVE,
        "wake()\n",
        "",
        GATE + "an_answer_from_before_a_restart_tells_nothing",
    ),
    mutant(
        "nobody is told of a cold start",
        LIMITER,
        "        if cold:\n",
        "        if cold > 1:\n",
        NO_MEMORY,
    ),
    mutant(
        "bookings to come outlive a restart",
        LOG,
        "'ZRANGEBYSCORE', BOOKED, '(' .. int(NOW), '+inf'",
        "'ZRANGEBYSCORE', BOOKED, '+inf', '+inf'",
        MAY_BE_SENT,
    ),
    mutant(
        "what may have been sent before a restart is forgotten",
        LOG,
        "'ZRANGEBYSCORE', BOOKED, '(' .. int(NOW), '+inf'",
        "'ZRANGEBYSCORE', BOOKED, '-inf', '+inf'",
        MAY_BE_SENT,
    ),
    mutant(
        "a booking from before a restart can be confirmed",
        LOG,
        "  redis.call('DEL', BOOKED)\n",
        "",
        MAY_BE_SENT,
    ),
    mutant(
        "the minute is open after a cold start",
        LOG,
        "  set_gate('unknown_until_us', int(NOW + REQUESTS_WINDOW + 1))\n",
        "",
        GATE + "without_headers_the_minute_after_a_cold_start_stays_closed",
    ),
    mutant(
        "the minute after a cold start opens 1 us too early",
        LOG,
        "set_gate('unknown_until_us', int(NOW + REQUESTS_WINDOW + 1))",
        "set_gate('unknown_until_us', int(NOW + REQUESTS_WINDOW))",
        GATE + "without_headers_the_minute_after_a_cold_start_stays_closed",
    ),
    mutant(
        "the probe's headers do not open the minute",
        OBSERVE,
        "unset_gate('unknown_until_us')\n",
        "",
        GATE + "the_minute_after_a_cold_start_is_seeded_from_the_probes_headers",
    ),
    mutant(
        "what headers told before a restart holds after it",
        LOG,
        "  unset_gate('cap', 'cap_until_us')\n",
        "",
        GATE + "what_headers_told_before_a_restart_is_void",
    ),
    mutant(
        "an answer from before a restart opens the minute",
        LOG,
        "  set_gate('cap_at_us', int(NOW))",
        "",
        GATE + "an_answer_from_before_a_restart_tells_nothing",
    ),
]

PROBES = [
    mutant(
        "after a pause no probe is needed",
        LOG,
        "  set_gate('probing', '1')\n",
        "",
        ONE_GOES,
    ),
    mutant(
        "two probes at a time",
        RESERVE,
        "if probing() and gate.probe and NOW <= moment('probe_until_us') then",
        "if false then",
        ONE_GOES,
    ),
    mutant(
        "nobody remembers which permit is the probe",
        RESERVE,
        "  set_gate('probe', permit)\n",
        "",
        ONE_GOES,
    ),
    mutant(
        "a probe is not told that it is one",
        CONFIRM,
        "is_probe and 1 or 0",
        "0",
        ONE_GOES,
    ),
    mutant(
        "a probe that was late is given up before its time",
        CONFIRM,
        "  set_gate('probe_until_us', int(stamp + PROBE_US))\n",
        "",
        GIVEN_UP,
    ),
    mutant(
        "a probe is given up 1 us too early",
        RESERVE,
        "NOW <= moment('probe_until_us')",
        "NOW < moment('probe_until_us')",
        GIVEN_UP,
    ),
    mutant(
        "a probe that nobody reports is waited for for ever",
        RESERVE,
        " and NOW <= moment('probe_until_us') then",
        " then",
        GIVEN_UP,
    ),
    mutant(
        "any answer is taken for the probe's",
        OBSERVE,
        "if gate.probe == permit then",
        "if true then",
        GATE + "an_answer_to_something_else_opens_nothing",
    ),
    mutant(
        "silence opens the gate",
        OBSERVE,
        "if ARGV[7] == '1' then",
        "if true then",
        GATE + "a_probe_without_an_answer_is_followed_by_another",
    ),
    mutant(
        "an answer does not open the gate",
        OBSERVE,
        "    unset_gate('probing')\n",
        "",
        GATE + "the_answer_to_the_probe_opens_the_gate",
    ),
    mutant(
        "after a probe without an answer nobody probes",
        OBSERVE,
        "  unset_gate('probe', 'probe_until_us')\n",
        "",
        GATE + "a_probe_without_an_answer_is_followed_by_another",
    ),
    mutant(
        "after a cancelled probe nobody probes",
        LOG,
        "  if gate.probe == permit then\n    unset_gate('probe', 'probe_until_us')\n  end\n",
        "",
        GATE + "a_cancelled_probe_lets_the_next_one_probe",
    ),
    mutant(
        "the first probe's answer opens what a second pause closed",
        LOG,
        "  set_gate('probing', '1')\n  unset_gate('probe', 'probe_until_us')\n",
        "  set_gate('probing', '1')\n",
        GATE + "another_pause_during_a_probe_needs_another_probe",
    ),
]

HEADERS_TIGHTEN = [
    mutant(
        "headers allow more than was declared",
        LOG,
        "return cap() < 0 and declared or math.min(declared, cap())",
        "return cap() < 0 and declared or cap()",
        GATE + "headers_never_allow_more_than_the_budget",
    ),
    mutant(
        "headers tighten nothing",
        LOG,
        "return cap() < 0 and declared or math.min(declared, cap())",
        "return declared",
        GATE + "what_others_use_is_taken_from_our_requests",
    ),
    mutant(
        "what was forgotten is taken for others' use",
        OBSERVE,
        "if forgetful then",
        "if false then",
        GATE + "what_was_forgotten_counts_as_ours_until_its_minute_is_over",
    ),
    mutant(
        "an older header replaces a newer one",
        OBSERVE,
        " or stamp < moment('cap_at_us') or",
        " or",
        GATE + "the_older_of_two_answers_changes_nothing",
    ),
    mutant(
        "no newer header replaces an older one",
        OBSERVE,
        "stamp < moment('cap_at_us')",
        "moment('cap_at_us') > 0",
        GATE + "a_newer_answer_may_give_back_what_an_older_one_took",
    ),
    mutant(
        "requests sent after the answered one count for nothing",
        OBSERVE,
        "'-inf', int(stamp))",
        "'-inf', '+inf')",
        GATE + "requests_sent_after_the_one_that_was_told_count_against_what_is_left",
    ),
    mutant(
        "what we used ourselves is taken for others' use",
        OBSERVE,
        "local left = own + allowed",
        "local left = allowed",
        GATE + "what_others_use_is_taken_from_our_requests",
    ),
    mutant(
        "what headers told holds for ever",
        LOG,
        "return NOW < moment('cap_until_us') and",
        "return",
        GATE + "when_the_minute_is_over_the_whole_budget_is_there_again",
    ),
    mutant(
        "what headers told ends 1 us too late",
        LOG,
        "return NOW < moment('cap_until_us') and",
        "return NOW <= moment('cap_until_us') and",
        GATE + "when_the_minute_is_over_the_whole_budget_is_there_again",
    ),
    mutant(
        "reserve_percent is ignored",
        OBSERVE,
        " * tonumber(ARGV[11]) / 100",
        " * 0",
        GATE + "a_part_of_the_limit_is_left_to_others",
    ),
    mutant(
        "reserve_percent is rounded in our favour",
        OBSERVE,
        "math.ceil(math.max(limit, 0)",
        "math.floor(math.max(limit, 0)",
        GATE + "a_part_of_a_request_left_to_others_is_a_whole_one",
    ),
    mutant(
        "the last of what is left to others is ours",
        OBSERVE,
        "if allowed <= 0 then",
        "if allowed < 0 then",
        GATE + "when_nothing_is_left_the_account_rests_and_then_probes",
    ),
    mutant(
        "when nothing is left bookings still go",
        OBSERVE,
        "remove_all_booked()\n",
        "",
        GATE + "when_nothing_is_left_the_account_rests_and_then_probes",
    ),
    mutant(
        "when nothing is left the account does not rest",
        OBSERVE,
        "close(NOW + rest, 'paused', 'the requests of this minute are used up')\n",
        "",
        GATE + "when_nothing_is_left_the_account_rests_and_then_probes",
    ),
    mutant(
        "the rest may be as short as a header says",
        OBSERVE,
        "math.max(tonumber(ARGV[12]), ",
        "math.max(0, ",
        GATE + "the_rest_is_neither_too_short_nor_longer_than_a_minute",
    ),
    mutant(
        "the rest may be as long as a header says",
        OBSERVE,
        "or math.min(reset, REQUESTS_WINDOW)",
        "or reset",
        GATE + "the_rest_is_neither_too_short_nor_longer_than_a_minute",
    ),
]

POLLS = [
    mutant(
        "polls get no share of their own",
        LOG,
        "budget - part_of_polls(budget), own",
        "budget, own",
        GATE + "posts_leave_three_tenths_of_the_requests_to_polls",
    ),
    mutant(
        "polls get no more than their share",
        LOG,
        "  if users > 0 then\n    free",
        "  if users == 0 then\n    budget = math.floor(budget * 3 / 10)\n"
        "    free = math.max(free, one_free_at(REQUESTS, budget, own, upto))\n  else\n    free",
        GATE + "polls_may_use_what_posts_leave",
    ),
    mutant(
        "POSTs are not told from polls",
        RESERVE,
        "    redis.call('ZADD', POSTS, int(slot), permit)\n",
        "",
        GATE + "posts_leave_three_tenths_of_the_requests_to_polls",
    ),
    mutant(
        "polls count as POSTs",
        RESERVE,
        "  if users > 0 then\n    redis.call('ZADD', POSTS",
        "  if users >= 0 then\n    redis.call('ZADD', POSTS",
        GATE + "polls_do_not_use_up_what_posts_may",
    ),
]

CROWD = GATE + "neither_polls_nor_posts_crowd_the_others_out"
ROOM = GATE + "a_poll_beyond_its_part_leaves_room_for_a_post_that_waits"

TURNS = [
    mutant(
        "polls beyond their part leave no room for a POST that waits",
        RESERVE,
        "  if users > 0 or polls < part_of_polls(budget) then",
        "  if true then",
        ROOM,
    ),
    mutant(
        "of the only request of a minute whoever comes has the next one, too",
        RESERVE,
        "gate.last == kind and",
        "false and",
        CROWD,
    ),
    mutant(
        "a POST that does not come is waited for for ever",
        RESERVE,
        "  if awaited < NOW then",
        "  if awaited == 0 then",
        GATE + "a_post_that_does_not_come_is_waited_for_for_a_second",
    ),
    mutant(
        "a POST that came is still waited for",
        RESERVE,
        "  redis.call('HDEL', TURN, kind)\n",
        "",
        GATE + "a_post_that_came_is_no_longer_waited_for",
    ),
]

SET_BACK = [
    mutant(
        "a clock that was set back goes unnoticed",
        LOG,
        "if gate.server == server and not set_back then",
        "if gate.server == server then",
        GATE + "a_clock_set_back_by_hours_is_a_cold_start",
    ),
    mutant(
        "what lies in the logs of another clock stays there",
        LOG,
        "  if set_back then\n",
        "  if false then\n",
        GATE + "a_clock_set_back_by_hours_is_a_cold_start",
    ),
    mutant(
        "a clock set back by two minutes is waited for 1 us too short",
        LOG,
        "tonumber(newest[2]) > furthest then",
        "tonumber(newest[2]) >= furthest then",
        GATE + "a_clock_set_back_by_no_more_than_two_minutes_is_waited_for",
    ),
    mutant(
        "a pause of another clock lasts for hours",
        LOG,
        "  return closed_until() > NOW + LONGEST_PAUSE or",
        "  return",
        GATE + "a_pause_that_ends_later_than_any_can_is_none",
    ),
    mutant(
        "what headers told on another clock holds for hours",
        LOG,
        "math.max(moment('unknown_until_us'), moment('cap_at_us'), moment('cap_until_us'))",
        "moment('unknown_until_us')",
        GATE + "what_headers_told_on_another_clock_is_void",
    ),
]

MUTANTS = [*TURNS, *SET_BACK, *PAUSES, *RETRY_AFTERS, *COLD, *PROBES, *HEADERS_TIGHTEN, *POLLS]
