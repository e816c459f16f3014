"""Pre-flight asks for leave like everybody, and reports what became of each request."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from world import TARGET, warm, write_catalog

from orchestrations import planner, runs
from orchestrations.loader import load_catalog
from orchestrations.planner import Asking
from worker.delivery import Context, Delivery
from worker.errors import Ambiguous, LimiterUnavailable, NotSent, Throttled
from worker.limiter import Booked, Budget
from worker.zendesk.replies import RateHeaders

ACCOUNT = TARGET.account
BUDGET = Budget(users_per_second=100, requests_per_minute=400)


class Clock:
    """Sleeping moves the limiter's clock."""

    def __init__(self, bench) -> None:
        self.bench = bench
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.bench.us += round(seconds * 1e6)

    def monotonic(self):
        return self.bench.us / 1e6


@pytest.fixture
def time(bench, monkeypatch):
    """The planner's clock is the limiter's; the next request is a probe."""
    warm(bench.client, ACCOUNT)
    bench.limiter.pause(ACCOUNT, 5.0, "429 from Zendesk")
    bench.us += 5_000_000
    made = Clock(bench)
    monkeypatch.setattr(planner, "time", made)
    return made


@pytest.fixture
def delivery(bench, ledger, times, time):
    return Delivery(
        Context(
            ledger=ledger,
            limiter=bench.limiter,
            clients=lambda _target: pytest.fail("pre-flight has a client of its own"),
            times=times,
            owner="p",
            sleep=time.sleep,
        )
    )


@pytest.fixture
def asking(delivery, sending):
    sending(1)
    return Asking(delivery, ACCOUNT)


def gate(bench):
    return bench.limiter.state(ACCOUNT).gate


def poll(bench, permit):
    return bench.limiter.reserve(
        ACCOUNT, permit, users=0, requests=1, budget=BUDGET, max_wait_s=0.0
    )


def test_each_request_is_reported_before_the_next_one_is_asked_for(asking, bench, time):
    report = asking.permit()
    assert gate(bench) == "probe"
    report(RateHeaders(limit=400, remaining=9))
    assert gate(bench) == "open"
    assert bench.limiter.state(ACCOUNT).requests_cap == 10
    asking.permit()
    assert set(time.slept) == {0.0}


def test_a_request_that_failed_lets_the_next_one_probe(asking, bench):
    asking.permit()
    asking.failed(Ambiguous("timed out"))
    assert gate(bench) == "probe"
    assert isinstance(poll(bench, "next"), Booked)
    assert poll(bench, "after").why == "probe"


def test_a_request_that_told_nothing_is_given_up_with_the_next_one(asking, bench, time):
    asking.permit()
    asking.permit()(RateHeaders())
    assert gate(bench) == "open"
    assert set(time.slept) == {0.0}


def test_a_request_that_was_answered_is_not_reported_twice(asking, bench, time):
    asking.permit()(RateHeaders())
    bench.limiter.pause(ACCOUNT, 0.0, "429 from Zendesk")
    asking.failed(NotSent("later"))
    assert gate(bench) == "probe"
    assert isinstance(poll(bench, "next"), Booked)


def test_pre_flight_waits_its_turn_and_not_for_ever(asking, bench):
    bench.limiter.pause(ACCOUNT, 600.0, "429 from Zendesk")
    with pytest.raises(LimiterUnavailable, match="no request to"):
        asking.permit()


@pytest.mark.parametrize(("asked", "waited"), [(None, 10.0), (0.0, 1.0), (27.0, 27.0)])
def test_a_429_to_pre_flight_waits_as_any_other_429(
    bench, delivery, ledger, monkeypatch, asked, waited
):
    def refused(*_):
        raise Throttled("429", retry_after_seconds=asked)

    postponed = []
    monkeypatch.setattr(planner, "_plan", refused)
    monkeypatch.setattr(planner, "_postpone", lambda _mine, _run, *told: postponed.append(told[0]))
    mine = SimpleNamespace(delivery=delivery, ledger=ledger)
    planner._plan_or_say_why(mine, SimpleNamespace(target=TARGET), planner.Held())

    assert postponed == [waited]
    assert bench.limiter.state(ACCOUNT).paused_s == waited


def test_planning_that_fails_reports_its_request(
    bench, delivery, ledger, times, tmp_path, monkeypatch
):
    catalog = write_catalog(tmp_path / "catalog")
    begun, _ = runs.start(
        load_catalog(catalog), "loyalty", ledger=ledger, principal="t", options=runs.Options()
    )

    def whoami():
        raise Ambiguous("timed out")

    config = SimpleNamespace(catalog=catalog, state_dir=tmp_path)
    monkeypatch.setattr(planner, "settings", lambda: config)
    monkeypatch.setattr(planner, "client_for", lambda *_: SimpleNamespace(whoami=whoami))
    mine = SimpleNamespace(delivery=delivery, ledger=ledger, times=times)
    with pytest.raises(Ambiguous):
        planner._plan(mine, ledger.runs.claim_plan(begun.run_id))

    assert gate(bench) == "probe"
    assert isinstance(poll(bench, "next"), Booked)
