"""The dashboard and the rules speak of metrics that there are, by labels that these have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from metric_names import metrics_there_are

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "deskfeed.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())["groups"]

FROM_SCRAPING = {"instance", "job", "le"}
NAME = re.compile(r"\bdeskfeed_\w+")
BRACES = re.compile(r"(\bdeskfeed_\w+)\{(.*?)\}")
GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)\s*\(?")


def known():
    """Return the labels of every series that there can be, by its name."""
    found = {}
    for name, kind, labels in metrics_there_are():
        names = [f"{name}_{part}" for part in ("bucket", "sum", "count")]
        found |= {key: {*labels} for key in (names if kind == "histogram" else [name])}
    return found


def expressions():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"], ""
    for rule in (rule for group in RULES for rule in group["rules"]):
        yield rule["alert"], rule["expr"], rule["annotations"]["summary"]


def mistakes(expression, text=""):
    """Return what is wrong with an expression, and with the labels that a text shows of it."""
    series = known()
    used = {*NAME.findall(expression)}
    found = [f"no metric {name}" for name in used - {*series}]
    if found:
        return found
    for name, braces in BRACES.findall(expression):
        wanted = {*re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces)}
        found += [f"{name} has no {label}" for label in wanted - series[name]]
    labels = set().union(*(series[name] for name in used)) | FROM_SCRAPING
    groups = [{*re.findall(r"\w+", group)} for group in GROUPED.findall(expression)]
    for grouped in groups:
        found += [f"none has {label}" for label in grouped - labels]
    shown = {*re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)}
    kept = set().union(*groups)
    found += [f"{label} is not left to be shown" for label in shown - kept]
    if expression.count("(") != expression.count(")"):
        found.append("a parenthesis is not closed")
    return found


@pytest.mark.parametrize(
    ("title", "expression", "text"), [*expressions()], ids=[title for title, *_ in expressions()]
)
def test_every_expression_speaks_of_what_there_is(title, expression, text):
    assert NAME.findall(expression)
    assert mistakes(expression, text) == []


@pytest.mark.parametrize(
    ("expression", "text", "mistake"),
    [
        ("max(deskfeed_hats)", "", "no metric deskfeed_hats"),
        ("deskfeed_runs_active{account='a'}", "", "deskfeed_runs_active has no account"),
        ("max by (hat) (deskfeed_runs_active)", "", "none has hat"),
        ("max(deskfeed_runs_active)", "{{state}}", "state is not left to be shown"),
        ("max(deskfeed_runs_active", "", "a parenthesis is not closed"),
    ],
)
def test_a_wrong_expression_is_found(expression, text, mistake):
    assert mistakes(expression, text) == [mistake]


def test_every_metric_is_on_the_dashboard_or_explained_by_one_that_is():
    shown = set(NAME.findall(json.dumps(DASHBOARD)))
    beside = {  # the page that Prometheus reads has more than a person looks at
        "deskfeed_limiter_users", "deskfeed_limiter_users_budget", "deskfeed_limiter_gate",
    }  # fmt: skip
    there = {*known()} - {name for name in known() if name.endswith(("_sum", "_count"))}
    assert there - shown - beside == set()


def test_the_rules_are_such_that_prometheus_can_load():
    names = [rule["alert"] for group in RULES for rule in group["rules"]]
    assert len(names) == len(set(names))
    for rule in (rule for group in RULES for rule in group["rules"]):
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Deskfeed[A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_panels_do_not_lie_on_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
