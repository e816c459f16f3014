"""Limits of an account: declared, lowered by people, lowered because Zendesk has too many jobs."""

from __future__ import annotations

from dataclasses import asdict

import orjson
import pytest
from sqlalchemy import select
from world import TARGET

from worker.errors import LedgerError, UsageError
from worker.ledger import open_ledger
from worker.ledger.limits import LONGEST_OVERRIDE_S
from worker.ledger.records import Limits, Override
from worker.ledger.schema import events

ACCOUNT = TARGET.account
DECLARED = Limits(150, 400, 20, 10)


@pytest.fixture
def ready(ledger, sending):
    """Return a function that makes a run with so many chunks of one row, all queued."""

    def make(count, limits=DECLARED):
        sending(*[1] * count, limits=limits)
        ledger.chunks.admit("df-1", count)

    return make


def submitting(ledger, seq):
    claim = ledger.chunks.claim("df-1", seq, "w")
    assert ledger.chunks.submitting(claim)
    return claim


def fly(ledger, *seqs):
    for seq in seqs:
        ledger.chunks.accepted(submitting(ledger, seq), f"V3-{seq}", 1.0, 0.0)


def limits(ledger):
    return ledger.polling.account(ACCOUNT).limits


def told(ledger):
    with ledger.database.read() as connection:
        rows = connection.execute(
            select(events).where(events.c.kind.like("limit_%")).order_by(events.c.id)
        )
        return [(row.kind, row.run_id, orjson.loads(row.data)) for row in rows]


# --- lowered by people ------------------------------------------------------------------------


def test_a_lowered_limit_holds_until_its_time_is_over(ledger, ready, clock):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 60.0, "eve")

    assert limits(ledger) == Limits(150, 120, 20, 10)
    clock.advance(59.999)
    assert limits(ledger) == Limits(150, 120, 20, 10)
    clock.advance(0.001)
    assert limits(ledger) == DECLARED
    assert ledger.limits.active(ACCOUNT) == []


def test_every_limit_can_be_lowered_and_each_on_its_own(ledger, ready):
    ready(1)
    ledger.limits.lower(ACCOUNT, "users_per_second", 100, 60.0, "eve")
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 3, 60.0, "eve")

    assert limits(ledger) == Limits(100, 400, 3, 10)


def test_job_slots_honour_a_lowered_limit(ledger, ready, clock):
    ready(2)
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 1, 60.0, "eve")
    fly(ledger, 1)

    assert ledger.chunks.free_job_slots(ACCOUNT) == 0
    claim = ledger.chunks.claim("df-1", 2, "w")
    assert ledger.chunks.submitting(claim) is False
    clock.advance(60.0)
    assert ledger.chunks.free_job_slots(ACCOUNT) == 19
    assert ledger.chunks.submitting(claim) is True


def test_lowering_again_replaces_what_was_lowered(ledger, ready, clock):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 60.0, "eve")
    clock.advance(10.0)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 200, 600.0, "bob")

    assert ledger.limits.active(ACCOUNT) == [
        Override(ACCOUNT, "requests_per_minute", 200, clock.now + 600.0, "bob", clock.now)
    ]
    assert limits(ledger).requests_per_minute == 200


def test_a_declared_limit_below_the_lowered_one_holds(ledger, ready, new_run):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 600.0, "eve")
    ledger.runs.start(new_run("df-2", "other", limits=Limits(150, 90, 20)))

    assert limits(ledger).requests_per_minute == 90


def test_a_start_of_a_run_does_not_lift_what_is_lowered(ledger, ready, new_run):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 600.0, "eve")
    ledger.runs.start(new_run("df-2", "other", limits=DECLARED))

    assert limits(ledger).requests_per_minute == 120


def test_a_lowered_limit_belongs_to_its_account(ledger, ready):
    ready(1)
    ledger.limits.lower("other.zendesk.com", "jobs_in_flight", 1, 60.0, "eve", declared=DECLARED)

    assert limits(ledger) == DECLARED
    assert ledger.chunks.free_job_slots(ACCOUNT) == 20


def test_lifting_one_limit_leaves_the_others_lowered(ledger, ready):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 60.0, "eve")
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 3, 60.0, "eve")

    (lifted,) = ledger.limits.lift(ACCOUNT, "jobs_in_flight", "bob")
    assert (lifted.name, lifted.value) == ("jobs_in_flight", 3)
    assert limits(ledger) == Limits(150, 120, 20, 10)


def test_lifting_all_lets_the_declared_limits_hold(ledger, ready):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 60.0, "eve")
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 3, 60.0, "eve")

    assert len(ledger.limits.lift(ACCOUNT, None, "bob")) == 2
    assert limits(ledger) == DECLARED
    assert ledger.limits.lift(ACCOUNT, None, "bob") == []


def test_each_change_is_an_event_with_who_made_it(ledger, ready, clock):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 60.0, "eve")
    ledger.limits.lift(ACCOUNT, None, "bob")

    data = {
        "account": ACCOUNT,
        "name": "requests_per_minute",
        "value": 120,
        "until": clock.now + 60.0,
    }
    assert told(ledger) == [
        ("limit_lowered", None, {**data, "by": "eve"}),
        ("limit_lifted", None, {**data, "by": "bob"}),
    ]


def test_lifting_what_is_over_is_no_change(ledger, ready, clock):
    ready(1)
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 60.0, "eve")
    clock.advance(60.0)

    assert ledger.limits.lift(ACCOUNT, None, "bob") == []
    assert [kind for kind, _, _ in told(ledger)] == ["limit_lowered"]


