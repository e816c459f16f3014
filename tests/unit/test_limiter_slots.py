"""What reserve, confirm, cancel and pause answer, to the microsecond, on a clock of our own."""

import time

import fakeredis
import pytest
import redis
from limiter_bench import ACCOUNT, BUDGET, MINUTE, SECOND, START

from worker.errors import LimiterUnavailable, UsageError
from worker.limiter import (
    Booked,
    Budget,
    Denied,
    Go,
    Limiter,
    NotYet,
    Stale,
    State,
    connect,
)

# --- reserve ---------------------------------------------------------------------------------


def test_first_permit_is_booked_for_now(bench):
    assert bench.reserve("a") == Booked("a", 0.0, START)
    assert bench.logs() == [{"100:a": 0}, {"a": 0}, {"100:a": 0}]


def test_next_slot_is_one_window_and_one_microsecond_after_a_full_one(bench):
    bench.reserve("a")
    assert bench.reserve("b") == Booked("b", (SECOND + 1) / 1e6, START + SECOND + 1)


def test_users_exactly_one_window_old_still_count(bench):
    bench.send("a")
    bench.us = START + SECOND
    assert bench.reserve("b", users=1, max_wait_s=0) == Denied(0.05, "users")
    bench.us += 1
    assert bench.reserve("b", users=1, max_wait_s=0) == Booked("b", 0.0, bench.us)


def test_requests_exactly_one_window_old_still_count(bench):
    for number in range(4):
        bench.send(f"poll-{number}", users=0)
    bench.us = START + MINUTE
    assert bench.reserve("b", users=1, max_wait_s=0) == Denied(0.05, "requests")
    bench.us += 1
    assert bench.reserve("b", users=1, max_wait_s=0) == Booked("b", 0.0, bench.us)


def test_weights_fill_a_window_to_the_last_user(bench):
    bench.reserve("a", users=60)
    assert bench.reserve("b", users=40).wait_s == 0
    assert bench.reserve("c", users=1).slot_us == START + SECOND + 1


def test_slot_waits_only_for_the_entries_that_must_leave(bench):
    budget = Budget(users_per_second=100, requests_per_minute=400)
    bench.send("a", users=60)
    bench.us += 300_000
    bench.send("b", users=40)
    assert bench.reserve("c", users=60, budget=budget).slot_us == START + SECOND + 1
    assert bench.reserve("d", users=40, budget=budget).slot_us == START + 300_000 + SECOND + 1


def test_permit_may_go_before_a_later_booking_where_both_fit_one_window(bench):
    for number in range(4):
        bench.send(f"poll-{number}", users=0)
    bench.us += 1_000_000
    assert bench.reserve("a", users=90, max_wait_s=60).slot_us == START + MINUTE + 1
    assert bench.reserve("b", users=10, requests=0).slot_us == bench.us
    assert bench.reserve("c", users=11, requests=0, max_wait_s=0).why == "users"


def test_full_requests_leave_no_trace_in_the_users_log(bench):
    for number in range(4):
        bench.send(f"poll-{number}", users=0)
    before = bench.logs()
    assert bench.reserve("a").why == "requests"
    assert bench.logs() == before


def test_full_users_leave_no_trace_in_the_requests_log(bench):
    bench.send("a")
    before = bench.logs()
    assert bench.reserve("b", max_wait_s=0.5).why == "users"
    assert bench.logs() == before
    assert bench.log("posts") == {"a": 0}


def test_poll_needs_no_room_among_users(bench):
    bench.send("a")
    assert bench.reserve("poll", users=0).wait_s == 0


def test_users_without_a_request_need_no_room_among_requests(bench):
    for number in range(4):
        bench.send(f"poll-{number}", users=0)
    assert bench.reserve("a", users=100, requests=0).wait_s == 0
    assert bench.log("requests").keys() == {"poll-0", "poll-1", "poll-2", "poll-3"}


def test_asking_again_for_a_booked_permit_gives_the_same_slot_once(bench):
    bench.send("a")
    first = bench.reserve("b")
    before = bench.logs()
    bench.us += 1_000
    assert bench.reserve("b") == Booked("b", first.wait_s - 0.001, first.slot_us)
    assert bench.logs() == before


