"""Mutants of the logs: windows, clocks, both budgets or none, lateness, permits asked for twice."""

from __future__ import annotations

from .mutant import Edit, Mutant, mutant

LOG = "worker/limiter/log.lua"
RESERVE = "worker/limiter/reserve.lua"
CONFIRM = "worker/limiter/confirm.lua"
CANCEL = "worker/limiter/cancel.lua"
LIMITER = "worker/limiter/limiter.py"
SLOTS = "tests/unit/test_limiter_slots.py::test_"
SERVER = "tests/integration/test_limiter_server.py::test_"
GATE = "tests/unit/test_limiter_gate.py::test_"

USERS_COUNT = SLOTS + "users_exactly_one_window_old_still_count"
REQUESTS_COUNT = SLOTS + "requests_exactly_one_window_old_still_count"
MOVED = SLOTS + "bookings_behind_a_late_permit_move_by_its_lateness"
ALL_MOVED = SLOTS + "late_permit_and_those_behind_it_move_in_every_log"
RESTAMPED = SLOTS + "late_permit_is_stamped_with_the_time_of_sending"
NO_USERS_BEHIND = SLOTS + "full_requests_leave_no_trace_in_the_users_log"
NO_REQUESTS_BEHIND = SLOTS + "full_users_leave_no_trace_in_the_requests_log"
SAME_SLOT = SLOTS + "asking_again_for_a_booked_permit_gives_the_same_slot_once"
ONCE = SLOTS + "permit_cannot_be_had_twice_for_two_sendings"

BOUNDARIES = [
    mutant(
        "the users' window is half-open by 1 us",
        LOG,
        "+ USERS_WINDOW + 1 + EXTRA",
        "+ USERS_WINDOW + EXTRA",
        USERS_COUNT,
    ),
    mutant(
        "the users' window is 1 us too long",
        LOG,
        "+ USERS_WINDOW + 1 + EXTRA",
        "+ USERS_WINDOW + 2 + EXTRA",
        SLOTS + "next_slot_is_one_window_and_one_microsecond_after_a_full_one",
    ),
    mutant(
        "the requests' window is half-open by 1 us",
        LOG,
        "+ REQUESTS_WINDOW + 1 + EXTRA",
        "+ REQUESTS_WINDOW + EXTRA",
        REQUESTS_COUNT,
    ),
    mutant(
        "the requests' window is 1 us too long",
        LOG,
        "+ REQUESTS_WINDOW + 1 + EXTRA",
        "+ REQUESTS_WINDOW + 2 + EXTRA",
        SLOTS + "permit_may_go_before_a_later_booking_where_both_fit_one_window",
    ),
    mutant(
        "users exactly one window old are forgotten",
        LOG,
        "'(' .. int(NOW - USERS_WINDOW)",
        "int(NOW - USERS_WINDOW)",
        USERS_COUNT,
    ),
    mutant(
        "requests exactly one window old are forgotten",
        LOG,
        "'(' .. int(NOW - REQUESTS_WINDOW)",
        "int(NOW - REQUESTS_WINDOW)",
        REQUESTS_COUNT,
    ),
    mutant(
        "requests are forgotten with the second of their users",
        LOG,
        "'(' .. int(NOW - REQUESTS_WINDOW)",
        "too_late",
        REQUESTS_COUNT,
    ),
    mutant(
        "the users' window has no guard",
        LIMITER,
        "_us(users_window_s + guard_s)",
        "_us(users_window_s)",
        SLOTS + "next_slot_is_one_window_and_one_microsecond_after_a_full_one",
    ),
    mutant(
        "the requests' window has no guard",
        LIMITER,
        "_us(requests_window_s + guard_s)",
        "_us(requests_window_s)",
        REQUESTS_COUNT,
    ),
    mutant(
        "a full window has room for one user more",
        LOG,
        "if sum > budget then",
        "if sum > budget + 1 then",
        SLOTS + "weights_fill_a_window_to_the_last_user",
    ),
    mutant(
        "the last user of a window is never given",
        LOG,
        "if sum > budget then",
        "if sum >= budget then",
        SLOTS + "weights_fill_a_window_to_the_last_user",
    ),
    mutant(
        "a minute has room for one request more",
        LOG,
        "local rank = budget - 1",
        "local rank = budget",
        REQUESTS_COUNT,
    ),
    mutant(
        "a booking that a late permit would meet exactly one window later does not count",
        CONFIRM,
        "member, int(NOW + USERS_WINDOW))",
        "member, '(' .. int(NOW + USERS_WINDOW))",
        SLOTS + "late_permit_sees_a_booking_exactly_one_window_later",
    ),
    mutant(
        "a booking more than one window later holds a late permit up",
        CONFIRM,
        "member, int(NOW + USERS_WINDOW))",
        "member, int(NOW + USERS_WINDOW + 1))",
        SLOTS + "late_permit_does_not_see_a_booking_more_than_one_window_later",
    ),
    mutant(
        "a late permit does not see the requests of bookings to come",
        CONFIRM,
        "ours(requests_budget), permit, '+inf')) <= NOW",
        "ours(requests_budget), permit, int(NOW))) <= NOW",
        SLOTS + "poll_behind_a_late_permit_moves_without_entering_the_users_log",
    ),
    mutant(
        "the check at the end does not see users sent at this very microsecond",
        CONFIRM,
        "member, permit, int(NOW))",
        "member, permit, int(NOW - 1))",
        SLOTS + "lowered_budget_counts_what_was_sent_at_the_same_microsecond",
    ),
    mutant(
        "a permit's own entry hides one of the others",
        LOG,
        "int(budget - weight + 2)",
        "int(budget - weight + 1)",
        SLOTS + "lowered_budget_counts_every_single_user",
    ),
    mutant(
        "a permit's own request counts against itself",
        LOG,
        "if own_rank and own_rank <= rank then",
        "if own_rank and own_rank < rank then",
        SLOTS + "last_request_of_a_minute_goes_though_it_was_booked_first",
    ),
    mutant(
        "microseconds are cut off",
        LOG,
        "string.format('%.0f', number)",
        "tostring(number)",
        SERVER + "slots_in_the_logs_are_exact_to_the_microsecond",
    ),
]

