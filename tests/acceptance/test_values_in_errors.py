"""A query that stumbles over a value: nobody is told the value, wherever errors are told.

DuckDB's own words quote cells (`Could not convert string 'ada@example.com' to INT32`) and the
values of parameters. What is told is the kind of error, the line of the query, names of columns.
"""

from __future__ import annotations

import pytest
from stage import make_stage, until
from webhook import Webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROWS = "id,name,mail\n1,Cnryname Doe,cnrymail@people.example\n"
HEADERLESS = ROWS.partition("\n")[2]
PARAM = "cnryparam@people.example"

FAULTS = {
    "a cell that is no number": (
        ROWS, "SELECT id AS external_id, name, CAST(mail AS INTEGER) AS notes FROM people",
        "a value cannot be converted to INT32",
    ),
    "a cell in an error that the query makes": (
        ROWS, "SELECT id AS external_id, error(name || mail) AS name FROM people",
        "its words may quote values and are left out",
    ),
    "a column that is not there": (
        ROWS, "SELECT ident AS external_id, name FROM people", 'Candidate bindings: "id"',
    ),
    "a file without a header": (
        HEADERLESS, "SELECT id AS external_id, name FROM people", "line 1 is to be the header",
    ),
    "a parameter that the planner stumbles over": (
        ROWS, "SELECT id AS external_id, struct_extract({'a': name}, $key) AS name FROM people",
        "its words may quote values of the query's parameters and are left out",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A stage on which each of the runs has failed; all that was typed and answered, by fault."""
    webhook = Webhook()
    answers = {}
    try:
        with make_stage(tmp_path_factory.mktemp("values")) as stage:
            stage.environment["DESKFEED_ALERTS__OPS"] = webhook.address
            stage.environment["DESKFEED_LOG_LEVEL"] = "DEBUG"
            stage.use_catalog()
            stage.start_worker()
            for fault, (rows, sql, _) in FAULTS.items():
                needs = "$key" in sql
                stage.use_catalog(rows=rows, sql=sql, more="params: {key: null}" * needs)
                given = ["--param", f"key={PARAM}"] if needs else []
                done = stage.deskfeed("run", "loyalty", *given, "--wait", "--json")
                answers[fault] = done.stdout + done.stderr
            until(lambda: len(webhook.taken) >= len(FAULTS), "every failure to be told")
            yield stage, answers, webhook
    finally:
        webhook.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_says_what_is_wrong_and_names_columns_but_no_value(failed, fault):
    _, answers, _ = failed
    assert FAULTS[fault][2] in answers[fault].replace('\\"', '"')
    assert "cnry" not in answers[fault].lower()


def test_no_log_no_alert_and_nothing_in_the_ledger_repeats_a_value(failed):
    stage, _, webhook = failed
    files = [path for path in (stage.folder / "state").rglob("*") if path.is_file()]

    assert stage.worker_log(0).count("run_failed") >= len(FAULTS)
    assert "cnry" not in stage.worker_log(0).lower()
    assert len(webhook.taken) >= len(FAULTS)
    assert "cnry" not in repr(webhook.taken).lower()
    assert any(path.name == "ledger.db" for path in files)
    for path in files:
        assert b"cnry" not in path.read_bytes().lower(), path
