"""Planning: nothing is sent before all is spooled, every row is accounted for."""

from __future__ import annotations

import pytest
from world import write_catalog

from orchestrations import runs
from orchestrations.field_cache import FieldCache
from orchestrations.loader import load_catalog
from orchestrations.planning import PRE_FLIGHTS, Planner
from orchestrations.report import run_as_json
from worker.digests import digest, key_hash, mark
from worker.errors import DestinationError, NotSent, RunError, Superseded, UsageError
from worker.ledger import kept
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind
from worker.zendesk.client import unlimited
from worker.zendesk.fields import UserField
from worker.zendesk.replies import Identity, RateHeaders
from worker.zendesk.roles import CustomRole


class Probe:
    """A destination that lets an administrator in."""

    def __init__(self, identity=None, error=None, fields=(), staff=()):
        self.fields = fields
        self.people = frozenset(staff)
        self.identity = identity or Identity(
            user_id=1, role="admin", suspended=False, anonymous=False
        )
        self.error = error
        self.asked = 0

    def whoami(self):
        self.asked += 1
        if self.error:
            raise self.error
        return self.identity

    def staff(self, permit):
        report = permit()
        self.asked += 1
        report(RateHeaders())
        return self.people

    def user_fields(self, permit):
        report = permit()
        self.asked += 1
        report(RateHeaders())
        return self.fields


@pytest.fixture
def plan(tmp_path, ledger):
    """Return a function that starts and plans a run over a catalog made from keywords."""

    def make(probe=None, sample=None, full=False, permit=unlimited, cache=None, **kwargs):
        catalog = load_catalog(write_catalog(tmp_path / "catalog", **kwargs))
        begun, _ = runs.start(
            catalog,
            "loyalty",
            ledger=ledger,
            principal="t",
            options=runs.Options(sample=sample, full=full),
        )
        run = ledger.runs.claim_plan(begun.run_id)
        planner = Planner(
            ledger=ledger,
            catalog=catalog,
            probe=probe or Probe(),
            permit=permit,
            scratch=tmp_path / "scratch",
            cache=cache,
            sleep=lambda _seconds: None,
        )
        planner.plan(run)
        return ledger.views.run(begun.run_id)

    return make


def csv(count, start=1):
    lines = [f"{n},Person {n},p{n}@example.com" for n in range(start, start + count)]
    return "id,name,mail\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(("rows", "chunks"), [(1, 1), (99, 1), (100, 1), (101, 2), (250, 3)])
def test_rows_are_cut_into_chunks_of_a_hundred(plan, rows, chunks):
    view = plan(rows=csv(rows))

    assert view.run.state == RunState.SENDING
    assert view.run.spool_complete
    assert view.chunks == {ChunkState.PLANNED: chunks}
    assert (view.rows.read, view.rows.pending) == (rows, rows)


def test_refused_rows_and_duplicates_have_their_outcome_before_anything_is_sent(plan, ledger):
    view = plan(
        rows="id,name,mail\n1,Ada,ada@example.com\n2,,b@example.com\n3,Cy,\n,No One,\n"
        "1,Ada B,ada@example.com\n"
    )

    assert view.rows.agree
    assert (view.rows.read, view.rows.pending) == (5, 2)
    assert view.reasons == {
        ("failed", "missing_name"): 1,
        ("failed", "missing_identifier"): 1,
        ("skipped", "duplicate"): 1,
    }
    named = {f.row: f.external_id for f in ledger.views.not_delivered(view.run.run_id)}
    assert named == {1: "1", 3: "2", 5: None}


def test_a_sample_takes_the_first_rows_only(plan):
    view = plan(rows=csv(30), sample=10)

    assert view.rows.read == 10


def test_a_sample_larger_than_the_result_takes_all(plan):
    assert plan(rows=csv(3), sample=10).rows.read == 3


def test_an_empty_result_fails_the_run(plan):
    with pytest.raises(RunError, match="no rows") as caught:
        plan(rows="id,name,mail\n")
    assert caught.value.code == "threshold_exceeded"


def test_an_empty_result_is_fine_where_the_orchestration_says_so(plan):
    view = plan(rows="id,name,mail\n", thresholds="{fail_below: 0}")

    assert view.run.state == RunState.SENDING
    assert view.chunks == {}


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ("{fail_below: 4}", "3 rows; thresholds.fail_below is 4"),
        ("{fail_above: 2}", "3 rows; thresholds.fail_above is 2"),
    ],
)
def test_a_result_outside_its_thresholds_fails_the_run(plan, ledger, thresholds, words):
    with pytest.raises(RunError, match=words):
        plan(rows=csv(3), thresholds=thresholds)
    assert ledger.views.run(ledger.runs.newest()[0].run_id).chunks == {}