CLIENT_KEYS = Edit(
    LIMITER,
    "script(keys=_keys(account), args=",
    'script(keys=[*_keys(account), str(__import__("time").time_ns() // 1000)], args=',
)

CLOCKS = [
    Mutant(
        "the client's clock decides",
        (
            CLIENT_KEYS,
            Edit(
                LOG,
                "local NOW = tonumber(time[1]) * 1000000 + tonumber(time[2])",
                "local NOW = tonumber(KEYS[8])",
            ),
        ),
        (SLOTS + "first_permit_is_booked_for_now",),
    ),
    Mutant(
        "a client whose clock is ahead goes before its slot",
        (CLIENT_KEYS, Edit(CONFIRM, "if NOW < slot then", "if tonumber(KEYS[8]) < slot then")),
        (SLOTS + "a_wrong_clock_of_the_client_changes_no_slot_and_no_stamp",),
    ),
    mutant(
        "the stamp is the client's time",
        LIMITER,
        "return Go(reply[1],",
        'return Go(__import__("time").time_ns() // 1000,',
        SLOTS + "permit_goes_at_its_slot",
    ),
    mutant(
        "the clock knows seconds only",
        LOG,
        "tonumber(time[1]) * 1000000 + tonumber(time[2])",
        "tonumber(time[1]) * 1000000",
        USERS_COUNT,
    ),
]

