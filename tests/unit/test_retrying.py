"""Retrying: a child run of what did not arrive; the parent's numbers stay."""

from __future__ import annotations

import pytest
from world import profiles, write_catalog

from orchestrations import report, retrying, runs
from orchestrations.loader import load_catalog
from orchestrations.planning import Planner
from worker.errors import RunError, UsageError
from worker.ledger.retention import Ages
from worker.ledger.states import RunState
from worker.profile import Outcome, OutcomeKind, Profile, RejectedRow, key_of
from worker.zendesk.client import unlimited
from worker.zendesk.replies import Identity

CREATED = OutcomeKind.CREATED
DAY = 86_400.0


class Probe:
    """A destination that lets an administrator in."""

    def __init__(self, staff=()):
        self.asked = 0
        self.agents = frozenset(staff)

    def whoami(self):
        self.asked += 1
        return Identity(user_id=1, role="admin", suspended=False, anonymous=False)

    def staff(self, permit):
        return self.agents

    def user_fields(self, permit):
        return ()


@pytest.fixture
def catalog(tmp_path):
    # A query that cannot run: a retry must not need it.
    return load_catalog(write_catalog(tmp_path / "catalog", sql="SELECT nosuch FROM people"))


@pytest.fixture
def finished(ledger, new_run):
    """Return a function that ends a run in which each chunk's rows end as (kind, code) says."""

    def make(*chunks, run_id="df-1", refused=0, first=1, options=None):
        ledger.runs.start(new_run(run_id, options=options or {}))
        run = ledger.runs.claim_plan(run_id)
        row = first
        for seq, ends in enumerate(chunks, start=1):
            ledger.planning.add_chunks(run, seq, [profiles(row, len(ends))])
            row += len(ends)
        if refused:
            rejected = [
                RejectedRow(row + n, OutcomeKind.FAILED, "missing_name", "name is empty")
                for n in range(refused)
            ]
            ledger.planning.add_rejected(run, 1, rejected)
        ledger.planning.complete(run)
        for seq, ends in enumerate(chunks, start=1):
            deliver(ledger, run_id, seq, ends)
        ledger.runs.close(run_id)
        return ledger.runs.get(run_id)

    return make


def deliver(ledger, run_id, seq, ends):
    ledger.chunks.admit(run_id, 100)
    claim = ledger.chunks.claim(run_id, seq, "w")
    assert ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"V3-{run_id}-{seq}", 1.0, 0.0)
    found = [Outcome(p.row, *end) for p, end in zip(claim.profiles, ends, strict=True)]
    ledger.outcomes.finish(run_id, seq, claim.fence, found)


FAILED = (OutcomeKind.FAILED, "rejected_by_zendesk")
UNSURE = (OutcomeKind.UNCONFIRMED, "unconfirmed")
DONE = (CREATED,)


def start(catalog, ledger, parent, **kwargs):
    return retrying.retry(catalog, parent, ledger=ledger, principal="tester", **kwargs)


def plan(catalog, ledger, tmp_path, run_id, staff=()):
    run = ledger.runs.claim_plan(run_id)
    probe = Probe(staff)
    planner = Planner(
        ledger=ledger, catalog=catalog, probe=probe, permit=unlimited, scratch=tmp_path / "scratch"
    )
    planner.plan(run)
    assert probe.asked == 1  # pre-flight as usual
    return ledger.views.run(run_id)


def end(ledger, run_id, kind=CREATED):
    view = ledger.views.run(run_id)
    for seq in range(1, sum(view.chunks.values()) + 1):
        rows = len(ledger.outcomes.profiles(run_id, seq))
        deliver(ledger, run_id, seq, [(kind,)] * rows)
    return ledger.runs.close(run_id)


