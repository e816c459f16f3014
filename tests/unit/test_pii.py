"""Columns marked as personal data: sent only where the destination says so, whoever asks."""

from __future__ import annotations

import json
import pickle

import pytest
from click.testing import CliRunner
from world import write_catalog

from orchestrations import retrying, runs
from orchestrations.cli import deskfeed
from orchestrations.loader import load_catalog
from orchestrations.mapping import mapper_for
from orchestrations.planning import Planner
from orchestrations.rules import MappingRules
from worker.errors import CatalogError, RunError
from worker.profile import Outcome, OutcomeKind, Profile
from worker.settings import settings
from worker.zendesk.client import unlimited
from worker.zendesk.fields import UserField
from worker.zendesk.replies import Identity

COLUMNS = ("external_id", "name", "email", "phone", "user_fields.birthday")
ROW = ("1", "Ada", "ada@example.com", "+15125550143", "1815-12-10")
ROWS = "id,name,mail,tel\n1,Ada,ada@example.com,+15125550143\n"
SQL = "SELECT id AS external_id, name, mail AS email, tel AS phone FROM people ORDER BY id"
MARKS = "pii: [phone]"


class Probe:
    """A destination that lets an administrator in."""

    def whoami(self):
        return Identity(user_id=1, role="admin", suspended=False, anonymous=False)

    def staff(self, permit):
        return frozenset()

    def user_fields(self, permit):
        return ()


def plan(catalog, ledger, tmp_path, run_id):
    planner = Planner(
        ledger=ledger,
        catalog=catalog,
        probe=Probe(),
        permit=unlimited,
        scratch=tmp_path / "scratch",
    )
    planner.plan(ledger.runs.claim_plan(run_id))
    return ledger.views.run(run_id)


def sent(marks, *, allow_pii=False, **rules):
    mapper = mapper_for(MappingRules(pii=marks, **rules), COLUMNS, allow_pii=allow_pii)
    return dict(mapper.map(1, ROW).user), mapper


def test_what_is_marked_is_not_sent_and_is_named():
    user, mapper = sent(["phone", "user_fields.birthday"])

    assert user == {
        "verified": True, "skip_verify_email": True,
        "external_id": "1", "name": "Ada", "email": "ada@example.com",
    }  # fmt: skip
    assert mapper.withheld == ("phone", "user_fields.birthday")
    assert [warning.split()[0] for warning in mapper.warnings] == [
        "'phone'", "'user_fields.birthday'"
    ]  # fmt: skip
    assert all("`allow_pii: true`" in warning for warning in mapper.warnings)


def test_a_destination_that_allows_it_gets_it():
    user, mapper = sent(["phone", "user_fields.birthday"], allow_pii=True)

    assert (user["phone"], user["user_fields"]) == ("+15125550143", {"birthday": "1815-12-10"})
    assert (mapper.withheld, mapper.warnings) == ((), ())


def test_neither_default_nor_constant_nor_null_takes_the_place_of_what_is_withheld():
    user, mapper = sent(
        ["phone", "user_fields.birthday", "notes"],
        defaults={"phone": "+15125550100"},
        constants={"notes": "born in London"},
        nulls="clear",
    )

    assert not {"phone", "notes", "user_fields"} & user.keys()
    assert mapper.withheld == ("notes", "phone", "user_fields.birthday")


def test_the_mapper_of_a_helper_process_withholds_the_same():
    _, mapper = sent(["phone"])
    assert "phone" not in pickle.loads(pickle.dumps(mapper)).map(1, ROW).user
    _, allowing = sent(["phone"], allow_pii=True)
    assert "phone" in pickle.loads(pickle.dumps(allowing)).map(1, ROW).user


def test_a_mark_is_about_the_name_that_a_column_is_sent_under():
    rules = MappingRules(columns={"tel": "phone"}, pii=["phone"])
    mapper = mapper_for(rules, ("external_id", "name", "tel"))
    assert "phone" not in mapper.map(1, ("1", "Ada", "+15125550143")).user


def test_a_row_that_is_refused_keeps_no_withheld_address():
    mapper = mapper_for(MappingRules(pii=["email"]), COLUMNS)
    refused = mapper.map(1, ("1", None, *ROW[2:]))
    assert (refused.code, refused.external_id, refused.email) == ("missing_name", "1", None)


@pytest.mark.parametrize("marks", [["name"], ["external_id", "email"]])
def test_marks_that_leave_nobody_fail_the_run_before_it_sends(marks):
    with pytest.raises(RunError, match="as personal data") as caught:
        sent(marks)
    assert caught.value.code == "missing_required_field"
    assert "allow_pii: true" in caught.value.resolution


def test_a_mark_that_marks_nothing_is_told_for_it_would_protect_nobody():
    _, mapper = sent(["user_fields.birthdya"], allow_pii=True)
    [warning] = mapper.warnings
    assert warning == (
        "`pii` marks 'user_fields.birthdya', which is not sent (did you mean "
        "'user_fields.birthday'?)"
    )


def test_strict_is_about_unknown_columns_and_not_about_marks():
    assert "phone" not in sent(["phone"], strict=True)[0]


def test_a_mark_is_an_attribute_or_a_user_field(tmp_path):
    write_catalog(tmp_path, more="pii: [phnoe]")
    with pytest.raises(CatalogError, match=r"loyalty.yaml:\d+ pii.*'phnoe' is not an attribute"):
        load_catalog(tmp_path)