BOTH_OR_NEITHER = [
    mutant(
        "users are booked while requests deny",
        RESERVE,
        "if slot - NOW > max_wait then",
        "redis.call('ZADD', USERS, int(slot), member)\nif slot - NOW > max_wait then",
        NO_USERS_BEHIND,
    ),
    mutant(
        "a request is booked while users deny",
        RESERVE,
        "if slot - NOW > max_wait then",
        "redis.call('ZADD', REQUESTS, int(slot), permit)\nif slot - NOW > max_wait then",
        NO_REQUESTS_BEHIND,
    ),
    mutant(
        "a POST is counted while users deny",
        RESERVE,
        "if slot - NOW > max_wait then",
        "redis.call('ZADD', POSTS, int(slot), permit)\nif slot - NOW > max_wait then",
        NO_REQUESTS_BEHIND,
    ),
    mutant(
        "users are given though the minute is full",
        LOG,
        "return math.max(users_free, requests_free), users_free",
        "return users_free, users_free",
        NO_USERS_BEHIND,
    ),
    mutant(
        "requests are given though the second is full",
        LOG,
        "return math.max(users_free, requests_free), users_free",
        "return requests_free, users_free",
        NO_REQUESTS_BEHIND,
    ),
    mutant(
        "a request that was booked is in no log",
        RESERVE,
        "  redis.call('ZADD', REQUESTS, int(slot), permit)\n",
        "",
        SLOTS + "first_permit_is_booked_for_now",
    ),
    mutant(
        "users that were booked are in no log",
        RESERVE,
        "  redis.call('ZADD', USERS, int(slot), member)\n",
        "",
        SLOTS + "first_permit_is_booked_for_now",
    ),
    mutant(
        "a booking given back keeps its users",
        LOG,
        "  redis.call('ZREM', USERS, member)\n",
        "",
        SLOTS + "cancelled_booking_leaves_its_slot_to_others",
    ),
    mutant(
        "a booking given back keeps its request",
        LOG,
        "  redis.call('ZREM', REQUESTS, permit)\n",
        "",
        SLOTS + "cancelled_booking_leaves_its_slot_to_others",
    ),
    mutant(
        "a booking given back still counts as a POST",
        LOG,
        "  redis.call('ZREM', POSTS, permit)\n",
        "",
        SLOTS + "cancelled_booking_leaves_its_slot_to_others",
    ),
    mutant(
        "what was sent can be cancelled",
        CANCEL,
        "local member = booking_of(ARGV[6])",
        "local member = booking_of(ARGV[6]) or redis.call('ZREVRANGE', USERS, 0, 0)[1]",
        SLOTS + "confirmed_permit_cannot_be_cancelled",
    ),
    mutant(
        "more users than the budget wait for ever",
        LIMITER,
        "if users > budget.users_per_second:",
        "if users < 0:",
        SLOTS + "more_users_than_the_budget_is_an_error_and_no_wait",
    ),
    mutant(
        "a budget below a booked weight lets it go",
        CONFIRM,
        "if closed or users > users_budget then",
        "if closed then",
        SLOTS + "budget_below_a_booked_weight_takes_the_booking_back",
    ),
]

LATE = [
    mutant(
        "a late permit keeps its slot among users",
        CONFIRM,
        "redis.call('ZADD', USERS, 'XX', int(stamp), member)\n",
        "",
        RESTAMPED,
    ),
    mutant(
        "a late permit keeps its slot among requests",
        CONFIRM,
        "redis.call('ZADD', REQUESTS, 'XX', int(stamp), permit)\n",
        "",
        ALL_MOVED,
    ),
    mutant(
        "a late permit keeps its slot among POSTs",
        CONFIRM,
        "redis.call('ZADD', POSTS, 'XX', int(stamp), permit)\n",
        "",
        ALL_MOVED,
    ),
    mutant(
        "a late permit is told its slot for a stamp",
        CONFIRM,
        "return {'go', stamp,",
        "return {'go', slot,",
        RESTAMPED,
    ),
    mutant(
        "nobody behind a late permit moves",
        CONFIRM,
        "  move_behind(slot, stamp - slot)\n",
        "",
        MOVED,
    ),
    mutant(
        "bookings behind a late permit move half as far",
        CONFIRM,
        "tonumber(behind[i + 1]) + lateness",
        "tonumber(behind[i + 1]) + lateness / 2",
        MOVED,
    ),
    mutant(
        "bookings behind a late permit stay among users",
        CONFIRM,
        "    redis.call('ZADD', USERS, 'XX', moved, behind[i])\n",
        "",
        MOVED,
    ),
    mutant(
        "bookings behind a late permit stay among requests",
        CONFIRM,
        "    redis.call('ZADD', REQUESTS, 'XX', moved, permit_of(behind[i]))\n",
        "",
        MOVED,
    ),
    mutant(
        "bookings behind a late permit stay among POSTs",
        CONFIRM,
        "    redis.call('ZADD', POSTS, 'XX', moved, permit_of(behind[i]))\n",
        "",
        ALL_MOVED,
    ),
    mutant(
        "bookings behind a late permit go at their old slots",
        CONFIRM,
        "    redis.call('ZADD', BOOKED, 'XX', moved, behind[i])\n",
        "",
        MOVED,
    ),
    mutant(
        "bookings for the same slot move, too",
        CONFIRM,
        "'(' .. int(slot), '+inf'",
        "int(slot), '+inf'",
        SLOTS + "booking_for_the_same_slot_stays_and_may_go",
    ),
    mutant(
        "a late permit moves others where there is room for all",
        CONFIRM,
        "if not fits_beside_all() then",
        "if NOW > slot then",
        SLOTS + "late_permit_moves_nobody_where_there_is_room_for_all",
    ),
    mutant(
        "a permit goes before its slot",
        CONFIRM,
        "if NOW < slot then",
        "if NOW < slot - 1 then",
        SLOTS + "cancelled_booking_brings_nobody_forward",
    ),
    mutant(
        "a stamp is given without looking whether it fits",
        CONFIRM,
        "stamp = math.max(NOW, free)",
        "stamp = NOW",
        SLOTS + "lowered_budget_holds_for_what_is_booked_already",
        SLOTS + "lowered_requests_hold_for_what_is_booked_already",
    ),
    mutant(
        "a permit can be confirmed twice",
        CONFIRM,
        "redis.call('ZREM', BOOKED, member)\n",
        "",
        SLOTS + "confirming_twice_gives_leave_once",
    ),
    mutant(
        "a permit more than a window late still goes",
        LOG,
        "redis.call('ZRANGEBYSCORE', BOOKED, '-inf', too_late)",
        "{}",
        SLOTS + "permit_later_than_a_window_is_lost_and_gives_its_request_back",
    ),
]

