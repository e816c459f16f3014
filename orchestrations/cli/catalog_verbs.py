"""The verbs about the catalog: check, preview, destinations."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.output import PARAM_HELP, console, print_json, say_error, verb
from worker.errors import DeskfeedError, UsageError
from worker.explanations import fill
from worker.settings import variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrations.cli.connections import Asked
    from orchestrations.loader import Catalog
    from orchestrations.spec import Orchestration


@click.command("check")
@click.argument("orchestration", required=False)
@click.option(
    "--schema",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Only write the JSON Schemas of the catalog's files, for editors, into this folder.",
)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help=PARAM_HELP)
@click.option("--offline", is_flag=True, help="Ask no destination; check files and queries only.")
@verb
def check(
    orchestration: str | None,
    *,
    schema: Path | None,
    params: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Check the catalog: files, queries, columns, and whether its destinations let us in.

    Nothing is sent and nothing is changed. Exit code 2 if something is wrong.
    """
    from orchestrations.alert_rules import load_rules
    from orchestrations.cli import connections

    if schema is not None:
        _write_schemas(schema, as_json=as_json)
        return
    catalog = opened.catalog()
    load_rules(catalog.folder, catalog.orchestrations)
    given = _given(catalog, orchestration, params)
    asked = connections.ask(catalog, _destinations_of(catalog, orchestration), offline=offline)
    found = _checked(catalog, orchestration, given, asked)
    broken = any(item["error"] for item in found) or _shut(found, asked)
    if as_json:
        destinations = [one.as_json() for one in asked.values()]
        print_json({"ok": not broken, "orchestrations": found, "destinations": destinations})
    else:
        _say_asked(asked.values())
        _say_checked(found, well=not broken)
    if broken:
        raise SystemExit(2)


def _given(
    catalog: Catalog, orchestration: str | None, params: tuple[str, ...]
) -> Mapping[str, Mapping[str, str]]:
    """Return the parameters by orchestration, for the one named or for those that declare them."""
    from orchestrations.params import params_of, shared_out

    given = params_of(params)
    if orchestration is None:
        return shared_out(catalog.orchestrations, given)
    return {catalog.orchestration(orchestration).name: given}


def _checked(
    catalog: Catalog,
    orchestration: str | None,
    given: Mapping[str, Mapping[str, str]],
    asked: Mapping[str, Asked],
) -> list[dict[str, Any]]:
    """Return what is to tell of the orchestration named, or of all."""
    from orchestrations.agenda import warnings
    from orchestrations.changes import contested, neighbours
    from orchestrations.columns import targets

    names = sorted(catalog.orchestrations)
    if orchestration:  # whether another one writes the same fields, only the others' columns show
        names = neighbours(catalog, orchestration)
    checked = {
        name: _check_one(
            catalog,
            catalog.orchestration(name),
            given.get(name, {}),
            named=name == orchestration,
            asked=asked,
        )
        for name in names
    }
    written = {
        name: targets(item["columns"], catalog.orchestrations[name])
        for name, item in checked.items()
    }
    same = contested(catalog, written)
    for name, item in checked.items():
        item["warnings"] += warnings(catalog, catalog.orchestrations[name]) + same[name]
    return [item for name, item in checked.items() if orchestration in (None, name)]


def _destinations_of(catalog: Catalog, orchestration: str | None) -> list[str]:
    if orchestration is None:
        return list(catalog.destinations)
    return [catalog.orchestration(orchestration).destination]


def _shut(found: list[dict[str, Any]], asked: Mapping[str, Asked]) -> bool:
    """Whether an orchestration that can run has a destination that does not let us in."""
    return any(
        item["status"] == "active" and asked[item["destination"]].error is not None
        for item in found
    )


def _say_asked(asked: Iterable[Asked]) -> None:
    for one in asked:
        click.echo(one.sentence())
        for warning in one.warnings:
            click.echo(f"  warning: {warning}")
        if one.error:
            error = one.error
            say_error(f"{one.destination.name}: {error.message}", error.resolution, error.code)


def _write_schemas(folder: Path, *, as_json: bool) -> None:
    from orchestrations.schemas import write_schemas

    try:
        written = write_schemas(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"ok": True, "files": [str(path) for path in written]})
        return
    for path in written:
        click.echo(path)


