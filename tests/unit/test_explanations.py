"""The catalogue of codes: whole, true to the command, and the docs are made from it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from orchestrations.cli import deskfeed
from orchestrations.cli.output import _filled
from worker.explanations import CHAPTERS, EXPLANATIONS, Explanation, Fault, explain, fill
from worker.explanations.pages import pages

ROOT = Path(__file__).parents[2]
ALL = pytest.mark.parametrize("code", list(EXPLANATIONS))
PLACEHOLDERS = {"RUN", "ORCHESTRATION", "NAME", "CODE"}
OTHER_CAPITALS = {
    "API", "AS", "BY", "CAST", "CONT", "DATABASE", "DATE", "DNS", "EXTERNAL_ID", "FOLDER", "HOST",
    "HTTP", "ID", "INTEGER", "IP", "IS", "JSON", "KiB", "NOT", "NULL", "ORDER", "PID", "PING",
    "PORT", "SQL", "SUBDOMAIN", "TLS", "TRY_CAST", "URL", "USER", "WHERE", "PATH", "CSV",
}  # fmt: skip

ASKED_FOR = (
    "authorization_error", "invalid_credentials", "missing_required_field", "unresolved_column",
    "unknown_user_field", "mismatched_datatype", "query_failed", "destination_unavailable",
    "subdomain_not_found", "bulk_import_disabled", "rate_limited", "job_failed",
    "threshold_exceeded", "staff_member", "shared_email", "unconfirmed",
)  # fmt: skip


def texts(one):
    return (one.title, one.resolution, *one.causes, *one.steps, one.command)


def commands(one):
    """Yield the `deskfeed` commands that an explanation names, up to the end of each."""
    for text in (one.resolution, *one.steps, one.command):
        yield from re.findall(r"\bdeskfeed [a-z][^.,;:()`]*", text)


@ALL
def test_every_code_is_explained_in_full(code):
    one = explain(code)

    assert isinstance(one.fault, Fault)
    assert 1 <= len(one.causes) <= 4
    assert one.steps
    for text in texts(one):
        assert text == text.strip() != ""
    assert not one.title.endswith(".")
    assert one.title[0].isupper() or one.title[0] == "`"
    for sentence in (*one.causes, *one.steps):
        assert sentence[0].isupper() or sentence[0] in "`3", sentence
    for cause in one.causes:
        assert cause.endswith((".", "deskfeed up --sandbox")), cause


def test_no_code_can_be_explained_with_less():
    with pytest.raises(TypeError):
        Explanation("A title", "A resolution.")
    with pytest.raises(TypeError):
        Explanation(title="A title", resolution="A resolution.")
    assert all(field.kw_only for field in fields(Explanation))


@pytest.mark.parametrize("code", ASKED_FOR)
def test_the_codes_that_operators_know_from_other_tools_are_there(code):
    assert code in EXPLANATIONS


def test_every_code_stands_in_one_chapter():
    listed = [code for chapter in CHAPTERS.values() for code in chapter]
    assert len(listed) == len(set(listed)) == len(EXPLANATIONS)


@ALL
def test_every_command_that_is_named_exists_with_its_options(code):
    for text in commands(explain(code)):
        words = [word for word in shlex.split(text) if word not in PLACEHOLDERS]
        command: click.Command = deskfeed
        for word in words[1:]:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
            elif word.startswith("-"):
                known = {opt for p in command.params for opt in p.opts} | {"--help"}
                assert word in known, text
        assert command is not deskfeed or words[1:] == ["--help"], text
        assert not isinstance(command, click.Group) or command is deskfeed, text


@ALL
def test_capitals_are_placeholders_or_words_that_everybody_knows(code):
    found = {w for text in texts(explain(code)) for w in re.findall(r"\b[A-Z]{2,}\b", text)}
    settings = {w for text in texts(explain(code)) for w in re.findall(r"DESKFEED_\w+", text)}
    assert {w for w in found if not any(w in name for name in settings)} <= (
        PLACEHOLDERS | OTHER_CAPITALS
    )


def test_placeholders_are_filled_as_whole_words_and_unknown_ones_stay():
    known = {"RUN": "df-1", "ORCHESTRATION": None}
    assert fill("deskfeed retry RUN; RUNS ORCHESTRATION", known) == (
        "deskfeed retry df-1; RUNS ORCHESTRATION"
    )

    filled = explain("threshold_exceeded").filled({"RUN": "df-1", "ORCHESTRATION": "loyalty"})
    assert filled.command == "deskfeed preview loyalty"
    assert "See why rows were refused: deskfeed failures df-1" in filled.steps
    assert filled.title == explain("threshold_exceeded").title


@pytest.mark.parametrize("name", ["errors.md", "runbook.md"])
def test_the_docs_are_what_the_catalogue_makes_of_them(name):
    """Remedy: make docs."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages()[name]


@ALL
def test_the_runbook_has_a_section_whose_anchor_is_the_code(code):
    runbook, errors = pages()["runbook.md"], pages()["errors.md"]
    assert runbook.count(f"\n### {code}\n") == 1
    assert f"(runbook.md#{code})" in errors
    section = runbook.partition(f"\n### {code}\n")[2].partition("\n### ")[0]
    for text in texts(explain(code)):
        assert text in section


def explained(*words):
    return CliRunner().invoke(deskfeed, ["explain", *words])


def test_explain_says_what_a_code_means_whose_fault_it_is_and_what_to_type():
    shown = " ".join(explained("bulk_import_disabled").output.split())

    one = explain("bulk_import_disabled")
    for text in texts(one):
        assert text in shown
    assert f"Whose fault: {one.fault.words}" in shown


def test_explain_speaks_json():
    told = json.loads(explained("unconfirmed", "--json").stdout)
    assert told["ok"] is True
    assert (told["code"], told["fault"]) == ("unconfirmed", "zendesk")
    assert told["command"] == "deskfeed retry RUN"
    assert set(told) == {
        "ok", "code", "title", "fault", "resolution", "causes", "steps", "command",
    }  # fmt: skip


def test_without_a_code_all_are_listed():
    listed = json.loads(explained("--json").stdout)["codes"]
    assert [one["code"] for one in listed] == list(EXPLANATIONS)
    assert all(code in explained().output for code in EXPLANATIONS)


def test_a_code_that_there_is_not_is_told_with_the_nearest():
    refused = explained("uncomfirmed")
    assert refused.exit_code == 2
    assert "did you mean 'unconfirmed'?" in refused.output


def test_errors_name_the_command_that_explains_them():
    refused = CliRunner().invoke(deskfeed, ["show", "df-20260101T000000Z-abcdef"])
    assert refused.exit_code == 2
    assert "More: deskfeed explain run_not_found" in refused.output


def test_errors_of_a_command_name_what_the_command_was_given():
    told = "deskfeed watch RUN, deskfeed destinations test NAME, deskfeed run ORCHESTRATION"
    given = {"run_id": "df-1", "name": "desk", "orchestration": None}

    assert _filled(told, "destinations test", given) == (
        "deskfeed watch df-1, deskfeed destinations test desk, deskfeed run ORCHESTRATION"
    )
    assert "destinations test NAME" in _filled(told, "limits set", given)