def test_a_retry_sends_the_rows_that_did_not_arrive_under_their_numbers(
    catalog, ledger, finished, tmp_path
):
    parent = finished((DONE, FAILED, UNSURE), (FAILED, DONE))

    begun = start(catalog, ledger, parent)
    view = plan(catalog, ledger, tmp_path, begun.run.run_id)

    assert begun.new
    assert begun.rows.kept == 3
    assert (view.rows.read, view.rows.pending) == (3, 3)
    assert view.run.parent_run == "df-1"
    sent = ledger.outcomes.profiles(begun.run.run_id, 1)
    assert list(sent) == [p for p in profiles(1, 5) if p.row in (2, 3, 4)]
    assert view.chunks == {"planned": 1}  # rows of two chunks, together in one


def test_the_parents_numbers_stay_and_each_names_the_other(catalog, ledger, finished, tmp_path):
    parent = finished((DONE, FAILED))
    before = ledger.views.run("df-1").rows
    child = start(catalog, ledger, parent).run.run_id
    plan(catalog, ledger, tmp_path, child)

    assert end(ledger, child) == RunState.SUCCEEDED
    assert ledger.views.run("df-1").rows == before
    assert report.run_as_json(ledger.views.run("df-1"))["retries"] == [child]
    assert report.run_as_json(ledger.views.run(child))["parent_run"] == "df-1"


def test_whoever_became_an_agent_meanwhile_is_not_overwritten_by_a_retry(
    catalog, ledger, finished, tmp_path
):
    parent = finished((FAILED, UNSURE, FAILED))
    agents = {key_of("c-1", None), key_of(None, "Person3@example.com")}

    child = start(catalog, ledger, parent).run.run_id
    view = plan(catalog, ledger, tmp_path, child, staff=agents)

    assert [p.row for p in ledger.outcomes.profiles(child, 1)] == [2]
    assert view.reasons == {("failed", "staff_member"): 2}
    assert (view.rows.read, view.rows.failed, view.rows.pending) == (3, 2, 1)


def test_only_the_codes_named_are_sent_again(catalog, ledger, finished, tmp_path):
    parent = finished((FAILED, UNSURE, FAILED))

    child = start(catalog, ledger, parent, codes=["unconfirmed"]).run.run_id
    view = plan(catalog, ledger, tmp_path, child)

    assert view.rows.read == 1
    assert [p.row for p in ledger.outcomes.profiles(child, 1)] == [2]


def test_cancelled_rows_are_sent_again_and_skipped_ones_are_not(catalog, ledger, sending, tmp_path):
    sending(2, 3)
    deliver(ledger, "df-1", 1, (DONE, (OutcomeKind.SKIPPED, "duplicate")))
    ledger.runs.stop("df-1")
    while ledger.outcomes.cancel_some("df-1"):
        pass
    assert ledger.runs.close("df-1") == RunState.STOPPED

    begun = start(catalog, ledger, ledger.runs.get("df-1"))

    assert begun.rows.kept == 3
    assert plan(catalog, ledger, tmp_path, begun.run.run_id).rows.read == 3


def test_many_rows_are_cut_into_chunks_of_a_hundred(catalog, ledger, finished, tmp_path):
    parent = finished(*[(FAILED,) * 70] * 3)

    child = start(catalog, ledger, parent).run.run_id
    view = plan(catalog, ledger, tmp_path, child)

    assert [len(ledger.outcomes.profiles(child, seq)) for seq in (1, 2, 3)] == [100, 100, 10]
    assert view.rows.read == 210


def test_a_chunk_is_cut_before_its_body_is_too_large():
    large = [Profile(row, {"external_id": str(row), "notes": "x" * 400}) for row in range(1, 6)]

    assert [len(chunk) for chunk in retrying.cut(large, max_body=1000)] == [2, 2, 1]


def test_the_same_retry_twice_is_one_run_even_after_it_has_ended(
    catalog, ledger, finished, tmp_path
):
    parent = finished((FAILED, UNSURE))
    first = start(catalog, ledger, parent)
    again = start(catalog, ledger, parent)
    plan(catalog, ledger, tmp_path, first.run.run_id)
    end(ledger, first.run.run_id)
    later = start(catalog, ledger, parent)

    assert (first.new, again.new, later.new) == (True, False, False)
    assert first.run.run_id == again.run.run_id == later.run.run_id


