"""Verifying: only what is provably what was sent is compared, and no value is ever told."""

from __future__ import annotations

import pytest
from world import write_catalog

from orchestrations import runs, verification
from orchestrations.cli import upkeep_verbs
from orchestrations.loader import load_catalog
from orchestrations.planning import Planner
from orchestrations.verification import Reader, Verifier
from worker.errors import DestinationError, NotSent, Throttled, UsageError
from worker.profile import Outcome, OutcomeKind
from worker.zendesk.client import unlimited
from worker.zendesk.replies import Identity, RateHeaders, UserRecord, UsersFound

ROWS = "id,name,mail\n1,Ada,ada@example.com\n2,Bob,bob@example.com\n3,Cy,cy@example.com\n"


class Probe:
    """A destination that lets an administrator in."""

    def whoami(self):
        return Identity(user_id=1, role="admin", suspended=False, anonymous=False)

    def staff(self, permit):
        return frozenset()

    def user_fields(self, permit):
        return ()


class Zendesk:
    """Has what was delivered; tests change it behind Deskfeed's back."""

    def __init__(self):
        self.users = {}
        self.asked = []

    def __call__(self, external_ids):
        self.asked.append(tuple(external_ids))
        found = [self.users[key.lower()] for key in external_ids if key.lower() in self.users]
        return [UserRecord(n, user.get("external_id"), None, user) for n, user in enumerate(found)]


@pytest.fixture
def zendesk():
    return Zendesk()


@pytest.fixture
def delivered(tmp_path, ledger, zendesk):
    """Return a function that runs an orchestration to its end, rows failing as told."""

    def make(rows=ROWS, failing=(), sample=None, params=None, **kwargs):
        catalog = load_catalog(write_catalog(tmp_path / "catalog", rows=rows, **kwargs))
        begun, _ = runs.start(
            catalog, "loyalty", ledger=ledger, principal="t",
            options=runs.Options(sample=sample, params=params or {}),
        )  # fmt: skip
        run_id = begun.run_id
        Planner(
            ledger=ledger, catalog=catalog, probe=Probe(), permit=unlimited,
            scratch=tmp_path / "scratch",
        ).plan(ledger.runs.claim_plan(run_id))  # fmt: skip
        for seq in ledger.chunks.admit(run_id, 100):
            claim = ledger.chunks.claim(run_id, seq, "w")
            ledger.chunks.submitting(claim)
            ledger.chunks.accepted(claim, f"V3-{run_id}-{seq}", 1.0, 0.0)
            kinds = [
                OutcomeKind.FAILED if p.row in failing else OutcomeKind.CREATED
                for p in claim.profiles
            ]
            found = [Outcome(p.row, k, "x") for p, k in zip(claim.profiles, kinds, strict=True)]
            ledger.outcomes.finish(run_id, seq, claim.fence, found)
            for profile in claim.profiles:
                user = {**profile.user, "email": (profile.email or "").lower()}
                zendesk.users[(profile.external_id or "").lower()] = user
        ledger.runs.close(run_id)
        return ledger.runs.get(run_id)

    return make


@pytest.fixture
def verify(tmp_path, ledger, zendesk):
    """Return a function that verifies a run, over changed rows if some are given."""

    def make(run, sample=None, params=None, **changed):
        if changed:
            write_catalog(tmp_path / "catalog", **changed)
        catalog = load_catalog(tmp_path / "catalog")
        found = Verifier(ledger, catalog, zendesk, tmp_path / "verify").verify(run, sample, params)
        parts = (
            found.equal, found.differs, found.missing, found.source_changed, found.not_delivered,
            found.not_verifiable, found.not_sampled, found.not_sent,
        )  # fmt: skip
        assert found.read == sum(parts)
        return found

    return make


def test_what_is_as_it_was_delivered_is_equal(delivered, verify):
    found = verify(delivered())

    assert (found.read, found.equal, found.compared) == (3, 3, 3)


