"""What an operator does when not all went well: retry, stop, verify, prune."""

from __future__ import annotations

import base64
import json
import urllib.request

import pytest
from stage import make_stage, until

pytestmark = [pytest.mark.xdist_group("operator")]

LOGIN = base64.b64encode(b"admin@socktown.example/token:sandbox-token").decode()


def people(count):
    lines = [f"C{n},Person {n},p{n}@example.com\n" for n in range(1, count + 1)]
    return "id,name,mail\n" + "".join(lines)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with make_stage(tmp_path_factory.mktemp("operator"), time_scale=0.3) as made:
        made.start_worker()
        yield made


@pytest.fixture(autouse=True)
def as_new(stage):
    """Each test begins with an empty sandbox and five people."""
    stage.sandbox.reset()
    stage.sandbox.configure(seconds_per_user=0.01)
    stage.use_catalog(rows=people(5))


def refuse(stage, *external_ids):
    stage.sandbox.add_fault({"action": "job", "fail_rows": list(external_ids)})


def run(stage, *words):
    """Run a command to its end; returns its exit code and the run it tells of."""
    done = stage.deskfeed(*words, "--wait", "--json")
    return done.returncode, json.loads(done.stdout)


def stored(stage):
    return sorted(user["external_id"] for user in stage.sandbox.users() if user["external_id"])


def test_rows_that_failed_arrive_once_the_fault_is_lifted(stage):
    refuse(stage, "C2", "C4")
    code, parent = run(stage, "run", "loyalty")
    assert (code, parent["rows"]["failed"]) == (3, 2)
    stage.sandbox.clear_faults()
    stage.use_catalog(rows=people(5), sql="SELECT nosuch FROM people")  # no query is needed

    code, child = run(stage, "retry", parent["run_id"])

    assert code == 0
    assert child["rows"]["read"] == child["rows"]["created"] == 2
    assert child["parent_run"] == parent["run_id"]
    assert stored(stage) == ["C1", "C2", "C3", "C4", "C5"]
    again = stage.json("show", parent["run_id"])
    assert again["rows"] == parent["rows"]
    assert again["retries"] == [child["run_id"]]

    # The same command again, as a scheduler does it: nothing is sent twice.
    posts = stage.sandbox.stats()["posts"]
    repeated = stage.json("retry", parent["run_id"])
    assert (repeated["new"], repeated["run_id"]) == (False, child["run_id"])
    assert stage.sandbox.stats()["posts"] == posts


def test_what_fails_again_keeps_the_number_of_its_row(stage):
    refuse(stage, "C2", "C4")
    _, parent = run(stage, "run", "loyalty")
    stage.sandbox.clear_faults()
    refuse(stage, "C4")

    code, child = run(stage, "retry", parent["run_id"])

    assert code == 3
    (row,) = stage.json("failures", child["run_id"])["failures"]
    assert (row["row"], row["external_id"]) == (4, "C4")
    stage.sandbox.clear_faults()
    assert run(stage, "retry", child["run_id"])[0] == 0
    assert "C4" in stored(stage)


def test_only_rows_with_the_code_are_retried(stage):
    rows = people(5) + "C6,,p6@example.com\n"
    stage.use_catalog(rows=rows)
    refuse(stage, "C2")
    _, parent = run(stage, "run", "loyalty")
    stage.sandbox.clear_faults()

    wrong = stage.deskfeed("retry", parent["run_id"], "--code", "missing_name")
    assert wrong.returncode == 2
    assert "refused before anything was sent" in wrong.stderr
    assert "deskfeed run loyalty" in wrong.stderr

    said = stage.deskfeed("retry", parent["run_id"], "--code", "rejected_by_zendesk", "--wait")
    assert said.returncode == 0, said.stderr
    assert "C2" in stored(stage)


