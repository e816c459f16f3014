"""A worker that cannot work says why and ends, so that whoever watches over it notices."""

from __future__ import annotations

import subprocess
import sys

import pytest
from stage import PATIENCE_S, ROOT, make_stage


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"DESKFEED_LEDGER_URL": "sqlite:////dev/null/x/ledger.db"}, "cannot be made"),
        ({"DESKFEED_LEDGER_URL": "mysql://root:hunter2@db/x"}, "not supported"),
    ],
)
def test_a_worker_without_a_ledger_ends_with_a_sentence(tmp_path, settings, words):
    with make_stage(tmp_path) as stage:
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker.app", "worker"],
            cwd=ROOT,
            env={**stage.environment, **settings},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "hunter2" not in done.stderr
