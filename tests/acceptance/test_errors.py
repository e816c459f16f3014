"""What a person meets when something is wrong: a clear sentence, the right code, nothing sent."""

from __future__ import annotations

import json

import pytest
from stage import free_port, make_stage, until

pytestmark = pytest.mark.xdist_group("errors")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with make_stage(tmp_path_factory.mktemp("errors")) as made:
        made.start_worker(
            DESKFEED_CREDENTIALS__WRONG__EMAIL="admin@socktown.example",
            DESKFEED_CREDENTIALS__WRONG__API_TOKEN="not-the-token",
        )
        yield made


@pytest.fixture(autouse=True)
def as_new(stage):
    """Each test begins with an empty sandbox and the plain catalog."""
    stage.sandbox.reset()
    stage.sandbox.configure(seconds_per_user=0.01)
    stage.use_catalog()


def fails(stage, code, exit_code, *words, **environment):
    """Run the command and check that it fails as promised, with nothing sent; returns stderr."""
    done = stage.deskfeed("run", "loyalty", "--wait", **environment)
    assert done.returncode == exit_code, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert "What to do:" in done.stderr
    assert stage.sandbox.stats()["posts"] == 0
    if exit_code == 1:
        shown = stage.json("show", "last")
        assert shown["state"] == "failed"
        assert shown["error"]["code"] == code
        assert shown["posts"] == 0
        assert shown["rows"]["pending"] == 0
    return done.stderr


def test_a_missing_credential_fails_the_run_and_names_the_variable(stage):
    file = stage.catalog / "destinations" / "socktown.yaml"
    file.write_text(file.read_text().replace("credential: socktown", "credential: other"))

    fails(stage, "credential_missing", 1, "DESKFEED_CREDENTIALS__OTHER__EMAIL")


def test_an_anonymous_answer_is_no_login(stage):
    stage.sandbox.add_fault(
        {
            "path": "/api/v2/users/me",
            "action": "answer",
            "status": 200,
            "body": {"user": {"id": None, "name": "Anonymous user"}},
        }
    )

    fails(stage, "anonymous_login", 1, "anonymous")


def test_an_unreachable_host_fails_the_run(stage):
    stage.use_catalog(url=f"http://127.0.0.1:{free_port()}")

    fails(stage, "destination_unavailable", 1)


def test_a_subdomain_that_does_not_exist_fails_the_run(stage):
    stage.sandbox.add_fault({"path": "/api/v2/", "action": "html", "status": 404})

    fails(stage, "subdomain_not_found", 1, "subdomain")


def test_a_missing_column_fails_the_run(stage):
    stage.use_catalog(sql="SELECT id AS external_id FROM people")

    fails(stage, "missing_required_field", 1, "name")


def test_an_empty_result_fails_the_run(stage):
    stage.use_catalog(rows="id,name,mail\n")

    fails(stage, "threshold_exceeded", 1, "no rows")


def test_a_query_that_fails_fails_the_run(stage):
    stage.use_catalog(sql="SELECT nosuch AS name FROM people")

    fails(stage, "unresolved_column", 1, "nosuch")


def test_a_draft_is_not_started(stage):
    stage.use_catalog(status="draft")

    fails(stage, "draft_query", 2, "draft", "status: active")


def test_a_mistake_in_the_catalog_names_file_line_and_key(stage):
    file = stage.catalog / "loyalty.yaml"
    file.write_text(file.read_text().replace("destination: socktown", "destination: socktwn"))

    fails(
        stage, "catalog_error", 2,
        "loyalty.yaml:5 destination: unknown destination 'socktwn' (did you mean 'socktown'?)",
    )  # fmt: skip


def test_bulk_import_switched_off_pauses_the_run_and_says_what_to_ask_for(stage):
    stage.sandbox.configure(import_enabled=False)
    run = stage.json("run", "loyalty")

    shown = until(
        lambda: (s := stage.json("show", run["run_id"]))["state"] == "paused" and s,
        "the run to be paused",
    )
    assert shown["error"]["code"] == "bulk_import_disabled"
    assert "import" in shown["error"]["resolution"] + shown["error"]["message"]
    assert shown["rows"]["pending"] == 2
    assert stage.sandbox.users() == [] or all(
        u["role"] != "end-user" for u in stage.sandbox.users()
    )

    stage.sandbox.configure(import_enabled=True)
    assert stage.deskfeed("resume", run["run_id"]).returncode == 0
    done = stage.deskfeed("watch", run["run_id"], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["created"] == 2


def test_a_wrong_redis_url_starts_nothing(stage):
    before = stage.json("runs")["runs"]
    fails(stage, "broker_unavailable", 2, "DESKFEED_REDIS_URL", DESKFEED_REDIS_URL="redis://h:x")
    assert stage.json("runs")["runs"] == before


def test_a_run_started_while_redis_is_away_starts_by_itself_when_it_is_back(stage):
    away = f"redis://127.0.0.1:{free_port()}/0"
    started = stage.deskfeed("run", "loyalty", DESKFEED_REDIS_URL=away)
    assert started.returncode == 0
    assert "Redis does not answer. The run is recorded" in started.stderr

    # The worker here has a Redis that answers; its sweeper finds the run in the ledger.
    done = stage.deskfeed("watch", "last", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["created"] == 2


def test_a_key_starts_one_run_however_often_it_is_used(stage):
    first = stage.json("run", "loyalty", "--key", "monday")
    second = stage.json("run", "loyalty", "--key", "monday")

    assert (first["new"], second["new"]) == (True, False)
    assert first["run_id"] == second["run_id"]
    assert stage.deskfeed("watch", first["run_id"]).returncode == 0


def test_a_wrong_token_fails_the_run(stage):
    # Last: a 401 tells nothing of the minute's budget, so the account's next run waits it out.
    file = stage.catalog / "destinations" / "socktown.yaml"
    file.write_text(file.read_text().replace("credential: socktown", "credential: wrong"))

    fails(stage, "invalid_credentials", 1, "credential")