def test_a_retry_that_came_to_nothing_may_be_repeated(catalog, ledger, finished):
    parent = finished((FAILED,))
    first = start(catalog, ledger, parent).run.run_id
    ledger.runs.fail_plan(ledger.runs.claim_plan(first), RunError("the credential is refused"))
    ledger.runs.close(first)

    second = start(catalog, ledger, parent)

    assert second.new
    assert second.run.run_id != first


def test_another_key_is_another_retry_but_not_while_the_first_is_active(
    catalog, ledger, finished, tmp_path
):
    parent = finished((FAILED,))
    first = start(catalog, ledger, parent, key="a").run.run_id
    assert start(catalog, ledger, parent, key="a").run.run_id == first
    with pytest.raises(UsageError) as caught:
        start(catalog, ledger, parent, key="b")
    assert caught.value.code == "already_active"

    plan(catalog, ledger, tmp_path, first)
    end(ledger, first, OutcomeKind.UPDATED)
    assert start(catalog, ledger, parent, key="b").new


def test_the_key_of_an_ordinary_run_starts_no_retry(catalog, ledger, finished):
    parent = finished((FAILED,))

    with pytest.raises(UsageError, match="is no retry"):
        start(catalog, ledger, parent, key="df-1")
    assert ledger.runs.newest() == [parent]


def test_a_run_that_has_not_ended_is_not_retried(catalog, ledger, sending):
    run = sending(1)

    with pytest.raises(UsageError, match="df-1 is sending") as caught:
        start(catalog, ledger, run)
    assert caught.value.code == "wrong_state"
    assert "deskfeed stop df-1" in caught.value.resolution


def test_when_the_rows_are_gone_it_says_so_and_names_the_command(catalog, ledger, finished, clock):
    parent = finished((FAILED, DONE))
    clock.advance(7 * DAY + 1)
    ledger.retention.prune(Ages())

    with pytest.raises(UsageError, match="the rows of df-1 are gone, run again") as caught:
        start(catalog, ledger, parent)
    assert caught.value.code == "rows_gone"
    assert "deskfeed run loyalty" in caught.value.resolution

    clock.advance(30 * DAY)
    ledger.retention.prune(Ages())  # now the reasons are gone, too
    with pytest.raises(UsageError, match="the rows of df-1 are gone, run again"):
        start(catalog, ledger, parent)


def test_rows_pruned_between_start_and_planning_fail_the_retry(
    catalog, ledger, finished, clock, tmp_path
):
    from sqlalchemy import delete

    from worker.ledger.schema import payloads

    child = start(catalog, ledger, finished((FAILED,))).run.run_id
    with ledger.database.write() as connection:
        connection.execute(delete(payloads))

    with pytest.raises(RunError) as caught:
        plan(catalog, ledger, tmp_path, child)
    assert caught.value.code == "rows_gone"


def test_rows_refused_by_planning_are_counted_and_not_sent(catalog, ledger, finished, tmp_path):
    begun = start(catalog, ledger, finished((FAILED, DONE), refused=3))

    assert (begun.rows.kept, begun.rows.refused) == (1, 3)
    assert plan(catalog, ledger, tmp_path, begun.run.run_id).rows.read == 1


def test_where_all_that_failed_was_refused_by_planning_it_says_what_to_do(
    catalog, ledger, finished
):
    with pytest.raises(UsageError, match="the 2 that failed were refused") as caught:
        start(catalog, ledger, finished((DONE,), refused=2))
    assert caught.value.code == "nothing_to_retry"
    assert "deskfeed run loyalty" in caught.value.resolution


