"""docs/catalog.md tells every key, every column and every outcome there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from orchestrations import attributes, coercion
from orchestrations.loader import load_catalog
from orchestrations.rules import Format
from orchestrations.spec import (
    DATA_SUFFIXES,
    Destination,
    Limits,
    Orchestration,
    Source,
    Thresholds,
)
from orchestrations.timetable import Schedule

DOCS = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
SECTIONS = {
    Orchestration: "## An orchestration",
    Destination: "## A destination",
    Source: "## A source",
}


def section(model):
    return DOCS.partition(SECTIONS[model])[2].partition("\n## ")[0]


def rows(text):
    """Return the first column of the tables' rows to their whole lines."""
    return dict(re.findall(r"^\| `([a-z_.]+)` (\|.*)$", text, re.MULTILINE))


def documented_keys(model):
    nested = {
        Orchestration: {"thresholds.": Thresholds, "schedule.": Schedule},
        Destination: {"limits.": Limits},
    }
    keys = {name for name in model.model_fields if name != "name"}
    for prefix, inner in nested.get(model, {}).items():
        keys |= {prefix + name for name in inner.model_fields}
    return keys


@pytest.mark.parametrize("model", SECTIONS)
def test_every_key_has_a_row_and_every_row_is_a_key(model):
    keys = documented_keys(model)
    found = {key for key in rows(section(model)) if not key.startswith(".")}
    assert found == keys


@pytest.mark.parametrize(
    ("model", "inner", "prefix"),
    [(Orchestration, Thresholds, "thresholds."), (Destination, Limits, "limits.")],
)
def test_the_defaults_of_numbers_are_the_models(model, inner, prefix):
    table = rows(section(model))
    for name, field in inner.model_fields.items():
        default = "no bound" if field.default is None else f"`{field.default}`"
        assert f"| {default} |" in table[prefix + name]


def test_required_keys_are_told_as_such():
    for model in SECTIONS:
        table = rows(section(model))
        for name, field in model.model_fields.items():
            if name != "name":
                assert ("| required |" in table[name]) == field.is_required(), name


def test_the_examples_are_a_catalog_that_loads(tmp_path):
    names = {
        Orchestration: "loyalty.yaml",
        Destination: "destinations/socktown.yaml",
        Source: "sources/customers.yaml",
    }
    for model, name in names.items():
        example = section(model).partition("```yaml\n")[2].partition("```")[0]
        assert yaml.safe_load(example)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(example)
    (tmp_path / "loyalty.sql").write_text("SELECT 1")
    assert load_catalog(tmp_path).orchestration("loyalty").thresholds.fail_above == 10_000


def test_every_built_in_attribute_and_every_privilege_is_named():
    columns = DOCS.partition("## Columns")[2].partition("\n## ")[0]
    privileges = [
        name for name, why in attributes.NEVER_SENT.items() if why == attributes.PRIVILEGE
    ]
    for name in (*attributes.ATTRIBUTES, *privileges):
        assert f"`{name}`" in columns, name


def test_every_file_ending_is_named():
    for suffix in DATA_SUFFIXES:
        assert f"`{suffix}`" in DOCS


def test_every_outcome_of_mapping_and_staging_is_named():
    codes = {"missing_name", "missing_identifier", "invalid_value", "row_too_large", "duplicate"}
    codes |= {"staff_member", "missing_external_id", "shared_email"}
    assert codes <= set(rows(DOCS))


def test_every_type_of_user_field_and_every_format_is_named():
    fields = DOCS.partition("## User fields")[2].partition("\n## ")[0]
    formats = DOCS.partition("## Formats")[2].partition("\n## ")[0]
    assert all(
        re.search(rf"^\| .*\b{kind}\b.* \|", fields, re.MULTILINE) for kind in coercion._MAKERS
    )
    assert all(f"| {name} |" in formats for name in get_args(Format))