def test_a_field_changed_behind_our_back_is_found_by_name_and_row(delivered, verify, zendesk):
    run = delivered()
    zendesk.users["2"]["name"] = "Mallory"

    found = verify(run)

    assert (found.equal, found.differs) == (2, 1)
    assert found.differing == ((2, ("name",)),)
    assert found.fields == {"name": 1}
    assert "Mallory" not in repr(found)
    assert "Bob" not in repr(found)


GIVEN = """SELECT id AS external_id, name FROM people WHERE mail <> $mail AND id >= $low"""


def test_parameters_that_a_run_was_given_are_given_again(delivered, verify):
    declared = "params: {mail: null, low: '1'}"
    run = delivered(sql=GIVEN, more=declared, params={"mail": "ada@example.com"})

    assert verify(run, params={"mail": "ada@example.com"}).equal == 2
    for other in (None, {"mail": "bob@example.com"}, {"mail": "ada@example.com", "low": "2"}):
        with pytest.raises(UsageError, match="are not kept once a run has ended") as caught:
            verify(run, params=other)
        assert f"deskfeed verify {run.run_id} --param mail=VALUE" in caught.value.resolution
        assert "ada@" not in caught.value.message


def test_parameters_that_stand_in_the_file_need_not_be_given_again(delivered, verify):
    run = delivered(sql=GIVEN, more="params: {mail: ada@example.com, low: '2'}")
    assert verify(run).equal == 2


TAGGED = """SELECT id AS external_id, name, nullif(mail, '') AS tags FROM people ORDER BY id"""


def test_rows_with_tags_are_not_what_was_delivered_when_their_mode_has_changed(delivered, verify):
    made = {"rows": "id,name,mail\n1,Ada,vip\n2,Bea,\n", "sql": TAGGED}
    run = delivered(**made, more="tags: add")

    assert verify(run).equal == 2
    found = verify(run, **made, more="tags: replace")
    assert (found.equal, found.source_changed) == (1, 1)


def test_a_user_that_zendesk_no_longer_has_is_missing(delivered, verify, zendesk):
    run = delivered()
    del zendesk.users["3"]

    found = verify(run)

    assert (found.equal, found.missing, found.missing_rows) == (2, 1, (3,))


def test_what_zendesk_does_not_show_is_neither_proved_nor_hidden(delivered, verify, zendesk):
    """The address that was sent may be a secondary one, or somebody may have taken it away."""
    run = delivered()
    zendesk.users["2"]["email"] = "another@example.com"

    found = verify(run)

    assert (found.equal, found.differs, found.unseen) == (3, 0, {"email": 1})


def test_a_person_is_told_what_was_not_compared_and_why(delivered, verify, zendesk, capsys):
    run = delivered()
    zendesk.users["2"]["email"] = "another@example.com"

    upkeep_verbs._say_verified(run, verify(run))

    said = " ".join(capsys.readouterr().out.split())
    assert "3 as they were delivered, as far as Zendesk shows" in said
    assert "Not compared, as Zendesk does not show what was sent: email (1)" in said
    assert "the one that was sent may be secondary" in said
    assert "@" not in said


def test_a_row_that_changed_since_says_nothing_of_zendesk(delivered, verify, zendesk):
    run = delivered()
    zendesk.users["2"]["name"] = "Mallory"

    found = verify(run, rows=ROWS.replace("Bob", "Robert"))

    assert (found.equal, found.differs, found.source_changed) == (2, 0, 1)
    assert zendesk.asked == [("1", "3")]


def test_a_row_that_did_not_arrive_and_one_that_is_new_are_not_delivered(delivered, verify):
    run = delivered(failing=(1,))

    found = verify(run, rows=ROWS + "4,Dee,dee@example.com\n")

    assert (found.equal, found.not_delivered) == (2, 2)


def test_who_has_only_an_e_mail_or_a_comma_in_the_id_cannot_be_asked_for(delivered, verify):
    run = delivered(rows=ROWS + ',Eve,eve@example.com\n"5,6",Fay,fay@example.com\n')

    found = verify(run)

    assert (found.equal, found.not_verifiable) == (3, 2)


