"""Which user a row of the sandbox's bulk upsert finds, and what becomes of both."""

import pytest

from worker.sandbox.config import DEFAULT_LOGINS
from worker.sandbox.fields import DEFAULT_FIELDS, RowRefused, UserField
from worker.sandbox.rows import read_row
from worker.sandbox.settings import Settings
from worker.sandbox.users import People

FIELDS = (
    *DEFAULT_FIELDS,
    UserField("note", "textarea", "Note"),
    UserField("zip", "regexp", "ZIP", regexp=r"\A[0-9]{5}\Z"),
    UserField("buddy", "lookup", "Buddy"),
    UserField("old", "text", "Old", active=False),
)


@pytest.fixture
def people():
    return People(FIELDS, ["Socktown"])


def upsert(people, *, now=100.0, settings=None, by_admin=True, create_organizations=True, **row):
    return people.upsert(
        read_row(row, people.fields, settings or Settings()),
        now,
        by_admin=by_admin,
        create_organizations=create_organizations,
    )


def refusal(people, **row):
    with pytest.raises(RowRefused) as caught:
        upsert(people, **row)
    return str(caught.value)


def test_a_new_row_makes_an_end_user(people):
    user, created = upsert(people, external_id="c-1", email="ann@example.com", name="Ann")

    assert created
    assert (user.role, user.name, user.email, user.external_id) == (
        "end-user", "Ann", "ann@example.com", "c-1",
    )  # fmt: skip


def test_external_id_matches_in_any_case_and_takes_the_case_that_was_sent(people):
    first, _ = upsert(people, external_id="Ian1", name="Ian")
    second, created = upsert(people, external_id="IAN1", name="Ian")

    assert (second, created) == (first, False)
    assert second.external_id == "IAN1"
    assert people.with_external_id("ian1") is first


def test_email_is_trimmed_and_lower_cased_and_matches_so(people):
    first, _ = upsert(people, email=" Ann@Example.COM ", name="Ann")
    second, created = upsert(people, email="ANN@example.com", name="Ann")

    assert (second, created, first.email) == (first, False, "ann@example.com")


def test_a_user_found_by_email_takes_the_new_external_id(people):
    user, _ = upsert(people, external_id="old", email="ann@example.com", name="Ann")
    same, created = upsert(people, external_id="new", email="ann@example.com", name="Ann")

    assert (same, created, user.external_id) == (user, False, "new")
    assert people.with_external_id("old") is None


def test_keys_of_two_users_in_one_row_conflict(people):
    upsert(people, external_id="a", email="a@example.com", name="A")
    upsert(people, external_id="b", email="b@example.com", name="B")

    words = refusal(people, external_id="a", email="b@example.com", name="Changed")

    assert words == "Email: b@example.com is already being used by another user"
    assert people.with_external_id("a").name == "A"


def test_another_email_becomes_a_secondary_identity(people):
    user, _ = upsert(people, external_id="a", email="old@example.com", name="A", verified=True)
    upsert(people, external_id="a", email="new@example.com", name="A")

    assert user.email == "old@example.com"
    assert [(one.email, one.primary, one.verified) for one in user.identities] == [
        ("old@example.com", True, True),
        ("new@example.com", False, False),
    ]
    assert people.with_email("new@example.com") is user


def test_a_secondary_address_is_taken_for_everybody_else(people):
    upsert(people, external_id="a", email="old@example.com", name="A")
    upsert(people, external_id="a", email="new@example.com", name="A")
    upsert(people, external_id="b", name="B")

    assert "already being used" in refusal(people, external_id="b", email="new@example.com")


def test_the_first_address_of_a_user_without_one_is_primary(people):
    user, _ = upsert(people, external_id="a", name="A")
    upsert(people, external_id="a", email="a@example.com")

    assert (user.email, user.identities[0].primary) == ("a@example.com", True)


def test_a_row_with_a_name_only_makes_a_user_every_time(people):
    first, _ = upsert(people, name="Ann")
    second, created = upsert(people, name="Ann")

    assert created
    assert second is not first


def test_a_new_user_needs_a_name_and_an_old_one_does_not(people):
    assert refusal(people, external_id="a") == "Name: cannot be blank"
    assert refusal(people, external_id="a", name="  ") == "Name: cannot be blank"

    upsert(people, external_id="a", name="A")
    user, created = upsert(people, external_id="a", notes="n")

    assert (created, user.name, user.attributes["notes"]) == (False, "A", "n")


@pytest.mark.parametrize("email", ["error@example.com_", "no-at", "a@b", "a b@example.com", 7])
def test_a_malformed_email_fails_the_row_in_zendesks_words(people, email):
    words = refusal(people, name="A", email=email)

    assert words == f"Name: Email: {email} is not properly formatted"


