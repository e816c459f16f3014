"""The catalog: reads a folder of declarations and says everything that is wrong with it at once.

    <catalog>/<orchestration>.yaml + .sql
    <catalog>/destinations/<name>.yaml
    <catalog>/sources/<name>.yaml

A mistake is told as `loyalty.yaml:7 destination: unknown destination 'socktwn' (did you mean
'socktown'?)`. A broken file does not hide what the others say: references are checked against the
files that are there, whether or not these are right themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrations.document import Document, DocumentError, Location, read_document
from orchestrations.spec import (
    ACCESS_FILE,
    NAME_PATTERN,
    SECRET_KEYS,
    Destination,
    Orchestration,
    Source,
)
from orchestrations.sql import placeholders
from worker.errors import CatalogError, UsageError

MAX_QUERY_BYTES = 1024 * 1024
"""A query longer than this is data, not a query."""

_NO_SECRETS = (
    "a secret must not stand in a catalog file; name the credential (credential: <name>) and set "
    "DESKFEED_CREDENTIALS__<NAME>__EMAIL and DESKFEED_CREDENTIALS__<NAME>__API_TOKEN in the "
    "environment"
)

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

_KEYS_ARE_NAMES = frozenset({"tables", "columns", "constants", "defaults", "formats"})
"""Under these, keys are the names of tables, columns and attributes; `email` is one."""

SpecT = TypeVar("SpecT", Orchestration, Destination, Source)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake.

    Attributes:
        file: path relative to the catalog folder.
        line: 1-based.
        key: dotted, or empty when the file as a whole is meant.
        what: what is wrong and what to write instead.
    """

    file: str
    line: int
    key: str
    what: str

    def __str__(self) -> str:
        key = f" {self.key}" if self.key else ""
        return f"{self.file}:{self.line}{key}: {self.what}"


class InvalidCatalog(CatalogError):
    """Everything that is wrong with the catalog; the message has one line for each.

    Attributes:
        problems: the mistakes, by file and line.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a catalog folder declares; every reference in it holds.

    Attributes:
        folder: where it lies; the paths of sources are relative to it.
        orchestrations: by name.
        destinations: by name.
        sources: by name.
        queries: the SQL text of each orchestration, by the orchestration's name.
    """

    folder: Path
    orchestrations: Mapping[str, Orchestration]
    destinations: Mapping[str, Destination]
    sources: Mapping[str, Source]
    queries: Mapping[str, str]

    def orchestration(self, name: str) -> Orchestration:
        """Return an orchestration.

        Raises:
            UsageError: `orchestration_not_found`, with the names that are nearest.
        """
        found = self.orchestrations.get(name)
        if found is None:
            hint = _did_you_mean(name, self.orchestrations)
            raise UsageError(
                f"the catalog has no orchestration {name!r}{hint}", code="orchestration_not_found"
            )
        return found

    def destination(self, name: str) -> Destination:
        """Return a destination.

        Raises:
            UsageError: `destination_not_found`, with the names that are nearest.
        """
        found = self.destinations.get(name)
        if found is None:
            hint = _did_you_mean(name, self.destinations)
            raise UsageError(
                f"the catalog has no destination {name!r}{hint}", code="destination_not_found"
            )
        return found


def load_catalog(folder: Path) -> Catalog:
    """Read and check a whole catalog.

    Args:
        folder: the catalog folder; `destinations/` and `sources/` lie in it.

    Raises:
        CatalogError: the folder is not there; or, as `InvalidCatalog`, files in it are wrong.
    """
    try:
        if not folder.is_dir():
            raise CatalogError(f"there is no catalog folder {str(folder)!r}")
        shelves = (
            _Shelf(folder, "", Orchestration),
            _Shelf(folder, "destinations", Destination),
            _Shelf(folder, "sources", Source),
        )
    except OSError as error:
        raise CatalogError(
            f"the catalog folder {str(folder)!r} cannot be read: {error.strerror}"
        ) from None
    orchestrations, destinations, sources = shelves
    problems = [problem for shelf in shelves for problem in shelf.problems]
    problems += _unknown_references(orchestrations, "destination", destinations.names)
    problems += _unknown_references(orchestrations, "source", sources.names)
    queries, query_problems = _read_queries(orchestrations)
    problems += query_problems
    problems += _parameter_problems(orchestrations, queries)
    if problems:
        raise InvalidCatalog(problems)
    return Catalog(folder, orchestrations.specs, destinations.specs, sources.specs, queries)