def test_too_many_refused_rows_fail_the_run(plan):
    with pytest.raises(RunError, match="1 of 3 rows cannot be sent"):
        plan(
            rows="id,name,mail\n1,,x@example.com\n2,B,\n3,C,\n",
            thresholds="{max_failed_percent: 30}",
        )


def test_a_query_without_a_required_column_fails_before_anything_is_spooled(plan, ledger):
    with pytest.raises(RunError) as caught:
        plan(sql="SELECT id AS external_id FROM people")
    assert caught.value.code == "missing_required_field"
    assert ledger.views.run(ledger.runs.newest()[0].run_id).rows.read == 0


def test_a_query_that_fails_midway_spools_nothing(plan, ledger):
    with pytest.raises(RunError) as caught:
        plan(
            rows=csv(5000) + "x,Person,p@example.com\n",
            sql="SELECT CAST(CAST(id AS INTEGER) AS VARCHAR) AS external_id, name FROM people",
        )
    assert caught.value.code == "mismatched_datatype"
    view = ledger.views.run(ledger.runs.newest()[0].run_id)
    assert (view.rows.read, view.chunks) == (0, {})


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        (Identity(user_id=None, role="", suspended=False, anonymous=True), "anonymous_login"),
        (Identity(user_id=1, role="admin", suspended=True, anonymous=False), "login_suspended"),
        (Identity(user_id=1, role="end-user", suspended=False, anonymous=False),
         "login_not_allowed"),
    ],
)  # fmt: skip
def test_a_login_that_may_not_write_users_stops_the_run_before_the_query(plan, identity, code):
    with pytest.raises(DestinationError) as caught:
        plan(probe=Probe(identity), sql="SELECT this is not even read")
    assert caught.value.code == code


def agent_with(access, name="Branch agent"):
    """Return a probe whose login is an agent with a custom role."""
    probe = Probe(Identity(1, "agent", suspended=False, anonymous=False, custom_role_id=7))
    probe.custom_role = lambda role_id, permit: access and CustomRole(name, access)
    return probe


def test_a_custom_role_that_may_only_look_stops_the_run_before_the_query(plan):
    with pytest.raises(DestinationError, match="'Branch agent', which may look at") as caught:
        plan(probe=agent_with("readonly"), sql="SELECT this is not even read")
    assert caught.value.code == "role_may_not_write"


@pytest.mark.parametrize(
    ("access", "words"),
    [("edit-within-org", "of its own organization only"), (None, "could not be seen")],
)
def test_a_custom_role_that_leaves_a_doubt_is_a_warning_of_the_run(plan, access, words):
    (warning,) = plan(probe=agent_with(access)).warnings
    assert words in warning


@pytest.mark.parametrize("access", ["full", "edit", "a newer word"])
def test_a_custom_role_that_may_write_is_no_matter(plan, access):
    assert plan(probe=agent_with(access)).warnings == ()


def test_an_unreachable_destination_stops_the_run_before_the_query(plan):
    probe = Probe(error=NotSent("no route"))
    with pytest.raises(NotSent):
        plan(probe=probe, sql="SELECT this is not even read")
    assert probe.asked == PRE_FLIGHTS


def test_a_hiccup_of_the_network_does_not_fail_the_run(plan):
    probe = Probe(error=NotSent("no route"))

    def mended_at_the_second_try():
        if probe.asked:
            probe.error = None
        return unlimited()

    assert plan(probe=probe, permit=mended_at_the_second_try).run.state == RunState.SENDING


def test_an_empty_sample_fails_the_run(plan):
    with pytest.raises(RunError, match="no rows"):
        plan(rows="id,name,mail\n", sample=5)


def test_each_request_of_pre_flight_takes_a_permit(plan):
    permits = []
    probe = Probe()

    def permit():
        permits.append(("permit", probe.asked))
        return lambda rate: permits.append(("answer", probe.asked))

    plan(probe=probe, permit=permit)

    assert permits == [(what, n + (what == "answer")) for n in range(3)
                       for what in ("permit", "answer")]  # fmt: skip


