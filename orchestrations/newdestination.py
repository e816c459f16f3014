"""A new destination: checked, tested, and only then saved; what does not work leaves no trace."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dotenv
import yaml
from pydantic import ValidationError

from orchestrations.spec import NAME_PATTERN, Destination
from worker.errors import UsageError
from worker.zendesk.auth import ApiToken, Secrets

OPTIONAL = ("subdomain", "base_url", "admin_only", "restrict_pii", "allow_pii")
"""Keys that are left out of the file when they say nothing."""


def describe(folder: Path, name: str, values: Mapping[str, Any]) -> Destination:
    """Return a destination as the catalog would read it.

    Args:
        folder: the catalog's.
        name: of the destination.
        values: the other keys of its file.

    Raises:
        UsageError: a value is wrong, or there is a destination of this name.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError("name: lower-case letters, digits, '-' and '_', at most 64")
    if file_of(folder, name).exists():
        raise UsageError(
            f"there is a destination {name!r}; nothing was changed",
            resolution=f"Edit {file_of(folder, name)}, or choose another name.",
        )
    try:
        return Destination.model_validate(
            {
                "plugin": "zendesk",
                **{k: v for k, v in values.items() if v is not None},
                "name": name,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = first.get("ctx", {}).get("key") or ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{key}: {first['msg']}") from None


def save(folder: Path, destination: Destination) -> Path:
    """Write the file of a destination, whole or not at all; returns its path.

    Raises:
        UsageError: it cannot be written, or has come into being meanwhile.
    """
    path = file_of(folder, destination.name)
    text = yaml.safe_dump(_document(destination), sort_keys=False, allow_unicode=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, suffix=".new", encoding="utf-8"
        ) as new:
            new.write(text)
            new.flush()
            Path(new.name).chmod(0o644)
            os.link(new.name, path)  # unlike a rename it overwrites nothing
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


def file_of(folder: Path, name: str) -> Path:
    """Return where a destination's file lies."""
    return folder / "destinations" / f"{name}.yaml"


def variables(name: str, secrets: Secrets) -> dict[str, str]:
    """Return the settings of a credential.

    Args:
        name: of the credential.
        secrets: what it is.
    """
    prefix = f"DESKFEED_CREDENTIALS__{name.upper()}__"
    if isinstance(secrets, ApiToken):
        token = secrets.api_token.get_secret_value()
        return {f"{prefix}EMAIL": secrets.email, f"{prefix}API_TOKEN": token}
    secret = secrets.client_secret.get_secret_value()
    return {f"{prefix}CLIENT_ID": secrets.client_id, f"{prefix}CLIENT_SECRET": secret}


def save_secrets(path: Path, values: Mapping[str, str]) -> None:
    """Put settings into a `.env` file that its owner alone can read.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)  # before a secret is in it
        for variable, value in values.items():
            dotenv.set_key(path, variable, value)
        path.chmod(0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _document(destination: Destination) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": destination.description,
        "plugin": destination.plugin,
        "credential": destination.credential,
    }
    return found | {key: value for key in OPTIONAL if (value := getattr(destination, key))}
