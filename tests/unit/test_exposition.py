"""The page of metrics: what it tells, that no source breaks it, and that it holds nobody's data."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import redis
import structlog
from celery.concurrency import prefork, thread
from limiter_bench import ACCOUNT
from pydantic import SecretStr
from world import LIMITS, TARGET

from worker import app, control, exposition, metrics
from worker.errors import DestinationError, LedgerError, LimiterUnavailable, UsageError
from worker.exposition import GAUGES, Shared, make_folder, serve
from worker.ledger.pulse import note_beat
from worker.ledger.states import ChunkState
from worker.ledger.vitals import LATELY_S, Vitals
from worker.limiter.limiter import GUARD_S
from worker.profile import OutcomeKind
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
HERE = replace(TARGET, account=ACCOUNT)
PATIENT_S = 60.0
"""Sources of a busy machine answer late; what is tested here is what they say."""

ACCOUNT_LABEL = (("account", ACCOUNT),)


@pytest.fixture
def shared(ledger, bench):
    return Shared(ledger, bench.limiter, bench.client.ping, PATIENT_S, lambda: 3)


@pytest.fixture
def account(sending):
    """Let the ledger know the account, with two chunks of a run to send."""
    sending(3, 4, target=HERE)
    return ACCOUNT


def read(shared):
    """Return the values of a page, by name and labels (only the values, where there are none)."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in shared.collect()
        for sample in family.samples
    }


def of_account(values):
    """Return the values of the account, by name."""
    return {name: value for (name, labels), value in values.items() if labels == ACCOUNT_LABEL}


def names(values):
    return {name for name, _ in values}


def fetch(page, path="/metrics"):
    url = f"http://127.0.0.1:{page.port}{path}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


# --- what is told -----------------------------------------------------------------------------


def test_before_any_account_is_known_the_sources_are_told(shared):
    values = read(shared)

    assert {name for name, labels in values if not labels} == {
        "deskfeed_ledger_up", "deskfeed_redis_up", "deskfeed_workers_alive",
        "deskfeed_backlog_late", "deskfeed_backlog_late_seconds", "deskfeed_queue_messages",
        "deskfeed_alerts_waiting", "deskfeed_alerts_given_up",
    }  # fmt: skip
    assert {name for name, labels in values if labels} == {
        "deskfeed_runs_active", "deskfeed_runs_ended",
    }  # fmt: skip
    assert (values["deskfeed_ledger_up", ()], values["deskfeed_redis_up", ()]) == (1, 1)
    assert values["deskfeed_queue_messages", ()] == 3


def test_everything_told_was_described(shared, account, ledger):
    ledger.chunks.admit("df-1", 1)
    ledger.chunks.wait(ledger.chunks.claim("df-1", 1, "w"), 9.0, "users")

    described = {(family.name, tuple(family._labelnames)) for family in shared.describe()}
    assert described == {(name, labels) for name, (_, labels) in GAUGES.items()}
    described = {(name, tuple(sorted(labels))) for name, labels in described}
    told = {(name, tuple(sorted(k for k, _ in labels))) for name, labels in read(shared)}
    assert described - told == {
        ("deskfeed_limiter_requests_cap", ("account",)),
        ("deskfeed_chunks_quarantined", ("account",)),
        ("deskfeed_rows_unconfirmed", ("orchestration",)),
        ("deskfeed_runs_paused", ("code", "destination")),
        ("deskfeed_tick_age_seconds", ()),
    }


def test_the_use_of_the_budgets_is_told(shared, account, bench):
    bench.send("first", users=60)

    values = of_account(read(shared))
    assert values["deskfeed_limiter_users"] == 60
    assert values["deskfeed_limiter_users_budget"] == LIMITS.users_per_second
    assert values["deskfeed_limiter_requests"] == 1
    assert values["deskfeed_limiter_requests_budget"] == LIMITS.requests_per_minute


def of(values, name):
    """Return the values of one metric, by the values of its labels."""
    return {
        tuple(v for _, v in labels): value for (n, labels), value in values.items() if n == name
    }