def test_the_staging_folder_is_empty_afterwards(plan, tmp_path):
    plan(rows=csv(300))

    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_planner_overtaken_midway_completes_nothing(plan, ledger, clock, times):
    taken = []

    def permit():
        if not taken:
            clock.advance(times.lease + 1)
            taken.append(ledger.runs.claim_plan(ledger.runs.newest()[0].run_id))
        return unlimited()

    with pytest.raises(Superseded):
        plan(rows=csv(3), permit=permit)
    assert ledger.runs.newest()[0].state == RunState.PLANNING


def test_what_a_killed_planner_left_is_removed_before_the_next_one_begins(plan, tmp_path):
    left = tmp_path / "scratch" / "df-20260101T000000Z-aaaaaa-x7y"
    left.mkdir(parents=True)
    (left / "rows").write_text("ada@example.com")
    plan(rows=csv(1))

    assert not left.exists()


# --- what the account knows -----------------------------------------------------------------------

TIERS = 'SELECT id AS external_id, name, mail AS "user_fields.tier" FROM people ORDER BY id'
TIER = UserField("tier", "dropdown", options=(("gold", "Gold"),))


def test_a_user_field_that_the_account_has_not_fails_the_run_before_anything_is_spooled(
    plan, ledger
):
    with pytest.raises(RunError, match="did you mean 'tier'") as caught:
        plan(Probe(fields=(TIER,)), sql=TIERS.replace(".tier", ".teir"))
    assert caught.value.code == "unknown_user_field"
    assert ledger.views.run(ledger.runs.newest()[0].run_id).rows.read == 0


def test_values_are_coerced_by_the_type_of_their_field(plan, ledger):
    rows = "id,name,mail\n1,Ada,Gold\n2,Bob,iron\n"
    view = plan(Probe(fields=(TIER,)), sql=TIERS, rows=rows)
    assert view.reasons == {("failed", "invalid_value"): 1}
    (profile,) = ledger.outcomes.profiles(view.run.run_id, 1)
    assert profile.user["user_fields"] == {"tier": "gold"}


def test_dropped_values_and_ignored_columns_are_warnings_of_the_run_by_name_and_number(plan):
    sql = TIERS.replace("FROM", ", 'secret' AS shoe_size FROM")
    view = plan(
        Probe(fields=(TIER,)), sql=sql, rows="id,name,mail\n1,Ada,iron\n2,Bob,zinc\n",
        more="on_invalid_value: drop_field",
    )  # fmt: skip
    assert view.rows.pending == 2
    assert view.warnings == (
        "column 'shoe_size' is not an attribute of a Zendesk user and is not sent",
        (
            "column 'user_fields.tier': 2 values that cannot be sent left out "
            "(on_invalid_value: drop_field)"
        ),
    )


def test_staff_is_not_sent_unless_the_orchestration_allows_it(plan):
    staff = ["e:bob@example.com", "x:1"]
    assert plan(Probe(staff=staff)).reasons == {("failed", "staff_member"): 2}


def test_where_staff_is_allowed_nobody_is_asked_for_it(plan):
    probe = Probe(staff=["x:1"])
    assert plan(probe, more="allow_staff: true").rows.pending == 2
    assert probe.asked == 2


def test_kept_fields_save_a_request_and_never_refuse_a_new_field(plan, tmp_path, clock):
    cache = FieldCache(tmp_path / "fields", now=clock)
    cache.put("127.0.0.1:8900", (UserField("old", "text"),))
    probe = Probe(fields=(TIER,))
    assert plan(probe, cache=cache, sql=TIERS, rows="id,name,mail\n1,Ada,gold\n").rows.pending == 1
    assert probe.asked == 3  # who we are, staff, and the fields after all
    assert cache.get("127.0.0.1:8900") == (TIER,)


# --- send: changed --------------------------------------------------------------------------------


@pytest.fixture
def confirm(ledger):
    """Return a function that ends a run: Zendesk confirms its rows, but for some."""

    def make(view, failed=()):
        run_id = view.run.run_id
        for seq in range(1, sum(view.chunks.values()) + 1):
            ledger.chunks.admit(run_id, 1)
            claim = ledger.chunks.claim(run_id, seq, "w")
            ledger.chunks.submitting(claim)
            ledger.chunks.accepted(claim, f"V3-{seq}", 1.0, 0.0)
            ledger.outcomes.finish(
                run_id,
                seq,
                claim.fence,
                [
                    Outcome(p.row, failed[p.external_id], "rejected_by_zendesk")
                    if p.external_id in failed
                    else Outcome(p.row, OutcomeKind.UPDATED)
                    for p in claim.profiles
                ],
            )
        return ledger.runs.close(run_id)

    return make


