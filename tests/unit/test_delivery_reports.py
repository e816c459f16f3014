"""How delivery asks for leave and what it tells the limiter; only sleeping moves the clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from limiter_bench import SECOND, START
from world import TARGET, warm

from worker.delivery import Context, Delivery, Ticket
from worker.delivery.permits import tells_something
from worker.errors import Ambiguous, DestinationError, NotSent, Refused, Throttled
from worker.hints import Done, Poll, Wait
from worker.ledger.records import Account, Limits
from worker.limiter import Booked, Budget, Denied, NotYet
from worker.zendesk.replies import JobAccepted, JobState, JobStatus, JobStatuses, RateHeaders

ACCOUNT = TARGET.account
BUDGET = Budget(users_per_second=100, requests_per_minute=400)


@dataclass
class Zendesk:
    """Pops the next answer, headers or an error; its jobs never end."""

    bench: object
    answers: list = field(default_factory=list)
    posts: list = field(default_factory=list)
    looks: list = field(default_factory=list)

    def create_or_update_many(self, profiles):
        self.posts.append(self.bench.us)
        return JobAccepted(f"V3-{len(self.posts)}", self._answer())

    def job_statuses(self, job_ids):
        self.looks.append(self.bench.us)
        rate = self._answer()
        return JobStatuses({one: JobStatus(one, JobState.WORKING) for one in job_ids}, rate)

    def _answer(self):
        answer = self.answers.pop(0) if self.answers else RateHeaders()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stage:
    """A delivery whose sleeping moves the limiter's clock; `meanwhile` happens in the next."""

    def __init__(self, bench, ledger, times) -> None:
        warm(bench.client, ACCOUNT)
        self.bench, self.limiter = bench, bench.limiter
        self.zendesk = Zendesk(bench)
        self.meanwhile = lambda: None
        self.slept = []
        self.delivery = Delivery(
            Context(
                ledger=ledger,
                limiter=self.limiter,
                clients=lambda _target: self.zendesk,
                times=times,
                owner="w",
                sleep=self.sleep,
            )
        )

    def sleep(self, seconds):
        end = self.bench.us + round(seconds * 1e6)
        self.slept.append(seconds)
        act, self.meanwhile = self.meanwhile, lambda: None
        act()
        self.bench.us = max(self.bench.us, end)

    def after_a_pause(self):
        """The next request is a probe."""
        self.limiter.pause(ACCOUNT, 5.0, "429 from Zendesk")
        self.bench.us += 5_000_000

    def reserve(self, permit, users=0, max_wait_s=0.0):
        return self.limiter.reserve(
            ACCOUNT, permit, users=users, requests=1, budget=BUDGET, max_wait_s=max_wait_s
        )

    @property
    def state(self):
        return self.limiter.state(ACCOUNT)

    def tell(self, monkeypatch):
        """Return what reserve and confirm are asked from now on."""
        told = []
        for name in ("reserve", "confirm"):
            monkeypatch.setattr(self.limiter, name, self._telling(told, name))
        return told

    def _telling(self, told, name):
        ask = getattr(self.limiter, name)

        def asked(*args, **kwargs):
            told.append(kwargs)
            return ask(*args, **kwargs)

        return asked


@pytest.fixture
def stage(bench, ledger, times):
    return Stage(bench, ledger, times)


@pytest.fixture
def ready(stage, sending):
    """Return a function that makes a run with chunks of these sizes, the first ones queued."""

    def make(*sizes, **kwargs):
        run = sending(*sizes, **kwargs)
        stage.delivery.admit(run.run_id)
        return run

    return make


@pytest.fixture
def probe(ready, stage):
    """Leave for a request that is a probe."""
    ready(1)
    stage.after_a_pause()
    ticket = stage.delivery.request_permit(ACCOUNT)
    assert isinstance(ticket, Ticket)
    assert ticket.probe
    return ticket


# --- leave to send -------------------------------------------------------------------------------


def test_a_chunk_is_sent_at_its_slot(ready, stage):
    ready(100)
    stage.reserve("before", users=100)

    assert isinstance(stage.delivery.submit("df-1", 1), Done)
    assert stage.zendesk.posts == [START + SECOND + 1]


def test_a_booking_that_was_moved_is_slept_for_until_its_new_slot(ready, stage):
    ready(100)
    stage.reserve("before", users=100)

    def be_late():
        stage.bench.us += 30_000
        stage.limiter.confirm(ACCOUNT, "before", budget=BUDGET)

    stage.meanwhile = be_late
    assert isinstance(stage.delivery.submit("df-1", 1), Done)
    assert stage.zendesk.posts == [START + 30_000 + SECOND + 1]


def test_a_booking_that_moves_again_and_again_is_given_back(ready, stage, monkeypatch):
    ready(1)
    answers = [NotYet(0.5)] * 50
    monkeypatch.setattr(stage.limiter, "confirm", lambda *_, **__: answers.pop())

    assert stage.delivery.submit("df-1", 1) == Wait(1.0, "permit_voided")
    assert stage.zendesk.posts == []
    assert stage.state.bookings == 0


