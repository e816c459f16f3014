"""Asking destinations who we are there: for `check`, `destinations test` and `destinations add`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrations.cli import opened
from worker.errors import DeskfeedError, UsageError
from worker.explanations import fill
from worker.settings import settings

if TYPE_CHECKING:
    from orchestrations.loader import Catalog
    from orchestrations.preflight import Connection
    from orchestrations.spec import Destination
    from worker.zendesk.auth import Secrets

PATIENCE_S = 10.0
"""Somebody waits in front of a terminal: a request that takes longer is given up."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking one destination.

    Attributes:
        destination: which one.
        connection: what was found; None if that failed, or nobody asked.
        error: why it failed.
        warnings: what is well now and will not stay so, or may not be.
        not_asked: why nobody asked.
    """

    destination: Destination
    connection: Connection | None = None
    error: DeskfeedError | None = None
    warnings: tuple[str, ...] = ()
    not_asked: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as an object for `--json`."""
        found = self.connection
        return {
            "destination": self.destination.name,
            "url": self.destination.url,
            "role": found.role if found else None,
            "user_fields": len(found.fields) if found else None,
            "bulk_import": "unknown",  # only a bulk upsert shows it
            "warnings": list(self.warnings),
            "not_asked": self.not_asked,
            "error": self.error.as_dict() if self.error else None,
        }

    def sentence(self) -> str:
        """Return how it stands, in a sentence."""
        name, found = self.destination.name, self.connection
        if found is None:
            return (
                f"{name}: not asked ({self.not_asked})"
                if self.not_asked
                else f"{name}: cannot be used"
            )
        return (
            f"{name}: {self.destination.url} answers; our role there is {found.role}; it has "
            f"{len(found.fields)} user fields."
        )


def connect(
    destination: Destination, secrets: Secrets | None = None, *, again: str | None = None
) -> Connection:
    """Ask a destination who we are and which user fields it has; nothing is changed there.

    Args:
        destination: which one.
        secrets: a credential that is not in the settings yet; None: the one it names.
        again: the command with which to try again; None: `destinations test`.

    Raises:
        UsageError: the credential is not set.
        DeskfeedError: what is wrong with the connection.
    """
    from orchestrations.preflight import check_connection
    from worker.zendesk.client import ZendeskClient, unlimited

    known = secrets or settings().credential(destination.credential)
    patience = min(opened.times().post_deadline, PATIENCE_S)
    with ZendeskClient(destination.url, known, deadline_s=patience) as client:
        try:
            return check_connection(client, unlimited)
        except DeskfeedError as error:
            error.resolution = _remedy(error, destination, again)
            raise


def _remedy(error: DeskfeedError, destination: Destination, again: str | None) -> str:
    """Return what to do with the destination's name in it, to be typed as it stands."""
    retry = again or f"deskfeed destinations test {destination.name}"
    if error.code == "destination_unavailable" and destination.base_url:
        return (
            f"Start the sandbox (deskfeed up --sandbox, or python -m worker.sandbox), then: {retry}"
        )
    told = error.resolution.replace("deskfeed destinations test NAME", retry)
    return fill(told, {"NAME": destination.name})


def ask(catalog: Catalog, names: Iterable[str], *, offline: bool) -> Mapping[str, Asked]:
    """Ask some destinations of a catalog, each once; errors are values here.

    Args:
        catalog: whose they are.
        names: of the destinations.
        offline: ask nobody.
    """
    why = "--offline" if offline else _not_mine()
    found = {}
    for name in sorted(set(names)):
        destination = catalog.destinations[name]
        warnings = token_warning(destination)
        if why:
            found[name] = Asked(destination, warnings=warnings, not_asked=why)
            continue
        try:
            connection = connect(destination)
        except DeskfeedError as error:
            found[name] = Asked(destination, error=error, warnings=warnings)
        else:
            found[name] = Asked(destination, connection, warnings=warnings + connection.doubts)
    return found


def token_warning(destination: Destination) -> tuple[str, ...]:
    """Return what is to be said of a destination's credential if it is an API token: they end."""
    from orchestrations.credentials import token_warnings

    today = datetime.now(UTC).date()
    return tuple(token_warnings(settings(), [destination.credential], today))


def _not_mine() -> str | None:
    """Why whoever is at the keyboard may not ask destinations; None if they may."""
    try:
        opened.rights("destinations test")
    except UsageError as error:
        if error.code != "access_denied":
            raise
        return "your role may not: deskfeed explain access_denied"
    return None
