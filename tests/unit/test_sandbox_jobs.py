"""How the sandbox's background jobs go through time, and how a fault bends them."""

import pytest

from worker.sandbox.config import Config
from worker.sandbox.settings import Misconfigured, Settings
from worker.sandbox.state import Account

ROWS = [{"external_id": f"c{n}", "name": f"N{n}", "email": f"c{n}@example.com"} for n in range(10)]


def make_account(**settings):
    return Account(Config(settings=Settings().patched(settings)), 0.0)


def queue(account, now=0.0, rows=ROWS, **fault):
    spec = {"action": "job", **fault}
    return account.queue_job(rows, now, by_admin=True, fault=account.add_fault(spec).fault.job)


def seen(account, job, now):
    account.advance(now)
    document = job.document(now, "https://x.invalid")
    return document["status"], document["progress"], document["message"]


def ended(account, now=1000.0, **rule):
    job = queue(account, **rule)
    account.advance(now)
    return job.document(now, "https://x.invalid")


def test_a_job_goes_from_queued_over_working_to_completed():
    account = make_account(seconds_per_user=0.1, queue_seconds=2.0)
    job = queue(account)

    assert seen(account, job, 1.9) == ("queued", None, None)
    assert seen(account, job, 2.0) == ("working", 0, "Updating user #0")
    assert seen(account, job, 2.5) == ("working", 5, "Updating user #5")
    assert seen(account, job, 3.0) == ("completed", 10, "Completed at 1970-01-01 00:00:03 +0000")


def test_progress_counts_whole_users_also_at_epoch_times():
    start = 1_795_500_000.25
    account = make_account(seconds_per_user=0.1)
    job = queue(account, now=start)

    assert [seen(account, job, start + n * 0.1)[1] for n in range(10)] == list(range(10))


def test_results_are_null_and_nobody_is_stored_until_the_job_ends():
    account = make_account(seconds_per_user=0.1)
    job = queue(account)

    account.advance(0.99)
    assert job.document(0.99, "")["results"] is None
    assert account.users(0.99) == []

    assert len(account.users(1.0)) == 10
    assert len(job.document(1.0, "")["results"]) == 10


def test_results_are_in_the_order_of_the_request_and_say_what_was_done():
    account = make_account(seconds_per_user=0)
    queue(account, rows=ROWS[2:3])
    job = queue(account, rows=[ROWS[1], {"name": "x", "email": "bad"}, ROWS[2]])
    account.advance(0.0)

    created, failed, updated = job.results
    assert (created["status"], created["external_id"], created["email"]) == (
        "Created", "c1", "c1@example.com",
    )  # fmt: skip
    assert failed == {
        "id": 1,
        "error": "UserUpdateError",
        "details": "Name: Email: bad is not properly formatted",
        "status": "Failed",
    }
    assert (updated["status"], updated["external_id"]) == ("Updated", "c2")
    assert updated["id"] == account.people.with_external_id("c2").id


def test_a_name_only_row_gets_a_result_without_keys():
    account = make_account(seconds_per_user=0)
    job = queue(account, rows=[{"name": "x"}])
    account.advance(0.0)

    assert set(job.results[0]) == {"id", "status"}


def test_jobs_run_beside_each_other():
    account = make_account(seconds_per_user=1)
    first = queue(account, now=0.0)
    second = queue(account, now=1.0)
    account.advance(10.0)
    assert (first.ended, second.ended) == (True, False)

    account.advance(11.0)
    assert second.ended


def test_jobs_are_applied_in_the_order_in_which_they_end():
    account = make_account(seconds_per_user=1)
    queue(account, now=0.0, rows=[{"external_id": "a", "name": "slow"}, *ROWS])
    queue(account, now=0.5, rows=[{"external_id": "a", "name": "quick"}])
    account.advance(100.0)

    assert account.people.with_external_id("a").name == "slow"


def test_a_new_pace_holds_for_what_is_left_of_the_work():
    account = make_account(seconds_per_user=1)
    job = queue(account)
    account.change_settings({"seconds_per_user": 0.5}, 4.0)

    assert seen(account, job, 4.0)[1] == 4
    assert seen(account, job, 6.9)[0] == "working"
    assert seen(account, job, 7.0)[0] == "completed"


def test_pace_zero_ends_running_jobs_at_once():
    account = make_account(seconds_per_user=1000)
    job = queue(account)
    account.change_settings({"seconds_per_user": 0}, 1.0)

    assert job.ended