def test_tags_replace_the_whole_set(people):
    user, _ = upsert(people, external_id="a", name="A", tags=["VIP", "two words"])
    assert user.tags == ["vip", "two", "words"]

    upsert(people, external_id="a", tags=["new"])
    assert user.tags == ["new"]

    upsert(people, external_id="a", name="A")
    assert user.tags == ["new"]


def test_a_dropdown_keeps_its_tag_beside_those_that_are_sent(people):
    user, _ = upsert(
        people, external_id="a", name="A", tags=["vip"], user_fields={"loyalty_tier": "gold"}
    )
    assert user.tags == ["vip", "gold"]

    upsert(people, external_id="a", user_fields={"loyalty_tier": "silver"})
    assert user.tags == ["vip", "silver"]

    upsert(people, external_id="a", tags=["x"])
    assert user.tags == ["x", "silver"]


def test_a_ticked_checkbox_adds_its_tag_and_an_unticked_one_takes_it_away(people):
    user, _ = upsert(people, external_id="a", name="A", user_fields={"prefers_email": True})
    assert user.tags == ["prefers_email"]

    upsert(people, external_id="a", user_fields={"prefers_email": False})
    assert user.tags == []


def test_unknown_and_inactive_fields_are_ignored_silently(people):
    user, _ = upsert(people, name="A", user_fields={"nope": 1, "old": "x", "city": "Ghent"})

    assert user.user_fields["city"] == "Ghent"
    assert "nope" not in user.user_fields
    assert user.user_fields["old"] is None


def test_a_checkbox_is_false_and_other_fields_are_null_at_first(people):
    user, _ = upsert(people, name="A")

    assert user.user_fields["prefers_email"] is False
    assert {key for key, value in user.user_fields.items() if value is None} == (
        set(people.fields) - {"prefers_email"}
    )


@pytest.mark.parametrize(
    ("key", "sent", "stored"),
    [
        ("last_order_on", "2020-08-19T20:50:04.000Z", "2020-08-19T00:00:00+00:00"),
        ("last_order_on", "2020-08-19", "2020-08-19T00:00:00+00:00"),
        ("loyalty_points", 3039, 3039),
        ("loyalty_points", "12", 12),
        ("loyalty_points", 12.0, 12),
        ("lifetime_value", 5.1, 5.1),
        ("lifetime_value", "5.25", 5.25),
        ("loyalty_tier", "gold", "gold"),
        ("loyalty_tier", None, None),
        ("loyalty_tier", "", None),
        ("prefers_email", True, True),
        ("prefers_email", "false", False),
        ("prefers_email", None, False),
        ("preferences", ["sms", "email", "sms"], ["sms", "email"]),
        ("preferences", "push", ["push"]),
        ("city", "", ""),
        ("city", 7, "7"),
        ("zip", "12345", "12345"),
        ("buddy", 361000001, "361000001"),
    ],
)
def test_a_field_stores_a_fitting_value_in_its_own_form(people, key, sent, stored):
    user, _ = upsert(people, name="A", user_fields={key: sent})

    assert user.user_fields[key] == stored
    assert type(user.user_fields[key]) is type(stored)


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("loyalty_tier", "diamond"),
        ("loyalty_tier", "Gold"),
        ("loyalty_points", 1.5),
        ("loyalty_points", "many"),
        ("loyalty_points", True),
        ("loyalty_points", "9" * 30),
        ("loyalty_points", "1e999"),
        ("churn_risk", "nan"),
        ("last_order_on", "19.08.2020"),
        ("last_order_on", "20200819"),
        ("last_order_on", "2020-02-30"),
        ("last_order_on", 20200819),
        ("prefers_email", "perhaps"),
        ("preferences", ["email", "fax"]),
        ("zip", "1234"),
        ("city", {"a": 1}),
        ("city", True),
        ("buddy", "x"),
    ],
)
def test_a_value_that_does_not_fit_its_field_fails_the_row(people, key, sent):
    before = len(people)

    assert refusal(people, external_id="a", name="A", user_fields={key: sent})
    assert len(people) == before


@pytest.mark.parametrize(
    "row",
    [
        {"name": "x" * 256},
        {"name": "A", "external_id": "x" * 256},
        {"name": "A", "email": "x" * 250 + "@example.com"},
        {"name": "A", "notes": "x" * 65_536},
        {"name": "A", "user_fields": {"city": "x" * 65_536}},
    ],
)
def test_a_value_that_is_too_long_fails_the_row(people, row):
    assert "is too long" in refusal(people, **row)


