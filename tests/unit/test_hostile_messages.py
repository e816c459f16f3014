"""What somebody who may write to the broker gets: what the ledger allows, and nothing else."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from celery.exceptions import InvalidTaskError
from celery.worker.control import Panel
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.message import Message
from kombu.transport import redis as kombu_redis
from structlog.testing import capture_logs
from world import write_catalog

from orchestrations import tasks
from orchestrations.access import SCHEDULER
from orchestrations.loader import load_catalog
from orchestrations.runs import authorize, principal_of
from orchestrations.starting import read_start
from worker import app as app_module
from worker import broker, control
from worker.broker import MOST_BYTES, CarefulRequest, decode
from worker.errors import UsageError
from worker.ledger.states import RunState
from worker.messages import Unreadable


def request_of(headers=None, content_type="application/json", body=b"[[], {}, {}]"):
    """What a worker makes of a message that names one of our tasks."""
    name = "worker.deliver_chunk"
    message = Message(
        body=body,
        content_type=content_type,
        content_encoding="utf-8",
        headers={"id": "one", "task": name, "lang": "py", **(headers or {})},
        channel=None,
        accept={"application/json", "json"},
    )
    app = app_module.app
    return CarefulRequest(message, app=app, task=app.tasks[name], hostname="here")


# --- what is no message of ours -------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-python-serialize", "application/x-yaml", "application/x-msgpack",
        "application/data", "text/plain", "canary",
    ],
)  # fmt: skip
def test_only_json_is_read(kind):
    assert app_module.app.conf.accept_content == ["json"]
    with pytest.raises((ContentDisallowed, DecodeError, InvalidTaskError)):
        request_of(content_type=kind, body=b"\x80\x04cposix\nsystem\n(S'false'\ntR.")


@pytest.mark.parametrize(
    "eta",
    ["9999-12-31T23:59:59+00:00", "2199-01-01T00:00:00+00:00", "2199-01-01T00:00:00", "canary", []],
)
def test_what_would_be_held_for_years_is_no_message(eta):
    with pytest.raises(InvalidTaskError):
        request_of({"eta": eta})


@pytest.mark.parametrize("eta", [None, "2001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00"])
def test_what_is_due_is_one(eta):
    assert request_of({"eta": eta}).id == "one"


@pytest.mark.parametrize("body", [b"", b"canary", b"{}", b"[]", b'"xyz"', b"[" * 50_000, b"null"])
def test_a_body_that_cannot_be_unpacked_ends_no_worker(body):
    with pytest.raises((InvalidTaskError, DecodeError)):
        request_of(body=body)


LINK = {"task": "orchestrations.start", "args": ["loyalty"], "kwargs": {}, "options": {}}


@pytest.mark.parametrize(
    ("headers", "embed"),
    [
        ({}, {"callbacks": [LINK]}),
        ({}, {"errbacks": [LINK]}),
        ({}, {"chain": [LINK]}),
        ({}, {"chord": LINK}),
        ({}, [LINK]),
        ({}, "canary"),
        ({"shadow": "orchestrations.finish"}, {}),
        ({"timelimit": [None, 0.01]}, {}),
        ({"timelimit": ["canary"]}, {}),
        ({"retries": "canary"}, {}),
        ({"id": ["canary"]}, {}),
        ({"id": "a\nb"}, {}),
        ({"id": "x" * 256}, {}),
        ({"id": None}, {}),
    ],
)
def test_what_no_message_of_ours_has_is_refused_without_its_words(headers, embed):
    with pytest.raises(InvalidTaskError) as caught:
        request_of(headers, body=json.dumps([[], {}, embed]).encode())
    assert "canary" not in str(caught.value)


def test_what_clients_send_is_taken():
    plain = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers = {"retries": 0, "timelimit": [None, None], "shadow": None, "eta": None}
    assert request_of(headers, body=json.dumps([[], {}, plain]).encode()).id == "one"


def test_what_is_larger_than_any_message_is_not_even_taken_apart():
    app_module.broker.install()
    assert kombu_redis.loads is decode
    assert decode(json.dumps("x" * (MOST_BYTES - 2))) == "x" * (MOST_BYTES - 2)
    with pytest.raises(ValueError, match="nested too deep"):
        decode("[" * 100_000)
    with pytest.raises(broker.TooLarge):
        decode(json.dumps("x" * MOST_BYTES))


# --- remote control -------------------------------------------------------------------------------


def test_a_worker_obeys_no_command_that_changes_it(monkeypatch):
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    monkeypatch.setattr(Panel, "meta", dict(Panel.meta))

    taken = control.limit_commands()

    harm = "shutdown pool_grow pool_restart autoscale add_consumer cancel_consumer revoke terminate"
    assert {*harm.split(), "rate_limit", "time_limit", "memdump", "report"} <= {*taken}
    assert {*Panel.data} <= control.OBEYED
    # What Flower's page of a worker asks for.
    assert {"ping", "stats", "active_queues", "registered", "scheduled", "active", "reserved",
            "revoked", "conf"} <= {*Panel.data}  # fmt: skip


def test_a_worker_has_no_tasks_of_celerys_own():
    app = SimpleNamespace(tasks={"celery.map": 1, "celery.starmap": 2, "worker.poll_job": 3})
    assert control.forget_foreign_tasks(app) == ("celery.map", "celery.starmap")
    assert [*app.tasks] == ["worker.poll_job"]


# --- forged, and as they should be ----------------------------------------------------------------


@pytest.fixture
def started(tmp_path, monkeypatch, ledger):
    """Return a function that lets the task of a start do its work, over a catalog with rules."""
    write_catalog(tmp_path)
    monkeypatch.setattr(tasks, "settings", lambda: SimpleNamespace(catalog=tmp_path))
    monkeypatch.setattr(tasks, "parts", lambda: SimpleNamespace(ledger=ledger))
    monkeypatch.setattr(tasks, "send_all", lambda hints: None)

    def call(rules="", **kwargs):
        if rules:
            (tmp_path / "access.yaml").write_text(rules)
        with capture_logs() as lines:
            return tasks.start(**kwargs), lines

    return call


@pytest.mark.parametrize("rules", ["users: {root: admin}\n", "scheduler: viewer\ndefault: admin\n"])
def test_who_writes_to_the_broker_starts_what_the_scheduler_may_and_nothing_else(
    started, ledger, rules
):
    code, [line] = started(rules, orchestration="loyalty", key="k")

    assert code == line["code"] == "access_denied"
    assert "scheduler may not run" in line["reason"]
    assert ledger.runs.newest() == []


def test_a_run_that_a_message_starts_is_the_schedulers(started, ledger):
    run_id, _ = started("scheduler: user\n", orchestration="loyalty", key="k")
    assert ledger.runs.get(run_id).principal == SCHEDULER


@pytest.mark.parametrize(
    "claim",
    [{"principal": "root"}, {"groups": ["wheel"]}, {"user": "root"}, {"full": True},
     {"options": {"groups": ["wheel"]}}, {"parent_run": "df-1"}, {"params": {"since": "2000"}}],
)  # fmt: skip
def test_a_message_cannot_claim_to_be_somebody_else(started, ledger, claim):
    assert read_start((), {"orchestration": "loyalty", **claim}) == Unreadable("malformed")
    assert started(orchestration="loyalty", **claim)[0] == "malformed"
    assert ledger.runs.newest() == []


RESERVED = ("2026-11-29T10:58Z", "df-20261129T105800Z-0a1b2c")


@pytest.mark.parametrize("key", RESERVED)
def test_a_message_takes_the_place_of_no_run_that_starts_by_itself(started, ledger, key):
    code, [line] = started(orchestration="loyalty", key=key, sample=1)

    assert code == line["code"] == "key_reserved"
    assert key not in str(line)
    assert "--key" in line["resolution"]
    assert ledger.runs.newest() == []


@pytest.mark.parametrize("key", RESERVED)
def test_nor_does_one_by_its_own_id(started, ledger, key):
    tasks.start.push_request(id=key)
    try:
        assert started(orchestration="loyalty", sample=1)[0] == "key_reserved"
    finally:
        tasks.start.pop_request()
    assert ledger.runs.newest() == []


def test_what_the_scheduler_may_no_longer_is_not_planned(started, tmp_path, ledger):
    run_id, _ = started("scheduler: user\n", orchestration="loyalty", key="k")
    (tmp_path / "access.yaml").write_text("scheduler: viewer\n")
    catalog = load_catalog(tmp_path)
    with pytest.raises(UsageError, match="scheduler may not run"):
        authorize(
            catalog, catalog.destinations["socktown"], principal_of(ledger.runs.get(run_id)), "run"
        )


FORGED = ("submit", "poll", "admit", "close", "plan", "finish")


def forge(kind, ledger, delivery, run_id):
    """Do what a well-formed message of this kind makes a worker do."""
    match kind:
        case "submit":
            delivery.submit(run_id, 1)
        case "poll":
            delivery.poll(run_id, 1)
        case "admit":
            delivery.admit(run_id)
        case "close":
            delivery.close(run_id)
        case "plan":
            assert ledger.runs.claim_plan(run_id) is None
        case "finish":
            ledger.reports.take(run_id)


def state_of(ledger, run_id):
    view = ledger.views.run(run_id)
    return view.run.state, view.rows, dict(view.chunks)


@pytest.mark.parametrize("kind", FORGED)
def test_a_message_about_a_run_that_does_not_exist_does_nothing(ledger, delivery, zendesk, kind):
    forge(kind, ledger, delivery, "df-20260101T000000Z-000000")
    assert ledger.runs.newest() == []
    assert zendesk.posts == []


@pytest.mark.parametrize("kind", FORGED)
@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPED])
def test_a_message_about_a_run_that_is_paused_or_ended_does_nothing(
    ledger, ready, delivery, zendesk, state, kind
):
    run = ready(2)
    if state == RunState.PAUSED:
        ledger.runs.pause(run.run_id)
    else:
        ledger.runs.stop(run.run_id)
        while ledger.outcomes.cancel_some(run.run_id):
            pass
        ledger.runs.close(run.run_id)
    before = state_of(ledger, run.run_id)
    assert before[0] == state

    forge(kind, ledger, delivery, run.run_id)

    assert state_of(ledger, run.run_id) == before
    assert zendesk.posts == []


@pytest.mark.parametrize("seq", [2, 99, 2**31 - 1])
def test_a_message_about_a_chunk_that_does_not_exist_does_nothing(
    ledger, ready, delivery, zendesk, seq
):
    run = ready(2)
    before = state_of(ledger, run.run_id)
    delivery.submit(run.run_id, seq)
    delivery.poll(run.run_id, seq)
    assert (state_of(ledger, run.run_id), zendesk.posts) == (before, [])