def test_a_look_whose_permit_was_voided_is_not_sent(ready, stage, clock):
    ready(1)
    stage.delivery.submit("df-1", 1)
    clock.advance(60.0)

    stage.meanwhile = lambda: stage.limiter.pause(ACCOUNT, 5.0, "429 from Zendesk")
    assert stage.delivery.poll("df-1", 1) == Done((Poll("df-1", 1, 1.0),))
    assert stage.zendesk.looks == []


def test_two_chunks_are_sent_under_two_permits(ready, stage):
    ready(1, 1)
    stage.delivery.submit("df-1", 1)
    stage.delivery.submit("df-1", 2)

    assert len(stage.zendesk.posts) == stage.state.requests == 2


def test_the_limiter_is_told_the_run_its_share_and_its_users(ready, stage, monkeypatch):
    ready(3, options={"share": 2.5})
    told = stage.tell(monkeypatch)
    stage.delivery.submit("df-1", 1)

    reserved, confirmed = told
    costs = {name: reserved[name] for name in ("users", "requests", "flow", "share", "budget")}
    assert costs == {"users": 3, "requests": 1, "flow": "df-1", "share": 2.5, "budget": BUDGET}
    # The run has no further chunk, so it does not ask for its next turn.
    assert (confirmed["flow"], confirmed["share"], confirmed["budget"]) == ("", 2.5, BUDGET)


def test_a_run_with_another_chunk_asks_for_its_next_turn(ready, stage, monkeypatch):
    ready(*[1] * 9)
    told = stage.tell(monkeypatch)
    stage.delivery.submit("df-1", 1)
    assert [kwargs["flow"] for kwargs in told] == ["df-1", "df-1"]


# --- answers are told ----------------------------------------------------------------------------


def test_the_answer_to_a_post_that_was_a_probe_opens_the_gate(ready, stage):
    ready(1)
    stage.after_a_pause()
    assert isinstance(stage.delivery.submit("df-1", 1), Done)
    assert stage.state.gate == "open"


def test_the_answer_to_a_look_that_was_a_probe_opens_the_gate(ready, stage, clock):
    ready(1)
    stage.delivery.submit("df-1", 1)
    clock.advance(60.0)
    stage.after_a_pause()
    stage.delivery.poll("df-1", 1)
    assert len(stage.zendesk.looks) == 1
    assert stage.state.gate == "open"


def test_a_post_that_told_nothing_is_followed_by_another_probe_at_once(ready, stage):
    ready(1)
    stage.after_a_pause()
    stage.zendesk.answers = [Ambiguous("timed out")]
    stage.delivery.submit("df-1", 1)

    assert isinstance(stage.reserve("next"), Booked)
    assert stage.reserve("after").why == "probe"


def test_a_look_that_failed_is_followed_by_another_probe_at_once(ready, stage, clock):
    ready(1)
    stage.delivery.submit("df-1", 1)
    clock.advance(60.0)
    stage.after_a_pause()
    stage.zendesk.answers = [NotSent("no route")]
    stage.delivery.poll("df-1", 1)

    assert isinstance(stage.reserve("next"), Booked)
    assert stage.reserve("after").why == "probe"


def test_a_post_that_is_refused_opens_the_gate(ready, stage):
    ready(1)
    stage.after_a_pause()
    stage.zendesk.answers = [Refused("422 RecordInvalid")]
    stage.delivery.submit("df-1", 1)
    assert stage.state.gate == "open"


@pytest.mark.parametrize(
    "error",
    [
        NotSent("no route"),
        Ambiguous("timed out"),
        Throttled("429", retry_after_seconds=1.0),
    ],
)
def test_what_is_no_answer_to_a_probe_is_followed_by_another(stage, probe, error):
    stage.delivery.permits.failed(probe, error)

    assert stage.state.gate == "probe"
    assert isinstance(stage.reserve("next"), Booked)


@pytest.mark.parametrize(
    "error",
    [
        Refused("422 RecordInvalid"),
        DestinationError("401", code="invalid_credentials"),
        Throttled("one user", retry_after_seconds=27.0, scope="chunk"),
        Throttled("jobs", retry_after_seconds=None, scope="jobs"),
    ],
)
def test_a_refusal_is_an_answer_to_a_probe(stage, probe, error):
    stage.delivery.permits.failed(probe, error)
    assert stage.state.gate == "open"


def test_headers_of_a_post_leave_others_their_part(ready, stage):
    ready(1, limits=Limits(100, 400, 20, reserve_percent=10))
    stage.zendesk.answers = [RateHeaders(limit=400, remaining=300)]
    stage.delivery.submit("df-1", 1)
    assert stage.state.requests_cap == 1 + 300 - 40


def test_headers_of_a_look_are_told_as_well(ready, stage, clock):
    ready(1)
    stage.delivery.submit("df-1", 1)
    clock.advance(60.0)
    stage.zendesk.answers = [RateHeaders(limit=400, remaining=7)]
    stage.delivery.poll("df-1", 1)
    assert stage.state.requests_cap == 2 + 7


