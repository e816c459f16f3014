"""Which column is sent as what: `columns`, `constants`, `defaults`, `strict`, the user fields."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from orchestrations.mapping import Mapper, mapper_for
from orchestrations.rules import MappingRules
from worker.errors import RunError
from worker.profile import Profile
from worker.zendesk.fields import UserField

FIELDS = (
    UserField("loyalty_tier", "dropdown", options=(("gold", "Gold tier"), ("silver", "Silver"))),
    UserField("points", "integer"),
    UserField("city", "text"),
    UserField("old", "text", active=False),
)
BASE = {"verified": True, "skip_verify_email": True, "name": "Ada", "external_id": "1"}


def mapped(row, fields=FIELDS, **rules):
    mapper = mapper_for(MappingRules(**rules), list(row), fields)
    return mapper.map(1, tuple(row.values()))


def ada(**more):
    return {"name": "Ada", "external_id": "1", **more}


def user(row, fields=FIELDS, **rules):
    found = mapped(row, fields, **rules)
    assert isinstance(found, Profile), found
    return {key: value for key, value in found.user.items() if BASE.get(key, "not there") != value}


def error(query, code, fields=FIELDS, **rules):
    with pytest.raises(RunError) as caught:
        mapper_for(MappingRules(**rules), query, fields)
    assert caught.value.code == code
    return caught.value.message


# --- columns --------------------------------------------------------------------------------------


def test_columns_are_sent_under_other_names():
    row = {"id": "1", "name": "Ada", "tier": "Gold tier", "note": "x"}
    rules = {"id": "external_id", "tier": "user_fields.loyalty_tier", "note": None}
    mapper = mapper_for(MappingRules(columns=rules), list(row), FIELDS)
    assert mapper.warnings == ()
    assert mapper.map(1, tuple(row.values())).user == {
        **BASE,
        "user_fields": {"loyalty_tier": "gold"},
    }


def test_a_column_that_the_query_has_not_is_told_with_the_nearest_names():
    message = error(["cust_id", "name", "email"], "unresolved_column", columns={"custid": "notes"})
    assert "'custid' of `columns:` is no column of the query (did you mean 'cust_id'?)" in message


@pytest.mark.parametrize(
    ("columns", "renamed", "words"),
    [
        (["a", "external_id", "name"], {"a": "external_id"}, "several columns are sent as"),
        (["a", "b", "name"], {"a": "email", "b": "email"}, "several columns are sent as 'email'"),
        (["name", "email", "role"], {"name": "name"}, "'role' is never sent"),
        (["name", "email", "email"], {}, "'email' stands twice"),
    ],
)
def test_columns_that_contradict_each_other_fail_the_query(columns, renamed, words):
    assert words in error(columns, "invalid_columns", columns=renamed)


def test_a_rejected_row_is_named_by_the_renamed_key():
    found = mapped({"id": "7", "name": None}, columns={"id": "external_id"})
    assert (found.code, found.external_id) == ("missing_name", "7")


# --- constants and defaults -----------------------------------------------------------------------


def test_constants_are_sent_with_every_row_and_coerced_like_values():
    rules = {"constants": {"user_fields.loyalty_tier": "Silver", "tags": ["web", "shop"]}}
    assert user(ada(), **rules) == {
        "tags": ["web", "shop"],
        "user_fields": {"loyalty_tier": "silver"},
    }


def test_defaults_stand_where_a_row_has_no_value():
    rules = {"defaults": {"user_fields.loyalty_tier": "silver", "user_fields.points": "0"}}
    assert user(ada(**{"user_fields.points": None}), **rules) == {
        "user_fields": {"loyalty_tier": "silver", "points": 0}
    }
    assert user(ada(**{"user_fields.points": 5, "user_fields.loyalty_tier": " "}), **rules) == {
        "user_fields": {"loyalty_tier": "silver", "points": 5}
    }


def test_a_default_name_makes_the_column_name_unneeded():
    assert user({"external_id": "1"}, defaults={"name": "Customer"})["name"] == "Customer"


def test_a_default_goes_before_clearing():
    rules = {"defaults": {"notes": "none"}, "nulls": "clear"}
    assert user(ada(notes=None, alias=None), **rules) == {"notes": "none", "alias": None}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"constants": {"user_fields.loyalty_tier": "iron"}}, "constants.user_fields.loyalty_tier"),
        ({"defaults": {"user_fields.points": "many"}}, "defaults.user_fields.points: must be a"),
        ({"defaults": {"phone": " "}}, "defaults.phone: must not be blank"),
        ({"constants": {"notes": "x"}}, "'notes' is sent as notes, for which `constants:` has"),
    ],
)
def test_a_constant_that_cannot_be_sent_fails_the_query(rules, words):
    assert words in error(["name", "external_id", "notes"], "invalid_columns", **rules)


# --- user fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "rules", "words"),
    [
        (["user_fields.loyalty_teir"], {}, "did you mean 'loyalty_tier'?"),
        (["user_fields.old"], {}, "'user_fields.old' is an inactive user field"),
        ([], {"constants": {"user_fields.nope": 1}}, "no user field 'user_fields.nope'"),
        ([], {"defaults": {"user_fields.nope": 1}}, "no user field 'user_fields.nope'"),
        ([], {"formats": {"user_fields.nope": "state"}}, "no user field 'user_fields.nope'"),
    ],
)
def test_a_user_field_that_the_account_has_not_fails_the_query(columns, rules, words):
    assert words in error(["name", "email", *columns], "unknown_user_field", **rules)


def test_without_knowing_the_fields_every_key_passes():
    assert user(ada(**{"user_fields.nope": 1}), None) == {"user_fields": {"nope": 1}}


def test_an_unknown_column_is_a_warning_with_a_hint():
    warnings = mapper_for(MappingRules(), ["name", "email", "emial", "city"], FIELDS).warnings
    assert warnings[0].endswith("and is not sent (did you mean 'email'?)")
    assert warnings[1].endswith(
        'and is not sent (for the user field of this key: AS "user_fields.city")'
    )


def test_with_strict_an_unknown_column_fails_the_query():
    message = error(["name", "email", "shoe_size"], "invalid_columns", strict=True)
    assert "'shoe_size'" in message
    assert mapper_for(
        MappingRules(strict=True, columns={"shoe_size": None}), ["name", "email", "shoe_size"]
    )


# --- values ---------------------------------------------------------------------------------------


def test_a_value_that_cannot_be_sent_fails_its_row_and_names_the_querys_column():
    found = mapped(ada(p="x"), columns={"p": "user_fields.points"})
    assert (found.code, found.detail) == (
        "mismatched_datatype",
        "column 'p': must be a number, written with digits and a point",
    )


def test_with_drop_field_it_stays_out_and_is_counted_by_its_column():
    rules = MappingRules(on_invalid_value="drop_field", columns={"p": "user_fields.points"})
    mapper = mapper_for(rules, ["name", "external_id", "email", "p"], FIELDS)
    found = [mapper.map(n, ("Ada", "1", "no address", p)) for n, p in enumerate(("x", 3, "y"))]
    assert [row.user.get("user_fields") for row in found] == [None, {"points": 3}, None]
    assert mapper.dropped == {"p": 2, "email": 3}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"name": b"x", "external_id": "1"}, "mismatched_datatype"),
        ({"name": "Ada", "external_id": 1.5, "email": "a@b.c"}, "mismatched_datatype"),
        ({"name": "Ada", "external_id": None, "email": "no address"}, "missing_identifier"),
    ],
)
def test_what_a_row_needs_is_not_dropped(row, code):
    assert mapped(row, on_invalid_value="drop_field").code == code


def test_a_user_field_called_name_is_dropped_like_any_other():
    fields = (UserField("name", "integer"),)
    found = mapped(ada(**{"user_fields.name": "x"}), fields, on_invalid_value="drop_field")
    assert found.user == BASE


def test_nulls_clear_what_can_be_cleared():
    nothing = dict.fromkeys(
        ["email", "organization", "verified", "shared_phone_number", "phone", "tags"]
    )
    row = ada(**nothing, **{"user_fields.points": None, "user_fields.city": None})
    assert user(row) == {}
    assert user(row, nulls="clear") == {
        "phone": None,
        "tags": [],
        "user_fields": {"points": None, "city": None},
    }


def test_with_tags_added_a_row_with_tags_needs_an_external_id():
    rules = {"tags": "add"}
    without = {"name": "Ada", "email": "a@b.c"}
    assert mapped({**without, "tags": "vip"}, **rules).code == "missing_external_id"
    assert user({**without, "external_id": "1", "tags": None}, nulls="clear", **rules) == {
        "email": "a@b.c"
    }
    assert mapped({**without, "tags": None}, **rules).user["email"] == "a@b.c"


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        ({}, "512 555 0143", None),
        ({"phone_region": "US"}, "512 555 0143", "+15125550143"),
        ({"formats": {"phone": "text"}}, "ext. 12", "ext. 12"),
    ],
)
def test_a_phone_follows_region_and_format(rules, value, expected):
    found = mapped(ada(phone=value), **rules)
    assert (found.user["phone"] if isinstance(found, Profile) else None) == expected


def test_a_format_goes_before_the_fields_type():
    fields = (UserField("state", "dropdown", options=(("WA", "Washington"),)),)
    rules = {"formats": {"user_fields.state": "state"}}
    assert user(ada(**{"user_fields.state": " wa"}), fields, **rules) == {
        "user_fields": {"state": "WA"}
    }
    assert user(ada(**{"user_fields.state": " "}), fields, **rules) == {}


# --- staff ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"external_id": "BOSS", "email": "x@y.z"}, "external_id"),
        ({"external_id": "1", "email": " Boss@Example.com "}, "e-mail"),
    ],
)
def test_a_row_that_is_staff_is_not_sent_unless_that_is_allowed(row, what):
    staff = frozenset({"x:boss", "e:boss@example.com"})
    columns, values = ["name", *row], ("Ada", *row.values())
    found = mapper_for(MappingRules(), columns, FIELDS, staff).map(1, values)
    assert (found.code, found.detail) == (
        "staff_member",
        f"an agent or admin of the account has this {what}",
    )
    allowed = mapper_for(MappingRules(allow_staff=True), columns, FIELDS, staff).map(1, values)
    assert isinstance(allowed, Profile)


def test_an_email_is_not_taken_for_an_external_id():
    staff = frozenset({"x:a@b.c"})
    row = {"name": "Ada", "external_id": "1", "email": "a@b.c"}
    found = mapper_for(MappingRules(), list(row), FIELDS, staff).map(1, tuple(row.values()))
    assert isinstance(found, Profile)


# --- the mapper as a thing ------------------------------------------------------------------------


def test_a_mapper_that_was_pickled_maps_the_same():
    rules = MappingRules(columns={"id": "external_id"}, phone_region="US", nulls="clear")
    columns = ["id", "name", "phone", "user_fields.loyalty_tier"]
    mapper = Mapper(columns, rules=rules, fields=FIELDS, staff=frozenset({"x:7"}))
    again = pickle.loads(pickle.dumps(mapper))
    for values in (("1", "Ada", "512 555 0143", "Silver"), ("7", "Ada", None, None)):
        assert again.map(3, values) == mapper.map(3, values)


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"columns": {"a": "externalid"}}, "did you mean 'external_id'?"),
        ({"columns": {"a": "role"}}, "never sent"),
        ({"columns": {"a": 5}}, "valid string"),
        ({"constants": {"Notes": "x"}}, "lower case"),
        ({"constants": {"user_fields.7": "x"}}, "not digits only"),
        ({"constants": {"email": "a@b.c"}}, "'email' would make everybody the same person"),
        ({"defaults": {"external_id": "1"}}, "'external_id' would make everybody"),
        ({"constants": {"notes": "a"}, "defaults": {"notes": "b"}}, "stands in `constants`, too"),
        ({"constants": {"notes": {"a": 1}}}, "must be text, a number"),
        ({"constants": {"tags": [1]}}, "must be text, a number"),
        ({"constants": {"notes": float("nan")}}, "must be text, a number"),
        ({"constants": {"notes": None}}, "must be text, a number"),
        ({"formats": {"notes": "phone"}}, "only `phone` and user fields"),
        ({"formats": {"phone": "fax"}}, "'phone', 'state', 'email' or 'text'"),
        ({"phone_region": "us"}, "two capital letters"),
        ({"phone_region": "XX"}, "two capital letters"),
        ({"nulls": "keep"}, "'omit' or 'clear'"),
        ({"tags": "merge"}, "'replace' or 'add'"),
        ({"strict": "yes"}, "boolean"),
    ],
)
def test_rules_that_cannot_hold_are_refused(rules, words):
    with pytest.raises(ValidationError) as caught:
        MappingRules(**rules)
    assert words in str(caught.value)
