"""What stands in a catalog file and belongs into the settings, and where it belongs there. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrations.spec import (
    CREDENTIAL_PATTERN,
    NAME_PATTERN,
    SECRET_KEYS,
    URL_KEYS,
    VARIABLE_PATTERN,
)

_WHERE = "in the environment, in .env, or in a secret file of this name (docs/credentials.md)"

_PARTS: Mapping[str, tuple[str, str]] = {
    "email": ("EMAIL", "API_TOKEN"),
    "token": ("API_TOKEN", "EMAIL"),
    "api_token": ("API_TOKEN", "EMAIL"),
    "api_key": ("API_TOKEN", "EMAIL"),
    "client_id": ("CLIENT_ID", "CLIENT_SECRET"),
    "client_secret": ("CLIENT_SECRET", "CLIENT_ID"),
    "secret": ("CLIENT_SECRET", "CLIENT_ID"),
}
"""Each key with the part of a credential that it is, and the part that goes with it."""

_NO_SECRETS: Mapping[str, str] = {
    "email": "the e-mail is a part of the credential and must not stand in a catalog file",
    "client_id": "the client's id is a part of the credential and must not stand in a catalog file",
    **dict.fromkeys(
        URL_KEYS, "the URL of a database, with its password, must not stand in a catalog file"
    ),
}
"""What is no secret, or more than one: what to call it."""


def is_misplaced(folder: str, data: Mapping[Any, Any], key: object) -> bool:
    """Whether a key of a catalog file looks like a secret, or like another part of a credential.

    Args:
        folder: where the file lies in the catalog: `destinations`, `sources`, or empty.
        data: what stands in the file.
        key: the key, however it is written: `api_token`, `api-token`, `apiToken`.
    """
    if not isinstance(key, str):
        return False
    plain = _plain(key)
    # A source of files has no URL; there, `url` is any other mistake.
    in_source = folder == "sources" and data.get("type") != "files"
    return plain in SECRET_KEYS or (in_source and plain in URL_KEYS)


def _plain(key: str) -> str:
    """Return a key as it is known, or in small letters."""
    return _KNOWN.get(_joined(key), key.lower())


def _joined(key: str) -> str:
    return re.sub(r"[\s_.-]", "", key).lower()


_KNOWN: Mapping[str, str] = {_joined(key): key for key in (*SECRET_KEYS, *URL_KEYS)}


def remedy(folder: str, name: str, data: Mapping[Any, Any], key: str) -> str:
    """Return what to do with a key that is misplaced; its value is not repeated.

    Args:
        folder: where the file lies in the catalog: `destinations`, `sources`, or empty.
        name: of the file.
        data: what stands in the file.
        key: the key, as it stands there.
    """
    key = _plain(key)
    fault = _NO_SECRETS.get(key, "a secret must not stand in a catalog file")
    if folder == "destinations":
        return f"{fault}; {_credential(name, data, key)}"
    if folder == "sources":
        return f"{fault}; {_database(name, data)}"
    destination = data.get("destination")
    known = isinstance(destination, str) and NAME_PATTERN.fullmatch(destination)
    file = f"destinations/{destination}.yaml" if known else "the file of its destination"
    return f"{fault}; take it out: {file} names the credential, which is set {_WHERE}"


def _credential(name: str, data: Mapping[Any, Any], key: str) -> str:
    """Say which variable of which credential it is."""
    given = data.get("credential")
    credential = given if isinstance(given, str) and CREDENTIAL_PATTERN.fullmatch(given) else None
    write = "" if credential else f"write credential: {_named(name)} and "
    prefix = f"DESKFEED_CREDENTIALS__{(credential or _named(name)).upper()}__"
    if key not in _PARTS:
        which = f"{prefix}CLIENT_SECRET, or {prefix}API_TOKEN,"
        return f"{write}set {which} {_WHERE}"
    part, other = _PARTS[key]
    return f"{write}set {prefix}{part}, with {prefix}{other}, {_WHERE}"


def _database(name: str, data: Mapping[Any, Any]) -> str:
    """Say which variable holds the URL of a source, with its password."""
    given = data.get("url_env")
    known = isinstance(given, str) and VARIABLE_PATTERN.fullmatch(given)
    variable = given if known else f"{_named(name).upper()}_URL"
    write = "" if known else f"write url_env: {variable} and "
    return f"{write}set {variable}, the URL of the database with user and password, {_WHERE}"


def _named(name: str) -> str:
    """Return a name for a credential or variable that is like the name of a file."""
    return "_".join(re.findall(r"[a-z0-9]+", name.lower())).lstrip("_0123456789") or "mine"