def ids(ledger, view):
    chunks = (
        ledger.outcomes.profiles(view.run.run_id, seq)
        for seq in range(1, sum(view.chunks.values()) + 1)
    )
    return [profile.external_id for chunk in chunks for profile in chunk]


def test_a_second_run_of_the_same_rows_sends_nothing_and_succeeds(plan, confirm, ledger):
    confirm(plan(rows=csv(250), send="changed"))

    view = plan(rows=csv(250), send="changed")

    assert (view.rows.read, view.rows.skipped, view.rows.pending) == (250, 250, 0)
    assert (view.run.unchanged, view.chunks, view.reasons) == (250, {}, {})
    assert ledger.runs.close(view.run.run_id) == RunState.SUCCEEDED
    shown = run_as_json(ledger.views.run(view.run.run_id))
    assert (shown["unchanged"], shown["rows"]["skipped"]) == (250, 250)


def test_only_rows_that_changed_are_sent(plan, confirm, ledger):
    confirm(plan(rows=csv(200), send="changed"))

    view = plan(rows=csv(200).replace("Person 7,", "Person Seven,") + csv(1, 201).split("\n")[1],
                send="changed")  # fmt: skip

    assert ids(ledger, view) == ["201", "7"]
    assert view.rows.agree


def test_what_failed_or_is_unconfirmed_comes_again_by_itself(plan, confirm, ledger):
    failed = {"3": OutcomeKind.FAILED, "5": OutcomeKind.UNCONFIRMED}
    confirm(plan(rows=csv(9), send="changed"), failed)

    assert ids(ledger, plan(rows=csv(9), send="changed")) == ["3", "5"]


def test_a_row_that_was_unconfirmed_and_then_reverted_in_the_source_is_sent(plan, confirm, ledger):
    before = csv(3)
    confirm(plan(rows=before, send="changed"))
    confirm(
        plan(rows=before.replace("Person 2", "Other"), send="changed"),
        {"2": OutcomeKind.UNCONFIRMED},
    )

    assert ids(ledger, plan(rows=before, send="changed")) == ["2"]


def test_another_mapping_of_the_same_rows_is_a_change(plan, confirm, ledger):
    confirm(plan(rows=csv(3), send="changed"))
    sql = "SELECT id AS external_id, upper(name) AS name, mail AS email FROM people ORDER BY id"
    assert ids(ledger, plan(rows=csv(3), send="changed", sql=sql)) == ["1", "2", "3"]


def test_a_full_run_sends_all_and_so_does_send_all(plan, confirm, ledger):
    confirm(plan(rows=csv(3), send="changed"))
    view = plan(rows=csv(3), send="changed", full=True)
    assert (len(ids(ledger, view)), view.run.unchanged) == (3, 0)
    confirm(view)
    assert len(ids(ledger, plan(rows=csv(3)))) == 3


TAGGED = """SELECT id AS external_id, name, nullif(mail, '') AS tags FROM people ORDER BY id"""


def test_another_mode_of_tags_is_a_change_of_the_rows_that_have_tags(plan, confirm, ledger):
    made = {"rows": "id,name,mail\n1,Ada,vip\n2,Bea,\n", "sql": TAGGED, "send": "changed"}
    confirm(plan(**made))
    for mode in ("add", "replace"):
        view = plan(**made, more=f"tags: {mode}")
        assert (ids(ledger, view), view.run.unchanged) == (["1"], 1)
        confirm(view)
        view = plan(**made, more=f"tags: {mode}")
        assert (view.rows.pending, view.run.unchanged) == (0, 2)
        ledger.runs.close(view.run.run_id)


HEAD = "id,name,mail\n"


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("1,Ada,x@shop.example", "9,Ada,x@shop.example"),
        ("2,Bea,y@shop.example", ",Other,Y@shop.example"),
        (",Bea,y@shop.example", "2,Other,y@shop.example"),
        ("1,Ada,x@shop.example", "1,Ada,z@shop.example"),
    ],
)
def test_a_person_sent_under_another_key_meanwhile_is_sent_again_when_the_source_goes_back(
    plan, confirm, first, other
):
    confirm(plan(rows=HEAD + first + "\n5,Eve,e@shop.example\n", send="changed"))
    view = plan(rows=HEAD + other + "\n", send="changed")
    assert view.rows.pending == 1
    confirm(view)
    view = plan(rows=HEAD + first + "\n5,Eve,e@shop.example\n", send="changed")
    assert (view.rows.pending, view.run.unchanged) == (1, 1)


