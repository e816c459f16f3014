"""The sandbox's rolling windows."""

from hypothesis import example, given
from hypothesis import strategies as st

from worker.sandbox.limits import RequestWindow, UserWindow, peak

LOGS = st.lists(
    st.tuples(st.integers(0, 50).map(lambda n: n / 10), st.integers(1, 100)), max_size=30
)


def test_a_request_is_refused_until_the_oldest_of_the_minute_has_left():
    window = RequestWindow()
    assert [window.admit(at, 2) for at in (0.0, 10.0, 59.9)] == [True, True, False]

    assert window.resets_in(59.9, 2) == 1
    assert window.admit(60.0, 2)
    assert window.resets_in(60.0, 2) == 10


def test_both_families_of_headers_tell_what_remains():
    window = RequestWindow()
    window.admit(0.0, 700)

    assert window.headers(1.0, 700) == {
        "X-Rate-Limit": "700",
        "X-Rate-Limit-Remaining": "699",
        "ratelimit-limit": "700",
        "ratelimit-remaining": "699",
        "ratelimit-reset": "59",
    }


def test_requests_of_other_clients_use_the_limit_up():
    window = RequestWindow()
    window.add_foreign(0.0, 5)
    window.add_foreign(30.0, 5)

    assert window.remaining(30.0, 7) == 0
    assert not window.admit(30.0, 7)
    assert window.resets_in(30.0, 7) == 30
    assert window.remaining(60.0, 7) == 2


def test_users_are_counted_over_a_rolling_second():
    window = UserWindow()

    assert window.admit(0.5, 60, 100)
    assert not window.admit(1.4, 60, 100)
    assert window.admit(1.4, 40, 100)
    assert window.admit(1.5, 60, 100)


def test_a_head_that_is_handled_late_still_counts_where_it_arrived():
    window = UserWindow()
    window.admit(1.5, 100, 100)

    assert not window.admit(1.0, 1, 100)
    assert window.admit(0.5, 100, 100)


def test_a_peak_window_ends_just_before_its_length():
    log = [(0.0, 100), (1.0, 100), (1.5, 50)]

    assert peak(log, 1.0) == 150
    assert peak(log, 1.01) == 200
    assert peak([], 1.0) == 0


@given(LOGS, st.sampled_from([0.5, 1.0, 2.5]))
def test_the_peak_is_the_largest_sum_that_any_window_holds(log, window):
    sums = [
        sum(amount for at, amount in log if end - window < at <= end) for end, _ in log
    ]  # a window is fullest when it ends at a stamp

    assert peak(log, window) == max(sums, default=0)


@given(LOGS)
@example([(0.2, 21), (1.2, 100)])  # 1.2 - 0.2 is a whole second, and 1.2 - 1.0 is not 0.2
def test_what_is_admitted_never_exceeds_the_limit_in_any_second(log):
    window = UserWindow()
    admitted = [(at, users) for at, users in log if window.admit(at, users, 120)]

    assert peak(admitted, 1.0) <= 120
