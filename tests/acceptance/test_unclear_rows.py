"""What no job tells is read back, what passes by itself is sent once more: on both databases."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from checker import check
from history import read
from stage import make_stage
from world import LIMITS

from worker.ledger.recovery import MOST_UNCLEAR
from worker.sandbox.messages import make_request

LOGIN = base64.b64encode(b"admin@socktown.example/token:sandbox-token").decode()
POST = "/api/v2/users/create_or_update_many.json"

PASSES, STAYS = 1, 2
"""Rows of the first chunk that another job holds: once, and whenever they are sent."""

MAIL_ONLY, KNOWN = 107, 108
"""Rows of the second chunk: without an external_id, and of somebody known to Zendesk before."""

SQL = "SELECT id AS external_id, name, mail AS email FROM people ORDER BY email"


def name(row):
    return "" if row == MAIL_ONLY else f"C-{row:03d}"


def people():
    rows = (f"{name(n)},Person {n},p{n:03d}@example.com\n" for n in range(1, 111))
    return "id,name,mail\n" + "".join(rows)


def make_known(sandbox, row):
    """Let Zendesk have a person before the run, under another name."""
    user = {"external_id": name(row), "name": "Somebody", "email": f"p{row:03d}@example.com"}
    head = {"Authorization": f"Basic {LOGIN}"}
    body = json.dumps({"users": [user]}).encode()
    request = make_request("POST", POST, head, body, sandbox.now())
    assert sandbox.answer(request, None).status == 200


def script(sandbox):
    """Jobs of the second chunk tell nothing; rows of the first are held by other jobs."""
    job = {"action": "job"}
    sandbox.add_fault({**job, "holding": name(101), "results": "null"})
    held = {**job, "error": "DatabaseConflict"}
    both = {**held, "holding": name(PASSES), "fail_rows": [name(PASSES), name(STAYS)], "count": 1}
    sandbox.add_fault(both)
    sandbox.add_fault({**held, "holding": name(STAYS), "fail_rows": [name(STAYS)]})


@pytest.mark.slow
def test_rows_of_which_no_job_tells_are_read_back_and_rows_in_conflict_go_once_more(
    tmp_path, ledger_url
):
    with make_stage(
        tmp_path, seconds_per_user=0.001, time_scale=0.03, ledger_url=ledger_url
    ) as stage:
        limits = f"{{users_per_second: 1000, jobs_in_flight: {LIMITS.jobs_in_flight}}}"
        stage.use_catalog(rows=people(), sql=SQL, limits=limits)
        make_known(stage.sandbox, KNOWN)
        stage.start_worker()
        before = stage.sandbox.journal()[-1]["seq"]
        script(stage.sandbox)
        done = stage.deskfeed("run", "loyalty", "--wait", "--json")
        shown = json.loads(done.stdout)
        with stage.ledger() as ledger:
            everything = read(ledger, shown["run_id"], stage.sandbox)
            journal = [entry for entry in everything.journal if entry["seq"] > before]
            history = replace(everything, journal=journal)
            told = {row.row: row for row in ledger.views.not_delivered(shown["run_id"])}
            posts = {seq: len(found) for seq, found in history.posts_by_chunk.items() if seq}

    assert done.returncode == 3, done.stderr
    assert shown["rows"] == {
        "read": 110, "created": 107, "updated": 1, "failed": 1, "skipped": 0, "unconfirmed": 1,
        "pending": 0,
    }  # fmt: skip
    assert {row: (found.kind, found.code) for row, found in told.items()} == {
        MAIL_ONLY: ("unconfirmed", "unconfirmed"),
        STAYS: ("failed", "row_conflict"),
    }
    assert posts == {1: 1, 2: MOST_UNCLEAR, 3: 1}
    assert history.rows_sent(3) == 2
    assert check(history) == []