@pytest.mark.parametrize("costs", [{"users": 100}, {"users": 7}, {"users": 100, "requests": 0}])
def test_permit_cannot_be_had_twice_for_two_sendings(bench, costs):
    bench.send("a")
    before = bench.logs()
    with pytest.raises(UsageError, match="permit a: it was used already"):
        bench.reserve("a", **costs)
    assert bench.logs() == before


def test_permit_without_a_request_cannot_be_had_twice_either(bench):
    bench.send("a", users=60, requests=0)
    with pytest.raises(UsageError, match="used already"):
        bench.reserve("a", users=60, requests=0)


def test_booked_permit_cannot_change_its_weight(bench):
    bench.reserve("a", users=10)
    with pytest.raises(UsageError, match="used already"):
        bench.reserve("a", users=90)


def test_more_users_than_the_budget_is_an_error_and_no_wait(bench):
    with pytest.raises(UsageError, match=r"101 users can never be sent.* 100 users per second"):
        bench.reserve("a", users=101)
    assert bench.logs() == [{}, {}, {}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": -1},
        {"requests": 2},
        {"users": 0, "requests": 0},
        {"max_wait_s": -0.1},
        {"max_wait_s": 60.1},
    ],
)
def test_costs_that_mean_nothing_are_refused(bench, wrong):
    with pytest.raises(ValueError, match=r"must be|both 0"):
        bench.reserve("a", **wrong)


def test_accounts_do_not_share_a_budget(bench):
    bench.reserve("a")
    other = bench.limiter.reserve(
        "other.zendesk.com", "a", users=100, requests=1, budget=BUDGET, max_wait_s=0
    )
    assert other.wait_s == 0


# --- turns of the denied ---------------------------------------------------------------------


def test_callers_denied_together_return_one_permit_apart(bench):
    bench.send("a")
    retries = [bench.reserve(f"b{n}", max_wait_s=0.4).retry_in_s for n in range(4)]
    first = (SECOND + 1) / 1e6 - 0.3
    steps = [round((retry - first) * 1e6) for retry in retries]
    assert steps == [0, SECOND, 2 * SECOND, 3 * SECOND]


def test_turns_of_smaller_permits_are_closer_together(bench):
    bench.send("a")
    retries = [bench.reserve(f"b{n}", users=25, max_wait_s=0.4).retry_in_s for n in range(2)]
    assert round((retries[1] - retries[0]) * 1e6) == SECOND // 4


def test_who_could_book_is_not_denied_for_turns_that_others_hold(bench):
    bench.send("a")
    for number in range(10):
        bench.reserve(f"b{number}", max_wait_s=0)
    bench.us += SECOND + 1
    assert bench.reserve("c", max_wait_s=0) == Booked("c", 0.0, bench.us)


def test_nobody_is_sent_away_for_longer_than_the_longest_retry(bench):
    bench.send("a")
    retries = [bench.reserve(f"b{n}", max_wait_s=0).retry_in_s for n in range(100)]
    assert max(retries) == 25.0


def test_turns_of_any_number_of_callers_are_over_within_the_longest_retry(bench):
    bench.send("a")
    for number in range(100):
        bench.reserve(f"b{number}", max_wait_s=0)
    bench.us += 27_000_000
    bench.send("c")
    assert bench.reserve("d", max_wait_s=0).retry_in_s == (SECOND + 1) / 1e6


def test_poll_denied_for_requests_does_not_queue_behind_users(bench):
    bench.send("a")
    for number in range(20):
        bench.reserve(f"b{number}", max_wait_s=0)
    for number in range(3):
        bench.send(f"poll-{number}", users=0)
    bench.us = START + MINUTE - 1_000_000
    denied = bench.reserve("poll", users=0, max_wait_s=0)
    assert (denied.why, round(denied.retry_in_s * 1e6)) == ("requests", 1_000_001)


def test_denied_callers_write_the_turn_only(bench):
    bench.send("a")
    keys = set(bench.client.keys())
    bench.reserve("b", max_wait_s=0)
    assert set(bench.client.keys()) - keys == {f"deskfeed:{{{ACCOUNT}}}:turn".encode()}


# --- confirm ---------------------------------------------------------------------------------


def test_permit_goes_at_its_slot(bench):
    bench.send("a")
    slot = bench.reserve("b").slot_us
    bench.us = slot - 1
    assert bench.confirm("b") == NotYet(0.000001)
    bench.us = slot
    assert bench.confirm("b") == Go(slot, 0.0)
    assert bench.logs() == [{"100:b": SECOND + 1}, {"a": 0, "b": SECOND + 1}, {}]