def test_a_limit_can_be_lowered_before_anything_was_sent(ledger, new_run):
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 2, 600.0, "eve", declared=DECLARED)
    ledger.runs.start(new_run(limits=DECLARED))

    assert limits(ledger) == Limits(150, 400, 2, 10)


@pytest.mark.parametrize(
    ("name", "value", "seconds", "words"),
    [
        ("requests_per_minute", 401, 60.0, "only lowers"),
        ("jobs_in_flight", 21, 60.0, "only lowers"),
        ("users_per_second", 151, 60.0, "only lowers"),
        ("users_per_second", 99, 60.0, "would never get its permit"),
        ("requests_per_minute", 0, 60.0, "at least 1"),
        ("jobs_in_flight", -1, 60.0, "at least 1"),
        ("jobs_in_flight", 5, 0.0, "7 days"),
        ("jobs_in_flight", 5, LONGEST_OVERRIDE_S + 1, "7 days"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    ledger, ready, name, value, seconds, words
):
    ready(1)
    with pytest.raises(UsageError, match=words) as caught:
        ledger.limits.lower(ACCOUNT, name, value, seconds, "eve")

    assert caught.value.resolution
    assert limits(ledger) == DECLARED
    assert told(ledger) == []


def test_who_cannot_lower_the_users_is_told_to_lower_the_requests(ledger, ready):
    ready(1)
    with pytest.raises(UsageError, match="more than 100 is declared") as caught:
        ledger.limits.lower(ACCOUNT, "users_per_second", 50, 60.0, "eve")

    assert "--requests-per-minute" in caught.value.resolution


def test_the_bounds_themselves_are_allowed(ledger, ready):
    ready(1)
    ledger.limits.lower(ACCOUNT, "users_per_second", 100, LONGEST_OVERRIDE_S, "eve")
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 400, 1.0, "eve")
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 1, 1.0, "eve")

    assert limits(ledger) == Limits(100, 400, 1, 10)


def test_limits_of_an_account_that_nobody_knows_are_not_lowered(ledger):
    with pytest.raises(UsageError, match=r"nowhere\.zendesk\.com") as caught:
        ledger.limits.lower("nowhere.zendesk.com", "jobs_in_flight", 1, 60.0, "eve")
    assert caught.value.code == "destination_not_found"


def test_an_account_that_nobody_knows_has_no_job_slots_and_no_limits(ledger):
    assert ledger.chunks.free_job_slots("nowhere.zendesk.com") == 0
    with pytest.raises(LedgerError, match=r"nowhere\.zendesk\.com"):
        ledger.polling.account("nowhere.zendesk.com")


def test_what_is_lowered_outlives_the_process(ledger, ready, clock, times, ledger_url):
    ready(1)
    override = ledger.limits.lower(ACCOUNT, "jobs_in_flight", 2, 60.0, "eve")
    again = open_ledger(ledger_url, times, clock)

    assert [asdict(one) for one in again.limits.active(ACCOUNT)] == [asdict(override)]
    again.close()


# --- lowered because Zendesk has too many jobs ------------------------------------------------


def test_the_refused_chunk_does_not_count_for_the_job_cap(ledger, ready):
    ready(4)
    fly(ledger, 1, 2, 3)
    refused = submitting(ledger, 4)

    assert ledger.polling.lower_job_cap(ACCOUNT, 30.0) == 3
    ledger.chunks.unsubmit(refused, 3.0, "too_many_jobs", sent=True)
    assert ledger.polling.jobs_in_flight(ACCOUNT) == 3
    assert ledger.chunks.free_job_slots(ACCOUNT) == 0


def test_the_job_cap_is_over_after_its_time(ledger, ready, clock):
    ready(3)
    fly(ledger, 1, 2)
    refused = submitting(ledger, 3)
    ledger.polling.lower_job_cap(ACCOUNT, 30.0)
    ledger.chunks.unsubmit(refused, 3.0, "too_many_jobs", sent=True)

    clock.advance(29.999)
    assert limits(ledger) == Limits(150, 400, 2, 10)
    clock.advance(0.001)
    assert limits(ledger) == DECLARED
    assert ledger.chunks.free_job_slots(ACCOUNT) == 18


def test_one_job_is_always_allowed(ledger, ready):
    ready(1)
    submitting(ledger, 1)

    assert ledger.polling.lower_job_cap(ACCOUNT, 30.0) == 1
    assert limits(ledger).jobs_in_flight == 1


def test_of_two_lowered_job_limits_the_smaller_one_holds(ledger, ready):
    ready(4)
    fly(ledger, 1, 2, 3)
    submitting(ledger, 4)
    ledger.polling.lower_job_cap(ACCOUNT, 30.0)
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 10, 60.0, "eve")
    assert limits(ledger).jobs_in_flight == 3

    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 2, 60.0, "eve")
    assert limits(ledger).jobs_in_flight == 2
    assert ledger.chunks.free_job_slots(ACCOUNT) == -2


def test_jobs_in_flight_are_those_that_may_hold_a_slot(ledger, ready, clock):
    ready(4)
    fly(ledger, 1)
    ledger.chunks.unclear(submitting(ledger, 2), 20.0, "unclear_answer")
    submitting(ledger, 3)
    assert ledger.polling.jobs_in_flight(ACCOUNT) == 3

    clock.advance(20.0)
    assert ledger.polling.jobs_in_flight(ACCOUNT) == 2
    assert ledger.polling.jobs_in_flight("other.zendesk.com") == 0