class _Shelf(Generic[SpecT]):
    """The files of one kind, read as far as they can be.

    Attributes:
        folder: where they lie.
        names: of all files, also of broken ones.
        documents: of the files that are YAML, by name.
        specs: of the files that are right, by name.
        problems: everything found.
    """

    def __init__(self, catalog: Path, subfolder: str, model: type[SpecT]) -> None:
        self.folder = catalog / subfolder
        self.names: set[str] = set()
        self.documents: dict[str, Document] = {}
        self.specs: dict[str, SpecT] = {}
        self.problems: list[Problem] = []
        self._prefix = f"{subfolder}/" if subfolder else ""
        self._model: type[SpecT] = model
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            rules = not subfolder and path.name == ACCESS_FILE
            if path.suffix in (".yaml", ".yml") and not path.name.startswith(".") and not rules:
                self._add(path)

    def file(self, name: str) -> str:
        """Return the path of a file as problems name it."""
        return f"{self._prefix}{name}.yaml"

    def _add(self, path: Path) -> None:
        file = f"{self._prefix}{path.name}"
        if path.suffix == ".yml":
            self.problems.append(Problem(file, 1, "", "must end in .yaml; rename the file"))
            return
        self.names.add(path.stem)
        try:
            document = read_document(path)
        except DocumentError as error:
            self.problems.append(Problem(file, error.line, "", error.what))
        except OSError as error:
            self.problems.append(Problem(file, 1, "", f"cannot be read: {error.strerror}"))
        else:
            self.documents[path.stem] = document
            self._check(path.stem, document)

    def _check(self, name: str, document: Document) -> None:
        found = list(_problems_of_keys(document))
        if "name" in document.data:
            found.append((("name",), "unknown key: the file's own name is the name"))
        secret = {location for location, what in found if what == _NO_SECRETS}
        try:
            spec = self._model.model_validate({**document.data, "name": name})
        except ValidationError as error:
            for location, what in sentences(self._model, error):
                # A secret is told once, with its remedy, and not as an unknown key as well.
                if not any(place[: len(location)] == location for place in secret):
                    found.append((location, what))
        else:
            if not found:
                self.specs[name] = spec
        file = self.file(name)
        for location, what in found:
            key = ".".join(str(part) for part in location if isinstance(part, str))
            self.problems.append(Problem(file, document.line(location), key, what))


def _problems_of_keys(document: Document) -> Iterator[tuple[Location, str]]:
    """Yield what is wrong with keys whatever the model: repeated ones and secrets."""
    for location, line in document.repeated:
        yield location, f"stands twice; again in line {line}"
    for location in document.lines:
        key = location[-1]
        named_by_people = len(location) > 1 and location[0] in _KEYS_ARE_NAMES
        if isinstance(key, str) and key.lower() in SECRET_KEYS and not named_by_people:
            yield location, _NO_SECRETS


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


def _unknown_references(
    orchestrations: _Shelf[Orchestration], kind: str, names: set[str]
) -> Iterator[Problem]:
    """Yield the orchestrations that name a source or destination for which there is no file."""
    for name, document in orchestrations.documents.items():
        value = document.data.get(kind)
        if isinstance(value, str) and NAME_PATTERN.fullmatch(value) and value not in names:
            what = f"unknown {kind} {value!r}{_did_you_mean(value, names)}"
            yield Problem(orchestrations.file(name), document.line((kind,)), kind, what)


def _read_queries(orchestrations: _Shelf[Orchestration]) -> tuple[dict[str, str], list[Problem]]:
    """Return the SQL texts by orchestration, and what is wrong with their files."""
    queries: dict[str, str] = {}
    problems: list[Problem] = []
    for name, document in orchestrations.documents.items():
        value = document.data.get("query")
        if not isinstance(value, str) or Path(value).name != value:
            continue  # the model has told that already
        sql, what = _read_query(orchestrations.folder / value)
        if what:
            line = document.line(("query",))
            problems.append(Problem(orchestrations.file(name), line, "query", what))
        queries[name] = sql
    return queries, problems


def _parameter_problems(
    orchestrations: _Shelf[Orchestration], queries: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield the placeholders that are not declared, and the parameters that no query has."""
    for name, spec in orchestrations.specs.items():
        used = placeholders(queries.get(name, ""))
        file, document = orchestrations.file(name), orchestrations.documents[name]
        for unnamed in (word for word in used if not _is_name(word)):
            what = f"the query has a placeholder {unnamed!r}; write $name and declare it: `params:`"
            yield Problem(file, document.line(("query",)), "query", what)
        for word in (word for word in used if _is_name(word) and word not in spec.params):
            hint = _did_you_mean(word, spec.params)
            what = f"the query has ${word}; declare it under `params:`{hint}"
            yield Problem(file, document.line(("query",)), "query", what)
        for word in (word for word in spec.params if word not in used):
            what = f"the query has no ${word}{_did_you_mean(word, used)}"
            yield Problem(file, document.line(("params", word)), f"params.{word}", what)


def _is_name(placeholder: str) -> bool:
    return placeholder[0].isalpha() or placeholder[0] == "_"


def _read_query(path: Path) -> tuple[str, str]:
    """Return the text of a query file and what is wrong with it; one of both is empty."""
    # The database's words about a wrong query repeat a piece of it; a link to a file of secrets
    # would show them to somebody who may write queries and not read the machine.
    if not path.resolve().is_relative_to(path.parent.resolve()):
        return "", f"{path.name!r} leads out of the catalog folder"
    try:
        if not path.is_file():  # a pipe would be waited for
            raise FileNotFoundError
        with path.open("rb") as file:
            raw = file.read(MAX_QUERY_BYTES + 1)
    except OSError:
        return "", f"there is no file {path.name!r} beside this one"
    if len(raw) > MAX_QUERY_BYTES:
        return "", f"{path.name!r} is larger than {MAX_QUERY_BYTES // 1024} KiB"
    try:
        sql = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return "", f"{path.name!r} is not UTF-8 text"
    return (sql, "") if sql else ("", f"{path.name!r} is empty")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=3)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