def test_runs_and_what_is_left_of_them_are_told(shared, sending, ledger, clock):
    sending(3, 4, 5)
    ledger.chunks.admit("df-1", 1)
    clock.advance(60)
    values = read(shared)

    assert of(values, "deskfeed_runs_active")[("sending",)] == 1
    assert sum(of(values, "deskfeed_runs_active").values()) == 1
    assert of(values, "deskfeed_run_age_seconds") == {("loyalty",): 60}
    opened = of(values, "deskfeed_chunks_open")
    assert opened == {(TARGET.account, "planned"): 2, (TARGET.account, "queued"): 1}
    assert values["deskfeed_backlog_late", ()] == 1
    assert values["deskfeed_backlog_late_seconds", ()] > 0


def test_a_run_that_its_destination_paused_is_told_with_the_code(shared, sending, ledger):
    sending(1)
    ledger.runs.pause("df-1", by="eve")
    assert of(read(shared), "deskfeed_runs_paused") == {}
    ledger.runs.resume("df-1", by="eve")
    ledger.runs.pause("df-1", DestinationError("no", code="invalid_credentials"))

    values = read(shared)
    assert of(values, "deskfeed_runs_paused") == {("invalid_credentials", "socktown"): 1}
    assert values["deskfeed_alerts_waiting", ()] == 1


def test_what_ended_is_told_for_a_day(shared, sending, ledger, clock):
    run = sending(2)
    ledger.chunks.admit(run.run_id, 1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.outcomes.end_all(
        "df-1", 1, claim.fence, OutcomeKind.UNCONFIRMED, "unconfirmed", "nobody knows",
        leaves=(ChunkState.CLAIMED,), ends=ChunkState.QUARANTINED,
    )  # fmt: skip
    ledger.runs.close("df-1")
    values = read(shared)
    assert of(values, "deskfeed_runs_ended")[("finished_with_failures",)] == 1
    assert of(values, "deskfeed_rows_unconfirmed") == {("loyalty",): 2}
    assert of(values, "deskfeed_chunks_quarantined") == {(TARGET.account,): 1}

    clock.advance(LATELY_S + 1)
    values = read(shared)
    assert sum(of(values, "deskfeed_runs_ended").values()) == 0
    assert (
        of(values, "deskfeed_rows_unconfirmed") == of(values, "deskfeed_chunks_quarantined") == {}
    )


def test_workers_and_ticks_are_told(shared, ledger, clock):
    ledger.recovery.heartbeat("w", "host")
    note_beat(ledger.recovery)
    clock.advance(5)
    values = read(shared)

    assert values["deskfeed_workers_alive", ()] == 1
    assert values["deskfeed_tick_age_seconds", ()] == 5
    clock.advance(3600)
    assert read(shared)["deskfeed_workers_alive", ()] == 0


def test_the_ceiling_is_the_budget_less_the_guards_share(shared, account):
    ceiling = of_account(read(shared))["deskfeed_limiter_users_ceiling"]

    assert ceiling == pytest.approx(100 * 1.0 / (1.0 + GUARD_S))
    assert ceiling == pytest.approx(98.8, abs=0.05)


def test_budgets_are_what_holds_now(shared, account, ledger):
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 7, 60.0, "eve")
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 3, 60.0, "eve")

    values = of_account(read(shared))
    assert values["deskfeed_limiter_requests_budget"] == 7
    assert values["deskfeed_jobs_in_flight_cap"] == 3


def test_what_others_leave_is_told_once_headers_tell_it(shared, account, bench):
    bench.send("first", users=1)
    assert "deskfeed_limiter_requests_cap" not in names(read(shared))

    bench.observe("first", limit=700, remaining=100, reset_s=30.0)
    assert of_account(read(shared))["deskfeed_limiter_requests_cap"] == 101


@pytest.mark.parametrize("gate", ["open", "paused", "cold", "probe"])
def test_one_gate_is_1_and_the_others_are_0(shared, account, bench, gate):
    if gate in ("paused", "probe"):
        bench.limiter.pause(ACCOUNT, 20.0, "rate_limited")
    if gate == "cold":
        bench.restart()
        bench.reserve("any")
    if gate == "probe":
        bench.us += 20_000_001

    values = read(shared)
    told = {dict(labels)["gate"]: v for (name, labels), v in values.items() if "gate" in name}
    assert told == {"open": 0, "paused": 0, "cold": 0, "probe": 0} | {gate: 1}
    closed = of_account(values)["deskfeed_limiter_closed_seconds"]
    assert closed == pytest.approx({"paused": 20.0, "cold": 1.012}.get(gate, 0.0), abs=0.001)


