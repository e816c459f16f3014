"""After a pause or a cold start one probe goes first; headers of answers only ever tighten."""

from __future__ import annotations

import heapq
import itertools

import pytest
from limiter_bench import ACCOUNT, MINUTE, SECOND, START, Bench

from worker.limiter import Booked, Budget, Denied, Go, Observed, Stale

WIDE = Budget(users_per_second=100, requests_per_minute=400)


def after_a_pause(bench, seconds=10):
    bench.limiter.pause(ACCOUNT, seconds, "429 from Zendesk")
    bench.us += seconds * 1_000_000


def poll(bench, permit, budget=WIDE):
    return bench.reserve(permit, users=0, budget=budget)


@pytest.fixture
def cold(monkeypatch):
    """A limiter whose server has no memory; it notes the cold starts that it finds."""
    found = []
    made = Bench(on_cold_start=found.append)
    made.set(monkeypatch)
    made.found = found
    return made


# --- the probe -----------------------------------------------------------------------------------


def test_after_a_pause_one_permit_goes_and_the_others_wait_for_its_answer(bench):
    after_a_pause(bench)

    assert poll(bench, "a").wait_s == 0
    denied = [bench.reserve(f"b{n}", budget=WIDE) for n in range(3)]

    assert [answer.why for answer in denied] == ["probe"] * 3
    retries = [answer.retry_in_s for answer in denied]
    assert retries == pytest.approx([0.506, 0.506 + SECOND / 1e6, 0.506 + 2 * SECOND / 1e6])
    assert bench.confirm("a", WIDE) == Go(bench.us, 0.0, probe=True)
    assert bench.limiter.state(ACCOUNT).gate == "probe"


def test_the_answer_to_the_probe_opens_the_gate(bench):
    after_a_pause(bench)
    poll(bench, "a")
    bench.confirm("a", WIDE)
    bench.us += 300_000

    assert bench.observe("a") == Observed(None, 0.0)

    assert bench.limiter.state(ACCOUNT).gate == "open"
    assert bench.reserve("b", budget=WIDE).wait_s == 0
    assert bench.confirm("b", WIDE) == Go(bench.us, 0.0, probe=False)


def test_a_probe_without_an_answer_is_followed_by_another(bench):
    after_a_pause(bench)
    poll(bench, "a")
    bench.confirm("a", WIDE)

    bench.observe("a", answered=False)

    assert poll(bench, "b").wait_s == 0
    assert poll(bench, "c").why == "probe"


def test_a_probe_that_was_never_reported_is_given_up_after_its_time(bench):
    after_a_pause(bench)
    poll(bench, "a")
    bench.us += 500_000
    bench.confirm("a", WIDE)
    bench.us += 25_000_000
    assert poll(bench, "b").why == "probe"
    bench.us += 1
    assert poll(bench, "c").wait_s == 0
    assert poll(bench, "d").why == "probe"


def test_a_cancelled_probe_lets_the_next_one_probe(bench):
    after_a_pause(bench)
    poll(bench, "a")
    bench.limiter.cancel(ACCOUNT, "a")
    assert poll(bench, "b").wait_s == 0


def test_a_probe_whose_worker_died_before_sending_lets_the_next_one_probe(bench):
    after_a_pause(bench)
    poll(bench, "a")
    bench.us += SECOND + 1
    assert poll(bench, "b").wait_s == 0
    assert bench.confirm("a", WIDE) == Stale("lost")


def test_another_pause_during_a_probe_needs_another_probe(bench):
    after_a_pause(bench)
    poll(bench, "a")
    bench.confirm("a", WIDE)
    bench.limiter.pause(ACCOUNT, 5, "429 from Zendesk")
    bench.us += 5_000_000

    bench.observe("a")  # the first probe's answer comes late, and decides nothing any more

    assert poll(bench, "b").wait_s == 0
    assert poll(bench, "c").why == "probe"


