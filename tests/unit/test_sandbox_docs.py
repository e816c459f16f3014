"""docs/sandbox.md names everything that the sandbox has."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from worker.sandbox.__main__ import _parser
from worker.sandbox.api import ROUTES
from worker.sandbox.config import DEFAULT_FIELDS, DEFAULT_LOGINS, Config
from worker.sandbox.control import _ACTS, PREFIX
from worker.sandbox.faults import Selection
from worker.sandbox.fields import TYPES
from worker.sandbox.jobs import _SHAPES, _STATES, JobFault
from worker.sandbox.journal import Entry
from worker.sandbox.rules import _ACTIONS
from worker.sandbox.settings import Settings
from worker.sandbox.state import Account

DOCS = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", DOCS))
"""What stands in code quotes: a name in passing prose does not document it."""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([one.name for one in fields(Settings)], id="settings"),
        pytest.param([one.name for one in fields(Config)], id="configuration"),
        pytest.param([one.name for one in fields(Selection)], id="selection"),
        pytest.param([one.name for one in fields(JobFault)], id="job faults"),
        pytest.param([*_STATES, *_SHAPES], id="job states and shapes"),
        pytest.param(list(_ACTIONS), id="actions"),
        pytest.param([one.name for one in fields(Entry)], id="journal"),
        pytest.param([route.kind for route in ROUTES], id="kinds"),
        pytest.param(list(Account(Config(), 0.0).stats(0.0)), id="stats"),
        pytest.param([one.key for one in DEFAULT_FIELDS], id="fields"),
        pytest.param([one.email for one in DEFAULT_LOGINS], id="logins"),
    ],
)
def test_every_name_is_documented(names):
    assert [name for name in names if name not in CODE] == []


def test_every_switch_is_documented():
    switches = {option for action in _parser()._actions for option in action.option_strings}
    documented = {text.partition(" ")[0] for text in CODE}

    assert switches - {"-h", "--help"} - documented == set()


def test_every_endpoint_is_documented():
    paths = {route.path.rstrip("/") for route in ROUTES} | {PREFIX + path for _, path in _ACTS}

    assert [path for path in sorted(paths) if path not in DOCS] == []


def test_every_field_type_is_documented():
    assert f"types: {', '.join(TYPES)}" in DOCS