def test_jobs_in_flight_are_the_ledgers(shared, account, ledger):
    ledger.chunks.admit("df-1", 2)
    claim = ledger.chunks.claim("df-1", 1, "w")
    assert of_account(read(shared))["deskfeed_jobs_in_flight"] == 0

    ledger.chunks.submitting(claim)
    values = of_account(read(shared))
    assert (values["deskfeed_jobs_in_flight"], values["deskfeed_jobs_in_flight_cap"]) == (1, 20)


def test_chunks_that_wait_are_added_up_over_the_runs(shared, sending, ledger):
    for run_id, whys in (("df-1", ["users", "job_slot"]), ("df-2", ["users", "users"])):
        sending(1, 1, run_id=run_id, orchestration=run_id, target=HERE)
        ledger.chunks.admit(run_id, 2)
        for seq, why in enumerate(whys, start=1):
            ledger.chunks.wait(ledger.chunks.claim(run_id, seq, "w"), 9.0, why)

    values = read(shared)
    assert of(values, "deskfeed_chunks_waiting") == {
        (ACCOUNT, "users"): 3,
        (ACCOUNT, "job_slot"): 1,
    }


def test_labels_are_accounts_reasons_and_names_of_the_catalog_only(shared, account, ledger):
    ledger.chunks.admit("df-1", 1)
    ledger.chunks.wait(ledger.chunks.claim("df-1", 1, "w"), 9.0, "users")
    of_counters = {
        label for one in metrics.REGISTRY._collector_to_names for label in one._labelnames
    }

    assert of_counters == {"account", "kind", "why", "scope", "reason", "channel"}
    assert {label for _, labels in read(shared) for label, _ in labels} == {
        "account",
        "gate",
        "orchestration",
        "state",
        "why",
    }


# --- sources that fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [redis.ConnectionError("x"), redis.TimeoutError("x"), LimiterUnavailable("x"), ValueError("x")],
)
def test_without_redis_the_ledgers_gauges_are_still_there(ledger, bench, account, error):
    def ping():
        raise error

    values = read(Shared(ledger, bench.limiter, ping, PATIENT_S))
    assert values["deskfeed_redis_up", ()] == 0
    assert values["deskfeed_ledger_up", ()] == 1
    assert set(of_account(values)) == {
        "deskfeed_jobs_in_flight",
        "deskfeed_jobs_in_flight_cap",
        "deskfeed_limiter_requests_budget",
        "deskfeed_limiter_users_budget",
        "deskfeed_limiter_users_ceiling",
    }


def test_a_limiter_without_an_answer_counts_as_redis_down(shared, account, monkeypatch):
    def silent(*_args, **_kwargs):
        raise redis.ConnectionError

    monkeypatch.setattr("redis.commands.core.Script.__call__", silent)

    assert read(shared)["deskfeed_redis_up", ()] == 0


@pytest.mark.parametrize("error", [LedgerError("x"), RuntimeError("x")])
def test_without_the_ledger_the_limiter_tells_of_the_accounts_last_known(
    shared, account, bench, monkeypatch, error
):
    def fail(_views):
        raise error

    bench.send("first", users=60)
    assert read(shared)["deskfeed_ledger_up", ()] == 1
    monkeypatch.setattr("worker.ledger.views.Views.accounts", fail)

    values = read(shared)
    assert (values["deskfeed_ledger_up", ()], values["deskfeed_redis_up", ()]) == (0, 1)
    assert of_account(values)["deskfeed_limiter_users"] == 60
    assert "deskfeed_jobs_in_flight" not in of_account(values)


