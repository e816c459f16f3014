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
from typing import Generic, TypeVar

from pydantic import ValidationError

from orchestrations.chains import circle_of
from orchestrations.document import Document, DocumentError, Location, read_document
from orchestrations.misplaced import is_misplaced, remedy
from orchestrations.sentences import sentences
from orchestrations.spec import (
    ACCESS_FILE,
    ALERTS_FILE,
    NAME_PATTERN,
    Destination,
    Orchestration,
    Source,
)
from orchestrations.sql import placeholders
from worker.errors import CatalogError, UsageError

MAX_QUERY_BYTES = 1024 * 1024
"""A query longer than this is data, not a query."""

_KEYS_ARE_NAMES = frozenset({"tables", "columns", "constants", "defaults", "formats", "params"})
"""Under these, keys are names of tables, columns, attributes and parameters; `email` is one."""

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
        all_limits: whether every destination could be read, so that the limits of each account
            are known.
    """

    folder: Path
    orchestrations: Mapping[str, Orchestration]
    destinations: Mapping[str, Destination]
    sources: Mapping[str, Source]
    queries: Mapping[str, str]
    all_limits: bool = True

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


@dataclass(frozen=True, slots=True)
class Reading:
    """A catalog as far as it is right.

    Attributes:
        catalog: the orchestrations that are right, with all that they refer to.
        broken: names of the others.
        problems: everything that is wrong.
    """

    catalog: Catalog
    broken: frozenset[str]
    problems: tuple[Problem, ...]


def load_catalog(folder: Path) -> Catalog:
    """Read and check a whole catalog.

    Args:
        folder: the catalog folder; `destinations/` and `sources/` lie in it.

    Raises:
        CatalogError: the folder is not there; or, as `InvalidCatalog`, files in it are wrong.
    """
    reading = read_catalog(folder)
    if reading.problems:
        raise InvalidCatalog(reading.problems)
    return reading.catalog


def catalog_for(folder: Path, name: str) -> Catalog:
    """Read a catalog of which an orchestration, and all that it refers to, must be right.

    Raises:
        CatalogError: the folder is not there; or, as `InvalidCatalog`, something is wrong and the
            orchestration is not among what is right.
    """
    reading = read_catalog(folder)
    if reading.problems and name not in reading.catalog.orchestrations:
        raise InvalidCatalog(reading.problems)
    return reading.catalog


def read_catalog(folder: Path) -> Reading:
    """Read a catalog; a file that is wrong costs only the orchestrations that need it.

    Raises:
        CatalogError: the folder is not there or cannot be read.
    """
    orchestrations, destinations, sources = _shelves(folder)
    problems = [*orchestrations.problems, *destinations.problems, *sources.problems]
    problems += _unknown_references(orchestrations, "destination", destinations.names)
    problems += _unknown_references(orchestrations, "source", sources.names)
    problems += _unknown_references(orchestrations, "after", orchestrations.names)
    problems += _circles(orchestrations)
    queries, query_problems = _read_queries(orchestrations)
    problems += query_problems
    problems += _parameter_problems(orchestrations, queries)
    wrong = {problem.file for problem in problems}
    sound = {
        name: spec
        for name, spec in orchestrations.specs.items()
        if orchestrations.file(name) not in wrong
        and destinations.file(spec.destination) not in wrong
        and sources.file(spec.source) not in wrong
    }
    all_limits = not destinations.problems
    catalog = Catalog(folder, sound, destinations.specs, sources.specs, queries, all_limits)
    return Reading(catalog, frozenset(orchestrations.names - sound.keys()), tuple(sorted(problems)))


def _shelves(folder: Path) -> tuple[_Shelf[Orchestration], _Shelf[Destination], _Shelf[Source]]:
    try:
        if not folder.is_dir():
            raise CatalogError(f"there is no catalog folder {str(folder)!r}")
        return (
            _Shelf(folder, "", Orchestration),
            _Shelf(folder, "destinations", Destination),
            _Shelf(folder, "sources", Source),
        )
    except OSError as error:
        raise CatalogError(
            f"the catalog folder {str(folder)!r} cannot be read: {error.strerror}"
        ) from None


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
        self._subfolder = subfolder
        self._prefix = f"{subfolder}/" if subfolder else ""
        self._model: type[SpecT] = model
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            rules = not subfolder and path.name in (ACCESS_FILE, ALERTS_FILE)
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
        found: list[tuple[Location, str]] = [
            (location, f"stands twice; again in line {line}")
            for location, line in document.repeated
        ]
        misplaced = {
            location: remedy(self._subfolder, name, document.data, str(location[-1]))
            for location in _misplaced(self._subfolder, document)
        }
        found += misplaced.items()
        if "name" in document.data:
            found.append((("name",), "unknown key: the file's own name is the name"))
        try:
            spec = self._model.model_validate({**document.data, "name": name})
        except ValidationError as error:
            for location, what in sentences(self._model, error):
                # It is told once, with its remedy, and not as an unknown key as well.
                if not any(place[: len(location)] == location for place in misplaced):
                    found.append((location, what))
        else:
            if not found:
                self.specs[name] = spec
        file = self.file(name)
        for location, what in found:
            key = ".".join(str(part) for part in location if isinstance(part, str))
            self.problems.append(Problem(file, document.line(location), key, what))


def _misplaced(folder: str, document: Document) -> Iterator[Location]:
    """Yield where secrets stand, and other parts of a credential, whatever the model."""
    for location in document.lines:
        named_by_people = len(location) > 1 and location[0] in _KEYS_ARE_NAMES
        if is_misplaced(folder, document.data, location[-1]) and not named_by_people:
            yield location


def _unknown_references(
    orchestrations: _Shelf[Orchestration], kind: str, names: set[str]
) -> Iterator[Problem]:
    """Yield the orchestrations that name something for which there is no file."""
    for name, document in orchestrations.documents.items():
        value = document.data.get(kind)
        if isinstance(value, str) and NAME_PATTERN.fullmatch(value) and value not in names:
            noun = "orchestration" if kind == "after" else kind
            what = f"unknown {noun} {value!r}{_did_you_mean(value, names)}"
            yield Problem(orchestrations.file(name), document.line((kind,)), kind, what)


def _circles(orchestrations: _Shelf[Orchestration]) -> Iterator[Problem]:
    """Yield the orchestrations that come after each other in a circle: none would ever start."""
    after = {name: spec.after for name, spec in orchestrations.specs.items() if spec.after}
    for name in after:
        circle = circle_of(after, name)
        if circle:
            line = orchestrations.documents[name].line(("after",))
            what = f"goes round in a circle: {' after '.join(circle)}"
            yield Problem(orchestrations.file(name), line, "after", what)


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