@pytest.mark.parametrize("ahead_s", [-3_600, 0.5, 3_600])
def test_a_wrong_clock_of_the_client_changes_no_slot_and_no_stamp(bench, monkeypatch, ahead_s):
    monkeypatch.setattr(time, "time", lambda: bench.us / 1e6 + ahead_s)
    monkeypatch.setattr(time, "time_ns", lambda: bench.us * 1_000 + round(ahead_s * 1e9))
    assert bench.reserve("a") == Booked("a", 0.0, START)
    assert bench.confirm("a") == Go(START, 0.0)
    slot = bench.reserve("b").slot_us
    assert slot == START + SECOND + 1
    bench.us = slot - 1
    assert bench.confirm("b") == NotYet(0.000001)
    bench.us = slot
    assert bench.confirm("b") == Go(slot, 0.0)


def test_confirming_twice_gives_leave_once(bench):
    bench.reserve("a")
    assert isinstance(bench.confirm("a"), Go)
    assert bench.confirm("a") == Stale("lost")


def test_late_permit_is_stamped_with_the_time_of_sending(bench):
    bench.reserve("a")
    bench.us += 30_000
    assert bench.confirm("a") == Go(START + 30_000, 0.03)
    assert bench.reserve("b").slot_us == START + 30_000 + SECOND + 1


def test_bookings_behind_a_late_permit_move_by_its_lateness(bench):
    for permit in ("a", "b", "c"):
        bench.reserve(permit, max_wait_s=5)
    bench.us += 30_000
    bench.confirm("a")
    moved = {"b": SECOND + 1 + 30_000, "c": 2 * (SECOND + 1) + 30_000}
    users, requests, booked = bench.logs()
    assert {permit: users[f"100:{permit}"] for permit in moved} == moved
    assert {permit: requests[permit] for permit in moved} == moved
    assert {permit: booked[f"100:{permit}"] for permit in moved} == moved
    bench.us = START + SECOND + 1
    assert bench.confirm("b") == NotYet(0.03)


def test_late_permit_and_those_behind_it_move_in_every_log(bench):
    bench.reserve("a")
    bench.reserve("b")
    bench.us += 30_000
    bench.confirm("a")
    stamps = {"a": 30_000, "b": SECOND + 1 + 30_000}
    assert bench.log("users") == {f"100:{permit}": stamp for permit, stamp in stamps.items()}
    assert bench.log("requests") == bench.log("posts") == stamps


def test_late_permit_sees_a_booking_exactly_one_window_later(bench):
    bench.reserve("a", users=60)
    bench.reserve("b", users=60)
    bench.us += 1
    bench.confirm("a")
    assert bench.log("booked") == {"60:b": SECOND + 2}


def test_late_permit_does_not_see_a_booking_more_than_one_window_later(bench):
    bench.reserve("a", users=40)
    bench.us += 1
    bench.send("b", users=60)
    bench.reserve("c")
    bench.confirm("a")
    assert bench.log("booked") == {"100:c": SECOND + 2}


def test_booking_for_the_same_slot_stays_and_may_go(bench):
    bench.reserve("a", users=50)
    bench.reserve("b", users=50)
    bench.reserve("c")
    bench.us += 30_000
    bench.confirm("a")
    assert bench.log("booked") == {"50:b": 0, "100:c": SECOND + 1 + 30_000}
    assert bench.confirm("b") == Go(bench.us, 0.03)


def test_poll_behind_a_late_permit_moves_without_entering_the_users_log(bench):
    for number in range(3):
        bench.send(f"poll-{number}", users=0)
    bench.us += 1_000_000
    bench.reserve("a")
    bench.reserve("poll", users=0, max_wait_s=60.0)
    bench.us += 30_000
    bench.confirm("a")
    assert bench.log("users") == {"100:a": 1_030_000}
    assert bench.log("requests")["poll"] == MINUTE + 1 + 30_000
    assert bench.log("booked") == {"0:poll": MINUTE + 1 + 30_000}


