"""A credential that was changed is used without a restart."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import select
from stage import ROOT, make_stage, until

from worker.ledger.schema import chunks
from worker.sandbox.config import DEFAULT_CLIENTS

CLIENT = DEFAULT_CLIENTS[0]
BULK = {"method": "POST", "path": "/api/v2/users/create_or_update_many"}
ROWS = "id,name,mail\n" + "".join(f"C{n},Person {n},p{n}@example.com\n" for n in range(1, 401))


def write_credential(folder, email):
    (folder / ".env").touch(mode=0o600)
    (folder / ".env").write_text(
        f"DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL={email}\n"
        "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN=sandbox-token\n"
    )


@pytest.fixture
def stage(tmp_path):
    """A stage whose worker has its credential from a file `.env`."""
    with make_stage(tmp_path, time_scale=0.3) as made:
        for name in [name for name in made.environment if "CREDENTIALS" in name]:
            del made.environment[name]
        write_credential(tmp_path, "admin@socktown.example")
        made.use_catalog(rows=ROWS)
        with (tmp_path / "worker0.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker.app", "worker"],
                cwd=tmp_path, env={**made.environment, "PYTHONPATH": str(ROOT)}, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        made.workers.append(worker)
        yield made


def logins(stage):
    """Who sent bulk upserts, in order, with the status of the answer."""
    return [
        (entry["login"], entry["status"])
        for entry in stage.sandbox.journal()
        if entry["kind"] == "bulk_upsert"
    ]


def test_a_paused_run_goes_on_with_the_new_credential_in_the_same_worker(stage, tmp_path):
    stage.sandbox.add_fault({"action": "answer", "status": 401, "after": 1, **BULK})
    run = stage.json("run", "loyalty")["run_id"]
    until(lambda: stage.json("show", run)["state"] == "paused", "the run to be paused")
    refused = stage.json("show", run)
    assert refused["error"]["code"] == "invalid_credentials"

    stage.sandbox.clear_faults()
    write_credential(tmp_path, "lead@socktown.example")
    assert stage.deskfeed("resume", run).returncode == 0
    done = stage.deskfeed("watch", run)

    assert done.returncode == 0, done.stderr + stage.worker_log(0)
    accepted = [login for login, status in logins(stage) if status == 200]
    assert accepted == ["admin@socktown.example"] + 3 * ["lead@socktown.example"]
    assert len(stage.workers) == 1
    assert stage.workers[0].poll() is None


def test_a_credential_that_is_changed_before_zendesk_refuses_it_costs_no_pause(stage, tmp_path):
    stage.sandbox.add_fault(
        {"action": "answer", "status": 401, "seconds_before": 4, "count": 1, **BULK}
    )
    run = stage.json("run", "loyalty")["run_id"]
    until(lambda: submitting(stage), "a POST to be on its way")

    write_credential(tmp_path, "lead@socktown.example")
    done = stage.deskfeed("watch", run)

    assert done.returncode == 0, done.stderr + stage.worker_log(0)
    assert "credential_renewed" in stage.worker_log(0)
    with stage.ledger() as ledger:
        assert list(ledger.views.events(run, "run_paused")) == []
    assert ("admin@socktown.example", 401) in logins(stage)
    assert ("lead@socktown.example", 200) in logins(stage)
    assert stage.json("show", run)["posts"] == len(logins(stage)) == 5


def submitting(stage):
    with stage.ledger() as ledger, ledger.database.read() as connection:
        return connection.scalar(select(chunks.c.seq).where(chunks.c.state == "submitting"))


def test_an_oauth_client_whose_token_is_taken_back_delivers_every_row(tmp_path):
    with make_stage(tmp_path) as stage:
        for name in [name for name in stage.environment if "CREDENTIALS" in name]:
            del stage.environment[name]
        stage.environment["DESKFEED_CREDENTIALS__SOCKTOWN__CLIENT_ID"] = CLIENT.client_id
        stage.environment["DESKFEED_CREDENTIALS__SOCKTOWN__CLIENT_SECRET"] = CLIENT.client_secret
        stage.use_catalog(rows=ROWS)
        stage.start_worker()
        run = stage.json("run", "loyalty")["run_id"]
        until(lambda: logins(stage), "the first chunk to be sent")

        assert stage.sandbox.revoke_tokens() > 0
        done = stage.deskfeed("watch", run)

        assert done.returncode == 0, done.stderr + stage.worker_log(0)
        shown = stage.json("show", run)
        assert shown["rows"]["created"] == 400
        assert [status for _, status in logins(stage) if status == 200] == [200] * 4
        assert "oauth_token_renewed" in stage.worker_log(0)
        assert CLIENT.client_secret not in stage.worker_log(0)
