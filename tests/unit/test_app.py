"""The Celery app: what operators and schedulers rely on, and what a message may hold."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from kombu.message import Message
from pydantic import SecretStr
from structlog.testing import capture_logs

from orchestrations import tasks as orchestration_tasks
from worker import app as app_module
from worker import messages as messages_module
from worker import tasks as worker_tasks
from worker.broker import CarefulRequest
from worker.errors import LedgerError, RunError
from worker.hints import Deliver, Done, Failed, Finish, Plan, Poll, Tell, Wait
from worker.options import make_app
from worker.settings import Settings
from worker.times import Times


@pytest.fixture
def conf():
    return make_app(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")), Times()).conf


@pytest.fixture
def sent(monkeypatch):
    messages = []
    monkeypatch.setattr(
        app_module.app, "send_task", lambda name, **kwargs: messages.append((name, kwargs))
    )
    return messages


def test_task_names_are_the_promised_ones():
    names = {
        orchestration_tasks.start.name,
        orchestration_tasks.plan.name,
        orchestration_tasks.finish.name,
        orchestration_tasks.tick.name,
        orchestration_tasks.alert.name,
        worker_tasks.deliver_chunk.name,
        worker_tasks.poll_job.name,
    }
    assert names == {
        "orchestrations.start",
        "orchestrations.plan",
        "orchestrations.finish",
        "orchestrations.tick",
        "orchestrations.alert",
        "worker.deliver_chunk",
        "worker.poll_job",
    }


def test_messages_hold_version_run_and_chunk_and_nothing_else(sent):
    hints = [Deliver("df-1", 7), Poll("df-1", 7, 10.5), Plan("df-1"), Finish("df-1")]
    for hint in (*hints, Tell("df-1")):
        app_module.enqueue(hint)

    assert [(name, kwargs["kwargs"], kwargs["countdown"]) for name, kwargs in sent] == [
        ("worker.deliver_chunk", {"v": 1, "run_id": "df-1", "seq": 7}, None),
        ("worker.poll_job", {"v": 1, "run_id": "df-1", "seq": 7}, 10.5),
        ("orchestrations.plan", {"v": 1, "run_id": "df-1"}, None),
        ("orchestrations.finish", {"v": 1, "run_id": "df-1"}, None),
        ("orchestrations.alert", {"v": 1, "run_id": "df-1"}, None),
    ]


def test_task_ids_name_run_and_chunk_and_are_never_used_twice(sent):
    app_module.enqueue(Deliver("df-1", 7))
    app_module.enqueue(Deliver("df-1", 7))

    first, second = (kwargs["task_id"] for _, kwargs in sent)
    assert first.startswith("df-1.000007.deliver.")
    assert first != second


def test_a_message_of_an_unknown_version_touches_nothing(monkeypatch):
    monkeypatch.setattr(worker_tasks, "parts", lambda: pytest.fail("must not be asked"))
    monkeypatch.setattr(orchestration_tasks, "parts", lambda: pytest.fail("must not be asked"))

    for task, kwargs in (
        (worker_tasks.deliver_chunk, {"seq": 1}),
        (worker_tasks.poll_job, {"seq": 1}),
        (orchestration_tasks.plan, {}),
        (orchestration_tasks.finish, {}),
        (orchestration_tasks.alert, {}),
    ):
        assert task(v=2, run_id="df-1", **kwargs) == "unknown version"


def test_a_worker_takes_json_only_and_acknowledges_after_the_work(conf):
    assert conf.accept_content == ["json"]
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.task_ignore_result
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_pool == "threads"


def test_a_message_is_acknowledged_when_its_work_is_in_the_ledger(monkeypatch):
    happened = []

    def submit(run_id, seq):
        happened.append(f"submitted {run_id} {seq}")
        return Done()

    monkeypatch.setattr(
        worker_tasks, "parts", lambda: SimpleNamespace(delivery=SimpleNamespace(submit=submit))
    )
    request = request_of("worker.deliver_chunk", {"v": 1, "run_id": "df-1", "seq": 7}, happened)

    request.execute()
    assert happened == ["submitted df-1 7", "acknowledged"]


def test_a_task_that_an_error_of_ours_ends_says_so_in_a_sentence(monkeypatch, caplog):
    def submit(run_id, seq):
        raise LedgerError("The ledger cannot be used: locked", code="ledger_locked")

    monkeypatch.setattr(
        worker_tasks, "parts", lambda: SimpleNamespace(delivery=SimpleNamespace(submit=submit))
    )
    request = request_of("worker.deliver_chunk", {"v": 1, "run_id": "df-1", "seq": 7}, [])

    with capture_logs() as lines, caplog.at_level("INFO"):
        request.execute()
    [line] = lines
    assert (line["event"], line["code"]) == ("task_failed", "ledger_locked")
    assert line["reason"] == "The ledger cannot be used: locked"
    assert line["resolution"]
    assert [record.exc_info for record in caplog.records if record.exc_info] == []


def request_of(name, kwargs, happened):
    """What Celery makes of a message; noted is when it is acknowledged."""
    app = app_module.app
    task = app.tasks[name]
    message = Message(
        body=json.dumps([[], kwargs, {}]),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "one", "task": name, "lang": "py"},
        channel=None,
    )
    return CarefulRequest(
        message,
        app=app,
        task=task,
        on_ack=lambda *_: happened.append("acknowledged"),
        hostname="here",
    )


def test_a_running_task_survives_the_loss_of_the_broker_connection(conf):
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False


def test_a_message_is_redelivered_only_after_every_countdown_is_long_over(conf):
    times = Times()
    transport = conf.broker_transport_options
    assert transport["visibility_timeout"] == conf.visibility_timeout == times.visibility
    assert transport["visibility_timeout"] >= 4 * times.longest_countdown
    assert transport["unacked_restore_throttle"] == 1


def test_no_secret_but_the_broker_url_is_in_the_configuration(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL", "canary@socktown.example")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN", "canary-token")
    monkeypatch.setenv("DESKFEED_ALERTS__OPS", "slack://canary/canary/canary")
    conf = make_app(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")), Times()).conf

    assert "canary" not in json.dumps(dict(conf), default=str)


def test_beat_has_one_static_entry(conf):
    assert {entry["task"] for entry in conf.beat_schedule.values()} == {"orchestrations.tick"}


# --- what Flower shows ------------------------------------------------------------------------


class Watched:
    """A task that keeps what it would send."""

    request = SimpleNamespace(called_directly=False)

    def __init__(self):
        self.events = []

    def send_event(self, kind, **fields):
        self.events.append((kind, fields))

    def retry(self, countdown, exc):
        return LookupError(countdown, repr(exc))


MESSAGE = messages_module.Message("df-1", 7)


def test_a_submitted_job_is_a_result_and_an_event_of_its_own():
    task = Watched()
    step = Done(what="job V3-9 submitted, 100 users", job_id="V3-9")

    assert worker_tasks._answer(task, MESSAGE, step) == "job V3-9 submitted, 100 users"
    assert task.events == [
        ("task-job-submitted", {"retry": False, "run_id": "df-1", "seq": 7, "job_id": "V3-9"})
    ]


def test_a_wait_says_what_it_waits_for():
    with pytest.raises(LookupError) as raised:
        worker_tasks._answer(Watched(), MESSAGE, Wait(12.0, "rate_limited"))
    assert raised.value.args == (12.0, "waits 12 s: Zendesk asked to wait")

    rests = Wait(600.0, "job_slot", message=False)
    assert worker_tasks._answer(Watched(), MESSAGE, rests) == "waits 600 s: a free job"


def test_what_a_person_must_mend_fails_its_task():
    with pytest.raises(RunError, match=r"does not accept the credential. See: deskfeed show df-1"):
        worker_tasks._answer(Watched(), MESSAGE, Failed("invalid_credentials"))


def test_a_planning_that_failed_fails_its_task(monkeypatch):
    run = SimpleNamespace(error={"code": "query_failed"}, spool_complete=False)
    ledger = SimpleNamespace(runs=SimpleNamespace(get=lambda run_id: run))
    monkeypatch.setattr(orchestration_tasks, "parts", lambda: SimpleNamespace(ledger=ledger))

    with pytest.raises(RunError, match="The query failed"):
        orchestration_tasks._how_planned("df-1")


def test_an_event_that_cannot_be_sent_changes_nothing():
    task = Watched()
    task.send_event = lambda *args, **kwargs: 1 / 0

    worker_tasks.announce(task, "run-ended", run_id="df-1")