def test_users_behind_a_late_permit_move_without_entering_the_requests_log(bench):
    bench.reserve("a", requests=0)
    bench.reserve("b", requests=0)
    bench.us += 30_000
    bench.confirm("a")
    assert bench.log("requests") == {}
    assert bench.log("users")["100:b"] == SECOND + 1 + 30_000


def test_late_permit_moves_nobody_where_there_is_room_for_all(bench):
    bench.reserve("a", users=10)
    bench.limiter.pause("other.zendesk.com", 5, "not this account")
    bench.send("b", users=50)
    bench.us += 20_000
    bench.reserve("c", users=40)
    slot = bench.us
    bench.us += 5_000
    assert bench.confirm("a") == Go(bench.us, 0.025)
    assert bench.log("booked") == {"40:c": slot - START}


def test_permit_a_whole_window_late_still_goes(bench):
    bench.reserve("a")
    bench.us += SECOND
    assert bench.confirm("a") == Go(START + SECOND, SECOND / 1e6)


def test_permit_later_than_a_window_is_lost_and_gives_its_request_back(bench):
    bench.reserve("a")
    bench.us += SECOND + 1
    assert bench.confirm("a") == Stale("lost")
    assert bench.logs() == [{}, {}, {}]


def test_unknown_permit_is_lost(bench):
    assert bench.confirm("never-reserved") == Stale("lost")


def test_lowered_budget_holds_for_what_is_booked_already(bench):
    bench.send("a", users=60)
    bench.us += 400_000
    bench.reserve("b", users=40)
    lowered = Budget(users_per_second=60, requests_per_minute=400)
    assert bench.confirm("b", lowered) == NotYet((SECOND + 1 - 400_000) / 1e6)
    assert bench.log("users")["40:b"] == bench.log("requests")["b"] == SECOND + 1
    bench.us = START + SECOND + 1
    assert isinstance(bench.confirm("b", lowered), Go)


def test_lowered_requests_hold_for_what_is_booked_already(bench):
    bench.send("a", users=0)
    bench.reserve("b", users=0)
    lowered = Budget(users_per_second=100, requests_per_minute=1)
    assert bench.confirm("b", lowered) == Stale("budget")  # too far to be waited for
    assert bench.log("booked") == {}


def test_lowered_budget_counts_what_was_sent_at_the_same_microsecond(bench):
    bench.send("a", users=60)
    bench.reserve("b", users=40)
    assert bench.confirm("b", Budget(60, 400)) == NotYet((SECOND + 1) / 1e6)


def test_lowered_budget_counts_every_single_user(bench):
    for permit in ("a", "b", "c"):
        bench.send(permit, users=1, requests=0)
    bench.reserve("d", users=1, requests=0)
    assert bench.confirm("d", Budget(3, 400)) == NotYet((SECOND + 1) / 1e6)


def test_last_request_of_a_minute_goes_though_it_was_booked_first(bench):
    bench.reserve("a", users=0)
    for permit in ("b", "c", "d"):
        bench.send(permit, users=0)
    assert bench.confirm("a") == Go(START, 0.0)


def test_lowered_budget_moves_the_bookings_behind_as_well(bench):
    bench.send("a", users=60)
    bench.reserve("b", users=40)
    bench.reserve("c", users=100)
    lowered = Budget(users_per_second=99, requests_per_minute=400)
    bench.confirm("b", lowered)
    assert bench.log("booked") == {"40:b": SECOND + 1, "100:c": 2 * (SECOND + 1)}


def test_budget_below_a_booked_weight_takes_the_booking_back(bench):
    bench.reserve("a", users=100)
    assert bench.confirm("a", Budget(99, 400)) == Stale("budget")
    assert bench.logs() == [{}, {}, {}]


# --- pause and cancel ------------------------------------------------------------------------


def test_pause_voids_every_booking_and_keeps_what_was_sent(bench):
    bench.send("a")
    bench.reserve("b")
    bench.reserve("poll", users=0)
    assert bench.limiter.pause(ACCOUNT, 5, "429 from Zendesk") == 5.0
    assert bench.logs() == [{"100:a": 0}, {"a": 0}, {}]
    bench.us += SECOND + 1
    assert bench.confirm("b") == Stale("paused")
    bench.us = START + 5_000_000
    assert bench.confirm("b") == Stale("lost")


