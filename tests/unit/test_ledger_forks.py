"""A child that is forked while its parent writes can use the ledger as any other process."""

from __future__ import annotations

import os
import subprocess
import sys

from stage import ROOT

FORKING = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # Python warns of forks beside threads, which is what Celery does
from worker.ledger import open_ledger
from worker.ledger import database
url = "sqlite:///" + sys.argv[1]
parent = open_ledger(url)
writing, waited = threading.Event(), threading.Event()

def write():
    with parent.database.write():
        writing.set()
        waited.wait(0.3)  # the fork has to meet this transaction

thread = threading.Thread(target=write)
thread.start()
writing.wait()
child = os.fork()
if child == 0:
    database.PATIENCE_S = 2.0
    try:
        own = open_ledger(url)
        own.recovery.heartbeat("child", "here")
    except Exception as error:
        print(error)
        os._exit(1)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
thread.join()
parent.recovery.heartbeat("parent", "here")
print(sorted(parent.recovery.living_workers()))
sys.exit(code)
"""


def test_a_child_forked_in_the_middle_of_a_transaction_gets_in(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path / "ledger.db")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=180,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "['child', 'parent']\n"), done.stdout + done.stderr
