"""What is known of credentials without showing any: of which kind, from where, used by whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from orchestrations.loader import Catalog
from worker.errors import UsageError
from worker.settings import Settings
from worker.zendesk.auth import ApiToken

TOKENS_END = date(2027, 4, 30)
"""The day on which Zendesk takes no API token any more
(developer.zendesk.com/documentation/api-basics/authentication/oauth-migration)."""

UNUSED_DAYS = 30
"""An API token that nobody used for so many days is deactivated (same source)."""

Kind = Literal["api token", "oauth client", "incomplete"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A credential, as `credentials list` shows it.

    Attributes:
        name: what destinations call it.
        kind: the way in; incomplete if it is none yet.
        problem: what is incomplete about it; empty if nothing is.
        used_by: the destinations that name it.
    """

    name: str
    kind: Kind
    problem: str
    used_by: tuple[str, ...]


def listed(config: Settings, catalog: Catalog | None) -> list[Listed]:
    """Return every credential that is set or that a destination names, by name.

    Args:
        config: the settings.
        catalog: whose destinations to look at; None if there is none that can be read.
    """
    users = _users(catalog)
    names = sorted({*config.credentials, *users})
    return [_listed(config, name, tuple(sorted(users.get(name, ())))) for name in names]


def ending_tokens(config: Settings, names: Iterable[str], today: date) -> dict[str, str]:
    """Return name -> a sentence for each of these credentials that is an API token: these end.

    Args:
        config: the settings.
        names: of the credentials.
        today: the day.
    """
    ending = [name for name in sorted(set(names)) if _kind(config, name)[0] == "api token"]
    return {
        name: f"the credential {name!r} is an API token: {_until_end(today)}" for name in ending
    }


def token_warnings(config: Settings, names: Iterable[str], today: date) -> list[str]:
    """Return the sentences of `ending_tokens`."""
    return list(ending_tokens(config, names, today).values())


def _until_end(today: date) -> str:
    days = (TOKENS_END - today).days
    way = "use an OAuth client instead (docs/credentials.md says how)"
    if days < 0:
        return f"Zendesk takes none since {TOKENS_END}; {way}"
    return (
        f"Zendesk ends them on {TOKENS_END}, in {days} days, lets nobody make new ones, and "
        f"deactivates one that is not used for {UNUSED_DAYS} days; {way}"
    )


def _users(catalog: Catalog | None) -> Mapping[str, set[str]]:
    users: dict[str, set[str]] = {}
    for destination in catalog.destinations.values() if catalog else ():
        users.setdefault(destination.credential, set()).add(destination.name)
    return users


def _listed(config: Settings, name: str, used_by: tuple[str, ...]) -> Listed:
    kind, problem = _kind(config, name)
    return Listed(name, kind, problem, used_by)


def _kind(config: Settings, name: str) -> tuple[Kind, str]:
    try:
        secrets = config.credential(name)
    except UsageError as error:
        return "incomplete", error.message
    return ("api token" if isinstance(secrets, ApiToken) else "oauth client"), ""
