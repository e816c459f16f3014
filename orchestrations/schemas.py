"""JSON Schemas of the catalog's files, made from the models: editors check while one types."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import orjson
from pydantic import BaseModel

from orchestrations.alert_rules import AlertRules, OwnRules
from orchestrations.spec import Destination, Orchestration, Source

MODELS: dict[str, type[BaseModel]] = {
    "orchestration": Orchestration,
    "destination": Destination,
    "source": Source,
    "alerts": AlertRules,
}
"""Kind of file -> its model."""


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of file."""
    schema = MODELS[kind].model_json_schema()
    schema["properties"].pop("name", None)  # the name is the file's own
    schema["required"] = [name for name in schema.get("required", ()) if name != "name"]
    _describe(schema, MODELS[kind])
    for model in _nested(MODELS[kind]):
        if model.__name__ in schema.get("$defs", {}):
            _describe(schema["$defs"][model.__name__], model)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": f"Deskfeed: {kind}",
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write the schema of each kind of file into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in MODELS:
        path = folder / f"{kind}.schema.json"
        path.write_bytes(orjson.dumps(schema_of(kind), option=orjson.OPT_INDENT_2) + b"\n")
        written.append(path)
    return written


def _nested(model: type[BaseModel]) -> list[type[BaseModel]]:
    fields = [info.annotation for info in model.model_fields.values()]
    kinds = [kind for field in fields for kind in (field, *get_args(field))]  # also `X | None`
    found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [*found, OwnRules] if model is AlertRules else found


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Take the descriptions of keys from where they stand for people: the models' docstrings."""
    told: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel):
            told |= _attributes(base.__doc__ or "")
    for name, property_ in schema["properties"].items():
        property_.pop("title", None)
        if name in told:
            property_["description"] = told[name]
    schema["description"] = (model.__doc__ or "").strip().partition("\n")[0]


def _attributes(doc: str) -> dict[str, str]:
    """Return name -> description of a docstring's section `Attributes`."""
    section = inspect.cleandoc(doc).partition("Attributes:\n")[2]  # Python 3.13 takes indents away
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        key = re.match(r" {4}([a-z_]+): (.*)", line)
        if key:
            name = key[1]
            found[name] = key[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
