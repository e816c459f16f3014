"""`up` refuses in a sentence, before it starts anything."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrations.cli import state_folder, up_plan
from orchestrations.cli.state_folder import claimed, up_file
from orchestrations.cli.up import Options, everything_up
from orchestrations.cli.up_verb import up
from worker.errors import UsageError


@pytest.fixture(autouse=True)
def a_bare_environment(monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith(("DESKFEED_", "FLOWER_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def refusal(options):
    with pytest.raises(UsageError) as error:
        everything_up(options, lambda _name, line: pytest.fail(f"started: {line}")).__enter__()
    return error.value


@pytest.mark.parametrize(
    ("option", "chosen"),
    [
        ("--sandbox-port", {"sandbox": True, "sandbox_port": None}),
        ("--flower-port", {"flower_port": None}),
    ],
)
def test_a_taken_port_is_named_with_its_option(tmp_path, taken_port, option, chosen):
    chosen = {key: taken_port if value is None else value for key, value in chosen.items()}

    error = refusal(Options(state_dir=tmp_path / "state", **chosen))

    assert error.code == "port_taken"
    assert f"port {taken_port} of 127.0.0.1 cannot be used for {option}" in error.message
    assert f"{option} N" in error.resolution


def test_the_command_ends_with_2_when_a_port_is_taken(taken_port, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))

    with pytest.raises(SystemExit) as ended:
        up.main([f"--flower-port={taken_port}"], standalone_mode=False)

    assert ended.value.code == 2
    assert f"port {taken_port}" in capsys.readouterr().err


def test_a_second_up_with_the_same_state_folder_is_refused_and_told_who_has_it(tmp_path):
    with claimed(tmp_path):
        error = refusal(Options(state_dir=tmp_path, flower_port=0))

    assert error.code == "already_up"
    assert f"(process {os.getpid()})" in error.message
    assert str(tmp_path) in error.message


def test_a_state_folder_can_be_claimed_again_after_its_up_has_ended(tmp_path):
    with claimed(tmp_path):
        pass
    with claimed(tmp_path) as lock:
        assert os.pread(lock, 20, 0) == f"{os.getpid()}\n".encode()


def test_what_a_killed_up_left_running_keeps_the_state_folder_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(state_folder, "DYING_S", 0.0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    # As an orphan holds it that inherited the lock from an `up` that is dead.
    with (tmp_path / "up.lock").open("w") as orphan:
        orphan.write(f"{ended.pid}\n")
        orphan.flush()
        fcntl.flock(orphan, fcntl.LOCK_EX)

        error = refusal(Options(state_dir=tmp_path))

    assert error.code == "already_up"
    assert f"was killed (process {ended.pid})" in error.message
    assert "valkey-server" in error.resolution


def test_what_a_killed_up_left_written_is_not_taken_for_the_persons_settings(tmp_path):
    (tmp_path / "up.env").write_text("DESKFEED_REDIS_URL=redis://:stale@127.0.0.1:1/0\n")
    config = up_plan.own_settings(Options(environment={"DESKFEED_STATE_DIR": str(tmp_path)}))

    assert config.redis_url is None
    with claimed(tmp_path):
        assert not (tmp_path / "up.env").exists()


def test_a_redis_of_ones_own_that_does_not_answer_is_said_before_anything_starts(tmp_path):
    port = up_plan.free_port()
    url = f"redis://:hunter2hunter2@127.0.0.1:{port}/0"

    error = refusal(Options(state_dir=tmp_path, environment={"DESKFEED_REDIS_URL": url}))

    assert error.code == "broker_unavailable"
    assert "DESKFEED_REDIS_URL" in error.message
    assert "hunter2" not in error.message + error.resolution


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    error = refusal(Options(state_dir=tmp_path / "file" / "state"))

    assert str(tmp_path / "file" / "state") in error.message


def test_the_up_file_is_for_its_owner_only_and_gone_at_the_end(tmp_path):
    made = {"DESKFEED_REDIS_URL": "redis://:secret@127.0.0.1:6379/0"}
    with up_file(tmp_path, made):
        path = tmp_path / "up.env"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "DESKFEED_REDIS_URL=redis://:secret@127.0.0.1:6379/0\n" in path.read_text()

    assert list(tmp_path.iterdir()) == []


def test_a_new_state_folder_is_for_its_owner_only(tmp_path):
    with claimed(tmp_path / "state"):
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_credentials_of_ones_own_are_not_replaced_by_the_sandboxs(tmp_path, monkeypatch):
    options = Options(sandbox=True, sandbox_port=0, flower=False, state_dir=tmp_path)
    made = up_plan.make_plan(options, up_plan.own_settings(options), 0).made
    assert made.keys() == {"DESKFEED_REDIS_URL", *up_plan.SANDBOX_CREDENTIAL}

    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL", "me@socktown.example")
    made = up_plan.make_plan(options, up_plan.own_settings(options), 0).made
    assert made.keys() == {"DESKFEED_REDIS_URL"}


def test_a_plan_shows_no_secret(tmp_path):
    options = Options(sandbox=True, sandbox_port=0, flower_port=0, state_dir=tmp_path)

    plan = up_plan.make_plan(options, up_plan.own_settings(options), 0)

    shown = repr(plan)
    assert plan.redis_password not in shown
    assert plan.flower_auth.partition(":")[2] not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:hunter2@db/deskfeed", "postgresql+psycopg://db/deskfeed"),
        ("sqlite:////srv/ledger.db", "/srv/ledger.db"),
        ("sqlite:////srv/ledger.db?timeout=5", "/srv/ledger.db"),
    ],
)
def test_the_ledger_is_shown_without_its_password(tmp_path, url, shown):
    environment = {"DESKFEED_LEDGER_URL": url}
    options = Options(flower=False, state_dir=tmp_path, environment=environment)

    plan = up_plan.make_plan(options, up_plan.own_settings(options), 0)

    assert plan.ledger == shown


def test_a_ledger_beside_the_person_is_shown_with_its_whole_path(tmp_path):
    environment = {"DESKFEED_LEDGER_URL": "sqlite:///mine.db"}
    options = Options(flower=False, state_dir=tmp_path / "state", environment=environment)

    plan = up_plan.make_plan(options, up_plan.own_settings(options), 0)

    assert plan.ledger == str(tmp_path / "mine.db")


def test_the_catalog_is_shown_as_the_worker_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", "mine")
    options = Options(flower=False, state_dir=tmp_path)
    plan = up_plan.make_plan(options, up_plan.own_settings(options), 0)
    assert plan.catalog == tmp_path / "mine"

    options = replace(options, environment={"DESKFEED_CATALOG": "/srv/catalog"})
    plan = up_plan.make_plan(options, up_plan.own_settings(options), 0)
    assert plan.catalog == Path("/srv/catalog")
