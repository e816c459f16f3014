"""What may stand in a message that starts a run, and what becomes of any other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from world import write_catalog

from orchestrations import tasks
from orchestrations.starting import LONGEST_KEY, Start, read_start
from worker.errors import LedgerError
from worker.messages import Unreadable

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.fixture
def started(ledger, tmp_path, monkeypatch):
    """Call the task as Celery does; returns what it returned and the lines of its log."""
    settings = SimpleNamespace(catalog=write_catalog(tmp_path / "catalog"))
    monkeypatch.setattr(tasks, "settings", lambda: settings)
    monkeypatch.setattr(tasks, "parts", lambda: SimpleNamespace(ledger=ledger))
    monkeypatch.setattr(tasks, "send_all", lambda hints: None)

    def call(*args, **kwargs):
        with capture_logs() as lines:
            return tasks.start(*args, **kwargs), lines

    return call


@pytest.mark.parametrize(
    ("args", "kwargs", "read"),
    [
        ((), {"orchestration": "loyalty"}, Start("loyalty")),
        ((), {"orchestration": "loyalty", "key": "k", "sample": 5}, Start("loyalty", "k", 5)),
        (("loyalty", "k"), {}, Start("loyalty", "k")),
        (("loyalty",), {"key": None}, Start("loyalty")),
        ((), {"orchestration": "loyalty", "key": "k" * LONGEST_KEY}, Start("loyalty", "k" * 255)),
    ],
)
def test_a_start_is_read(args, kwargs, read):
    assert read_start(args, kwargs) == read


GARBAGE = [
    ((), {}),
    ((), {"orchestration": None}),
    ((), {"orchestration": ["loyalty"]}),
    ((), {"orchestration": "c@example.com"}),
    ((), {"orchestration": "loyalty", "rows": "c@example.com"}),
    ((), {"orchestration": "loyalty", "key": 7}),
    ((), {"orchestration": "loyalty", "key": "k" * (LONGEST_KEY + 1)}),
    ((), {"orchestration": "loyalty", "key": "a\nb"}),
    ((), {"orchestration": "loyalty", "key": ""}),
    ((), {"orchestration": "loyalty", "sample": "5"}),
    ((), {"orchestration": "loyalty", "sample": True}),
    ((), {"orchestration": "loyalty", "sample": 0}),
    ((), {"orchestration": "loyalty", "sample": 2**70}),
    (("loyalty",), {"orchestration": "loyalty"}),
    (("loyalty", "k", 5, "more"), {}),
]


@pytest.mark.parametrize(("args", "kwargs"), GARBAGE)
def test_garbage_starts_nothing_and_is_told_in_one_line_without_its_values(
    started, ledger, args, kwargs
):
    result, lines = started(*args, **kwargs)

    assert result == "malformed"
    assert [line["event"] for line in lines] == ["message_left_alone"]
    assert "example.com" not in str(lines)
    assert ledger.runs.newest() == []


@given(
    st.lists(ANYTHING, max_size=4),
    st.dictionaries(st.sampled_from(["orchestration", "key", "sample", "x"]), ANYTHING),
)
def test_whatever_a_message_holds_reading_it_never_fails(args, kwargs):
    assert isinstance(read_start(args, kwargs), Start | Unreadable)


def test_what_cannot_be_started_is_told_in_one_line_with_its_remedy(started, ledger):
    result, lines = started(orchestration="royalty", key="k")

    assert result == "orchestration_not_found"
    [line] = lines
    assert (line["event"], line["code"]) == ("run_not_started", "orchestration_not_found")
    assert "loyalty" in line["reason"]  # the name that was meant
    assert line["resolution"]
    assert ledger.runs.newest() == []


def test_a_start_records_a_run_once(started, ledger):
    run_id, _ = started(orchestration="loyalty", key="k", sample=1)

    assert started(orchestration="loyalty", key="k", sample=1)[0] == run_id
    assert [run.run_id for run in ledger.runs.newest()] == [run_id]


def test_a_ledger_that_is_away_is_no_fault_of_the_message(started, monkeypatch):
    def away(*_args, **_kwargs):
        raise LedgerError("The ledger cannot be used: locked")

    monkeypatch.setattr(tasks.runs, "start", away)
    with pytest.raises(LedgerError):
        started(orchestration="loyalty", key="k")
