"""Failpoints do nothing unless a test asks, and then exactly what it asked for."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from stage import ROOT

from worker import failpoints
from worker.failpoints import NAMES, VARIABLE, FailpointReached, parse, reached


def run(code, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DESKFEED_")}
    return subprocess.run(
        [sys.executable, "-c", f"from worker.failpoints import reach\n{code}\nprint('went on')"],
        cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True,
    )  # fmt: skip


def test_they_are_off_by_default():
    code = "".join(f"reach({name!r})\n" for name in NAMES)
    code += "from worker import failpoints\nprint(failpoints._armed)"

    assert run(code).stdout == "None\nwent on\n"
    assert failpoints._armed is None, f"these tests run with {VARIABLE}"


@pytest.mark.parametrize(
    ("action", "code"),
    [("kill", -signal.SIGKILL), ("term", -signal.SIGTERM), ("exit", 70), ("raise", 1)],
)
def test_each_action_ends_the_process_in_its_way(action, code):
    done = run("reach('post.after')", **{VARIABLE: f"post.after={action}"})

    assert (done.returncode, done.stdout) == (code, "")


def test_it_acts_at_the_time_that_was_asked_for():
    armed = parse("post.before=raise@2")

    armed.act("post.before")
    armed.act("post.after")
    with pytest.raises(FailpointReached):
        armed.act("post.before")
    armed.act("post.before")


def test_it_leaves_a_file_and_acts_once_for_all_processes(tmp_path):
    first, second = (parse("post.before=raise", str(tmp_path)) for _ in range(2))

    assert reached(tmp_path, "post.before") is None
    with pytest.raises(FailpointReached):
        first.act("post.before")
    second.act("post.before")

    assert reached(tmp_path, "post.before")[0] == os.getpid()


@pytest.mark.parametrize("words", ["post.befor=kill", "post.before=explode", "post.before"])
def test_what_is_not_there_is_refused(words):
    with pytest.raises(ValueError, match=VARIABLE):
        parse(words)


def test_every_failpoint_stands_in_the_code_once():
    """A failpoint that nobody reaches tests nothing."""
    found = Counter()
    for folder in ("worker", "orchestrations"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reach":
                    found[node.args[0].value] += 1

    assert found == Counter(NAMES)