def test_a_run_sends_none_of_it_and_its_warnings_name_the_column(tmp_path, ledger):
    catalog = load_catalog(write_catalog(tmp_path / "catalog", rows=ROWS, sql=SQL, more=MARKS))
    begun, _ = runs.start(catalog, "loyalty", ledger=ledger, principal="t")
    view = plan(catalog, ledger, tmp_path, begun.run_id)

    [profile] = ledger.outcomes.profiles(begun.run_id, 1)
    assert "phone" not in profile.user
    assert any("'phone' is marked as personal data" in warning for warning in view.warnings)


def allow(folder):
    file = folder / "destinations" / "socktown.yaml"
    file.write_text(file.read_text() + "allow_pii: true\n")


@pytest.mark.parametrize("allowed", [False, True])
def test_a_retry_sends_of_the_kept_rows_what_may_be_sent_now(tmp_path, ledger, new_run, allowed):
    folder = write_catalog(tmp_path / "catalog", rows=ROWS, sql=SQL, more=MARKS)
    if allowed:
        allow(folder)
    ledger.runs.start(new_run("df-1"))
    run = ledger.runs.claim_plan("df-1")
    user = {"external_id": "1", "name": "Ada", "phone": "+15125550143"}
    ledger.planning.add_chunks(
        run, 1, [(Profile(1, user), Profile(2, {**user, "external_id": "2"}))]
    )
    ledger.planning.complete(run)
    ledger.chunks.admit("df-1", 100)
    claim = ledger.chunks.claim("df-1", 1, "w")
    assert ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    ends = [Outcome(1, OutcomeKind.CREATED), Outcome(2, OutcomeKind.FAILED, "rejected_by_zendesk")]
    ledger.outcomes.finish("df-1", 1, claim.fence, ends)
    ledger.runs.close("df-1")

    catalog, parent = load_catalog(folder), ledger.runs.get("df-1")
    child = retrying.retry(catalog, parent, ledger=ledger, principal="t").run
    plan(catalog, ledger, tmp_path, child.run_id)

    [profile] = ledger.outcomes.profiles(child.run_id, 1)
    assert ("phone" in profile.user) == allowed
    assert profile.external_id == "2"


def test_kept_rows_that_would_name_nobody_are_not_sent():
    profile = Profile(1, {"name": "Ada", "email": "ada@example.com", "user_fields": {"k": 1}})

    with pytest.raises(RunError, match="kept rows name people only by"):
        retrying.without(profile, ("email",))
    assert retrying.without(profile, ("user_fields.k",)).user == {
        "name": "Ada", "email": "ada@example.com"
    }  # fmt: skip


def test_preview_and_check_name_what_is_withheld(tmp_path, monkeypatch):
    folder = write_catalog(tmp_path / "catalog", rows=ROWS, sql=SQL, more=MARKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", "catalog")
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()

    def ask(*words):
        return json.loads(CliRunner().invoke(deskfeed, [*words, "--json"]).stdout)

    shown = ask("preview", "loyalty")
    assert shown["withheld"] == ["phone"]
    assert "phone" not in shown["rows"][0]["user"]
    assert any("'phone' is marked" in warning for warning in shown["warnings"])
    [checked] = ask("check", "loyalty")["orchestrations"]
    assert any("'phone' is marked" in warning for warning in checked["warnings"])

    allow(folder)
    shown = ask("preview", "loyalty")
    assert (shown["withheld"], shown["rows"][0]["user"]["phone"]) == ([], "+15125550143")
    settings.cache_clear()


def test_fields_of_the_account_are_asked_for_all_the_same():
    known = (UserField("birthday", "date", active=True),)
    mapper = mapper_for(MappingRules(pii=["user_fields.birthday"]), COLUMNS, known)
    assert "user_fields" not in mapper.map(1, ROW).user


def test_a_run_is_not_planned_from_another_catalog_than_it_was_started_from(tmp_path, ledger):
    """Else an edited destination would decide what goes to the one that the run sends to."""
    folder = write_catalog(tmp_path / "catalog", rows=ROWS, sql=SQL, more=MARKS)
    run, _ = runs.start(load_catalog(folder), "loyalty", ledger=ledger, principal="ada")
    file = folder / "destinations" / "socktown.yaml"
    file.write_text(file.read_text().replace("8900", "8901") + "allow_pii: true\n")

    with pytest.raises(RunError) as caught:
        plan(load_catalog(folder), ledger, tmp_path, run.run_id)
    assert caught.value.code == "catalog_differs"
    assert str(folder) in caught.value.message
    assert ledger.views.run(run.run_id).rows.read == 0


def test_a_run_is_not_planned_from_another_query_than_it_was_started_with(tmp_path, ledger):
    folder = write_catalog(tmp_path / "catalog", rows=ROWS, sql=SQL, more=MARKS)
    run, _ = runs.start(load_catalog(folder), "loyalty", ledger=ledger, principal="ada")
    (folder / "loyalty.sql").write_text(SQL.replace("ORDER BY id", "ORDER BY name"))

    with pytest.raises(RunError) as caught:
        plan(load_catalog(folder), ledger, tmp_path, run.run_id)
    assert caught.value.code == "catalog_differs"