def test_a_source_that_hangs_is_given_up_and_not_asked_twice(ledger, bench, monkeypatch):
    # With so little patience a busy machine would leave a look into the ledger under way, too.
    told = exposition._FromLedger([], Vitals(), 0)
    monkeypatch.setattr(Shared, "_ask_ledger", lambda _shared: told)
    answered, asked = threading.Event(), []

    def hang():
        asked.append(threading.current_thread())
        answered.wait(60.0)

    shared = Shared(ledger, bench.limiter, hang, source_s=0.05)
    begun = time.monotonic()
    first, second = read(shared), read(shared)
    assert time.monotonic() - begun < 30.0
    assert (first["deskfeed_redis_up", ()], second["deskfeed_redis_up", ()]) == (0, 0)
    assert len(asked) == 1

    answered.set()
    asked[0].join()
    # Asked again; how soon it answers is the machine's affair.
    assert any(read(shared)["deskfeed_redis_up", ()] == 1 for _ in range(100))


def test_two_sources_together_are_given_up_before_prometheus_gives_up():
    assert 2 * exposition.SOURCE_S < 10.0


# --- the page ---------------------------------------------------------------------------------


def test_the_page_has_what_is_counted_and_what_is_shared(shared, account):
    reason = f"test {uuid4().hex}"  # counters live as long as the process: this one begins at 0
    metrics.note_pause(ACCOUNT, reason, 2.5)
    page = serve("127.0.0.1", 0, shared)
    try:
        text = fetch(page)
        wanted = ("deskfeed_redis_up", "deskfeed_account_pauses_total")
        filtered = fetch(page, "/metrics?" + "&".join(f"name[]={name}" for name in wanted))
    finally:
        page.close()

    labels = f'{{account="{ACCOUNT}",reason="{reason}"}}'
    assert f"deskfeed_account_pauses_total{labels} 1.0" in text
    assert f"deskfeed_account_pause_seconds_total{labels} 2.5" in text
    assert f'deskfeed_limiter_users_budget{{account="{ACCOUNT}"}} 100.0' in text
    assert "_created" not in text
    assert "deskfeed_redis_up 1.0" in filtered
    assert f"deskfeed_account_pauses_total{labels} 1.0" in filtered
    assert "deskfeed_jobs" not in filtered


def test_a_closed_page_frees_its_port(shared):
    page = serve("127.0.0.1", 0, shared)
    port = page.port
    page.close()

    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(page)
    serve("127.0.0.1", port, shared).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_where_one_cannot_listen_the_error_names_the_settings(shared, host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError) as caught:
            serve(host, taken.getsockname()[1], shared)

    assert caught.value.code == "port_taken"
    assert f"of {host}" in caught.value.message
    assert "DESKFEED_METRICS_PORT" in caught.value.resolution
    assert "DESKFEED_METRICS_HOST" in caught.value.resolution


# --- several processes ------------------------------------------------------------------------


def count_in_another_process(folder, words):
    subprocess.run(
        [sys.executable, "-c", f"from worker import metrics\n{words}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), exposition.FOLDER_VARIABLE: str(folder)},
        check=True,
        timeout=60,
    )


def test_one_page_adds_up_what_two_processes_counted(shared, tmp_path):
    folder = tmp_path / "counted" / "here"
    make_folder(str(folder))
    for seconds in (1.5, 2.0):
        count_in_another_process(
            folder,
            f"metrics.note_pause('a.example', 'rate_limited', {seconds})\n"
            f"metrics.PERMIT_WAIT.labels('a.example').observe({seconds})",
        )

    assert len(list(folder.glob("counter_*.db"))) == 2
    page = serve("127.0.0.1", 0, shared, str(folder))
    try:
        text = fetch(page)
    finally:
        page.close()
    labels = '{account="a.example",reason="rate_limited"}'
    assert f"deskfeed_account_pauses_total{labels} 2.0" in text
    assert f"deskfeed_account_pause_seconds_total{labels} 3.5" in text
    assert 'deskfeed_permit_wait_seconds_bucket{account="a.example",le="1.5"} 1.0' in text
    assert 'deskfeed_permit_wait_seconds_count{account="a.example"} 2.0' in text
    assert "deskfeed_redis_up 1.0" in text


def test_a_file_that_cannot_be_read_takes_nothing_else_from_the_page(shared, tmp_path):
    (tmp_path / "counter_1.db").touch()  # as a process leaves it for a moment when it makes it
    page = serve("127.0.0.1", 0, shared, str(tmp_path))
    try:
        assert "deskfeed_redis_up 1.0" in fetch(page)
    finally:
        page.close()


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match="cannot be written") as caught:
        make_folder(str(tmp_path / "file" / "folder"))
    assert "PROMETHEUS_MULTIPROC_DIR" in caught.value.resolution


