"""The demo's 2,500 customers through real workers: every row agrees with what the sandbox has."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from stage import ROOT, free_port, make_stage, until

from worker.ledger.states import RunState
from worker.profile import OutcomeKind

pytestmark = pytest.mark.xdist_group("journey")

AUTH = "operator:canary-free"


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """Runs of the shipped orchestration by two workers, watched by Flower: one, again, a sample."""
    with make_stage(
        tmp_path_factory.mktemp("journey"), seconds_per_user=0.1, time_scale=1.0
    ) as stage:
        stage.use_demo_catalog()
        stage.start_worker()
        stage.start_worker()
        port = free_port()
        with (stage.folder / "flower.log").open("wb") as log:
            flower = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker.app", "flower",
                 "--address=127.0.0.1", f"--port={port}"],
                cwd=ROOT, env={**stage.environment, "FLOWER_BASIC_AUTH": AUTH},
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        stage.workers.append(flower)
        until(lambda: _page(port, "/healthcheck"), "Flower to answer")
        stage.flower_port = port
        stage.done = stage.deskfeed("run", "loyalty", "--wait", "--json")
        stage.shown = json.loads(stage.done.stdout)
        stage.users_after = stage.sandbox.users()
        stage.journal_after = stage.sandbox.journal()
        stage.again = json.loads(stage.deskfeed("run", "loyalty", "--wait", "--json").stdout)
        stage.journal_again = stage.sandbox.journal()
        stage.sample = stage.json("run", "loyalty", "--wait", "--full", "--sample", "200")
        yield stage


def _page(port, path):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    request.add_header("Authorization", "Basic " + base64.b64encode(AUTH.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode("utf-8", "replace")
    except OSError:
        return ""


def posts(journal):
    return [entry for entry in journal if entry["kind"] == "bulk_upsert"]


def as_the_query_orders(customer):
    """ORDER BY last_order_on NULLS FIRST, customer_id (NULLs last); dates sort as text."""
    return customer["last_order_on"], not customer["customer_id"], customer["customer_id"]


def test_the_run_ends_with_three_because_some_rows_failed(journey):
    assert journey.done.returncode == 3, journey.done.stderr
    assert journey.shown["state"] == RunState.FINISHED_WITH_FAILURES


def test_every_row_has_exactly_one_outcome(journey):
    rows = journey.shown["rows"]

    assert rows["read"] == 2500
    assert rows == {
        "read": 2500, "created": 2468, "updated": 0, "failed": 28, "skipped": 4, "unconfirmed": 0,
        "pending": 0,
    }  # fmt: skip


def test_the_sandbox_has_exactly_the_people_that_the_ledger_calls_delivered(journey):
    run_id = journey.shown["run_id"]
    with journey.ledger() as ledger:
        delivered = list(ledger.views.delivered(run_id))
        refused = {row.row for row in ledger.views.not_delivered(run_id)}
    text = (journey.catalog / "data" / "customers.csv").read_text(encoding="utf-8")
    source = sorted(csv.DictReader(io.StringIO(text)), key=as_the_query_orders)
    stored = {user["id"]: user for user in journey.users_after}

    assert {row for row, _, _ in delivered} | refused == set(range(1, 2501))
    assert len(delivered) + len(refused) == 2500
    assert {zendesk_id for _, _, zendesk_id in delivered} == set(stored)
    for row, _, zendesk_id in delivered:
        user, wanted = stored[zendesk_id], source[row - 1]
        assert (user["external_id"] or "") == wanted["customer_id"].strip()
        assert (user["email"] or "") == wanted["email"].strip().lower()
        assert user["name"] == wanted["name"].strip()


def test_nothing_was_logged_as_an_error(journey):
    for number in (0, 1):
        lines = journey.worker_log(number).splitlines()
        assert [line for line in lines if "[error" in line or "[warning" in line] == []


def test_the_journal_has_one_post_for_each_chunk_and_each_person_once(journey):
    sent = posts(journey.journal_after)
    people = [
        external_id or email
        for entry in sent
        for external_id, email in zip(entry["external_ids"], entry["emails"], strict=True)
    ]

    assert len(sent) == journey.shown["posts"] == journey.shown["chunks"]["total"] == 25
    assert sum(entry["users"] for entry in sent) == 2471
    assert len(people) == len({key.lower() for key in people}) == 2471


def test_send_stamps_never_exceed_a_hundred_users_in_any_rolling_second(journey):
    with journey.ledger() as ledger:
        stamps = sorted(
            (event.data["stamp"], event.data["users"])
            for run_id in (
                journey.shown["run_id"],
                journey.again["run_id"],
                journey.sample["run_id"],
            )
            for event in ledger.views.events(run_id, "chunk_submitted")
        )
    for start, _ in stamps:
        window = [users for at, users in stamps if start <= at <= start + 1.0]
        assert sum(window) <= 100


def test_one_look_answers_for_several_jobs(journey):
    looks = [
        entry
        for entry in journey.journal_after
        if entry["path"] == "/api/v2/job_statuses/show_many"
    ]

    assert len(looks) == journey.shown["polls"] <= journey.shown["posts"] / 2


def test_every_address_is_marked_verified_so_that_nobody_gets_a_mail(journey):
    identities = [identity for user in journey.users_after for identity in user["identities"]]

    assert len(identities) > 2000
    assert all(identity["verified"] for identity in identities)


def test_a_second_run_sends_only_what_zendesk_does_not_have(journey):
    first, again = journey.shown, journey.again

    assert again["unchanged"] == first["rows"]["created"] == 2468
    assert again["rows"] == {**first["rows"], "created": 0, "skipped": 4 + 2468}
    sent = posts(journey.journal_again)[len(posts(journey.journal_after)) :]
    assert [entry["users"] for entry in sent] == [3]  # those that Zendesk refused before


def test_a_full_run_updates_the_same_people(journey):
    rows = journey.sample["rows"]

    # The other owner of somebody's e-mail is beyond the sample: here the row is nobody's fault.
    assert rows["created"] <= 1
    assert rows["created"] + rows["updated"] == 200 - rows["failed"] - rows["skipped"]
    assert rows["read"] == 200
    assert len(journey.sandbox.users()) == len(journey.users_after) + rows["created"]


def test_failed_rows_are_named_with_their_reason(journey):
    listed = journey.deskfeed("failures", journey.shown["run_id"], "--format", "jsonl").stdout
    failures = [json.loads(line) for line in listed.splitlines()]
    codes = {failure["code"] for failure in failures}

    assert len(failures) == 28
    assert codes == {
        "missing_name", "missing_identifier", "invalid_value", "rejected_by_zendesk",
        "shared_email",
    }  # fmt: skip
    assert all(
        f["external_id"] or f["email"] for f in failures if f["code"] != "missing_identifier"
    )


# --- nobody's data where it does not belong -----------------------------------------------------


def canaries():
    """Every e-mail, phone, id and name of the demo's customers, as they would be met."""
    with (ROOT / "orchestrations/catalog/data/customers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {row["name"].strip() for row in rows if " " in row["name"].strip()}
    words = {row[column].strip() for row in rows for column in ("email", "phone", "customer_id")}
    escaped = {json.dumps(name)[1:-1] for name in names}
    return frozenset(word for word in names | words | escaped if len(word) > 5)


SHAPES = re.compile(r"[\w.+-]+@[\w.-]+\w|SOCK-\d+|\+\d{11}")


def leaked(text, words):
    """Return the customers' values in a text: by their shape, and names as they are."""
    shaped = {found for found in SHAPES.findall(text) if found in words}
    return sorted(shaped | {word for word in words if " " in word and word in text})


@pytest.fixture(scope="module")
def words():
    found = canaries()
    assert len(found) > 5000
    return found


def test_the_search_for_customers_finds_one_that_is_there(words):
    assert leaked('x {"email": "sofia.rossi.1@example.com"} y', words)


def test_no_log_line_holds_a_customer(journey, words):
    logs = "".join(path.read_text(errors="replace") for path in journey.folder.glob("*.log"))

    assert "chunk_submitted" in logs
    assert leaked(logs + journey.done.stderr, words) == []


def test_no_message_or_key_in_redis_ever_held_a_customer(journey, words):
    """The append-only file has every command that the server was ever given."""
    text = "".join(
        path.read_bytes().decode("utf-8", "replace") for path in journey.redis.folder.rglob("*aof*")
    )
    bodies = re.findall(r'"body": ?"([A-Za-z0-9+/=]+)"', text)
    decoded = "\n".join(base64.b64decode(body).decode("utf-8", "replace") for body in bodies)

    assert "run_id" in decoded
    assert decoded.count("seq") >= 50
    assert leaked(text + decoded, words) == []


def test_no_page_of_flower_holds_a_customer(journey, words):
    port = journey.flower_port
    task_list = json.loads(_page(port, "/api/tasks?limit=1000"))
    pages = [_page(port, f"/task/{task_id}") for task_id in list(task_list)[:60]]
    pages += [_page(port, path) for path in ("/", "/tasks", "/broker", "/metrics", "/workers")]

    assert any(journey.shown["run_id"] in task_id for task_id in task_list)
    assert leaked(json.dumps(task_list) + "".join(pages), words) == []


def test_of_delivered_people_nothing_is_left_in_the_ledger(journey, words):
    """Names and e-mails lie nowhere in the clear; what is kept of failed rows is compressed."""
    for path in Path(journey.environment["DESKFEED_STATE_DIR"]).rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            assert leaked(text, words) == [], path
    with journey.ledger() as ledger:
        kept = list(ledger.views.not_delivered(journey.shown["run_id"]))
    assert {row.kind for row in kept} == {OutcomeKind.FAILED, OutcomeKind.SKIPPED}