def test_people_are_recognised_by_email_where_they_have_no_id(plan, confirm, ledger):
    sql = "SELECT name, mail AS email FROM people ORDER BY id"
    confirm(plan(rows=csv(3), send="changed", sql=sql))
    view = plan(rows=csv(3).replace("Person 2", "Other"), send="changed", sql=sql)
    assert (view.run.unchanged, view.rows.pending) == (2, 1)


def test_what_another_account_or_orchestration_has_confirmed_does_not_count(
    plan, confirm, ledger, tmp_path
):
    confirm(plan(rows=csv(3), send="changed"))
    assert list(ledger.kept.marks("other.zendesk.com", "loyalty")) == []
    assert list(ledger.kept.marks("127.0.0.1:8900", "other")) == []


def test_the_marks_of_many_people_are_all_found(ledger, monkeypatch, plan, confirm):
    confirm(plan(rows=csv(25), send="changed"))
    monkeypatch.setattr(kept, "MARKS_A_LOOK", 7)
    expected = {
        mark(
            key_hash(f"x:{n}", ledger.kept.hash_key),
            digest(
                {
                    "external_id": str(n), "email": f"p{n}@example.com", "name": f"Person {n}",
                    "verified": True, "skip_verify_email": True,
                }
            ),
        )
        for n in range(1, 26)
    }  # fmt: skip
    found = list(ledger.kept.marks("127.0.0.1:8900", "loyalty"))
    assert len(found) == 25
    assert set(found) == expected


# --- rows of the same person ----------------------------------------------------------------------


UNORDERED = "SELECT id AS external_id, name, mail AS email FROM people"


def test_duplicates_without_an_order_are_warned_of_where_people_look(plan, ledger):
    rows = "id,name,mail\n1,Ada,a@x.example\n1,Bea,a@x.example\n2,Cid,c@x.example\n"

    view = plan(rows=rows, sql=UNORDERED)

    (warning,) = view.warnings
    assert "the query has no ORDER BY" in warning
    assert run_as_json(view)["warnings"] == [warning]


def test_an_order_or_no_duplicates_are_nothing_to_warn_of(plan, ledger):
    rows = "id,name,mail\n1,Ada,a@x.example\n1,Bea,a@x.example\n"
    assert plan(rows=rows).warnings == ()
    ledger.runs.stop(ledger.runs.newest()[0].run_id)
    ledger.outcomes.cancel_some(ledger.runs.newest()[0].run_id)
    ledger.runs.close(ledger.runs.newest()[0].run_id)
    assert plan(rows=csv(3), sql=UNORDERED).warnings == ()


def test_a_shared_email_fails_its_rows_and_counts_as_failed(plan):
    rows = "id,name,mail\n1,Ada,a@x.example\n2,Bea,A@x.example\n3,Cid,c@x.example\n"
    with pytest.raises(RunError, match="2 of 3 rows cannot be sent"):
        plan(rows=rows, thresholds="{max_failed_percent: 50}")


def test_a_shared_email_is_left_out_where_the_orchestration_says_so(plan, ledger):
    rows = "id,name,mail\n1,Ada,a@x.example\n2,Bea,A@x.example\n"
    view = plan(rows=rows, more="on_shared_email: drop_email\n")
    sent = ledger.outcomes.profiles(view.run.run_id, 1)
    assert [(p.external_id, p.email) for p in sent] == [("1", None), ("2", None)]


def test_a_run_whose_principal_may_not_start_it_any_more_asks_and_plans_nothing(tmp_path, ledger):
    catalog = load_catalog(write_catalog(tmp_path / "catalog"))
    begun, _ = runs.start(catalog, "loyalty", ledger=ledger, principal="t")
    (tmp_path / "catalog" / "access.yaml").write_text("users: {t: viewer}\n")
    run, probe = ledger.runs.claim_plan(begun.run_id), Probe()
    planner = Planner(
        ledger=ledger, catalog=catalog, probe=probe, permit=unlimited, scratch=tmp_path / "scratch"
    )

    with pytest.raises(UsageError, match="t may not run") as caught:
        planner.plan(run)
    assert caught.value.code == "access_denied"
    assert probe.asked == 0
    assert ledger.views.run(begun.run_id).chunks == {}