def test_an_answer_to_something_else_opens_nothing(bench):
    bench.send("before", users=0, budget=WIDE)
    after_a_pause(bench)
    poll(bench, "a")
    bench.observe("before", limit=700, remaining=600)
    assert poll(bench, "b").why == "probe"


def test_asking_again_for_the_probe_gives_the_same_slot(bench):
    after_a_pause(bench)
    assert poll(bench, "a") == poll(bench, "a") == Booked("a", 0.0, bench.us)


# --- cold starts ---------------------------------------------------------------------------------


def test_without_a_memory_nothing_goes_for_a_window_and_then_one_probe(cold):
    assert cold.reserve("a", budget=WIDE) == Booked("a", (SECOND + 1) / 1e6, START + SECOND + 1)
    assert cold.found == [ACCOUNT]
    assert cold.limiter.state(ACCOUNT).gate == "cold"
    assert cold.reserve("b", budget=WIDE).why == "probe"
    cold.us += SECOND
    assert cold.confirm("a", WIDE) == Stale("cold")
    assert poll(cold, "c").slot_us == START + SECOND + 1
    cold.us += 1
    assert cold.confirm("c", WIDE) == Go(cold.us, 0.0, probe=True)
    assert cold.found == [ACCOUNT]


def test_who_cannot_wait_for_the_end_of_a_cold_start_is_told_so(cold):
    assert cold.reserve("a", max_wait_s=0.5) == Denied((SECOND + 1) / 1e6, "cold")


def test_another_server_with_the_same_data_is_a_cold_start(bench):
    bench.send("a", budget=WIDE)
    bench.us += SECOND
    bench.reserve("b", budget=WIDE)
    bench.restart()

    assert bench.confirm("b", WIDE) == Stale("cold")
    assert bench.limiter.state(ACCOUNT).gate == "cold"
    assert poll(bench, "c").slot_us == bench.us + SECOND + 1


def test_a_flushed_server_is_a_cold_start(bench):
    bench.send("a", budget=WIDE)
    bench.client.flushall()
    assert bench.reserve("b", budget=WIDE).slot_us == bench.us + SECOND + 1


def test_what_may_have_been_sent_before_a_restart_still_counts(bench):
    """The append-only file may lack the last second: a booking may have gone without its stamp."""
    bench.send("sent", users=0)
    bench.reserve("due")
    bench.us += 1
    bench.reserve("to-come")
    bench.restart()
    bench.reserve("probe", users=0, max_wait_s=0)
    assert bench.log("requests") == {"sent": 0, "due": 0}
    assert bench.log("users") == {"100:due": 0}
    assert bench.log("booked") == {}


def test_a_pause_does_not_forget_what_may_have_been_sent_before_a_restart(bench):
    bench.reserve("due")
    bench.us += 1
    bench.restart()
    bench.limiter.pause(ACCOUNT, 0.1, "429 from Zendesk")
    assert bench.log("users") == {"100:due": 0}
    assert bench.limiter.state(ACCOUNT).gate == "cold"