def _check_one(
    catalog: Catalog,
    orchestration: Orchestration,
    params: Mapping[str, str],
    *,
    named: bool,
    asked: Mapping[str, Asked],
) -> dict[str, Any]:
    from orchestrations.mapping import mapper_for
    from orchestrations.params import without_value
    from orchestrations.reading import QueryReader
    from orchestrations.runs import Options

    answer: dict[str, Any] = {
        "orchestration": orchestration.name,
        "status": orchestration.status,
        "destination": orchestration.destination,
        "columns": [],
        "warnings": [],
        "not_run": None,
        "error": None,
    }
    missing = without_value(orchestration, params)
    if missing and not named:  # of a whole catalog not every query can be given its values
        answer["not_run"] = f"needs {', '.join(missing)}"
        return answer
    try:
        with (
            TemporaryDirectory() as temp,
            QueryReader(catalog, variable, Path(temp)).rows(
                orchestration, Options(params=params)
            ) as result,
        ):
            answer["columns"] = list(result.columns)
            one = asked.get(orchestration.destination)
            known = one.connection.fields if one and one.connection else None
            allow_pii = catalog.destinations[orchestration.destination].allow_pii
            mapper = mapper_for(orchestration, result.columns, known, allow_pii=allow_pii)
            answer["warnings"] = list(mapper.warnings)
    except DeskfeedError as error:
        answer["error"] = error.as_dict()
    return answer


def _say_checked(found: list[dict[str, Any]], *, well: bool) -> None:
    for item in found:
        mark = "wrong" if item["error"] else item["status"]
        if item["not_run"]:
            mark = f"not run: {item['not_run']}"
        click.echo(f"{item['orchestration']} -> {item['destination']}: {mark}")
        for warning in item["warnings"]:
            click.echo(f"  warning: {warning}")
        if item["error"]:
            say_error(
                f"{item['orchestration']}: {item['error']['message']}",
                fill(item["error"]["resolution"], {"ORCHESTRATION": item["orchestration"]}),
                item["error"]["code"],
            )
    if not found:
        click.echo("The catalog holds no orchestrations yet.")
    elif well:
        run = "every other query" if any(item["not_run"] for item in found) else "every query"
        click.echo(f"Every file is right, {run} runs. Next: deskfeed preview ORCHESTRATION")


@click.group("destinations")
def destinations() -> None:
    """The Zendesk accounts that the catalog knows."""


@destinations.command("list")
@verb
def destinations_list(*, as_json: bool) -> None:
    """List the destinations."""
    catalog = opened.catalog()
    users: dict[str, list[str]] = {name: [] for name in catalog.destinations}
    for orchestration in catalog.orchestrations.values():
        users[orchestration.destination].append(orchestration.name)
    if as_json:
        print_json(
            {
                "ok": True,
                "destinations": [
                    {
                        "name": d.name,
                        "description": d.description,
                        "plugin": d.plugin,
                        "url": d.url,
                        "credential": d.credential,
                        "used_by": sorted(users[d.name]),
                    }
                    for d in catalog.destinations.values()
                ],
            }
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "description", "address", "credential", "used by"):
        table.add_column(name)
    for d in catalog.destinations.values():
        table.add_row(d.name, d.description, d.url, d.credential, ", ".join(sorted(users[d.name])))
    console().print(table)


@destinations.command("test")
@click.argument("name")
@verb
def destinations_test(name: str, *, as_json: bool) -> None:
    """Ask the destination NAME who we are and which user fields it has; nothing is changed."""
    from orchestrations.cli.connections import Asked, connect, token_warning
    from orchestrations.preflight import IMPORT_UNSEEN

    destination = opened.catalog().destination(name)
    warnings = token_warning(destination)
    if not as_json:  # also where the test fails: it may be the very reason
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
    found = connect(destination)
    asked = Asked(destination, found, warnings=warnings + found.doubts)
    if as_json:
        print_json({"ok": True, **asked.as_json()})
        return
    for doubt in found.doubts:
        click.echo(f"warning: {doubt}", err=True)
    click.echo(asked.sentence())
    click.echo(IMPORT_UNSEEN)