def test_slots_begin_when_the_pause_ends(bench):
    bench.limiter.pause(ACCOUNT, 1.5, "429 from Zendesk")
    assert bench.reserve("a").slot_us == START + 1_500_000
    bench.us += 1_500_000
    bench.confirm("a")
    bench.observe("a")
    assert bench.reserve("b", max_wait_s=60).slot_us == START + 1_500_000 + SECOND + 1


def test_booking_behind_a_pause_cannot_be_confirmed_inside_it(bench):
    bench.limiter.pause(ACCOUNT, 1.5, "429 from Zendesk")
    bench.reserve("a")
    bench.us += 1_499_999
    assert bench.confirm("a") == Stale("paused")
    assert bench.logs() == [{}, {}, {}]


def test_booking_behind_a_pause_goes_at_its_very_end(bench):
    bench.limiter.pause(ACCOUNT, 1.5, "429 from Zendesk")
    bench.reserve("a")
    bench.us += 1_500_000
    assert bench.confirm("a") == Go(START + 1_500_000, 0.0, probe=True)


def test_callers_denied_by_a_pause_return_after_its_end_and_apart(bench):
    bench.limiter.pause(ACCOUNT, 10, "429 from Zendesk")
    budget = Budget(users_per_second=100, requests_per_minute=60)
    denied = [bench.reserve(f"a{users}", users=users, budget=budget) for users in (50, 100, 25)]
    assert [answer.why for answer in denied] == ["paused"] * 3
    dearer = [MINUTE // 60, SECOND]  # half a second of users, but a whole one of requests; users
    after_the_end = [round(answer.retry_in_s * 1e6) - 10_000_000 for answer in denied]
    assert after_the_end == [0, dearer[0], sum(dearer)]


def test_long_pause_hands_out_no_turns(bench):
    bench.limiter.pause(ACCOUNT, 3_600, "429 from Zendesk")
    assert [bench.reserve(f"a{n}") for n in range(3)] == [Denied(25.0, "paused")] * 3
    assert not bench.client.exists(f"deskfeed:{{{ACCOUNT}}}:turn")


def test_shorter_pause_shortens_nothing(bench):
    bench.limiter.pause(ACCOUNT, 10, "long")
    assert bench.limiter.pause(ACCOUNT, 2, "short") == 10.0
    assert bench.limiter.state(ACCOUNT).pause_reason == "long"


def test_longer_pause_lengthens(bench):
    bench.limiter.pause(ACCOUNT, 2, "short")
    bench.us += 1_000_000
    assert bench.limiter.pause(ACCOUNT, 10, "long") == 10.0
    assert bench.limiter.state(ACCOUNT).pause_reason == "long"


def test_negative_pause_is_refused(bench):
    with pytest.raises(ValueError, match="negative"):
        bench.limiter.pause(ACCOUNT, -1, "never")


def test_cancelled_booking_leaves_its_slot_to_others(bench):
    slot = bench.reserve("a").slot_us
    assert bench.limiter.cancel(ACCOUNT, "a") is True
    assert bench.limiter.cancel(ACCOUNT, "a") is False
    assert bench.logs() == [{}, {}, {}]
    assert bench.log("posts") == {}
    assert bench.reserve("b").slot_us == slot


def test_cancelled_booking_brings_nobody_forward(bench):
    bench.reserve("a")
    slot = bench.reserve("b").slot_us
    bench.limiter.cancel(ACCOUNT, "a")
    bench.us = slot - 1
    assert bench.confirm("b") == NotYet(0.000001)


def test_confirmed_permit_cannot_be_cancelled(bench):
    bench.send("a")
    assert bench.limiter.cancel(ACCOUNT, "a") is False
    assert bench.logs() == [{"100:a": 0}, {"a": 0}, {}]


# --- state, keys, failures -------------------------------------------------------------------


def test_state_tells_use_bookings_and_pause(bench):
    bench.limiter.pause(ACCOUNT, 1, "429 from Zendesk")
    assert bench.limiter.state(ACCOUNT) == State(0, 0, 0, 0, 1.0, "429 from Zendesk", "paused")
    bench.us += 1_000_000
    assert bench.limiter.state(ACCOUNT).gate == "probe"
    bench.send("a", users=60)
    bench.observe("a")
    bench.send("poll", users=0)
    bench.reserve("b", users=70)
    assert bench.limiter.state(ACCOUNT) == State(60, 2, 1, 70, 0.0, "")
    bench.us += SECOND
    assert bench.limiter.state(ACCOUNT).users == 60
    bench.us += 1
    assert bench.limiter.state(ACCOUNT) == State(70, 3, 1, 70, 0.0, "")


def test_state_of_an_unknown_account_is_all_zero(bench):
    assert bench.limiter.state("nobody") == State(0, 0, 0, 0, 0.0, "")


def test_keys_of_an_account_share_a_hash_tag_and_die_after_two_windows_or_more(bench):
    bench.send("a")
    bench.reserve("b")
    bench.reserve("c", max_wait_s=0)
    bench.limiter.pause(ACCOUNT, 100, "429 from Zendesk")
    bench.us += 100_000_000
    bench.reserve("d", flow="df-1")
    prefix = f"deskfeed:{{{ACCOUNT}}}:"
    keys = [key.decode() for key in bench.client.keys(prefix + "*")]
    names = {key.removeprefix(prefix): bench.client.pttl(key) for key in keys}
    assert names.keys() == {"users", "requests", "posts", "booked", "gate", "flows"}
    assert 24 * 3600_000 < names.pop("gate") <= 7 * 24 * 3600_000
    assert all(120_024 <= ttl <= 181_000 for ttl in names.values())


def test_turn_dies_with_the_last_turn_it_can_have_promised(bench):
    bench.send("a")
    bench.reserve("b", max_wait_s=0)
    assert bench.client.pttl(f"deskfeed:{{{ACCOUNT}}}:turn") == 25_000 + SECOND // 1000


@pytest.mark.parametrize("account", ["", "a{b", "a}b"])
def test_account_that_breaks_the_hash_tag_is_refused(bench, account):
    with pytest.raises(ValueError, match="host name"):
        bench.limiter.state(account)


def test_scripts_come_back_after_redis_forgot_them(bench):
    bench.send("a")
    bench.client.script_flush()
    assert bench.reserve("b").slot_us == START + SECOND + 1
    bench.client.script_flush()
    assert isinstance(bench.confirm("b"), NotYet)


def test_decoded_replies_are_understood_as_well(bench):
    server = fakeredis.FakeServer()
    limiter = Limiter(fakeredis.FakeRedis(server=server, decode_responses=True))
    limiter.pause(ACCOUNT, 100, "429 from Zendesk")
    assert limiter.state(ACCOUNT).pause_reason == "429 from Zendesk"
    denied = limiter.reserve(ACCOUNT, "a", users=1, requests=1, budget=BUDGET, max_wait_s=0)
    assert denied == Denied(25.0, "paused")


@pytest.mark.parametrize(
    "call",
    [
        lambda bench: bench.reserve("a"),
        lambda bench: bench.confirm("a"),
        lambda bench: bench.limiter.cancel(ACCOUNT, "a"),
        lambda bench: bench.limiter.pause(ACCOUNT, 1, "why"),
        lambda bench: bench.limiter.state(ACCOUNT),
    ],
)
def test_without_redis_there_is_no_permit(bench, call):
    bench.client.connection_pool.connection_kwargs["server"].connected = False
    with pytest.raises(LimiterUnavailable, match="cannot be asked"):
        call(bench)


def test_refusal_of_redis_is_no_permit_either(bench):
    bench.client.set(f"deskfeed:{{{ACCOUNT}}}:users", "of the wrong type")
    with pytest.raises(LimiterUnavailable, match=r"\(ResponseError\), so nothing is sent"):
        bench.reserve("a")


def test_client_gives_up_soon():
    options = connect("redis://:s3cret@127.0.0.1:1/0").connection_pool.connection_kwargs
    assert options["socket_connect_timeout"] == 2
    assert options["socket_timeout"] == 5
    assert options["retry"].get_retries() == 1
    assert redis.TimeoutError not in options["retry"]._supported_errors


@pytest.mark.parametrize(
    "wrong", [{"guard_s": -0.001}, {"users_window_s": 0.0}, {"users_window_s": 61.0}]
)
def test_windows_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ValueError, match="must hold"):
        Limiter(fakeredis.FakeRedis(), **wrong)


@pytest.mark.parametrize("limits", [(0, 400), (100, 0)])
def test_budget_of_nothing_is_refused(limits):
    with pytest.raises(UsageError, match="at least 1"):
        Budget(*limits)