def test_rows_cancelled_by_stop_are_sent_by_retry(stage):
    stage.use_catalog(rows=people(1200))
    stage.sandbox.configure(seconds_per_user=0.002)
    begun = stage.json("run", "loyalty")["run_id"]
    until(lambda: stage.sandbox.stats()["posts"] >= 2, "the second POST")
    assert stage.deskfeed("pause", begun).returncode == 0
    assert stage.deskfeed("pause", begun).returncode == 0
    assert stage.deskfeed("stop", begun).returncode == 0
    assert stage.deskfeed("stop", begun).returncode == 0
    done = stage.deskfeed("watch", begun, "--json")

    parent = json.loads(done.stdout)
    rows = parent["rows"]
    assert (done.returncode, parent["state"]) == (1, "stopped")
    assert rows["pending"] == 0
    assert rows["skipped"] > 0
    # What Zendesk had was followed to its end: every user that is there is in the sums.
    assert rows["created"] == len(stored(stage)) == 1200 - rows["skipped"]

    code, child = run(stage, "retry", begun)
    assert code == 0
    assert child["rows"]["read"] == child["rows"]["created"] == rows["skipped"]
    assert len(stored(stage)) == 1200


def test_a_paused_run_is_resumed_with_the_same_rows_and_twice_is_harmless(stage):
    stage.use_catalog(rows=people(900))
    stage.sandbox.configure(seconds_per_user=0.002)
    begun = stage.json("run", "loyalty")["run_id"]
    until(lambda: stage.sandbox.stats()["posts"] >= 1, "the first POST")
    stage.deskfeed("pause", begun)
    stage.use_catalog(rows=people(3))  # the snapshot is what counts

    assert stage.deskfeed("resume", begun).returncode == 0
    assert stage.deskfeed("resume", begun).returncode in (0, 1)  # 1: it has ended already
    done = stage.deskfeed("watch", begun, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["created"] == 900


def test_when_the_rows_are_gone_retry_says_so(stage):
    refuse(stage, "C2")
    _, parent = run(stage, "run", "loyalty")
    dry = stage.json("prune", "--dry-run", "--older-than", "0s")
    assert dry["removed"]["runs"] >= 1
    # Only the kept rows: everything else of the run is to be there still.
    with stage.ledger() as ledger:
        from sqlalchemy import update

        from worker.ledger.schema import payloads

        with ledger.database.write() as connection:
            connection.execute(update(payloads).values(expires_at=1.0))
    stage.json("prune")  # unless a worker's sweeper came first

    gone = stage.deskfeed("retry", parent["run_id"])
    assert gone.returncode == 2
    assert f"the rows of {parent['run_id']} are gone, run again" in gone.stderr
    assert "deskfeed run loyalty" in gone.stderr
    (row,) = stage.json("failures", parent["run_id"])["failures"]
    assert (row["row"], row["external_id"], row["email"]) == (2, None, None)

    assert stage.json("prune", "--older-than", "0s")["removed"]["runs"] == dry["removed"]["runs"]
    assert stage.deskfeed("show", parent["run_id"]).returncode == 2


def change_behind_our_back(stage, **user):
    """Another client of the account changes a user."""
    request = urllib.request.Request(
        f"{stage.sandbox.url}/api/v2/users/create_or_update_many.json",
        data=json.dumps({"users": [user]}).encode(),
        headers={"Authorization": f"Basic {LOGIN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        job = json.load(answer)["job_status"]["id"]
    until(
        lambda: any(j["id"] == job and j["status"] == "completed" for j in stage.sandbox.jobs()),
        "the change",
    )


def test_verify_finds_a_field_that_somebody_changed(stage):
    stage.use_catalog(
        rows="id,name,mail,tier\n"
        + "".join(f"C{n},Person {n},P{n}@Example.com,gold\n" for n in range(1, 6)),
        sql='SELECT id AS external_id, name, mail AS email, tier AS "user_fields.loyalty_tier", '
        "'2026-11-24' AS \"user_fields.last_order_on\", 'vip' AS tags FROM people ORDER BY id",
    )
    _, done = run(stage, "run", "loyalty")
    assert done["rows"]["created"] == 5
    before = stage.deskfeed("verify", "last", "--json")
    found = json.loads(before.stdout)
    assert (before.returncode, found["ok"]) == (0, True), before.stdout
    assert (found["read"], found["equal"]) == (5, 5)

    change_behind_our_back(
        stage, external_id="C3", name="Mallory", user_fields={"loyalty_tier": "bronze"}
    )
    after = stage.deskfeed("verify", "last", "--json")
    found = json.loads(after.stdout)

    assert (after.returncode, found["ok"]) == (3, False)
    assert (found["equal"], found["differs"]) == (4, 1)
    (row,) = found["differing"]
    assert row["row"] == 3
    assert {"name", "user_fields.loyalty_tier"} <= set(row["fields"])
    said = stage.deskfeed("verify", "last")
    assert "row 3: " in said.stdout
    for value in ("Mallory", "bronze", "Person", "C3"):
        assert value not in after.stdout + said.stdout


RULES = """\
columns: {id: external_id, mail: email, tier: user_fields.loyalty_tier, call: phone, note: null}
constants: {user_fields.favorite_category: slippers}
defaults: {user_fields.loyalty_tier: bronze}
on_invalid_value: drop_field
tags: add
phone_region: US
"""


def test_rules_reach_zendesk_and_a_dry_run_and_verify_know_them(stage):
    """Tags are added, staff is spared, values have the type of their field."""
    stage.use_catalog(
        rows="id,name,mail,tier,call,tags,note\n"
        "C1,Ada,ada@example.com,Gold,(512) 555-0143,vip,x\n"
        "C2,Bob,bob@example.com,iron,+1 512 555 0144,,x\n"
        "C3,Boss,Agent@Socktown.example,gold,,vip,x\n",
        sql="SELECT * FROM people ORDER BY id",
        more=RULES,
    )
    change_behind_our_back(stage, email="ada@example.com", name="Ada", tags=["old"])
    tried = stage.json("run", "loyalty", "--dry-run")
    assert (tried["to_send"], tried["changed"]) == (2, 2)
    assert tried["rejected"] == [{"outcome": "failed", "code": "staff_member", "rows": 1}]

    code, done = run(stage, "run", "loyalty")
    assert (code, done["rows"]["updated"], done["rows"]["created"]) == (3, 1, 1)
    (warning,) = done["warnings"]
    assert warning.startswith("column 'tier': 1 value that cannot be sent")

    people = {user["external_id"]: user for user in stage.sandbox.users()}
    ada, bob = people["C1"], people["C2"]
    assert ada["tags"] == ["old", "vip", "gold"]
    assert [user["user_fields"]["loyalty_tier"] for user in (ada, bob)] == ["gold", "bronze"]
    assert [user["phone"] for user in (ada, bob)] == ["+15125550143", "+15125550144"]
    assert ada["user_fields"]["favorite_category"] == "slippers"
    assert stage.json("verify", "last")["equal"] == 2
    assert stage.json("run", "loyalty", "--dry-run")["unchanged"] == 2


def test_verify_after_the_source_changed_says_so_and_a_new_run_mends_it(stage):
    _, done = run(stage, "run", "loyalty")
    stage.use_catalog(
        rows=people(5).replace("Person 2", "Someone Else") + "Z9,New,new@example.com\n"
    )

    found = stage.json("verify", done["run_id"])
    assert (found["equal"], found["source_changed"], found["not_delivered"]) == (4, 1, 1)

    run(stage, "run", "loyalty")
    assert stage.json("verify", "last")["equal"] == 6


def test_verify_without_redis_asks_at_a_plain_pace_and_says_so(stage):
    run(stage, "run", "loyalty")

    done = stage.deskfeed(
        "verify", "last", "--sample", "2", "--json", DESKFEED_REDIS_URL="redis://127.0.0.1:1/0"
    )

    assert done.returncode == 0, done.stderr
    assert "without the shared rate limit" in done.stderr
    found = json.loads(done.stdout)
    assert (found["equal"], found["not_sampled"]) == (2, 3)


def test_verify_that_can_compare_nothing_is_no_success(stage):
    run(stage, "run", "loyalty")
    stage.use_catalog(rows=people(5).replace("Person", "Human"))

    done = stage.deskfeed("verify", "last", "--json")

    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["error"]["code"] == "not_verified"
    assert answer["source_changed"] == 5


def test_verify_of_a_destination_that_refuses_us_could_not_be_done(stage):
    run(stage, "run", "loyalty")

    done = stage.deskfeed(
        "verify", "last", DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN="not-the-token"
    )

    assert done.returncode == 1
    assert "What to do:" in done.stderr
    assert list((stage.folder / "state" / "verify").iterdir()) == []