def test_the_job_limit_counts_queued_and_working_jobs_of_all_clients():
    account = make_account(seconds_per_user=0.1, job_limit=3, foreign_jobs=1)

    assert queue(account) is not None
    assert queue(account) is not None
    assert queue(account) is None
    account.advance(1.0)
    assert queue(account, now=1.0) is not None
    assert account.jobs.peak_active == 2


def test_a_job_is_forgotten_after_its_expiry():
    account = make_account(seconds_per_user=0, job_expiry_seconds=60)
    job = queue(account)
    account.advance(59.9)
    assert account.jobs.find(job.id) is job

    account.advance(60.0)
    assert account.jobs.find(job.id) is None


def test_the_clock_shift_brings_expiry_forward():
    account = make_account(seconds_per_user=0)
    job = queue(account)
    account.change_settings({"clock_shift": 90_000}, 1.0)

    assert account.jobs.find(job.id) is None
    assert account.jobs.listed() == []


def test_a_stuck_job_works_for_ever_and_keeps_its_slot():
    account = make_account(seconds_per_user=0.1)
    job = queue(account, state="stuck")

    assert seen(account, job, 10_000.0) == ("working", 5, "Updating user #5")
    assert account.users(10_000.0) == []
    assert account.jobs.active == 1


@pytest.mark.parametrize("state", ["failed", "killed"])
def test_a_job_that_fails_as_a_whole_applies_nothing_and_has_no_results(state):
    account = make_account()
    document = ended(account, state=state)

    assert document["status"] == state
    assert (document["progress"], document["results"]) == (0, None)
    assert document["message"].startswith(f"{state.capitalize()} at ")
    assert account.users(1000.0) == []


def test_a_job_may_fail_half_way_with_results_for_what_it_did():
    account = make_account()
    document = ended(account, state="failed", applied=4)

    assert (document["status"], document["progress"]) == ("failed", 4)
    assert [item["external_id"] for item in document["results"]] == ["c0", "c1", "c2", "c3"]
    assert len(account.users(1000.0)) == 4


def test_a_vanished_job_is_applied_but_cannot_be_found():
    account = make_account()
    job = queue(account, state="vanish")
    account.advance(1000.0)

    assert account.jobs.find(job.id) is None
    assert account.jobs.listed() == []
    assert len(account.users(1000.0)) == 10


def test_a_lost_job_is_neither_applied_nor_found():
    account = make_account()
    queue(account, state="vanish", applied=0)

    assert account.users(1000.0) == []


def test_results_can_be_short():
    assert len(ended(make_account(), results="short")["results"]) == 9
    assert len(ended(make_account(), results="short", drop=4)["results"]) == 6


def test_results_can_be_permuted_so_that_none_is_in_its_place():
    ids = [item["external_id"] for item in ended(make_account(), results="permuted")["results"]]

    assert sorted(ids) == [row["external_id"] for row in ROWS]
    assert all(got != row["external_id"] for got, row in zip(ids, ROWS, strict=True))


def test_results_can_be_null_an_object_missing_or_anything():
    assert ended(make_account(), results="null")["results"] is None
    assert ended(make_account(), results="object")["results"] == {"success": True}
    assert "results" not in ended(make_account(), results="missing")
    assert ended(make_account(), results=[1, None])["results"] == [1, None]


def test_rows_fail_by_position_by_external_id_and_by_email():
    account = make_account()
    document = ended(account, fail_rows=[1, "C3", "c5@EXAMPLE.com"], details="Busy")

    failed = [item["id"] for item in document["results"] if item["status"] == "Failed"]
    assert failed == [1, 3, 5]
    assert {item.get("details") for item in document["results"]} == {None, "Busy"}
    assert len(account.users(1000.0)) == 7


def test_a_slow_job_takes_the_time_it_was_told_whatever_the_pace():
    account = make_account(seconds_per_user=0)
    job = queue(account, seconds=30)
    account.change_settings({"seconds_per_user": 0.5}, 1.0)

    assert seen(account, job, 15.0)[:2] == ("working", 5)
    assert seen(account, job, 29.9)[0] == "working"
    assert seen(account, job, 30.0)[0] == "completed"


@pytest.mark.parametrize("wrong", [{"state": "lazy"}, {"results": "odd"}, {"results": 7}])
def test_an_unknown_job_fault_is_refused(wrong):
    with pytest.raises(Misconfigured):
        make_account().add_fault({"action": "job", **wrong})
