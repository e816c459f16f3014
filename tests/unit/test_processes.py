"""Child processes: what they say arrives, and none of them survives."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from orchestrations.cli import processes
from orchestrations.cli.processes import Child, Command, Output
from orchestrations.cli.supervisor import StopAsked, Supervisor
from worker.errors import DeskfeedError

PATIENCE_S = 30
"""For what must happen; no test waits that long when all is well."""

STAYS = "import time; print('here', flush=True); time.sleep(600)"

# Ends on SIGTERM only after saying so.
SAYS_GOODBYE = """
import os, signal, sys, time
def end(*_):
    os.write(1, b"goodbye\\n")  # print() may not be interrupted by itself
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("here", flush=True)
time.sleep(600)
"""

IGNORES_SIGTERM = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"not I\\n"))
print("here", flush=True)
while True:
    time.sleep(600)
"""


class Lines:
    """A sink that remembers, and lets a test wait for a line."""

    def __init__(self):
        self.all = []
        self._changed = threading.Condition()

    def __call__(self, name, line):
        with self._changed:
            self.all.append((name, line))
            self._changed.notify_all()

    def await_line(self, name, line):
        with self._changed:
            assert self._changed.wait_for(lambda: (name, line) in self.all, PATIENCE_S), self.all


class Alive:
    """A pipe whose end tells that every process which inherited it is gone."""

    def __init__(self):
        self._read, self.write = os.pipe()

    def assert_all_gone(self):
        os.close(self.write)
        readable, _, _ = select.select([self._read], [], [], PATIENCE_S)
        assert readable, "a process that inherited the pipe still lives"
        assert os.read(self._read, 1) == b""
        os.close(self._read)


def command(code, name="child", **more):
    more.setdefault("environment", os.environ)
    return Command(name=name, argv=(sys.executable, "-I", "-S", "-c", code), **more)


def run(code, sink=None, secrets=(), **more):
    output = Output(sink or Lines(), secrets)
    child = Child(command(code, **more), output)
    assert child.ended.wait(PATIENCE_S)
    output.close()
    return child


def test_what_a_child_says_on_stdout_and_stderr_arrives_under_its_name():
    lines = Lines()

    run("import sys; print('one', flush=True); print('two', file=sys.stderr)", lines, name="bob")

    assert lines.all == [("bob", "one"), ("bob", "two")]


def test_control_characters_of_a_child_never_reach_the_terminal():
    lines = Lines()

    run(r"print('\x1b[2Jred\x07\x9b\tblue')", lines)

    assert lines.all == [("child", "[2Jred\tblue")]


def test_bytes_that_are_no_text_do_not_end_the_reading():
    lines = Lines()

    run(r"import os; os.write(1, b'\xff\xfe\nnext\n')", lines)

    assert lines.all == [("child", "\ufffd\ufffd"), ("child", "next")]


def test_a_secret_that_a_child_prints_is_replaced():
    lines = Lines()

    child = run("print('url redis://:hunter2hunter2@host')", lines, ("hunter2hunter2",))

    assert lines.all == [("child", "url redis://:***@host")]
    assert "hunter2" not in child.obituary()


def test_an_empty_secret_hides_nothing():
    lines = Lines()

    run("print('plain')", lines, ("",))

    assert lines.all == [("child", "plain")]


def test_a_command_shows_neither_its_environment_nor_its_input():
    shown = repr(command("", environment={"TOKEN": "hunter2"}, stdin="password hunter2"))

    assert "hunter2" not in shown


def test_a_child_gets_its_input_and_then_the_end_of_it():
    lines = Lines()

    run("import sys; print(sys.stdin.read().upper())", lines, stdin="config")

    assert lines.all == [("child", "CONFIG")]


def test_a_paused_terminal_does_not_stop_a_child(monkeypatch):
    monkeypatch.setattr(processes, "MOST_WAITING_LINES", 10)
    goes_on, said = threading.Event(), []

    def paused(name, line):
        assert goes_on.wait(PATIENCE_S)
        said.append((name, line))

    output = Output(paused)
    # A pipe holds 64 KB: this is far more.
    child = Child(command("for n in range(20_000): print('line', n)"), output)
    assert child.ended.wait(PATIENCE_S)
    goes_on.set()
    output.close()

    assert said[0] == ("child", "line 0")
    # The one in the sink's hands and the ten waiting were kept, or ten if it was not yet taken.
    left_out = [line for name, line in said if name == "up"]
    assert left_out in (
        ["(19989 lines left out: nobody took them in time)"],
        ["(19990 lines left out: nobody took them in time)"],
    )


def test_a_terminal_that_is_gone_does_not_stop_the_reading():
    def gone(_name, _line):
        raise OSError("terminal closed")

    child = run("print('one'); print('two')", gone)

    assert list(child.tail) == ["one", "two"]


def test_an_obituary_names_child_exit_code_and_last_lines():
    child = run("print('no such table'); raise SystemExit(3)", name="worker")

    assert child.obituary() == (
        "worker ended unexpectedly (exit code 3). Its last lines:\n  worker | no such table"
    )


def test_an_obituary_names_the_signal_that_killed():
    child = run("import os; os.kill(os.getpid(), 9)")

    assert child.obituary() == "child ended unexpectedly (killed by SIGKILL). It said nothing."


def test_a_child_is_ready_once_it_says_so():
    lines = Lines()
    with Supervisor(lines) as supervisor:
        child = supervisor.start(command(STAYS, ready_line="^here$"))

        supervisor.await_ready(child, child.ready.is_set, PATIENCE_S)

        assert child.returncode is None