TWICE = [
    Mutant(
        "a permit asked for twice is booked twice",
        (
            Edit(RESERVE, "if held == member then", "if false then"),
            Edit(
                RESERVE,
                "if held or redis.call('ZSCORE', USERS, member)"
                " or redis.call('ZSCORE', REQUESTS, permit) then",
                "if false then",
            ),
        ),
        (SAME_SLOT,),
    ),
    mutant(
        "a permit asked for twice is booked under a second name",
        RESERVE,
        "local member = ARGV[9] .. ':' .. permit",
        "permit = permit .. ':' .. int(NOW)\nlocal member = ARGV[9] .. ':' .. permit",
        SAME_SLOT,
    ),
    mutant(
        "asking again for a booked permit is an error",
        RESERVE,
        "if held == member then",
        "if false then",
        SAME_SLOT,
    ),
    mutant(
        "two requests go under one permit",
        RESERVE,
        " or redis.call('ZSCORE', REQUESTS, permit) then",
        " then",
        ONCE,
    ),
    mutant(
        "users go twice under one permit",
        RESERVE,
        "redis.call('ZSCORE', USERS, member) or ",
        "",
        SLOTS + "permit_without_a_request_cannot_be_had_twice_either",
    ),
    mutant(
        "a booked permit may change its weight",
        RESERVE,
        "if held or redis.call('ZSCORE', USERS, member) or redis.call('ZSCORE', REQUESTS, permit)",
        "if not held and (redis.call('ZSCORE', USERS, member)"
        " or redis.call('ZSCORE', REQUESTS, permit))",
        SLOTS + "booked_permit_cannot_change_its_weight",
    ),
]

FAIL_CLOSED = [
    mutant(
        "a limiter of one's own steps in for a silent Redis",
        LIMITER,
        "        except redis.RedisError as error:",
        "        except redis.RedisError:\n            return [b'go', 0, 0, 0, 0]\n"
        "        except MemoryError as error:",
        SLOTS + "without_redis_there_is_no_permit",
    ),
    mutant(
        "accounts share a budget",
        LIMITER,
        'f"deskfeed:{{{account}}}:{name}"',
        'f"deskfeed:{{all}}:{name}"',
        SLOTS + "accounts_do_not_share_a_budget",
    ),
]

MUTANTS = [*BOUNDARIES, *CLOCKS, *BOTH_OR_NEITHER, *LATE, *TWICE, *FAIL_CLOSED]
