"""What delivery does with what the limiter tells it: turns, tickets, looks that go together."""

from __future__ import annotations

import pytest
from world import LIMITS, TARGET

from worker.delivery import Ticket
from worker.errors import Throttled
from worker.hints import Deliver, Wait
from worker.limiter import Go, Limiter
from worker.zendesk.replies import JobAccepted, JobState, JobStatus, JobStatuses, RateHeaders

ACCOUNT = TARGET.account


class Zendesk:
    """Accepts every chunk and lets every job run on, unless told otherwise."""

    def __init__(self):
        self.rate = RateHeaders()
        self.error = None
        self.posts = 0

    def create_or_update_many(self, profiles):
        self.posts += 1
        if self.error:
            raise self.error
        return JobAccepted(f"V3-{self.posts}", self.rate)

    def job_statuses(self, job_ids):
        if self.error:
            raise self.error
        return JobStatuses({j: JobStatus(j, JobState.WORKING) for j in job_ids}, self.rate)


class Calls:
    """The limiter, with what it was asked."""

    def __init__(self, limiter):
        self._limiter = limiter
        self.observed = []

    def __getattr__(self, name):
        return getattr(self._limiter, name)

    def observe(self, account, permit, **told):
        self.observed.append(told)
        return self._limiter.observe(account, permit, **told)


@pytest.fixture
def zendesk():
    return Zendesk()


@pytest.fixture
def limiter(redis):
    return Calls(Limiter(redis))


# --- turns ---------------------------------------------------------------------------------------


def test_the_next_chunk_is_enqueued_for_its_turn(ready, delivery, limiter, monkeypatch, ledger):
    ready(*[1] * 9)
    told = {}

    def confirm(account, permit, **words):
        told.update(words)
        return Go(1, 0.0, next_in_s=6.5)

    monkeypatch.setattr(limiter, "confirm", confirm, raising=False)
    assert Deliver("df-1", 9, 6.5) in delivery.submit("df-1", 1).hints
    assert (told["flow"], told["share"], told["max_wait_s"]) == ("df-1", 1.0, 2.0)


def test_a_message_that_travels_long_is_not_taken_for_lost(
    ready, delivery, limiter, monkeypatch, ledger, clock, times
):
    ready(*[1] * 9)
    monkeypatch.setattr(
        limiter, "confirm", lambda *_, **__: Go(1, 0.0, next_in_s=20.0), raising=False
    )
    delivery.submit("df-1", 1)
    clock.advance(20.0 + times.overdue - 0.1)
    assert ("df-1", 9) not in ledger.recovery.find_lost().deliver
    clock.advance(0.2)
    assert ("df-1", 9) in ledger.recovery.find_lost().deliver


def test_no_message_travels_longer_than_the_longest_countdown(
    ready, delivery, limiter, monkeypatch, times
):
    ready(*[1] * 9)
    monkeypatch.setattr(
        limiter, "confirm", lambda *_, **__: Go(1, 0.0, next_in_s=99.0), raising=False
    )
    assert Deliver("df-1", 9, times.longest_countdown) in delivery.submit("df-1", 1).hints


def test_a_run_without_another_chunk_asks_for_no_turn(ready, delivery, limiter, monkeypatch):
    ready(1, 1)
    asked = []

    def confirm(account, permit, **words):
        asked.append(words["flow"])
        return Go(1, 0.0)

    monkeypatch.setattr(limiter, "confirm", confirm, raising=False)
    delivery.submit("df-1", 1)
    assert asked == [""]


def test_a_runs_share_comes_from_what_it_was_started_with(ledger, new_run, delivery, limiter):
    from dataclasses import replace

    from world import profiles

    ledger.runs.start(replace(new_run("df-1"), options={"share": 3.0}))
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 1)])
    ledger.planning.complete(run)
    delivery.admit("df-1")
    assert ledger.chunks.claim("df-1", 1, "w").share == 3.0


# --- too many jobs -------------------------------------------------------------------------------


def test_too_many_jobs_lowers_our_cap_for_a_while(ready, delivery, ledger, zendesk, clock, limiter):
    ready(1, 1, 1)
    delivery.submit("df-1", 1)
    zendesk.error = Throttled("TooManyJobs", retry_after_seconds=None, scope="jobs")

    assert delivery.submit("df-1", 2) == Wait(3.0, "too_many_jobs")

    assert ledger.polling.account(ACCOUNT).limits.jobs_in_flight == 1
    assert delivery.submit("df-1", 3) == Wait(1.0, "job_slot")
    assert limiter.state(ACCOUNT).gate == "open"
    clock.advance(60.1)
    assert ledger.polling.account(ACCOUNT).limits.jobs_in_flight == LIMITS.jobs_in_flight


# --- requests without a chunk ---------------------------------------------------------------------


def test_a_request_without_a_chunk_gets_a_ticket_or_the_time_to_wait(ready, delivery, limiter):
    ready(1)
    assert isinstance(delivery.request_permit(ACCOUNT), Ticket)
    limiter.pause(ACCOUNT, 20, "429 from Zendesk")
    assert delivery.request_permit(ACCOUNT) == pytest.approx(20, abs=1)


# --- looks that others take along -----------------------------------------------------------------


def test_a_job_that_still_runs_waits_for_a_look_that_is_planned_anyway(
    ready, delivery, ledger, clock, times
):
    ready(10, 10, 20)
    delivery.submit("df-1", 1)  # its look: ready after 1.3 s, and then the time to gather others
    clock.advance(1.4)
    delivery.submit("df-1", 2)  # ready at 2.7, within that time: one look for both
    clock.advance(1.3 + times.poll_batch - 1.4)
    delivery.submit("df-1", 3)  # the last of its run: looked at as soon as it is ready, 2.3 s later

    step = delivery.poll("df-1", 1)  # both still run

    assert step.hints == ()  # no message of their own: the third one's look comes within the time
    clock.advance(1.4 + times.poll_batch)
    assert len(ledger.polling.take_due(ACCOUNT)) == 3


def test_jobs_that_end_late_teach_and_those_seen_late_do_not(ready, delivery, ledger, clock):
    ready(100)
    delivery.submit("df-1", 1)
    clock.advance(10.4)
    delivery.poll("df-1", 1)  # still running when it was likely done
    assert ledger.polling.account(ACCOUNT).job_seconds == pytest.approx(1.02 * 10.1)
