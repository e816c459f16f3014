"""What was sent, compared with what Zendesk shows: its normalisations are no differences."""

from __future__ import annotations

import pytest

from worker.sandbox.fields import DEFAULT_FIELDS
from worker.sandbox.rows import read_row
from worker.sandbox.settings import Settings
from worker.sandbox.users import People
from worker.zendesk.compare import differences, unseen

SENT = {"external_id": "C-1", "email": "ada@example.com", "name": "Ada", "verified": True}
FOUND = {**SENT, "id": 7, "tags": [], "user_fields": {}}


def sent(**more):
    return {**SENT, **more}


def found(**more):
    return {**FOUND, **more}


def judged(given, shown):
    return differences(given, shown), unseen(given, shown)


SAME = ((), ())


def field(value, shown):
    return judged(sent(user_fields={"f": value}), found(user_fields={"f": shown}))


def test_a_user_as_sent_has_no_differences():
    assert judged(SENT, FOUND) == SAME


@pytest.mark.parametrize("name", ["name", "phone", "notes", "alias", "organization_id"])
def test_another_value_is_named(name):
    assert differences(sent(**{name: "new"}), found(**{name: "old"})) == (name,)


def test_a_user_without_a_value_that_was_sent_is_different():
    assert differences(sent(phone="+15550100"), FOUND) == ("phone",)


def test_every_difference_is_named_in_the_order_sent():
    given = sent(name="B", user_fields={"a": 1, "b": 2}, phone="1")
    assert differences(given, found(user_fields={"b": 2})) == ("name", "phone", "user_fields.a")


@pytest.mark.parametrize("value", [None, "", []])
@pytest.mark.parametrize("shown", [None, "", [], False])
def test_null_and_blank_are_one(value, shown):
    assert field(value, shown) == SAME
    assert judged(sent(alias=value), found(alias=shown)) == SAME


def test_an_absent_field_is_blank():
    assert judged(sent(user_fields={"f": None}), FOUND) == SAME
    assert judged(sent(user_fields=None), FOUND) == SAME


# --- keys -----------------------------------------------------------------------------------------


def test_the_case_of_an_email_does_not_matter():
    assert judged(sent(email=" ADA@Example.com "), FOUND) == SAME


def test_another_primary_address_proves_nothing_for_a_changed_one_is_secondary():
    assert judged(sent(email="new@example.com"), FOUND) == ((), ("email",))


def test_an_email_is_different_when_the_user_has_none():
    assert differences(SENT, found(email=None)) == ("email",)


def test_identities_decide_where_they_are_shown():
    identities = [{"type": "email", "value": "NEW@example.com"}]
    assert judged(sent(email="new@example.com"), found(identities=identities)) == SAME
    assert differences(sent(email="other@example.com"), found(identities=identities)) == ("email",)


def test_the_case_of_an_external_id_does_matter_for_zendesk_keeps_the_one_sent_last():
    assert differences(sent(external_id="c-1"), FOUND) == ("external_id",)


# --- attributes with a life of their own ----------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "shown", "fields", "verdict"),
    [
        (["b", "A"], ["a", "b"], {}, SAME),
        (["a b"], ["b", "a"], {}, SAME),
        ([], [], {}, SAME),
        (["a"], [], {}, (("tags",), ())),
        (["a"], ["a", "left"], {}, (("tags",), ())),
        (["a"], ["a", "gold"], {"tier": "gold"}, SAME),
        (["a"], ["a", "x", "y"], {"many": ["x", "y"]}, SAME),
        (["a"], ["a", "ticked"], {"box": True}, ((), ("tags",))),
        (["a"], ["a", "ticked", "left"], {"box": True}, (("tags",), ())),
        (["a"], None, {}, (("tags",), ())),
    ],
)
def test_tags_are_sets_and_fields_add_their_own(tags, shown, fields, verdict):
    assert judged(sent(tags=tags), found(tags=shown, user_fields=fields)) == verdict


def test_an_organization_is_sent_by_name_and_shown_by_id():
    given = sent(organization={"name": "Acme"})
    assert judged(given, found(organization_id=3)) == ((), ("organization",))
    assert judged(given, found(organization_id=None)) == (("organization",), ())


def test_a_photo_that_is_fetched_later_proves_nothing():
    assert judged(sent(remote_photo_url="https://x"), FOUND) == ((), ("remote_photo_url",))


def test_an_instruction_is_not_compared():
    assert judged(sent(skip_verify_email=True), FOUND) == SAME


@pytest.mark.parametrize(
    ("value", "shown", "same"), [(True, False, False), (False, True, True), (True, True, True)]
)
def test_verified_means_any_address(value, shown, same):
    assert (differences(sent(verified=value), found(verified=shown)) == ()) is same


def test_a_locale_has_no_case():
    assert judged(sent(locale="en-us"), found(locale="en-US")) == SAME
    assert differences(sent(locale="de"), found(locale="en-US")) == ("locale",)


def test_a_time_zone_has_two_names():
    shown = found(time_zone="Berlin", iana_time_zone="Europe/Berlin")
    assert judged(sent(time_zone="Berlin"), shown) == SAME
    assert judged(sent(time_zone="Europe/Berlin"), shown) == SAME
    assert differences(sent(time_zone="Rome"), shown) == ("time_zone",)


# --- user fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2020-08-19T20:50:04.000Z", "2020-08-19T00:00:00+00:00"),
        ("2020-08-19", "2020-08-19T00:00:00Z"),
        ("2020-08-19 20:50", "2020-08-19T00:00:00+00:00"),
        ("3039", 3039),
        (3039, 3039.0),
        (12.5, "12.50"),
        ("12.50", 12.5),
        (7, "7"),
        (True, True),
        ("true", True),
        (1, True),
        ("0", False),
        (["b", "a"], ["a", "b"]),
        ("a", ["a"]),
        ("gold", "gold"),
    ],
)
def test_what_zendesk_makes_of_a_value_is_the_same(value, shown):
    assert field(value, shown) == SAME


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2020-08-19", "2020-08-20T00:00:00+00:00"),
        ("2020-08-19", "2020-08-19T10:00:00+00:00"),
        ("x", "2020-08-19T00:00:00+00:00"),
        ("007", "7"),
        (7, "7a"),
        (7, 8),
        ("nan", 7),
        (True, False),
        ("perhaps", False),
        (False, True),
        (0, None),
        (["a"], ["a", "b"]),
        ("Gold", "gold"),
        ("gold", None),
        (None, "gold"),
    ],
)
def test_what_zendesk_does_not_make_of_a_value_is_a_difference(value, shown):
    assert field(value, shown) == (("user_fields.f",), ())


def test_the_sandbox_and_this_table_agree():
    given = {
        "external_id": "C-9",
        "email": "Ada@Example.com",
        "name": "Ada",
        "verified": True,
        "skip_verify_email": True,
        "alias": None,
        "tags": ["VIP", "new customer"],
        "user_fields": {
            "loyalty_tier": "gold",
            "loyalty_points": "12",
            "lifetime_value": 12.5,
            "last_order_on": "2026-01-02T10:00:00Z",
            "favorite_category": "",
            "preferences": ["sms", "email"],
        },
    }
    people = People(DEFAULT_FIELDS)
    row = read_row(given, people.fields, Settings())
    user, _ = people.upsert(row, 1.0)

    assert judged(given, user.document("http://x")) == SAME
