"""The audit of packages: a service out of reach is never taken for a clean bill."""

from __future__ import annotations

import json
from datetime import date

import pytest

from tools import audit as tool
from tools.audit import FOUND, NOT_AUDITED, Audited, Finding, Known, audit, pins, read

TODAY = date(2026, 11, 29)
WANTED = ("alpha==1.0", "beta_kit==2.0")
HOLE = Finding("beta-kit", "2.0", ("PYSEC-1", "CVE-1"), ("2.1",))
CLEAN = Audited(frozenset({"alpha", "beta-kit"}))


def judged(found, known=(), *, first=CLEAN, offline_ok=False):
    answers = iter([first, found])
    return audit(WANTED, known, lambda *_: next(answers), TODAY, offline_ok=offline_ok)


def test_all_audited_and_nothing_found_is_well():
    assert judged(CLEAN) == (0, ["audited: 2 of 2 packages"])


def test_a_service_out_of_reach_is_told_and_fails_unless_that_is_allowed():
    code, said = judged(CLEAN, first=Audited())
    assert code == NOT_AUDITED
    assert said == ["NOT AUDITED: no service is in reach; nobody looked at 2 packages"]
    assert judged(CLEAN, first=Audited(), offline_ok=True) == (0, said)


def test_a_package_that_nobody_knew_is_told_by_name_and_fails_even_where_offline_is_allowed():
    code, said = judged(Audited(frozenset({"alpha"})), offline_ok=True)
    assert (code, said[0]) == (NOT_AUDITED, "NOT AUDITED: 1 of 2: beta_kit")


def test_a_finding_fails_and_names_the_version_that_mends_it():
    code, said = judged(Audited(CLEAN.packages, (HOLE,)), offline_ok=True)
    assert (code, said[0]) == (FOUND, "FOUND: beta-kit 2.0: PYSEC-1 = CVE-1; fixed in 2.1")


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (Known("CVE-1", "Beta.Kit", "not called"), 0),
        (Known("CVE-1", "beta-kit", "not called", TODAY), 0),
        (Known("CVE-1", "beta-kit", "not called", date(2026, 11, 28)), FOUND),
        (Known("CVE-2", "beta-kit", "another"), FOUND),
        (Known("CVE-1", "alpha", "another"), FOUND),
    ],
)
def test_a_finding_is_explained_by_id_package_and_until_a_day(known, code):
    assert judged(Audited(CLEAN.packages, (HOLE,)), [known])[0] == code


def test_a_report_tells_who_was_audited_and_who_was_not():
    report = {"dependencies": [
        {"name": "alpha", "version": "1.0", "vulns": []},
        {"name": "gamma", "skip_reason": "Dependency not found on PyPI and could not be audited"},
        {"name": "beta_kit", "version": "2.0",
         "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}]},
    ]}  # fmt: skip
    found = read(json.dumps(report))
    assert found.packages == {"alpha", "beta-kit"}
    assert found.findings[0].ids == ("PYSEC-1", "CVE-1")


@pytest.mark.parametrize("report", ["", "null", "[]", "{}", "Traceback (most recent call last)"])
def test_what_is_no_report_audited_nothing(report):
    assert read(report) == Audited()


def test_the_pins_are_those_that_are_installed_and_each_explanation_has_its_reason():
    wanted = pins(tool.PINS.read_text())
    assert len(wanted) > 50
    assert all("==" in pin for pin in wanted)
    tool.known_findings(tool.KNOWN.read_text())
    with pytest.raises(ValueError, match="a reason"):
        tool.known_findings('[[known]]\nid = "X"\npackage = "y"\nwhy = " "\n')
