"""What a message may hold, and that anything else is left alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrations.tasks
from worker import app as app_module
from worker.hints import Hint
from worker.messages import MOST_SEQ, VERSION, Message, Unreadable, names, read

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


# --- specimens ----------------------------------------------------------------------------------

SPECIMENS = Path(__file__).parents[1] / "fixtures" / "messages"
PUBLIC = {"orchestration", "key"}
"""What a message of somebody else's that starts a run holds in the specimen: no version."""


def shape(name, kwargs):
    """What makes a message one of a kind: its task, its version, and what it holds."""
    return name, kwargs.get("v"), frozenset(kwargs)


def specimens():
    found = {}
    for file in sorted(SPECIMENS.glob("v*/*.json")):
        raw = json.loads(file.read_bytes())
        _, kwargs, _ = json.loads(base64.b64decode(raw["body"]))
        assert kwargs.get("v", VERSION) <= VERSION
        assert file.parent.name == f"v{kwargs.get('v', 1)}"
        found[shape(raw["headers"]["task"], kwargs)] = file
    return found


def sent_today(monkeypatch):
    """Whatever this version leaves on the broker: every hint, beat's and schedulers' messages."""
    found = []
    monkeypatch.setattr(
        app_module.app,
        "send_task",
        lambda name, kwargs=None, **_: found.append(shape(name, kwargs or {})),
    )
    for kind in get_args(Hint):
        app_module.enqueue(kind("df-1", 1) if "seq" in kind.__slots__ else kind("df-1"))
    beat = app_module.app.conf.beat_schedule.values()
    found += [shape(entry["task"], entry.get("kwargs", {})) for entry in beat]
    return {*found, shape(orchestrations.tasks.start.name, dict.fromkeys(PUBLIC))}


def test_there_is_a_specimen_of_every_message_that_is_sent_today(monkeypatch):
    """A new kind, a new version, or another content needs one: fixtures/make_messages.py."""
    assert sent_today(monkeypatch) - specimens().keys() == set()


def test_there_is_a_specimen_for_every_task_of_a_worker():
    """But for the probe: it goes through a queue that no other process knows the name of."""
    tasks = {one for one in app_module.app.tasks if one.startswith(("worker.", "orchestrations."))}
    assert tasks - {app_module.PROBE_TASK} == {name for name, _, _ in specimens()}
