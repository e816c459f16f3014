"""A ledger on SQLite serves one host; PostgreSQL serves several."""

from __future__ import annotations

import pytest

from worker.errors import UsageError
from worker.ledger import host, open_ledger
from worker.ledger import ledger as ledger_module
from worker.ledger.database import open_database
from worker.ledger.host import Host


@pytest.fixture
def on(monkeypatch, clock, times, request):
    """Return a function that opens a ledger as a process on the host named would."""
    opened = []

    def open_on(name, url):
        monkeypatch.setattr(host, "this_host", lambda: Host(f"id-{name}", name))
        opened.append(open_ledger(url, times, clock))
        return opened[-1]

    yield open_on
    for ledger in opened:
        ledger.close()


def test_a_second_host_is_refused_while_a_worker_of_the_first_lives(on, sqlite_url, clock, times):
    first = on("red", sqlite_url)
    clock.advance(times.worker_dead + 1)
    first.recovery.heartbeat("red:1", "red")

    with pytest.raises(UsageError, match="in use on the host red; this is blue") as caught:
        on("blue", sqlite_url)
    assert caught.value.code == "ledger_on_another_host"
    assert "postgresql+psycopg://" in caught.value.resolution


def test_a_second_host_is_refused_while_the_first_workers_start(on, sqlite_url, clock, times):
    on("red", sqlite_url)
    clock.advance(times.worker_dead)

    with pytest.raises(UsageError):
        on("blue", sqlite_url)


def test_who_was_refused_has_changed_nothing(on, sqlite_url):
    on("red", sqlite_url)
    with pytest.raises(UsageError):
        on("blue", sqlite_url)

    on("red", sqlite_url)


def test_a_ledger_that_is_refused_leaves_no_connection_open(on, sqlite_url, monkeypatch):
    on("red", sqlite_url)
    opened = []

    def kept_open_database(*words):
        opened.append(open_database(*words))
        return opened[-1]

    monkeypatch.setattr(ledger_module, "open_database", kept_open_database)
    with pytest.raises(UsageError):
        on("blue", sqlite_url)

    assert [database._engine.pool.checkedin() for database in opened] == [0]


def test_a_ledger_whose_workers_have_ended_may_move(on, sqlite_url, clock, times):
    first = on("red", sqlite_url)
    first.recovery.heartbeat("red:1", "red")
    clock.advance(times.worker_dead + 0.1)
    on("blue", sqlite_url)

    with pytest.raises(UsageError, match="in use on the host blue; this is red"):
        on("red", sqlite_url)


def test_a_host_may_open_its_ledger_as_often_as_it_likes(on, sqlite_url):
    on("red", sqlite_url).recovery.heartbeat("red:1", "red")

    on("red", sqlite_url)


def test_containers_of_one_machine_are_one_host(monkeypatch, sqlite_url, clock, times):
    names = iter(["worker", "beat", "worker", "beat"])
    monkeypatch.setattr(host.platform, "node", lambda: next(names))
    for _ in range(2):
        open_ledger(sqlite_url, times, clock).close()


def test_a_worker_whose_ledger_was_taken_to_another_host_is_told_and_writes_nothing(
    on, sqlite_url, clock, times, monkeypatch
):
    red = on("red", sqlite_url)
    red.recovery.heartbeat("red:1", "red")
    clock.advance(times.worker_dead + 1)  # it stands still
    blue = on("blue", sqlite_url)
    blue.recovery.heartbeat("blue:1", "blue")

    monkeypatch.setattr(host, "this_host", lambda: Host("id-red", "red"))
    with pytest.raises(UsageError, match="in use on the host blue; this is red") as caught:
        red.recovery.heartbeat("red:1", "red")
    assert caught.value.code == "ledger_on_another_host"
    assert red.recovery.living_workers() == ["blue:1"]


@pytest.mark.postgres
def test_postgresql_serves_several_hosts(on, ledger_url):
    on("red", ledger_url).recovery.heartbeat("red:1", "red")

    assert on("blue", ledger_url).recovery.living_workers() == ["red:1"]


@pytest.mark.parametrize(
    ("node", "id_"), [(0x0242AC110002, "0242ac110002"), (0x0342AC110002, "a-name")]
)
def test_without_linux_the_network_card_tells_a_machine_or_else_its_name(
    monkeypatch, tmp_path, node, id_
):
    monkeypatch.setattr(host, "BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(host.uuid, "getnode", lambda: node)
    monkeypatch.setattr(host.platform, "node", lambda: "a-name")

    assert host.this_host() == Host(id_, "a-name")