def test_what_is_left_to_others_makes_headers_worth_telling(ready, stage):
    ready(1, limits=Limits(100, 400, 20, reserve_percent=10))
    stage.zendesk.answers = [RateHeaders(limit=700, remaining=450)]
    stage.delivery.submit("df-1", 1)
    assert stage.state.requests_cap == 1 + 450 - 70


def test_headers_that_leave_more_than_the_budget_are_not_worth_a_call(ready, stage):
    ready(1)
    stage.zendesk.answers = [RateHeaders(limit=700, remaining=400)]
    stage.delivery.submit("df-1", 1)
    assert stage.state.requests_cap is None


def test_headers_that_tell_of_no_others_are_not_worth_a_call(ready, stage):
    """The account's limit is our budget, and all that is used of it was used by us."""
    ready(1)
    stage.reserve("look")
    stage.limiter.confirm(ACCOUNT, "look", budget=BUDGET)
    stage.zendesk.answers = [RateHeaders(limit=400, remaining=398)]
    stage.delivery.submit("df-1", 1)
    assert stage.state.requests_cap is None


def ticket(used, cap, reserve_percent=0):
    account = Account(ACCOUNT, Limits(100, 400, 20, reserve_percent), 10.0)
    return Ticket(account, "p", 0, False, used=used, requests_cap=cap)


@pytest.mark.parametrize(
    ("remaining", "sent_under", "worth"),
    [
        (300, ticket(100, None), False),
        (299, ticket(100, None), True),
        (300, ticket(100, None, reserve_percent=1), True),
        (260, ticket(100, 360), False),
        (259, ticket(100, 360), True),
        (279, ticket(100, 360), False),
        (280, ticket(100, 360), True),
        (0, ticket(360, 360), True),
        (None, ticket(360, 360), False),
    ],
)
def test_headers_are_worth_a_call_when_they_change_what_is_ours(remaining, sent_under, worth):
    """More that is ours again is worth one from a twentieth of the budget on."""
    assert tells_something(RateHeaders(400, remaining), sent_under) is worth


# --- Zendesk asks to wait ------------------------------------------------------------------------


def test_a_429_that_tells_no_time_pauses_by_our_own_measure(ready, stage):
    ready(1)
    stage.zendesk.answers = [Throttled("429", retry_after_seconds=None)]

    assert stage.delivery.submit("df-1", 1) == Wait(10.0, "rate_limited")
    assert stage.state.paused_s == 10.0


def test_a_retry_after_of_nothing_is_a_second(ready, stage):
    ready(1)
    stage.zendesk.answers = [Throttled("429", retry_after_seconds=0.0)]

    assert stage.delivery.submit("df-1", 1) == Wait(1.0, "rate_limited")
    assert stage.state.paused_s == 1.0


def test_too_many_jobs_lower_the_cap_to_what_is_in_flight(ready, stage, ledger):
    ready(1, 1, 1, 1)
    stage.delivery.submit("df-1", 1)
    stage.delivery.submit("df-1", 2)
    stage.zendesk.answers = [Throttled("jobs", retry_after_seconds=None, scope="jobs")]

    assert stage.delivery.submit("df-1", 3) == Wait(3.0, "too_many_jobs")
    assert ledger.polling.account(ACCOUNT).limits.jobs_in_flight == 2
    assert stage.delivery.submit("df-1", 4) == Wait(1.0, "job_slot")
    assert len(stage.zendesk.posts) == 3


# --- job slots -----------------------------------------------------------------------------------


def test_without_a_free_job_slot_no_permit_is_asked_for(ready, stage, monkeypatch):
    ready(1, 1, limits=Limits(100, 400, 1))
    stage.delivery.submit("df-1", 1)
    monkeypatch.setattr(stage.limiter, "reserve", lambda *_, **__: pytest.fail("asked"))

    assert stage.delivery.submit("df-1", 2) == Wait(1.0, "job_slot")


def test_a_job_slot_taken_meanwhile_is_noticed_before_the_post(ready, stage, ledger):
    ready(1, 1, limits=Limits(100, 400, 1))

    def take_the_slot():
        assert ledger.chunks.submitting(ledger.chunks.claim("df-1", 2, "other"))

    stage.meanwhile = take_the_slot
    assert stage.delivery.submit("df-1", 1) == Wait(1.0, "job_slot")
    assert stage.zendesk.posts == []
    assert stage.state.bookings == 0


def test_job_slots_are_counted_though_redis_lost_everything(ready, stage):
    ready(1, 1, limits=Limits(100, 400, 1))
    stage.delivery.submit("df-1", 1)
    stage.bench.client.flushall()
    warm(stage.bench.client, ACCOUNT)

    assert stage.delivery.submit("df-1", 2) == Wait(1.0, "job_slot")
    assert len(stage.zendesk.posts) == 1


def test_a_denied_chunk_holds_no_job_slot(ready, stage, ledger):
    ready(100, limits=Limits(100, 400, 1))
    for number in range(4):
        stage.reserve(f"before-{number}", users=100, max_wait_s=10.0)

    assert isinstance(stage.reserve("denied", users=100), Denied)
    assert stage.delivery.submit("df-1", 1).why == "users"
    assert ledger.chunks.free_job_slots(ACCOUNT) == 1