def test_a_run_in_which_all_arrived_has_nothing_to_retry(catalog, ledger, finished):
    with pytest.raises(UsageError, match="no row that failed") as caught:
        start(catalog, ledger, finished((DONE,)))
    assert caught.value.code == "nothing_to_retry"


def test_a_code_that_no_row_has_names_those_there_are(catalog, ledger, finished):
    with pytest.raises(UsageError, match=r"code nosuch; there are: rejected_by_zendesk"):
        start(catalog, ledger, finished((FAILED,)), codes=["nosuch"])


def test_older_values_do_not_go_over_those_that_a_later_run_delivered(
    catalog, ledger, finished, clock, tmp_path
):
    monday = finished((FAILED, FAILED))
    clock.advance(DAY)
    finished((DONE,), run_id="df-2")  # tuesday's delivers the first of the two
    begun = start(catalog, ledger, monday)
    view = plan(catalog, ledger, tmp_path, begun.run.run_id)

    assert begun.later.run_id == "df-2"
    assert [p.row for p in ledger.outcomes.profiles(begun.run.run_id, 1)] == [2]
    assert view.reasons == {("skipped", "newer_run"): 1}
    assert view.rows.agree
    assert end(ledger, begun.run.run_id) == RunState.SUCCEEDED


def test_what_an_earlier_run_delivered_does_not_keep_cancelled_rows_from_being_sent(
    catalog, ledger, finished, clock, new_run, tmp_path
):
    finished((DONE, DONE), run_id="df-0")
    clock.advance(DAY)
    ledger.runs.start(new_run("df-1"))
    run = ledger.runs.claim_plan("df-1")
    ledger.planning.add_chunks(run, 1, [profiles(1, 2)])
    ledger.planning.complete(run)
    ledger.runs.stop("df-1")
    ledger.outcomes.cancel_some("df-1")
    ledger.runs.close("df-1")

    child = start(catalog, ledger, ledger.runs.get("df-1")).run.run_id

    assert plan(catalog, ledger, tmp_path, child).rows.pending == 2


def test_a_retry_is_retried_from_its_own_kept_rows(catalog, ledger, finished, tmp_path):
    child = start(catalog, ledger, finished((DONE, FAILED))).run.run_id
    plan(catalog, ledger, tmp_path, child)
    deliver(ledger, child, 1, (FAILED,))
    ledger.runs.close(child)

    second = start(catalog, ledger, ledger.runs.get(child)).run.run_id
    plan(catalog, ledger, tmp_path, second)

    assert ledger.runs.get(second).parent_run == child
    assert [p.row for p in ledger.outcomes.profiles(second, 1)] == [2]


def test_thresholds_do_not_end_a_retry(ledger, finished, tmp_path):
    catalog = load_catalog(
        write_catalog(tmp_path / "strict", thresholds="{fail_below: 50, max_failed_percent: 1}")
    )
    child = start(catalog, ledger, finished((FAILED, FAILED))).run.run_id
    plan(catalog, ledger, tmp_path, child)
    deliver(ledger, child, 1, (FAILED, DONE))
    ledger.runs.stop_if_too_many_failed(child)

    assert ledger.runs.close(child) == RunState.FINISHED_WITH_FAILURES


def test_rows_are_not_sent_to_an_account_they_were_not_meant_for(ledger, finished, tmp_path):
    catalog = load_catalog(write_catalog(tmp_path / "other", url="http://127.0.0.1:8999"))

    with pytest.raises(UsageError, match=r"now goes to 127.0.0.1:8999"):
        start(catalog, ledger, finished((FAILED,)))


def test_a_draft_is_not_retried(ledger, finished, tmp_path):
    catalog = load_catalog(write_catalog(tmp_path / "draft", status="draft"))

    with pytest.raises(UsageError) as caught:
        start(catalog, ledger, finished((FAILED,)))
    assert caught.value.code == "draft_query"


def test_options_remember_the_codes():
    assert runs.Options.from_json({"codes": ["a"]}) == runs.Options(codes=("a",))
