"""Flower's page is never open: on loopback unless somebody says otherwise, and with a password.

Flower itself shows everything to everybody who reaches it when no password is set, on every
address of the host. Its options come from `FLOWER_…` in the environment, then from the command
line and `flowerconfig.py`, each going over the one before; so what is set here holds only where a
person has set nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from worker.errors import UsageError

ADDRESS = "FLOWER_ADDRESS"
BASIC_AUTH = "FLOWER_BASIC_AUTH"
LOGIN_FILE = "flower.login"
"""In the state folder, mode 0600: `user:password` of a Flower that was given none."""

USER = "deskfeed"

_LOGINS = ("basic_auth", "auth")
"""Options of Flower that ask for a login."""


def is_flower(argv: Sequence[str]) -> bool:
    """Say whether this process is `celery … flower …`."""
    words = list(argv[1:])
    return "flower" in words and (not argv or "celery" in Path(argv[0]).as_posix())


def guard(
    argv: Sequence[str], environment: MutableMapping[str, str], state_dir: Path
) -> Path | None:
    """Give Flower an address and a login where nobody has.

    Args:
        argv: the command line.
        environment: what Flower will read; changed.
        state_dir: where a login that was made up is left.

    Returns:
        The file with the login that was made up, or None where somebody has set one.

    Raises:
        UsageError: the login cannot be left anywhere. Nobody could use it; Flower must not start.
    """
    environment.setdefault(ADDRESS, "127.0.0.1")
    if _has_login(argv, environment):
        return None
    login = f"{USER}:{secrets.token_urlsafe(18)}"
    path = state_dir / LOGIN_FILE
    try:
        _write(path, login)
    except OSError as error:
        raise UsageError(
            f"Flower has no password, and none can be left in {path}: {error.strerror}",
            resolution=f"Set {BASIC_AUTH}=user:password.",
        ) from None
    environment[BASIC_AUTH] = login
    return path


def _has_login(argv: Sequence[str], environment: MutableMapping[str, str]) -> bool:
    given = {word.lstrip("-").partition("=")[0].replace("-", "_") for word in argv}
    return any(
        name in given or environment.get(f"FLOWER_{name.upper()}", "").strip() for name in _LOGINS
    )


def _write(path: Path, login: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # not into what a link of this name points at
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(login + "\n")