def test_what_headers_told_before_a_restart_is_void(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.observe("a", limit=400, remaining=3)
    bench.restart()
    poll(bench, "b")
    assert bench.limiter.state(ACCOUNT).requests_cap is None


def test_an_answer_from_before_a_restart_tells_nothing(bench):
    """Its server still knows the request, but perhaps not all that were sent beside it."""
    bench.send("a", users=0, budget=WIDE)
    bench.us += 1
    bench.restart()
    assert bench.observe("a", limit=400, remaining=300) == Observed(None, 0.0)
    assert bench.limiter.state(ACCOUNT).gate == "cold"

    probe = poll(bench, "probe")
    bench.us = probe.slot_us
    bench.confirm("probe", WIDE)
    bench.observe("probe")
    assert poll(bench, "b").why == "requests"


def test_the_minute_after_a_cold_start_is_seeded_from_the_probes_headers(cold):
    poll(cold, "first", WIDE)
    cold.us += SECOND + 1
    cold.confirm("first", WIDE)

    assert cold.observe("first", limit=700, remaining=695) == Observed(396, 0.0)

    answers = [poll(cold, f"p{n}") for n in range(396)]
    assert sum(isinstance(answer, Booked) for answer in answers) == 395


def test_what_was_forgotten_counts_as_ours_until_its_minute_is_over(bench):
    """300 of our 400 were sent and forgotten: with 299 others, 400 of 700 are used."""
    for number in range(300):
        bench.send(f"s{number}", users=0, budget=WIDE)
    bench.client.flushall()
    poll(bench, "probe")
    bench.us += SECOND + 1
    bench.confirm("probe", WIDE)

    assert bench.observe("probe", limit=700, remaining=399, reset_s=1).requests_cap == 100

    bench.us += 30_000_000  # longer than what the headers told of, shorter than a minute
    answers = [poll(bench, f"p{n}") for n in range(101)]
    assert sum(isinstance(answer, Booked) for answer in answers) == 99


def test_when_all_that_was_forgotten_may_have_been_ours_the_minute_stays_closed(bench):
    for number in range(400):
        bench.send(f"s{number}", users=0, budget=WIDE)
    bench.client.flushall()
    lost = bench.us
    poll(bench, "probe")
    bench.us += SECOND + 1
    bench.confirm("probe", WIDE)
    bench.observe("probe", limit=2500, remaining=2099)
    bench.us = lost + MINUTE
    assert bench.reserve("a", users=0, max_wait_s=0, budget=WIDE).why == "requests"
    bench.us = lost + MINUTE + SECOND + 1  # a minute after the probe was told
    assert poll(bench, "b").wait_s == 0


def test_a_remainder_without_its_limit_seeds_nothing(cold):
    poll(cold, "probe")
    cold.us += SECOND + 1
    cold.confirm("probe", WIDE)
    assert cold.observe("probe", remaining=300) == Observed(None, 0.0)
    cold.us = START + MINUTE - 1_000_000
    assert poll(cold, "a").slot_us == START + MINUTE + 1


@pytest.mark.parametrize("notice", ["observe", "pause"])
def test_a_cold_start_is_told_of_whichever_script_finds_it(cold, notice):
    if notice == "observe":
        cold.observe("unknown")
    else:
        cold.limiter.pause(ACCOUNT, 1, "429 from Zendesk")
    assert cold.found == [ACCOUNT]


def test_the_state_shows_a_cold_start_that_nobody_noticed_yet(bench):
    bench.send("a", budget=WIDE)
    bench.restart()
    assert bench.limiter.state(ACCOUNT).gate == "cold"


def test_the_probe_after_a_rest_goes_although_nothing_was_left_before(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.observe("a", limit=100, remaining=0)
    bench.us += 10_000_000
    assert poll(bench, "b").wait_s == 0


def test_without_headers_the_minute_after_a_cold_start_stays_closed(cold):
    poll(cold, "probe")
    cold.us += SECOND + 1
    cold.confirm("probe", WIDE)
    cold.observe("probe")

    cold.us = START + MINUTE - 1_000_000
    assert poll(cold, "a").slot_us == START + MINUTE + 1


def test_a_server_that_does_not_tell_who_it_is_is_cold_once(bench, monkeypatch):
    from fakeredis.commands_mixins.server_mixin import ServerCommandsMixin

    def refuse(*_):
        from fakeredis._helpers import SimpleError

        raise SimpleError("NOPERM this user has no permissions to run the 'info' command")

    monkeypatch.setattr(ServerCommandsMixin, "info", refuse)
    bench.client.flushall()
    assert poll(bench, "a").slot_us == START + SECOND + 1
    bench.us += SECOND + 1
    bench.confirm("a", WIDE)
    bench.observe("a", limit=700, remaining=600)
    assert poll(bench, "b").wait_s == 0


# --- headers -------------------------------------------------------------------------------------


def test_what_others_use_is_taken_from_our_requests(bench):
    for number in range(3):
        bench.send(f"s{number}", users=0, budget=WIDE)

    assert bench.observe("s2", limit=400, remaining=7) == Observed(10, 0.0)

    answers = [poll(bench, f"p{n}") for n in range(8)]
    assert [isinstance(answer, Booked) for answer in answers] == [True] * 7 + [False]
    assert answers[7].why == "requests"


def test_headers_never_allow_more_than_the_budget(bench):
    bench.send("a", users=0)
    bench.observe("a", limit=2500, remaining=2400)
    answers = [poll(bench, f"p{n}", Budget(100, 4)) for n in range(4)]
    assert [isinstance(answer, Booked) for answer in answers] == [True, True, True, False]


def test_a_part_of_the_limit_is_left_to_others(bench):
    bench.send("a", users=0, budget=WIDE)
    assert bench.observe("a", limit=100, remaining=15, reserve_percent=10) == Observed(6, 0.0)


def test_a_part_of_a_request_left_to_others_is_a_whole_one(bench):
    bench.send("a", users=0, budget=WIDE)
    assert bench.observe("a", limit=105, remaining=15, reserve_percent=10) == Observed(5, 0.0)


def test_when_nothing_is_left_the_account_rests_and_then_probes(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.reserve("b", budget=WIDE)

    assert bench.observe("a", limit=100, remaining=10, reset_s=20, reserve_percent=10).rest_s == 20
    assert bench.limiter.state(ACCOUNT).bookings == 0

    assert bench.confirm("b", WIDE) == Stale("paused")
    assert bench.limiter.state(ACCOUNT).pause_reason == "the requests of this minute are used up"
    bench.us += 20_000_000
    assert poll(bench, "c").wait_s == 0
    assert poll(bench, "d").why == "probe"


@pytest.mark.parametrize(
    ("reset_s", "rest_s"), [(None, 10.0), (0.0, 5.0), (1.0, 5.0), (30.0, 30.0), (9e9, MINUTE / 1e6)]
)
def test_the_rest_is_neither_too_short_nor_longer_than_a_minute(bench, reset_s, rest_s):
    bench.send("a", users=0, budget=WIDE)
    assert bench.observe("a", limit=100, remaining=0, reset_s=reset_s).rest_s == rest_s


def test_requests_sent_after_the_one_that_was_told_count_against_what_is_left(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.us += 1000
    bench.send("b", users=0, budget=WIDE)
    bench.observe("a", limit=400, remaining=2)
    assert isinstance(poll(bench, "p0"), Booked)
    assert poll(bench, "p1").why == "requests"


def test_the_older_of_two_answers_changes_nothing(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.us += 1000
    bench.send("b", users=0, budget=WIDE)
    bench.observe("b", limit=400, remaining=5)
    assert bench.observe("a", limit=400, remaining=300) == Observed(None, 0.0)
    assert bench.limiter.state(ACCOUNT).requests_cap == 7


def test_a_newer_answer_may_give_back_what_an_older_one_took(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.observe("a", limit=400, remaining=1)
    bench.us += 1000
    bench.send("b", users=0, budget=WIDE)
    bench.observe("b", limit=400, remaining=300)
    assert bench.limiter.state(ACCOUNT).requests_cap == 302


def test_leave_tells_what_is_used_and_what_headers_leave(bench):
    go = bench.send("a", users=0, budget=WIDE)
    assert (go.used, go.requests_cap) == (1, None)
    bench.observe("a", limit=400, remaining=9)
    bench.us += 1
    poll(bench, "b")
    bench.us += 1
    go = bench.confirm("b", WIDE)
    assert (go.used, go.requests_cap) == (2, 10)


@pytest.mark.parametrize(("reset_s", "ends"), [(20.0, 20_000_000), (None, MINUTE)])
def test_what_headers_told_holds_until_the_minute_is_over(bench, reset_s, ends):
    bench.send("a", users=0, budget=WIDE)
    bench.observe("a", limit=400, remaining=3, reset_s=reset_s)
    bench.us = START + ends - 1
    assert bench.limiter.state(ACCOUNT).requests_cap == 4
    bench.us += 1
    assert bench.limiter.state(ACCOUNT).requests_cap is None


def test_when_the_minute_is_over_the_whole_budget_is_there_again(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.observe("a", limit=400, remaining=1, reset_s=20.0)
    bench.send("b", users=0, budget=WIDE)
    bench.us = START + 20_000_000 - 1
    assert poll(bench, "c").why == "requests"
    bench.us += 1
    assert poll(bench, "d") == Booked("d", 0.0, bench.us)


def test_an_answer_from_before_a_cold_start_tells_nothing(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.client.flushall()
    assert bench.observe("a", limit=400, remaining=300) == Observed(None, 0.0)


# --- a clock that was set back -------------------------------------------------------------------

HOURS = 5 * 3600 * 1_000_000


def test_a_clock_set_back_by_hours_is_a_cold_start(bench):
    found = []
    bench.limiter._on_cold_start = found.append
    bench.send("a", budget=WIDE)
    bench.reserve("b", budget=WIDE)
    bench.us -= HOURS
    assert bench.limiter.state(ACCOUNT).gate == "cold"

    assert bench.confirm("b", WIDE) == Stale("cold")

    assert found == [ACCOUNT]
    booked = bench.reserve("c", budget=WIDE, flow="df-1")
    assert booked.slot_us == bench.us + SECOND + 1
    bench.us = booked.slot_us
    assert bench.confirm("c", WIDE).probe
    bench.observe("c", limit=400, remaining=399)
    assert isinstance(bench.reserve("d", budget=WIDE, flow="df-1"), Booked)


@pytest.mark.parametrize(("back", "cold"), [(2 * MINUTE, False), (2 * MINUTE + 1, True)])
@pytest.mark.parametrize("users", [0, 100])
def test_a_clock_set_back_by_no_more_than_two_minutes_is_waited_for(bench, back, cold, users):
    bench.send("a", users=users, budget=WIDE)
    bench.us -= back
    denied = bench.reserve("b", users=users, requests=int(not users), budget=WIDE)
    assert (bench.limiter.state(ACCOUNT).gate == "cold") is cold
    assert isinstance(denied, Denied) is (users == 100 and not cold)


def test_a_pause_that_ends_later_than_any_can_is_none(bench):
    bench.limiter.pause(ACCOUNT, 3600.0, "429 from Zendesk")
    assert bench.reserve("a", budget=WIDE).why == "paused"
    bench.us -= 1
    assert bench.reserve("b", budget=WIDE).slot_us == bench.us + SECOND + 1


def test_what_headers_told_on_another_clock_is_void(bench):
    bench.send("a", users=0, budget=WIDE)
    bench.observe("a", limit=400, remaining=7)
    bench.client.delete(f"deskfeed:{{{ACCOUNT}}}:requests")
    bench.us -= HOURS
    assert bench.reserve("b", users=0, budget=WIDE).slot_us == bench.us + SECOND + 1
    assert bench.limiter.state(ACCOUNT).requests_cap is None


# --- polls and POSTs -----------------------------------------------------------------------------


def test_posts_leave_three_tenths_of_the_requests_to_polls(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=10)
    posts = [bench.reserve(f"post-{n}", users=10, budget=budget) for n in range(8)]
    assert [isinstance(answer, Booked) for answer in posts] == [True] * 7 + [False]
    assert posts[7].why == "requests"
    polls = [poll(bench, f"poll-{n}", budget) for n in range(4)]
    assert [isinstance(answer, Booked) for answer in polls] == [True] * 3 + [False]


def test_polls_may_use_what_posts_leave(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=10)
    polls = [poll(bench, f"poll-{n}", budget) for n in range(11)]
    assert [isinstance(answer, Booked) for answer in polls] == [True] * 10 + [False]


def test_polls_do_not_use_up_what_posts_may(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=10)
    for number in range(3):
        poll(bench, f"poll-{number}", budget)
    posts = [bench.reserve(f"post-{n}", users=10, budget=budget) for n in range(8)]
    assert [isinstance(answer, Booked) for answer in posts] == [True] * 7 + [False]


def test_the_polls_part_shrinks_with_what_headers_leave(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=400)
    bench.send("a", users=10, budget=budget)
    bench.observe("a", limit=400, remaining=9)
    posts = [bench.reserve(f"post-{n}", users=10, budget=budget) for n in range(7)]
    assert [isinstance(answer, Booked) for answer in posts] == [True] * 6 + [False]


def crowd(bench, budget, minutes=10):
    """Twelve pollers and six senders ask whenever they are told to; what both got, per minute."""
    asking = [(bench.us + n, n, 0 if n % 3 else 10) for n in range(18)]
    got, end = {0: 0, 10: 0}, bench.us + minutes * MINUTE
    numbers = itertools.count(18)
    while asking[0][0] <= end:
        at, _, users = heapq.heappop(asking)
        bench.us = max(bench.us, at)
        number = next(numbers)
        permit = f"p{number}"
        answer = bench.reserve(permit, users=users, budget=budget, flow="df-1" if users else "")
        if isinstance(answer, Denied):
            heapq.heappush(asking, (bench.us + round(answer.retry_in_s * 1e6), number, users))
            continue
        bench.us = max(bench.us, answer.slot_us)
        if isinstance(bench.confirm(permit, budget), Go):
            got[users] += 1
        heapq.heappush(asking, (bench.us, number, users))
    return {users: n / minutes for users, n in got.items()}


@pytest.mark.parametrize("requests", [1, 2, 3, 10])
def test_neither_polls_nor_posts_crowd_the_others_out(bench, requests):
    got = crowd(bench, Budget(users_per_second=100, requests_per_minute=requests))
    assert sum(got.values()) >= 0.85 * requests
    least = 0.3 if requests > 1 else 0.2
    assert min(got.values()) >= least * requests


def test_a_poll_beyond_its_part_leaves_room_for_a_post_that_waits(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=10)
    for number in range(10):
        bench.send(f"poll-{number}", users=0, budget=budget)
        bench.us += 100_000
    bench.us = START + MINUTE
    assert bench.reserve("post", users=10, budget=budget, max_wait_s=0).why == "requests"
    bench.us += 1
    assert poll(bench, "extra", budget).wait_s == pytest.approx(0.1)
    assert bench.reserve("post", users=10, budget=budget).wait_s == pytest.approx(0.1)


def test_a_post_that_came_is_no_longer_waited_for(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=10)
    for number in range(10):
        bench.send(f"poll-{number}", users=0, budget=budget)
    bench.us = START + MINUTE
    bench.reserve("post", users=10, budget=budget, max_wait_s=0)
    bench.us += 1
    bench.reserve("post", users=10, budget=budget)
    assert [poll(bench, f"more-{n}", budget).wait_s for n in range(9)] == [0] * 9


def test_a_post_that_does_not_come_is_waited_for_for_a_second(bench):
    budget = Budget(users_per_second=1000, requests_per_minute=3)
    for number in range(3):
        bench.send(f"poll-{number}", users=0, budget=budget)
    bench.us = START + MINUTE
    bench.reserve("post", users=10, budget=budget, max_wait_s=0)
    bench.us += 1 + SECOND
    assert [poll(bench, f"more-{n}", budget).wait_s for n in range(2)] == [0, 0]
    assert poll(bench, "last", budget).why == "requests"
    bench.us += 1
    assert poll(bench, "last", budget).wait_s == 0


# --- pauses --------------------------------------------------------------------------------------


def test_no_pause_is_longer_than_an_hour(bench):
    assert bench.limiter.pause(ACCOUNT, 1e12, "Retry-After: 1000000000000") == 3600.0