def test_a_folder_is_readable_by_its_owner_only(tmp_path):
    make_folder(str(tmp_path / "counted"))
    make_folder(str(tmp_path / "counted"))

    assert (tmp_path / "counted").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "counted").iterdir()) == []


# --- in the worker ----------------------------------------------------------------------------


@pytest.fixture
def logged():
    with structlog.testing.capture_logs() as lines:
        yield lines


def config(**values):
    return Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"), **values)


def events(logged):
    return [(line["log_level"], line["event"]) for line in logged]


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv(exposition.FOLDER_VARIABLE, raising=False)


def test_without_a_port_no_page_is_served(shared, logged):
    assert config().metrics_port is None
    assert app._serve(config(), shared, forks=True) is None
    assert events(logged) == []


def test_with_a_port_the_page_is_served_on_this_machine_only(shared, logged):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = app._serve(config(metrics_port=port), shared, forks=False)
    try:
        assert "deskfeed_ledger_up 1.0" in fetch(page)
    finally:
        page.close()

    (line,) = logged
    assert (line["event"], line["host"], line["port"]) == ("metrics_served", "127.0.0.1", port)


def test_a_port_that_is_taken_is_a_warning_and_not_the_end(shared, logged):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app._serve(config(metrics_port=port), shared, forks=False) is None

    (line,) = logged
    assert (line["log_level"], line["event"]) == ("warning", "metrics_not_served")
    assert f"port {port}" in line["reason"]
    assert "DESKFEED_METRICS_PORT" in line["resolution"]


@pytest.mark.parametrize("folder", [True, False])
def test_a_pool_of_processes_without_a_folder_is_a_warning(
    shared, logged, monkeypatch, tmp_path, folder
):
    if folder:
        monkeypatch.setenv(exposition.FOLDER_VARIABLE, str(tmp_path))
    served = []
    monkeypatch.setattr(
        exposition, "serve", lambda *args: served.append(args) or SimpleNamespace(port=9)
    )
    app._serve(config(metrics_port=9), shared, forks=True)

    assert served[0] == ("127.0.0.1", 9, shared, str(tmp_path) if folder else None)
    assert (("warning", "metrics_incomplete") in events(logged)) != folder


def test_a_worker_whose_folder_cannot_be_written_says_so_and_ends(monkeypatch, tmp_path, logged):
    (tmp_path / "file").touch()
    monkeypatch.setenv(exposition.FOLDER_VARIABLE, str(tmp_path / "file" / "folder"))
    # What else a worker does at its start would stay in this process.
    monkeypatch.setattr(control, "limit_commands", lambda: ())
    monkeypatch.setattr(control, "forget_foreign_tasks", lambda _app: ())

    with pytest.raises(SystemExit):
        app._on_worker_init()
    assert events(logged) == [("critical", "worker_cannot_work")]


def test_a_forked_child_leaves_the_port_to_its_parent(monkeypatch):
    with socket.socket() as listener:
        page = exposition.Page(SimpleNamespace(socket=listener), threading.current_thread())
        monkeypatch.setattr(app, "_page", page)
        app._on_worker_process_init()

        assert listener.fileno() == -1


def test_a_worker_that_ends_closes_its_page(monkeypatch, shared):
    page = serve("127.0.0.1", 0, shared)
    monkeypatch.setattr(app, "_page", page)
    monkeypatch.setattr(app, "_process", None)
    app._on_worker_shutdown()

    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(page)


@pytest.mark.parametrize(("pool", "forks"), [(prefork, True), (thread, False)])
def test_it_is_known_which_pool_has_processes(pool, forks):
    consumer = SimpleNamespace(pool=object.__new__(pool.TaskPool))

    assert app._forks(consumer) == forks
