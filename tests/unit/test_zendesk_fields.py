"""User fields: from Zendesk's answer to typed values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.zendesk.fields import FieldPage, UserField, parse_field_page

TIER = {
    "id": 7,
    "key": "loyalty_tier",
    "type": "dropdown",
    "title": "Loyalty tier",
    "active": True,
    "system": False,
    "regexp_for_validation": None,
    "tag": None,
    "custom_field_options": [{"id": 1, "name": "Gold!", "value": "gold"}, {"value": "tin"}, 7],
}


def test_a_field_is_read_with_its_options():
    page = parse_field_page({"user_fields": [TIER], "meta": {"has_more": False}})

    assert page == FieldPage(
        (
            UserField(
                key="loyalty_tier",
                type="dropdown",
                title="Loyalty tier",
                options=(("gold", "Gold!"), ("tin", "tin")),
            ),
        )
    )


def test_an_inactive_field_and_its_rules_are_told():
    item = {
        "key": "zip",
        "type": "REGEXP",
        "active": False,
        "regexp_for_validation": "\\d+",
        "tag": "z",
        "system": True,
    }

    page = parse_field_page({"user_fields": [item]})

    assert page is not None
    assert page.fields == (
        UserField("zip", "regexp", active=False, title="zip", regexp="\\d+", tag="z", system=True),
    )


def test_the_next_page_is_known_by_its_cursor_only():
    more = {"has_more": True, "after_cursor": "abc="}
    links = {"next": "https://elsewhere.example/api"}

    page = parse_field_page({"user_fields": [], "meta": more, "links": links})

    assert page == FieldPage((), "abc=")


@pytest.mark.parametrize("cursor", [None, "", 7, "x" * 1001])
def test_more_that_cannot_be_asked_for_is_no_page(cursor):
    meta = {"has_more": True, "after_cursor": cursor}

    assert parse_field_page({"user_fields": [TIER], "meta": meta}) is None


@pytest.mark.parametrize("document", [{}, {"user_fields": None}, {"user_fields": {}}])
def test_an_answer_without_a_list_is_no_page(document):
    assert parse_field_page(document) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["key", "type", "custom_field_options", "value", "name", "active", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.lists(json_values, max_size=4), json_values)
def test_no_answer_makes_the_reading_of_fields_fail(listed, meta):
    page = parse_field_page({"user_fields": listed, "meta": meta})

    assert page is not None
    assert len(page.fields) <= len(listed)
