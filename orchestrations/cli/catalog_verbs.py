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
from worker.settings import settings, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

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
@verb
def check(
    orchestration: str | None, *, schema: Path | None, params: tuple[str, ...], as_json: bool
) -> None:
    """Check the catalog: every file, and that each query runs and its columns can be mapped."""
    from orchestrations.changes import contested, neighbours
    from orchestrations.columns import targets
    from orchestrations.params import params_of, shared_out

    if schema is not None:
        _write_schemas(schema, as_json=as_json)
        return
    catalog = opened.catalog()
    given, names = params_of(params), sorted(catalog.orchestrations)
    if orchestration:  # whether another one writes the same fields, only the others' columns show
        names = neighbours(catalog, catalog.orchestration(orchestration).name)
        params_for: Mapping[str, Mapping[str, str]] = {orchestration: given}
    else:
        params_for = shared_out(catalog.orchestrations, given)
    checked = {
        name: _check_one(
            catalog,
            catalog.orchestration(name),
            params_for.get(name, {}),
            named=name == orchestration,
        )
        for name in names
    }
    written = {
        name: targets(item["columns"], catalog.orchestrations[name])
        for name, item in checked.items()
    }
    same = contested(catalog, written)
    for name, item in checked.items():
        item["warnings"] += same[name]
    found = [item for name, item in checked.items() if orchestration in (None, name)]
    broken = [item for item in found if item["error"]]
    if as_json:
        print_json({"ok": not broken, "orchestrations": found})
    else:
        _say_checked(found)
    if broken:
        raise SystemExit(2)


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
    catalog: Catalog, orchestration: Orchestration, params: Mapping[str, str], *, named: bool
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
            allow_pii = catalog.destinations[orchestration.destination].allow_pii
            mapper = mapper_for(orchestration, result.columns, allow_pii=allow_pii)
            answer["warnings"] = list(mapper.warnings)
    except DeskfeedError as error:
        answer["error"] = error.as_dict()
    return answer


def _say_checked(found: list[dict[str, Any]]) -> None:
    for item in found:
        mark = "wrong" if item["error"] else item["status"]
        if item["not_run"]:
            mark = f"not run: {item['not_run']}"
        click.echo(f"{item['orchestration']} -> {item['destination']}: {mark}")
        for warning in item["warnings"]:
            click.echo(f"  warning: {warning}")
        if item["error"]:
            say_error(
                f"{item['orchestration']}: {item['error']['message']}", item["error"]["resolution"]
            )
    if not found:
        click.echo("The catalog holds no orchestrations yet.")
    elif not any(item["error"] for item in found):
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
    from orchestrations import runs
    from orchestrations.preflight import check_connection
    from worker.app import client_for
    from worker.zendesk.client import unlimited

    catalog = opened.catalog()
    if name not in catalog.destinations:
        known = ", ".join(sorted(catalog.destinations)) or "none"
        raise UsageError(f"there is no destination {name!r}; the catalog knows: {known}")
    destination = catalog.destinations[name]
    target = runs.target_of(destination)
    with client_for(target, settings(), opened.times()) as client:
        found = check_connection(client, unlimited)
    if as_json:
        print_json(
            {
                "ok": True,
                "destination": name,
                "url": destination.url,
                "role": found.role,
                "user_fields": len(found.fields),
            }
        )
        return
    click.echo(
        f"{name}: {destination.url} answers; our role there is {found.role}; it has "
        f"{len(found.fields)} user fields."
    )
    click.echo(
        "Whether bulk user import is enabled for the account only a first run can show: "
        "deskfeed run ORCHESTRATION --sample 10 --wait"
    )
