"""The whole journey with rows encrypted in the ledger; whoever lacks the key is told so."""

from __future__ import annotations

import json

from stage import make_stage

KEY = "k1:" + "A" * 43 + "="

PEOPLE = "id,name,mail\n1,Ada,ada@example.com\n2,Bob,bob@example.com\n3,,canary@example.com\n"


def test_a_run_with_encrypted_rows_arrives_and_its_failures_need_the_key(tmp_path):
    with make_stage(tmp_path) as stage:
        stage.environment["DESKFEED_SPOOL_KEY"] = KEY
        stage.use_catalog(rows=PEOPLE)
        stage.start_worker()
        done = stage.deskfeed("run", "loyalty", "--wait")
        assert done.returncode == 3, done.stderr

        told = stage.deskfeed("failures", "last", "--format", "jsonl").stdout
        (row,) = map(json.loads, told.splitlines())
        assert (row["external_id"], row["code"]) == ("3", "missing_name")
        without = stage.deskfeed("failures", "last", DESKFEED_SPOOL_KEY="")
        assert without.returncode == 1
        assert "'k1', which DESKFEED_SPOOL_KEY lacks" in without.stderr
        assert "canary" not in without.stdout + without.stderr
        assert stage.json("show", "last", DESKFEED_SPOOL_KEY="")["rows"]["created"] == 2

        erased = stage.json("forget", "email", "canary@example.com", "--yes")["erased"]
        assert erased["kept_rows"] == 1
        assert "canary" not in stage.worker_log(0)
    state = tmp_path / "state"
    assert not any(b"canary" in file.read_bytes() for file in state.rglob("*") if file.is_file())
