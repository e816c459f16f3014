"""What pydantic finds wrong with a file, in the words of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrations.document import Location

_SENTENCES = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a path or a list of paths",
    "too_short": "must not be empty",
    "missing": "is required",
}
"""pydantic's error types in the words of the catalog; its own words speak of Python."""


def sentences(model: type[BaseModel], error: ValidationError) -> Iterator[tuple[Location, str]]:
    """Yield location and sentence of each of pydantic's errors, in the words of the catalog."""
    details = error.errors(include_url=False, include_input=False)
    suggested: set[Location] = set()
    for detail in details:
        if detail["type"] == "extra_forbidden":
            *parents, key = detail["loc"]
            near = get_close_matches(str(key), _known_keys(model, parents), n=1)
            suggested.update((*parents, name) for name in near)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            yield detail["loc"], f"unknown key{hint}"
    for detail in details:
        # A key that is there under a misspelt name is not missing as well.
        if detail["type"] != "extra_forbidden" and detail["loc"] not in suggested:
            yield _location(detail), _sentence(detail)


def _location(detail: ErrorDetails) -> Location:
    key = detail.get("ctx", {}).get("key")
    location = tuple(part for part in detail["loc"] if part != "[key]")
    if key:
        return (*location, key)
    return location if location != ("name",) else ()


def _sentence(detail: ErrorDetails) -> str:
    template = _SENTENCES.get(detail["type"])
    sentence = template.format(**detail.get("ctx", {})) if template else detail["msg"]
    if detail["loc"] == ("name",):
        return f"the file must be named otherwise: {sentence}"
    return sentence


def _known_keys(model: type[BaseModel], parents: Iterable[str | int]) -> list[str]:
    """Return the keys that a place of a file may have."""
    for part in parents:
        field = model.model_fields.get(str(part))
        nested = [field.annotation, *get_args(field.annotation)] if field else []
        models = [kind for kind in nested if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return [name for name in model.model_fields if name != "name"]