def test_a_line_that_does_not_match_makes_nobody_ready():
    child = run("print('nearly here')", ready_line="^here$")

    assert not child.ready.is_set()


def test_waiting_for_a_child_that_dies_fails_with_its_last_lines():
    with Supervisor(Lines()) as supervisor:
        child = supervisor.start(command("print('why'); raise SystemExit(4)"))
        with pytest.raises(DeskfeedError, match=r"exit code 4.*\n  child \| why") as error:
            supervisor.await_ready(child, lambda: False, PATIENCE_S)

    assert error.value.code == "process_ended"


def test_a_child_that_is_never_ready_is_named():
    with Supervisor(Lines()) as supervisor:
        child = supervisor.start(command(STAYS, name="flower"))
        with pytest.raises(DeskfeedError, match="flower was not ready within 0 s") as error:
            supervisor.await_ready(child, lambda: False, 0)

    assert error.value.code == "process_silent"


def test_a_wish_to_stop_ends_the_waiting_for_a_child():
    with Supervisor(Lines()) as supervisor:
        child = supervisor.start(command(STAYS))
        supervisor.ask_stop()

        with pytest.raises(StopAsked):
            supervisor.await_ready(child, lambda: False, PATIENCE_S)


def test_a_wish_to_stop_ends_the_wait():
    with Supervisor(Lines()) as supervisor:
        supervisor.start(command(STAYS))
        supervisor.ask_stop()

        assert supervisor.wait(PATIENCE_S) is True


def test_a_wait_without_news_ends_in_time():
    with Supervisor(Lines()) as supervisor:
        supervisor.start(command(STAYS))

        assert supervisor.wait(0.01) is False


def test_the_first_death_ends_the_wait_and_then_the_others_end():
    lines = Lines()
    with Supervisor(lines) as supervisor:
        other = supervisor.start(command(SAYS_GOODBYE, name="worker"))
        lines.await_line("worker", "here")
        supervisor.start(command("", name="beat"))

        with pytest.raises(DeskfeedError, match="beat ended unexpectedly"):
            supervisor.wait()

    assert other.returncode == 0
    assert ("worker", "goodbye") in lines.all


def test_stages_end_one_after_the_other_from_the_highest():
    lines = Lines()
    with Supervisor(lines) as supervisor:
        for stage, name in enumerate(("redis", "sandbox", "worker")):
            supervisor.start(command(SAYS_GOODBYE, name=name, stage=stage))
            lines.await_line(name, "here")

    assert [name for name, line in lines.all if line == "goodbye"] == ["worker", "sandbox", "redis"]


def test_a_child_that_does_not_end_within_the_grace_is_killed():
    lines = Lines()
    with Supervisor(lines, grace_s=0.1) as supervisor:
        child = supervisor.start(command(IGNORES_SIGTERM))
        lines.await_line("child", "here")

    assert child.returncode == -signal.SIGKILL
    assert ("up", "child did not end in time and is killed") in lines.all


def test_a_second_wish_to_stop_ends_everybody_at_once():
    lines = Lines()
    supervisor = Supervisor(
        # The child has been asked to end, and does not: now somebody presses Ctrl-C again.
        lambda name, line: supervisor.ask_stop() if line == "not I" else lines(name, line),
        grace_s=600,
    )
    with supervisor:
        child = supervisor.start(command(IGNORES_SIGTERM))
        lines.await_line("child", "here")
        supervisor.ask_stop()

    assert child.returncode == -signal.SIGKILL


def test_what_a_child_leaves_behind_is_killed_with_it():
    alive, lines = Alive(), Lines()
    code = f"import os, time\nif os.fork() == 0: time.sleep(600)\n{SAYS_GOODBYE}"
    with Supervisor(lines) as supervisor:
        child = supervisor.start(command(code, pass_fds=(alive.write,)))
        lines.await_line("child", "here")

    assert child.returncode == 0
    alive.assert_all_gone()


def test_an_error_in_the_block_leaves_nobody_behind():
    alive = Alive()

    def fail():
        with Supervisor(Lines()) as supervisor:
            supervisor.start(command(STAYS, pass_fds=(alive.write,)))
            raise RuntimeError("oops")

    with pytest.raises(RuntimeError, match="oops"):
        fail()

    alive.assert_all_gone()


def test_ctrl_c_of_the_terminal_does_not_reach_a_child():
    child = run("import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))")

    assert list(child.tail) == ["True"]


if sys.platform == "linux":  # elsewhere the kernel offers no such thing; docs/deploy.md says so

    def test_when_we_are_killed_our_children_are_killed():
        alive = Alive()
        code = f"""
import os, sys
from orchestrations.cli.processes import Command
from orchestrations.cli.supervisor import Supervisor
supervisor = Supervisor(lambda name, line: print(line, flush=True))
argv = (sys.executable, "-c", {STAYS!r})
child = Command(name="child", argv=argv, environment=os.environ, pass_fds=({alive.write},))
supervisor.start(child)
supervisor.wait()
"""
        ours = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=(alive.write,)
        )
        with ours:
            assert ours.stdout.readline() == b"here\n"
            ours.kill()

        alive.assert_all_gone()

    def test_a_program_that_is_missing_is_named():
        output = Output(Lines())
        missing = Command(name="redis", argv=("/nowhere/valkey",), environment={})

        child = Child(missing, output)

        assert child.ended.wait(PATIENCE_S)
        output.close()
        assert list(child.tail) == ["cannot start /nowhere/valkey: No such file or directory"]