@pytest.mark.parametrize(
    "row",
    [
        {"tags": "ok", "user_fields": [1]},
        {"tags": [1]},
        {"external_id": True},
        {"suspended": "yes"},
        {"organization": "Socktown"},
        {"organization_id": "1"},
        {"notes": ["a"]},
        {"role": "owner"},
        {"identities": "a@example.com"},
        {"custom_role_id": "x"},
    ],
)
def test_an_attribute_of_the_wrong_kind_fails_the_row(people, row):
    assert "is not valid" in refusal(people, **{"name": "A", **row})


def test_a_cleared_alias_reads_back_blank(people):
    user, _ = upsert(people, external_id="a", name="A", alias="Al", phone="+15550101")
    upsert(people, external_id="a", alias=None, phone=None)

    assert (user.attributes["alias"], user.attributes["phone"]) == ("", None)


def test_a_phone_number_that_somebody_has_already_is_shared(people):
    first, _ = upsert(people, external_id="a", name="A", phone="+15550101")
    second, _ = upsert(people, external_id="b", name="B", phone="+15550101")

    assert first.attributes["shared_phone_number"] is False
    assert second.attributes["shared_phone_number"] is True

    upsert(people, external_id="a", phone="+15550102")
    upsert(people, external_id="b", phone="+15550102")
    upsert(people, external_id="a", phone="+15550101")
    assert first.attributes["shared_phone_number"] is False


def test_an_organization_is_found_by_name_in_any_case(people):
    user, _ = upsert(people, external_id="a", name="A", organization={"name": "SOCKTOWN"})
    number = user.organization_id
    assert number is not None

    upsert(people, external_id="a", organization_id=None)
    assert user.organization_id is None

    upsert(people, external_id="a", organization_id=number)
    assert user.organization_id == number


def test_an_unknown_organization_is_made_or_fails_the_row_as_set(people):
    user, _ = upsert(people, name="A", organization={"name": "New"})
    assert user.organization_id

    strict = {"create_organizations": False, "name": "B", "organization": {"name": "Newer"}}
    assert refusal(people, **strict) == "Organization: is not valid"
    assert refusal(people, name="C", organization_id=1) == "Organization: is not valid"


def test_an_end_user_with_a_custom_role_becomes_an_agent(people):
    user, _ = upsert(people, name="A", role="end-user", custom_role_id=7)

    assert user.role == "agent"


def test_an_agent_may_write_end_users_only(people):
    staff = people.add_login(DEFAULT_LOGINS[0], 1.0)

    assert "agents" in refusal(people, by_admin=False, email=staff.email, name="X")
    assert "agents" in refusal(people, by_admin=False, name="X", role="admin")
    assert upsert(people, by_admin=False, name="X", role="end-user")[1]


def test_an_admin_overwrites_staff_who_match(people):
    staff = people.add_login(DEFAULT_LOGINS[0], 1.0)
    user, created = upsert(people, email=staff.email, name="A customer")

    assert (user, created, staff.name) == (staff, False, "A customer")


def test_further_addresses_are_honoured_at_creation_only(people):
    identities = [{"type": "email", "value": "Two@example.com"}, {"type": "google", "value": "x"}]
    user, _ = upsert(people, external_id="a", email="one@example.com", name="A",
                     identities=identities)  # fmt: skip
    assert [one.email for one in user.identities] == ["one@example.com", "two@example.com"]

    upsert(people, external_id="a", identities=[{"type": "email", "value": "3@example.com"}])
    assert len(user.identities) == 2
    assert "already" in refusal(people, name="B", identities=identities)


@pytest.mark.parametrize(
    ("attributes", "mails"),
    [({}, 1), ({"skip_verify_email": True}, 0), ({"verified": True}, 0), ({"verified": False}, 1)],
)
def test_a_mail_goes_out_unless_the_row_prevents_it(people, attributes, mails):
    upsert(people, external_id="a", email="a@example.com", name="A", **attributes)
    upsert(people, external_id="a", email="a@example.com", name="B", **attributes)

    assert people.mails_sent == mails


def test_verified_verifies_the_address_that_the_row_names(people):
    user, _ = upsert(people, external_id="a", email="a@example.com", name="A")
    assert user.document("")["verified"] is False

    upsert(people, email="a@example.com", verified=True)
    assert user.document("")["verified"] is True


def test_an_update_keeps_created_at_and_moves_updated_at(people):
    user, _ = upsert(people, now=1000.0, external_id="a", name="A")
    upsert(people, now=2000.0, external_id="a", name="A")

    document = user.document("https://x.invalid")
    assert document["created_at"] == "1970-01-01T00:16:40Z"
    assert document["updated_at"] == "1970-01-01T00:33:20Z"


def test_no_repr_shows_a_customer(people):
    row = {"external_id": "secret-1", "email": "secret-2@example.com", "name": "secret-3"}
    user, _ = upsert(people, **row, phone="secret-4", tags=["secret-5"])

    assert "secret" not in repr(user)
    assert "secret" not in repr(read_row(row, people.fields, Settings()))