def test_refused_rows_and_duplicates_are_counted_as_not_sent(delivered, verify):
    found = verify(delivered(rows=ROWS + "4,,x@example.com\n3,Cy B,cyb@example.com\n"))

    assert (found.read, found.equal, found.not_sent) == (5, 3, 2)


def test_a_sample_takes_the_same_rows_whenever_it_is_taken(delivered, verify, zendesk):
    many = "id,name,mail\n" + "".join(f"{n},P {n},p{n}@example.com\n" for n in range(1, 301))
    run = delivered(rows=many)

    first, second = verify(run, sample=20), verify(run, sample=20)

    assert (first.equal, first.not_sampled) == (20, 280)
    assert first == second
    assert zendesk.asked[0] == zendesk.asked[1]
    assert len(zendesk.asked[0]) == 20
    assert zendesk.asked[0] != tuple(str(n) for n in range(1, 21))


def test_many_rows_are_asked_for_a_hundred_at_a_time(delivered, verify, zendesk):
    many = "id,name,mail\n" + "".join(f"{n},P {n},p{n}@example.com\n" for n in range(1, 251))

    assert verify(delivered(rows=many)).equal == 250
    assert [len(batch) for batch in zendesk.asked] == [100, 100, 50]


def test_a_sampled_run_is_verified_with_its_rows_only(delivered, verify):
    assert verify(delivered(sample=2)).read == 2


def test_of_many_differing_rows_all_are_counted_and_the_first_are_listed(
    delivered, verify, zendesk, monkeypatch
):
    monkeypatch.setattr(verification, "MOST_LISTED", 1)
    run = delivered()
    for user in zendesk.users.values():
        user["name"] = "Mallory"

    found = verify(run)

    assert (found.differs, found.differing) == (3, ((1, ("name",)),))


def test_a_run_that_has_not_ended_is_not_verified(verify, delivered, sending):
    delivered()
    run = sending(1, run_id="df-9")

    with pytest.raises(UsageError, match="df-9 is sending"):
        verify(run)


def test_a_retry_names_the_run_that_can_be_verified(ledger, delivered, verify):
    from dataclasses import replace

    child = replace(delivered(), parent_run="df-parent")

    with pytest.raises(UsageError) as caught:
        verify(child)
    assert "deskfeed verify df-parent" in caught.value.resolution


TOLD = RateHeaders(700, 12, 30.0)


class Users:
    """Answers, or raises what it is told to, in order."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def users_show_many(self, external_ids):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def reader(users):
    told, slept = [], []

    def permit():
        told.append("permit")
        return told.append

    def failed(error):
        told.append(error.code)
        return 7.0

    return Reader(users, permit, failed, slept.append), told, slept


def test_each_request_takes_a_permit_and_tells_of_its_answer():
    ask, told, slept = reader(Users(UsersFound((), TOLD)))

    assert ask(["1"]) == ()
    assert told == ["permit", TOLD]
    assert slept == []


def test_zendesk_asking_to_wait_is_heeded():
    busy = Throttled("slowly", retry_after_seconds=3.0)
    ask, told, slept = reader(Users(busy, NotSent("no answer"), UsersFound((), TOLD)))

    assert ask(["1"]) == ()
    assert told == [
        "permit", "rate_limited", "permit", "destination_unavailable", "permit", TOLD,
    ]  # fmt: skip
    assert slept == [7.0, 7.0]


def test_silence_ends_it_after_some_tries():
    ask, told, _ = reader(Users(*[NotSent("no answer")] * verification.TRIES))

    with pytest.raises(NotSent):
        ask(["1"])
    assert told.count("permit") == verification.TRIES


def test_what_only_a_person_can_mend_ends_it_at_once():
    ask, told, _ = reader(Users(DestinationError("no", code="invalid_credentials")))

    with pytest.raises(DestinationError):
        ask(["1"])
    assert told == ["permit", "invalid_credentials"]
