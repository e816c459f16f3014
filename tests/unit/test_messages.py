"""What a message may hold, and that anything else is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.messages import MOST_SEQ, Message, Unreadable, names, read

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def test_a_message_of_this_version_is_read():
    kwargs = {"v": 1, "run_id": "df-1", "seq": 7}
    assert read((), kwargs, chunk=True) == Message("df-1", 7)
    assert read((), {"v": 1, "run_id": "df-1"}, chunk=False) == Message("df-1")


def test_a_message_of_another_version_is_known_as_such_whatever_it_holds():
    assert read((), {"v": 2, "who": "knows"}, chunk=True) == Unreadable("unknown version")


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"run_id": "df-1", "seq": 1},
        {"v": 1, "run_id": "df-1"},
        {"v": 1, "run_id": "df-1", "seq": 1, "more": 1},
        {"v": 1, "run_id": "df-1", "seq": 0},
        {"v": 1, "run_id": "df-1", "seq": MOST_SEQ + 1},
        {"v": 1, "run_id": "df-1", "seq": True},
        {"v": 1, "run_id": "df-1", "seq": "1"},
        {"v": 1, "run_id": "df 1", "seq": 1},
        {"v": 1, "run_id": "d" * 41, "seq": 1},
        {"v": True, "run_id": "df-1", "seq": 1},
        {"v": "1", "run_id": "df-1", "seq": 1},
    ],
)
def test_a_malformed_message_is_known_as_such(kwargs):
    assert read((), kwargs, chunk=True) == Unreadable("malformed")


def test_positional_arguments_are_not_ours():
    assert read(("df-1",), {"v": 1, "run_id": "df-1"}, chunk=False) == Unreadable("malformed")


@given(
    st.lists(ANYTHING),
    st.dictionaries(st.sampled_from(["v", "run_id", "seq", "x"]), ANYTHING),
    st.booleans(),
)
def test_whatever_a_message_holds_reading_it_never_fails(args, kwargs, chunk):
    read(args, kwargs, chunk=chunk)
    assert set(names(kwargs)) <= {"run_id", "seq"}
