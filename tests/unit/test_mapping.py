"""What becomes of every kind of column and of every kind of value."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrations.mapping import BUILT_IN, MAX_ROW_BYTES, Mapper, mapper_for
from orchestrations.rules import MappingRules
from worker.errors import RunError
from worker.explanations import EXPLANATIONS
from worker.profile import OutcomeKind, Profile, RejectedRow
from worker.zendesk.fields import UserField

DEFAULTS = {"verified": True, "skip_verify_email": True}
TOKYO = timezone(timedelta(hours=9))


def mapped(**columns):
    return Mapper(list(columns)).map(7, tuple(columns.values()))


NOT_SENDABLE = ("invalid_value", "mismatched_datatype")


def sent(value, column="user_fields.x"):
    """Return what is sent of one value, or the code and detail of its refusal."""
    result = mapped(**{"name": "Ada", "external_id": "1", column: value})
    if isinstance(result, RejectedRow):
        return result.code, result.detail
    place = result.user.get("user_fields", {}) if "." in column else result.user
    return place.get(column.removeprefix("user_fields."), "not sent")


def refused(value, column="user_fields.x"):
    result = mapped(**{"name": "Ada", "external_id": "1", column: value})
    return isinstance(result, RejectedRow) and result.code in NOT_SENDABLE


def columns_error(*columns):
    with pytest.raises(RunError) as caught:
        Mapper(columns)
    return caught.value


def test_built_in_attributes_and_user_fields_come_together_with_the_defaults():
    profile = mapped(**{"name": " Ada ", "email": " a@b.c ", "user_fields.tier": "gold"})
    assert profile == Profile(
        7, {**DEFAULTS, "name": "Ada", "email": "a@b.c", "user_fields": {"tier": "gold"}}
    )


def test_null_is_left_out():
    profile = mapped(**{"name": "Ada", "email": "a@b.c", "phone": None, "user_fields.a": None})
    assert profile.user == {**DEFAULTS, "name": "Ada", "email": "a@b.c"}


def test_a_column_overrides_verified_and_null_does_not():
    assert mapped(name="Ada", email="a@b.c", verified=False).user["verified"] is False
    assert sent(False, "verified") is False
    assert sent(None, "verified") is True
    assert sent("false", "verified") is False


def test_without_verified_only_skip_verify_email_is_sent():
    profile = Mapper(["name", "email"], rules=MappingRules(verified=False)).map(1, ("Ada", "a@b.c"))
    assert profile.user == {"skip_verify_email": True, "name": "Ada", "email": "a@b.c"}


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (["email"], "no column `name`;"),
        (["name", "phone"], "no column one of `email`, `external_id`;"),
        (["city"], "no column `name` and no one of `email`, `external_id`;"),
    ],
)
def test_a_query_without_a_required_column_fails_and_names_what_it_has(columns, missing):
    error = columns_error(*columns)
    assert error.code == "missing_required_field"
    assert missing in error.message
    assert all(repr(column) in error.message for column in columns)


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        ("role", "what a person may do"),
        ("suspended", "what a person may do"),
        ("custom_role_id", "what a person may do"),
        ("password", "what a person may do"),
        ("id", "Zendesk sets it itself"),
        ("created_at", "Zendesk sets it itself"),
        ("Role", "what a person may do"),
        ("identities", "manages identities"),
        ("user_fields", "user_fields.<key>"),
        ("Phone", "in lower case: AS phone"),
        (" phone", "in lower case: AS phone"),
        ("User_Fields.tier", "in lower case"),
        ("user_fields.", "letters, digits"),
        ("user_fields.12", "not digits only"),
        ("user_fields.a-b", "letters, digits"),
        ("user_fields.a.b", "letters, digits"),
        ("user_fields.é", "letters, digits"),
        ("user_fields.a\n", "letters, digits"),
        ("name", "stands twice"),
    ],
)
def test_a_column_that_must_not_be_there_fails_the_query(column, hint):
    error = columns_error("name", "email", column)
    assert error.code == "invalid_columns"
    assert hint in error.message


def test_all_wrong_columns_are_told_at_once():
    error = columns_error("role", "Name", "id")
    assert all(repr(column) in error.message for column in ("role", "Name", "id"))


def test_an_unknown_column_is_not_sent_and_warned_about_by_name():
    mapper = Mapper(["name", "email", "shoe_size"])
    assert mapper.map(1, ("Ada", "a@b.c", "37")).user == {
        **DEFAULTS,
        "name": "Ada",
        "email": "a@b.c",
    }
    assert mapper.warnings == (
        "column 'shoe_size' is not an attribute of a Zendesk user and is not sent",
    )


@pytest.mark.parametrize("name", [None, "", "  \t"])
def test_a_row_without_name_is_rejected_and_keeps_its_keys(name):
    assert mapped(name=name, external_id=5, email="a@b.c") == RejectedRow(
        7, OutcomeKind.FAILED, "missing_name", "name is empty", "5", "a@b.c"
    )


@pytest.mark.parametrize("blank", [None, "", "   "])
def test_a_row_without_any_key_is_rejected(blank):
    row = mapped(name="Ada", external_id=blank, email=blank)
    assert (row.code, row.external_id, row.email) == ("missing_identifier", None, None)


@pytest.mark.parametrize(
    "email", ["ada", "@b.c", "a@", "a@b@c", "a b@c.d", "a@b\n.c", "a@b.c,d@e.f", 7]
)
def test_an_email_with_a_slip_is_rejected_naming_the_column_and_not_the_value(email):
    row = mapped(name="Ada", external_id="1", email=email)
    assert row.code == ("mismatched_datatype" if email == 7 else "invalid_value")
    assert "'email'" in row.detail
    assert str(email) not in row.detail.replace("'email'", "").replace("an e-mail", "")


@pytest.mark.parametrize("email", ["a@b", "ä@müller.example", "A.B+c@x-y.example", "o'b@x.example"])
def test_an_email_that_zendesk_may_judge_is_sent(email):
    assert mapped(name="Ada", email=email).user["email"] == email


def test_a_key_that_is_not_clean_text_is_not_kept():
    row = mapped(name="Ada", external_id="1\x00", email="a\ud800@b.c")
    assert (row.code, row.external_id, row.email) == ("invalid_value", None, None)
    row = mapped(name=None, external_id="x" * 400, email="a@b.c")
    assert (row.external_id, row.email) == (None, "a@b.c")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" A1 ", "A1"),
        ("007", "007"),
        (12, "12"),
        (2**63, str(2**63)),
        (Decimal(12), "12"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ],
)
def test_an_external_id_is_always_text(value, expected):
    assert mapped(name="Ada", external_id=value).user["external_id"] == expected


@pytest.mark.parametrize(
    "value", [12.0, 1.5, Decimal("12.0"), True, date(2026, 1, 1), ["a"], b"a", 10**100]
)
def test_an_external_id_with_more_than_one_writing_is_rejected(value):
    assert mapped(name="Ada", external_id=value, email="a@b.c").code in NOT_SENDABLE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("", ""),
        (" kept ", " kept "),
        (True, True),
        (0, 0),
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (-(2**53), "-9007199254740992"),
        (1.5, 1.5),
        (Decimal("3.00"), 3),
        (Decimal("696.54"), 696.54),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        (Decimal("1E+20"), "100000000000000000000"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime.fromisoformat("2026-01-02 03:04:05"), "2026-01-02T03:04:05"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=TOKYO), "2026-01-01T18:04:05Z"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (time(9, 30), "09:30:00"),
        (timedelta(days=33), "P33D"),
        (timedelta(hours=4, minutes=5, seconds=6.5), "PT4H5M6.5S"),
        (timedelta(days=1, seconds=-1), "PT23H59M59S"),
        (timedelta(seconds=-1), "-PT1S"),
        (timedelta(0), "P0D"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (["email", "sms"], ["email", "sms"]),
        (("email",), ["email"]),
        ([], []),
    ],
)
def test_what_a_user_field_is_sent_as(value, expected):
    found = sent(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1E+999999"),
        Decimal("1E-999999"),
        10**5000,
        b"bytes",
        bytearray(b"x"),
        memoryview(b"x"),
        "a\x00b",
        "\ud800",
        {"a": 1},
        {1: 2},
        [1],
        ["a", None],
        ["a", ["b"]],
        ["a\x00"],
        datetime(1, 1, 1, tzinfo=TOKYO),
        object(),
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_field_cannot_be(value):
    code, detail = sent(value)
    assert code in NOT_SENDABLE
    assert "'user_fields.x'" in detail


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("organization", " Socks ", {"name": "Socks"}),
        ("organization", " ", "not sent"),
        ("organization_id", "42", 42),
        ("organization_id", Decimal(42), 42),
        ("organization_id", "", "not sent"),
        ("locale_id", 1, 1),
        ("tags", ["vip", "a b"], ["vip", "a b"]),
        ("tags", "vip, gold  new", ["vip", "gold", "new"]),
        ("tags", " , ", "not sent"),
        ("tags", [], []),
        ("phone", "+1 (512) 555-0100", "+15125550100"),
        ("phone", " ", "not sent"),
        ("notes", "", ""),
        ("notes", Decimal("12.50"), "12.50"),
        ("notes", 1.5, "1.5"),
        ("notes", True, "true"),
        ("shared_phone_number", "True", True),
        ("shared_phone_number", 0, False),
        ("skip_verify_email", "", True),
    ],
)
def test_what_a_built_in_attribute_is_sent_as(column, value, expected):
    assert sent(value, column) == expected


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("organization", ["a"]),
        ("organization_id", 0),
        ("organization_id", -1),
        ("organization_id", "x"),
        ("organization_id", "²"),
        ("organization_id", 2**63),
        ("organization_id", 1.0),
        ("organization_id", True),
        ("tags", [" "]),
        ("tags", {"a": 1}),
        ("tags", 5),
        ("phone", {"a": 1}),
        ("notes", ["a"]),
        ("verified", "maybe"),
        ("verified", 2),
        ("verified", 1.0),
        ("name", b"Ada"),
        ("alias", float("nan")),
    ],
)
def test_what_a_built_in_attribute_cannot_be(column, value):
    columns = {"name": "Ada", "external_id": "1", column: value}
    assert mapped(**columns).code in NOT_SENDABLE


def test_a_row_of_more_than_64_kib_is_rejected_and_keeps_its_keys():
    row = mapped(name="Ada", email="a@b.c", notes="x" * MAX_ROW_BYTES)
    assert (row.code, row.email) == ("row_too_large", "a@b.c")
    fits = mapped(name="Ada", email="a@b.c", notes="é" * (MAX_ROW_BYTES // 2 - 100))
    assert isinstance(fits, Profile)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-(10**400), 2**53, 2**63, 2**64, -(2**63)]),
    st.integers(4_300, 9_000).map(lambda digits: 10**digits),  # Python refuses to write these
    st.floats(),
    st.decimals(),
    st.sampled_from(
        [Decimal("1E+999999"), Decimal("-1E-999999"), Decimal("sNaN"), Decimal("-0.0")]
    ),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.dates(),
    st.times(timezones=st.none() | st.timezones()),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=-23)))),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(),
    st.builds(object),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
    ),
    max_leaves=5,
)
COLUMNS = [*BUILT_IN, "user_fields.a", "unknown"]


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(COLUMNS), VALUES),
    st.sampled_from(["Ada", None]),
    st.sampled_from(["1", None]),
    st.booleans(),
)
def test_the_mapping_is_total_and_what_it_sends_is_json(values, name, external_id, verified):
    row = {**dict.fromkeys(COLUMNS), "name": name, "external_id": external_id, **values}
    result = Mapper(list(row), rules=MappingRules(verified=verified)).map(3, tuple(row.values()))
    assert result.row == 3
    if isinstance(result, Profile):
        text = orjson.dumps(result.user)
        assert orjson.loads(text) == result.user == json.loads(json.dumps(result.user))
        assert result.user["name"].strip() == result.user["name"] != ""
        assert result.key
        assert len(text) <= MAX_ROW_BYTES
    else:
        assert result.code in EXPLANATIONS
        assert result.kind is OutcomeKind.FAILED
        orjson.dumps([result.detail, result.external_id, result.email])


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from(["user_fields.a", "notes", "tags", "organization", "verified"]))
def test_each_single_value_is_sent_or_refused_by_the_name_of_its_column(value, column):
    result = Mapper(["name", "external_id", column]).map(1, ("Ada", "1", value))
    if isinstance(result, RejectedRow):
        assert result.code in NOT_SENDABLE
        assert repr(column) in result.detail
    else:
        orjson.dumps(result.user)


TYPES = (
    "checkbox", "date", "decimal", "dropdown", "tagger", "integer", "lookup", "multiselect",
    "regexp", "text", "textarea", "hologram",
)  # fmt: skip
PATTERNS = [None, r"\A[a-z]+\z", "(", r"(?<n>\d)$"]
OPTIONS = [(("a", "A & B"), ("b", "A & B"), ("1", "true")), ()]
NEAR_MISSES = st.sampled_from(
    ["2026-01-02", "2026-02-30T1", " 1.005 ", "1e5", "a", "A & B", "true", "+1 512 555 0143",
     "0", "wa", "a,b|1", "\u0661", 0.1 + 0.2, Decimal("0.005"), 10**15 + 0.5, [None], ["a", ""]]
)  # fmt: skip


@st.composite
def field_of_any_type(draw):
    return UserField(
        "k",
        draw(st.sampled_from(TYPES)),
        options=draw(st.sampled_from(OPTIONS)),
        regexp=draw(st.sampled_from(PATTERNS)),
    )


@st.composite
def rules_of_any_kind(draw):
    """Return any options, but constants: these fail the query as a whole."""
    formats = st.sampled_from(["phone", "state", "email", "text"])
    return MappingRules(
        on_invalid_value=draw(st.sampled_from(["fail_row", "drop_field"])),
        nulls=draw(st.sampled_from(["omit", "clear"])),
        tags=draw(st.sampled_from(["replace", "add"])),
        phone_region=draw(st.sampled_from([None, "US", "DE"])),
        formats=draw(st.dictionaries(st.sampled_from(["phone", "user_fields.k"]), formats)),
        verified=draw(st.booleans()),
    )


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*BUILT_IN, "user_fields.k"]), VALUES | NEAR_MISSES),
    field_of_any_type(),
    rules_of_any_kind(),
)
def test_the_mapping_is_total_over_all_types_of_fields_and_all_options(values, known, rules):
    columns = {**dict.fromkeys(COLUMNS[:-2]), "user_fields.k": None, "unknown": None}
    row = {**columns, "name": "Ada", "external_id": "1", **values}
    mapper = mapper_for(rules, list(row), (known,), frozenset({"x:2"}))
    result = mapper.map(3, tuple(row.values()))
    if isinstance(result, Profile):
        text = orjson.dumps(result.user)
        assert orjson.loads(text) == result.user == json.loads(json.dumps(result.user))
        assert result.key
        assert set(result.user.get("user_fields", {})) <= {"k"}
        assert set(mapper.dropped) <= set(values)
    else:
        assert result.code in EXPLANATIONS
        orjson.dumps([result.detail, result.external_id, result.email])
        named = result.code not in NOT_SENDABLE or rules.on_invalid_value == "fail_row"
        assert named or "'name'" in result.detail or "'external_id'" in result.detail


@settings(max_examples=300, deadline=None)
@given(VALUES | NEAR_MISSES, field_of_any_type())
def test_what_a_field_of_any_type_is_sent_is_sent_the_same_way_when_it_comes_back(value, known):
    """Sending what Zendesk shows must change nothing: coercion is idempotent."""
    first = typed(value, known)
    if first is not None:
        assert typed(first, known) == first


def typed(value, known):
    mapper = mapper_for(MappingRules(), ["name", "external_id", "user_fields.k"], (known,))
    result = mapper.map(1, ("Ada", "1", value))
    return result.user.get("user_fields", {}).get("k") if isinstance(result, Profile) else None


def test_a_constant_that_cannot_be_sent_is_mended_in_the_orchestration_not_in_the_query():
    for values in ({"constants": {"phone": "call me"}}, {"defaults": {"phone": " "}}):
        (key,) = values
        with pytest.raises(RunError) as caught:
            mapper_for(MappingRules.model_validate(values), ("external_id", "name"))
        assert caught.value.code == "invalid_columns"
        assert f"under `{key}:` in the orchestration's file" in caught.value.resolution
