"""The verbs of the first hour: a catalog, a credential, a destination."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import SecretStr
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.output import console, print_json, verb
from worker.errors import CatalogError, DeskfeedError, UsageError
from worker.settings import settings

if TYPE_CHECKING:
    from orchestrations.cli.connections import Asked
    from orchestrations.loader import Catalog
    from orchestrations.spec import Destination
    from worker.zendesk.auth import Secrets

ENV_FILE = Path(".env")


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("catalog"))
@verb
def init(folder: Path, *, as_json: bool) -> None:
    """Make a new catalog in FOLDER (`catalog`), with an example that works against the sandbox."""
    from orchestrations.newcatalog import make_catalog

    made = make_catalog(folder)
    if as_json:
        print_json({"ok": True, "folder": str(folder), "files": [str(path) for path in made]})
        return
    for path in made:
        click.echo(f"made {path}")
    click.echo(f"Next: export DESKFEED_CATALOG={folder}   then: deskfeed preview loyalty")
    click.echo("Send it into a stand-in for Zendesk on this machine: deskfeed up --sandbox")
    click.echo("For your own Zendesk account: deskfeed destinations add NAME")


@click.group("credentials")
def credentials() -> None:
    """The ways into Zendesk that the settings hold."""


@credentials.command("list")
@verb
def credentials_list(*, as_json: bool) -> None:
    """List the credentials, of which kind they are and who uses them; never a value."""
    from orchestrations.credentials import listed, token_warnings

    config = settings()
    found = listed(config, _catalog_if_readable())
    today = datetime.now(UTC).date()
    warnings = token_warnings(config, (item.name for item in found), today)
    if as_json:
        rows = [
            {
                "name": item.name,
                "kind": item.kind,
                "problem": item.problem or None,
                "used_by": list(item.used_by),
            }
            for item in found
        ]
        print_json({"ok": True, "credentials": rows, "warnings": warnings})
        return
    if not found:
        click.echo("No credential is set, and no destination names one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "kind", "used by"):
        table.add_column(title)
    for item in found:
        table.add_row(item.name, item.kind, ", ".join(item.used_by) or "nobody")
    console().print(table)
    for sentence in [item.problem for item in found if item.problem] + warnings:
        click.echo(f"warning: {sentence}", err=True)


def _catalog_if_readable() -> Catalog | None:
    try:
        return opened.catalog()
    except CatalogError:
        return None


@click.command("add")
@click.argument("name")
@click.option("--description", prompt="Description", help="What others recognise it by.")
@click.option("--subdomain", help="`yourcompany` of yourcompany.zendesk.com.")
@click.option("--base-url", help="In place of --subdomain: a loopback address, for the sandbox.")
@click.option("--credential", help="Name of the credential; NAME if it is not given.")
@click.option("--client-id", help="A new credential: the OAuth client's identifier.")
@click.option("--email", help="A new credential: the e-mail of the API token's user.")
@click.option(
    "--secret-stdin",
    is_flag=True,
    help="Read the OAuth client's secret, or the API token, from standard input.",
)
@click.option("--admin-only", is_flag=True, help="Only administrators may send to it.")
@click.option(
    "--restrict-pii", is_flag=True, help="Nobody with restricted access to PII may send to it."
)
@click.option(
    "--allow-pii", is_flag=True, help="Columns that an orchestration marks as `pii` are sent to it."
)
@verb
def destinations_add(
    name: str,
    *,
    description: str,
    subdomain: str | None,
    base_url: str | None,
    credential: str | None,
    client_id: str | None,
    email: str | None,
    secret_stdin: bool,
    admin_only: bool,
    restrict_pii: bool,
    allow_pii: bool,
    as_json: bool,
) -> None:
    """Add the Zendesk account NAME to the catalog, if it answers to the credential.

    The connection is tested first; what does not work is not saved. A new credential's secret is
    asked for without echo (or read from standard input) and kept in `.env`, for its owner only.
    """
    from orchestrations import newdestination
    from orchestrations.cli.connections import Asked, connect, token_warning

    folder = settings().catalog
    if subdomain is None and base_url is None:
        subdomain = click.prompt("Subdomain (`yourcompany` of yourcompany.zendesk.com)")
    values = {
        "description": description,
        "subdomain": subdomain,
        "base_url": base_url,
        "credential": credential or name.replace("-", "_"),
        "admin_only": admin_only,
        "restrict_pii": restrict_pii,
        "allow_pii": allow_pii,
    }
    destination = newdestination.describe(folder, name, values)
    if not (client_id or email or secret_stdin) and _unknown(destination.credential):
        client_id = click.prompt("Identifier of a confidential OAuth client (docs/credentials.md)")
    new = _new_secrets(client_id, email, from_stdin=secret_stdin)
    try:
        found = connect(destination, new, again=f"deskfeed destinations add {name} …")
    except DeskfeedError as error:
        error.message = f"{error.message}. Nothing was saved"
        raise
    path = _save(folder, destination, new)
    asked = Asked(destination, found, warnings=token_warning(destination) + found.doubts)
    _say_added(asked, path, as_json=as_json)


def _save(folder: Path, destination: Destination, new: Secrets | None) -> Path:
    """Write a destination into the catalog, its new secrets beside it, and who did so."""
    from orchestrations import newdestination

    if new is not None:
        newdestination.save_secrets(ENV_FILE, newdestination.variables(destination.credential, new))
        settings.cache_clear()  # they are in the settings now
    path = newdestination.save(folder, destination)
    with opened.ledger() as ledger:
        ledger.audit.note(
            opened.principal(), "destinations add", destination.name, url=destination.url
        )
    return path


def _unknown(credential: str) -> bool:
    """Whether nothing is set of a credential and somebody is there who can be asked for it."""
    return credential not in settings().credentials and _is_terminal()


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _new_secrets(client_id: str | None, email: str | None, *, from_stdin: bool) -> Secrets | None:
    from worker.zendesk.auth import ApiToken, OAuthClient

    if client_id and email:
        raise UsageError("give --client-id or --email, not both")
    if client_id:
        return OAuthClient(client_id, _secret("OAuth client's secret", from_stdin=from_stdin))
    if email:
        return ApiToken(email, _secret("API token", from_stdin=from_stdin))
    if from_stdin:
        raise UsageError("--secret-stdin: whose secret? give --client-id or --email with it")
    return None


def _secret(what: str, *, from_stdin: bool) -> SecretStr:
    text = sys.stdin.readline() if from_stdin else click.prompt(what, hide_input=True)
    if not text.strip():
        raise UsageError(f"the {what} is blank; nothing was saved", code="credential_missing")
    return SecretStr(text.strip())


def _say_added(asked: Asked, path: Path, *, as_json: bool) -> None:
    from orchestrations.preflight import IMPORT_UNSEEN

    destination = asked.destination
    if as_json:
        added = {"credential": destination.credential, "file": str(path)}
        print_json({"ok": True, **asked.as_json(), **added})
        return
    for warning in asked.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(asked.sentence())
    click.echo(f"Saved: {path}")
    click.echo(f"Next: name it in an orchestration (destination: {destination.name}).")
    click.echo(IMPORT_UNSEEN)
