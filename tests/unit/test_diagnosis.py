"""What `deskfeed doctor` says of what it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrations import diagnosis
from orchestrations.diagnosis import Verdict
from worker.errors import UsageError
from worker.ledger.pulse import Backlog, WorkerPulse
from worker.redis_server import RedisServer
from worker.times import Times

GOOD = RedisServer("9.1", "noeviction", append_only=True)


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


def test_a_redis_to_rely_on_is_well():
    assert set(verdicts(diagnosis.judge_redis(GOOD, 0.001, 0.01)).values()) == {Verdict.OK}


@pytest.mark.parametrize(
    ("server", "latency", "ahead", "name", "verdict"),
    [
        (replace(GOOD, policy="allkeys-lru"), 0.001, 0, "redis eviction", Verdict.FAIL),
        (replace(GOOD, policy="volatile-ttl"), 0.001, 0, "redis eviction", Verdict.FAIL),
        (replace(GOOD, policy=None), 0.001, 0, "redis eviction", Verdict.WARN),
        (replace(GOOD, append_only=False), 0.001, 0, "redis append-only", Verdict.WARN),
        (replace(GOOD, append_only=None), 0.001, 0, "redis append-only", Verdict.WARN),
        (GOOD, 0.3, 0, "redis", Verdict.WARN),
        (GOOD, 0.001, -60, "redis clock", Verdict.WARN),
        (GOOD, 0.001, 60, "redis clock", Verdict.WARN),
    ],
)
def test_what_is_wrong_with_a_redis_is_told_with_its_remedy(server, latency, ahead, name, verdict):
    found = {check.name: check for check in diagnosis.judge_redis(server, latency, ahead)}
    assert found[name].verdict == verdict
    assert found[name].remedy
    assert [one.verdict for one in found.values()].count(Verdict.OK) == 3


def test_times_that_contradict_each_other_fail():
    assert diagnosis.judge_times(Times()).verdict == Verdict.OK
    assert diagnosis.judge_times(replace(Times(), lease=1.0)).verdict == Verdict.FAIL


def test_a_ledger_of_another_version_fails():
    assert diagnosis.judge_revision("0002", "0002", "SQLite").verdict == Verdict.OK
    assert diagnosis.judge_revision("0009", "0002", "SQLite").verdict == Verdict.FAIL


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(50e9, Verdict.OK), (1e9, Verdict.WARN), (1e8, Verdict.FAIL)],
)
def test_a_disk_that_fills_is_told_of(free, verdict):
    assert diagnosis.judge_disk(int(free)).verdict == verdict


def test_without_a_living_worker_the_check_fails_and_names_the_command():
    times = Times()
    silent = WorkerPulse("w", "host", 100, times.worker_dead + 1)
    alive = WorkerPulse("v", "host", 7200, 1)
    assert diagnosis.judge_workers([alive], times).verdict == Verdict.OK
    assert "2.0 h" in diagnosis.judge_workers([alive], times).said
    assert diagnosis.judge_workers([alive, silent], times).verdict == Verdict.WARN
    for found in ([], [silent]):
        check = diagnosis.judge_workers(found, times)
        assert check.verdict == Verdict.FAIL
        assert "celery -A worker.app worker" in check.remedy


def test_work_that_stays_late_is_told_of():
    times = Times()
    assert diagnosis.judge_backlog(Backlog(0, 0.0), times).verdict == Verdict.OK
    assert diagnosis.judge_backlog(Backlog(3, times.sweep), times).verdict == Verdict.OK
    assert diagnosis.judge_backlog(Backlog(3, 600.0), times).verdict == Verdict.WARN


def test_a_beat_that_is_silent_is_told_of():
    assert diagnosis.judge_beat(20.0, 30.0).verdict == Verdict.OK
    assert diagnosis.judge_beat(None, 30.0).verdict == Verdict.WARN
    assert diagnosis.judge_beat(500.0, 30.0).verdict == Verdict.WARN


def test_a_credential_fails_only_where_an_active_orchestration_needs_it():
    problem = UsageError("the credential 'a' is not complete", code="credential_missing")
    found = diagnosis.judge_credentials({"a": problem, "b": problem, "c": None}, {"a", "c"}, {})
    assert verdicts(found) == {
        "credential a": Verdict.FAIL,
        "credential b": Verdict.WARN,
        "credential c": Verdict.OK,
    }
    assert diagnosis.failed(found)
    assert not diagnosis.failed(found[1:])


def test_an_api_token_is_warned_of_with_the_way_over():
    ending = {"c": "the credential 'c' is an API token: Zendesk ends them"}
    (found,) = diagnosis.judge_credentials({"c": None}, {"c"}, ending)
    assert (found.verdict, found.said) == (Verdict.WARN, ending["c"])
    assert "docs/credentials.md" in found.remedy
