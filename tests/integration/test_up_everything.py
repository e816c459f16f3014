"""`up` with the real processes: Redis, sandbox, worker, beat, Flower."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
import requests

from orchestrations.cli.up import Options, everything_up

PATIENCE_S = 60

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("up")]


def bare_environment():
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DESKFEED_", "FLOWER_"))
    }


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def running(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("up")
    options = Options(
        sandbox=True,
        sandbox_port=0,
        flower_port=0,
        concurrency=3,
        workers=2,
        state_dir=folder / "state",
        environment={"DESKFEED_TIME_SCALE": "0.2"},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - bare_environment().keys():
            patch.delenv(name)
        patch.chdir(folder)
        with everything_up(options, lambda *line: lines.append(line)) as up:
            yield up


def test_every_process_runs(running):
    names = ("redis", "sandbox", "worker", "worker2", "beat", "flower")

    assert [running.process(name).returncode for name in names] == [None] * len(names)


def test_redis_lets_nobody_in_without_the_password(running):
    url = re.sub(r":[0-9a-f]+@", "", running.redis_url)

    client = redis.Redis.from_url(url)
    with contextlib.closing(client), pytest.raises(redis.AuthenticationError):
        client.ping()


def test_redis_keeps_what_it_was_told_and_throws_nothing_away(running):
    with contextlib.closing(redis.Redis.from_url(running.redis_url)) as client:
        config = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind", "dir")

    assert config == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "dir": str(running.state_dir / "redis"),
    }


def test_both_workers_answer_under_their_names(running):
    ping = [sys.executable, "-m", "celery", "-A", "worker.app", "inspect", "ping", "--json"]
    answer = subprocess.run(
        [*ping, "--timeout", "5"],
        env=bare_environment() | running.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert {name.partition("@")[0] for name in json.loads(answer)} == {"worker", "worker2"}


def test_flower_asks_for_the_password(running):
    login = tuple(running.flower_auth.split(":"))

    assert requests.get(running.flower_url, timeout=PATIENCE_S).status_code == 401
    assert requests.get(running.flower_url, auth=login, timeout=PATIENCE_S).status_code == 200


def test_the_sandbox_answers(running):
    answer = requests.get(f"{running.sandbox_url}/_sandbox/", timeout=PATIENCE_S)

    assert answer.status_code < 500


def test_other_commands_find_what_they_need_in_the_state_folder(running):
    written = (running.state_dir / "up.env").read_text().splitlines()

    assert f"DESKFEED_REDIS_URL={running.redis_url}" in written
    assert "DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL=admin@socktown.example" in written
    assert "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN=sandbox-token" in written
    for line in written[1:]:
        name, _, value = line.partition("=")
        assert running.environment[name] == value


def test_the_environment_for_others_holds_what_the_children_were_given(running):
    assert running.environment["DESKFEED_TIME_SCALE"] == "0.2"
    assert running.environment["DESKFEED_STATE_DIR"] == str(running.state_dir)


def test_no_secret_is_in_any_command_line_or_line_of_output(running, lines):
    secrets = [running.flower_auth.partition(":")[2], running.redis_url.split(":")[2].split("@")[0]]
    pids = [str(running.process(name).pid) for name in ("redis", "worker", "beat", "flower")]
    shown = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", ",".join(pids)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout + str(lines)

    assert "celery" in shown
    for secret in secrets:
        assert len(secret) >= 16
        assert secret not in shown
        assert secret not in repr(running)


# --- the verb ---------------------------------------------------------------------------------


class Terminal:
    """`deskfeed up` as somebody started it: its lines, and a wait for one of them."""

    def __init__(self, folder, *options):
        self.lines = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                # Tests may be run under nohup, which the processes that they start inherit.
                (
                    "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
                    "from orchestrations.cli.up_verb import up; up()"
                ),
                "--no-flower",
                *options,
            ],
            cwd=folder,
            env=bare_environment() | {"DESKFEED_STATE_DIR": "state", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def await_line(self, text):
        with self._changed:
            there = self._changed.wait_for(
                lambda: any(text in line for line in self.lines), PATIENCE_S
            )
        assert there, "\n".join(self.lines)

    def await_end(self):
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)  # the end of the pipe: no child holds it any more
        assert not self._reader.is_alive()
        return code

    def children(self):
        found = subprocess.run(
            ["ps", "-A", "-ww", "-o", "ppid=,pid=,args="],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        rows = (line.split(maxsplit=2) for line in found.splitlines())
        return {row[2]: int(row[1]) for row in rows if row[0] == str(self.process.pid)}


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def open_terminal(*options):
        opened.append(Terminal(tmp_path, *options))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.process.terminate()  # gracefully, or its children would outlive a failed test
        one.process.wait(PATIENCE_S)
        one.process.stdout.close()


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() or _answers_signal(pid)]


def _answers_signal(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order_and_leaves_nothing(terminal, tmp_path, number):
    up = terminal()
    up.await_line("Ctrl-C ends everything.")
    children = up.children()
    assert len(children) == 3

    up.process.send_signal(number)

    assert up.await_end() == 0
    assert alive(children.values()) == []
    assert not (tmp_path / "state" / "up.env").exists()
    ends = [line for line in up.lines if "| ending" in line]
    assert ends == ["up      | ending worker, beat", "up      | ending redis"]


def test_ctrl_c_while_things_start_ends_everything(terminal):
    up = terminal()
    up.await_line("redis   |")

    up.process.send_signal(signal.SIGINT)

    assert up.await_end() == 0
    assert "Everything is up." not in up.lines


def test_the_death_of_one_ends_all_and_is_told_with_its_last_lines(terminal):
    up = terminal()
    up.await_line("Ctrl-C ends everything.")
    children = up.children()
    (beat,) = (pid for args, pid in children.items() if args.endswith(" beat"))

    os.kill(beat, signal.SIGKILL)

    assert up.await_end() == 1
    assert alive(children.values()) == []
    told = up.lines.index("deskfeed: beat ended unexpectedly (killed by SIGKILL). Its last lines:")
    assert up.lines[told + 1].startswith("  beat | ")


def test_no_colour_where_nobody_sees_it(terminal):
    up = terminal("--json")
    up.await_line('"state_dir"')
    up.process.send_signal(signal.SIGTERM)

    assert up.await_end() == 0
    assert "\x1b" not in "".join(up.lines)


if sys.platform == "linux":

    def test_when_up_is_killed_its_children_are_killed_and_the_next_up_starts(terminal):
        first = terminal()
        first.await_line("Ctrl-C ends everything.")
        first.process.kill()
        first.await_end()

        second = terminal()
        second.await_line("Ctrl-C ends everything.")
