"""Rows that were not delivered, as files."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrations.failures import COLUMNS, cell, lines
from worker.explanations import EXPLANATIONS
from worker.ledger.records import RowOutcome

RUN = SimpleNamespace(
    run_id="df-1", orchestration="loyalty", target=SimpleNamespace(destination="socktown")
)


def row(code="missing_name", **changed):
    given = {"row": 3, "external_id": "C3", "email": None, "kind": "failed", "detail": "empty"}
    return RowOutcome(**{**given, "code": code, **changed})


def table(*rows):
    return list(csv.reader(io.StringIO("\n".join(lines(iter(rows), RUN, "csv")), newline="")))


def test_a_csv_file_has_a_header_and_tells_how_to_mend():
    header, line = table(row())
    assert tuple(header) == COLUMNS
    assert line == ["3", "C3", "", "failed", "missing_name", "empty", "The row has no name",
                    "Give the row a name in the source."]  # fmt: skip


def test_json_lines_have_the_same_keys():
    (line,) = lines(iter([row()]), RUN, "jsonl")
    assert tuple(json.loads(line)) == COLUMNS


def test_commands_name_the_run_and_the_orchestration():
    assert table(row("cancelled"))[1][-1] == "Send it: deskfeed retry df-1"
    assert "deskfeed run loyalty" in table(row("rows_gone"))[1][-1]


def test_a_code_of_a_later_version_has_no_resolution():
    assert table(row("of_tomorrow"))[1][-2:] == ["", ""]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\uff1d1", "\tx"],
)
def test_what_a_spreadsheet_takes_for_a_formula_is_text(text):
    assert cell(text) == "'" + text


@pytest.mark.parametrize("text", ["C-1", "a@b.c", "", "3", 3, None])
def test_other_cells_are_as_they_are(text):
    assert cell(text) == text


@given(st.text(), st.text())
def test_every_identity_comes_back_from_the_file(external_id, email):
    found = table(row(external_id=external_id, email=email))
    assert found[1][1] in (external_id, "'" + external_id)
    assert found[1][2] in (email, "'" + email)
    assert not found[1][1].lstrip().startswith(("=", "+", "-", "@"))


def test_every_code_of_a_row_can_be_written():
    for code in EXPLANATIONS:
        assert len(table(row(code))[1]) == len(COLUMNS)


def test_the_table_for_people_ends_with_what_each_code_means_once():
    shown = list(lines(iter([row(), row("tags_not_read"), row()]), RUN, "table"))

    assert [line[:5] for line in shown[:3]] == ["row 3"] * 3
    told = shown[3:]
    assert [line.partition(":")[0] for line in told if line[:1].islower()] == [
        "missing_name",
        "tags_not_read",
    ]
    assert "(deskfeed destinations test socktown), then: deskfeed retry df-1" in "\n".join(told)
    assert "  More: deskfeed explain missing_name" in told
