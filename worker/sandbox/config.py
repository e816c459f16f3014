"""What the account is made of: its logins, OAuth clients, fields, organizations and people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from worker.sandbox.fields import DEFAULT_FIELDS, UserField, parse_field
from worker.sandbox.settings import Misconfigured, Settings

ROLES = ("end-user", "agent", "admin")


@dataclass(frozen=True, slots=True)
class Login:
    """A user who can log in with an API token.

    Attributes:
        email: names the user.
        api_token: goes with `{email}/token`.
        name: for people.
        role: `admin`, `agent` or `end-user`.
        may_import: whether bulk upserts are allowed: admins, and agents of a role with the right.
        suspended: a suspended user may log in nowhere but to `users/me`.
        custom_role: name of one of the account's roles, for an agent.
    """

    email: str
    api_token: str = field(repr=False, default="sandbox-token")
    name: str = "Sandbox login"
    role: str = "admin"
    may_import: bool = True
    suspended: bool = False
    custom_role: str | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """A role that the account has made, as Enterprise accounts can.

    Attributes:
        name: for people; unique.
        end_user_profile_access: `full`, `edit`, `edit-within-org` or `readonly`. What a login may
            import says its `may_import`.
    """

    name: str
    end_user_profile_access: str = "full"


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A confidential OAuth client.

    Attributes:
        client_id: its unique identifier.
        client_secret: its secret.
        email: the login in whose name its tokens work.
    """

    client_id: str
    client_secret: str = field(repr=False, default="sandbox-secret")
    email: str = "admin@socktown.example"


ROLE_IDS_FROM = 360_000_001
"""The first of `roles` has this id, the next ones follow."""

DEFAULT_LOGINS = (
    Login("admin@socktown.example", name="Ada Admin"),
    Login("agent@socktown.example", name="Alan Agent", role="agent", may_import=False),
    Login("lead@socktown.example", name="Lin Lead", role="agent", custom_role="Team lead"),
    Login(
        "looker@socktown.example",
        name="Lo Looker",
        role="agent",
        may_import=False,
        custom_role="Light agent",
    ),
    Login(
        "local@socktown.example",
        name="Lou Local",
        role="agent",
        may_import=False,
        custom_role="Branch agent",
    ),
    Login("customer@socktown.example", name="Cleo Customer", role="end-user", may_import=False),
    Login("suspended@socktown.example", name="Sam Suspended", suspended=True),
)
DEFAULT_CLIENTS = (OAuthClient("sandbox-client"),)
DEFAULT_ROLES = (
    Role("Team lead"),
    Role("Light agent", "readonly"),
    Role("Branch agent", "edit-within-org"),
)


@dataclass(frozen=True, slots=True)
class Config:
    """An account as it is before the first request, and after a reset.

    Attributes:
        logins: who can log in; they are users of the account too.
        clients: OAuth clients.
        roles: the account's own roles; without one, asking for them is forbidden.
        user_fields: the account's user fields, in order.
        organizations: names of the organizations that there are.
        users: rows, as for a bulk upsert, of people who are there already.
        settings: what can be adjusted later.
        faults: rules as `faults.parse_rule` reads them.
    """

    logins: tuple[Login, ...] = DEFAULT_LOGINS
    clients: tuple[OAuthClient, ...] = DEFAULT_CLIENTS
    roles: tuple[Role, ...] = DEFAULT_ROLES
    user_fields: tuple[UserField, ...] = DEFAULT_FIELDS
    organizations: tuple[str, ...] = ("Socktown",)
    users: tuple[Mapping[str, Any], ...] = ()
    settings: Settings = field(default_factory=Settings)
    faults: tuple[Mapping[str, Any], ...] = ()

    def with_settings(self, changes: Mapping[str, Any]) -> Config:
        """Return the configuration with other settings to begin with.

        Raises:
            Misconfigured: a setting is unknown or its value wrong.
        """
        return replace(self, settings=self.settings.patched(changes))


def load_config(path: Path) -> Config:
    """Read a configuration file: a JSON object with the attributes of `Config` as keys.

    A key that is absent keeps its default; a list replaces the default list.

    Raises:
        Misconfigured: the file is no JSON object, or something in it is unknown or wrong.
        OSError: the file cannot be read.
    """
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Misconfigured(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Misconfigured(f"{path}: must be a JSON object")
    try:
        return parse_config(document)
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error}") from None


def parse_config(document: Mapping[str, Any]) -> Config:
    """Build a configuration from a JSON object.

    Raises:
        Misconfigured: something in it is unknown or wrong.
    """
    readers: dict[str, Callable[[Any], Any]] = {
        "logins": lambda items: tuple(_login(item) for item in items),
        "clients": lambda items: tuple(_make(OAuthClient, item, "client") for item in items),
        "roles": lambda items: tuple(_make(Role, item, "role") for item in items),
        "user_fields": lambda items: tuple(parse_field(item) for item in items),
        "organizations": lambda items: tuple(str(item) for item in items),
        "users": tuple,
        "settings": lambda changes: Settings().patched(changes),
        "faults": tuple,
    }
    unknown = set(document) - set(readers)
    if unknown:
        raise Misconfigured(f"unknown keys: {', '.join(sorted(unknown))}")
    for key, value in document.items():
        _check_kind(key, value)
    config = Config(**{key: readers[key](value) for key, value in document.items()})
    _check_roles(config)
    keys = [user_field.key for user_field in config.user_fields]
    if len(set(keys)) != len(keys):
        raise Misconfigured("two user fields have the same key")
    return config


def _check_roles(config: Config) -> None:
    names = {role.name for role in config.roles}
    for login in config.logins:
        if login.custom_role is not None and login.custom_role not in names:
            raise Misconfigured(f"login: there is no role {login.custom_role!r} under `roles`")


def _check_kind(key: str, value: Any) -> None:
    if key == "settings":
        if not isinstance(value, dict):
            raise Misconfigured("`settings` must be an object")
        return
    kind = str if key == "organizations" else dict
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        wanted = "texts" if kind is str else "objects"
        raise Misconfigured(f"`{key}` must be a list of {wanted}")


def _login(item: Mapping[str, Any]) -> Login:
    login: Login = _make(Login, item, "login")
    if login.role not in ROLES:
        raise Misconfigured(f"login: `role` must be one of {', '.join(ROLES)}")
    return login


def _make(kind: Any, item: Mapping[str, Any], what: str) -> Any:
    try:
        return kind(**item)
    except TypeError:
        known = ", ".join(kind.__dataclass_fields__)
        raise Misconfigured(f"{what}: the keys are {known}; the first is required") from None
