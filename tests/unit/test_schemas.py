"""The JSON Schemas for editors are those of the models, and say what the models say."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from orchestrations.schemas import MODELS, schema_of, write_schemas

DOCS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("kind", MODELS)
def test_the_committed_schema_is_current(kind):
    """Remedy: `deskfeed check --schema docs/schemas`."""
    assert orjson.loads((DOCS / f"{kind}.schema.json").read_bytes()) == schema_of(kind)


@pytest.mark.parametrize("kind", MODELS)
def test_every_key_is_described_and_no_other_is_allowed(kind):
    schema = schema_of(kind)
    assert set(schema["properties"]) == set(MODELS[kind].model_fields) - {"name"}
    assert schema["additionalProperties"] is False
    for name, told in schema["properties"].items():
        assert told.get("description"), name
    for nested in schema.get("$defs", {}).values():
        assert all(told.get("description") for told in nested["properties"].values())


def test_required_keys_are_the_models():
    assert schema_of("orchestration")["required"] == [
        "description", "source", "query", "destination",
    ]  # fmt: skip


def test_the_files_are_written_where_they_are_wanted(tmp_path):
    files = write_schemas(tmp_path / "new" / "folder")
    assert [file.name for file in files] == [f"{kind}.schema.json" for kind in MODELS]
