"""The demo leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from stage import ROOT, until


def descendants(pid):
    """Every process below one, by `ps`."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    children = {}
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, todo = set(), [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_and_no_folder(how, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DESKFEED_")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "orchestrations.cli.demo", "--any-ports"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    seen = []
    for line in demo.stdout:
        seen.append(line)
        if "sending:" in line:
            break
    else:
        demo.stdout.close()
        pytest.fail("".join(seen))
    processes = descendants(demo.pid)
    assert len(processes) >= 5

    if how == signal.SIGINT:
        os.killpg(demo.pid, how)  # as a terminal does
    else:
        demo.send_signal(how)
    seen.append(demo.stdout.read())
    demo.stdout.close()

    assert demo.wait() == 130, "".join(seen)
    assert "nothing is left running" in "".join(seen)
    until(lambda: not [pid for pid in processes if alive(pid)], "every process to be gone")
    assert [path.name for path in tmp_path.iterdir() if "deskfeed-demo" in path.name] == []
