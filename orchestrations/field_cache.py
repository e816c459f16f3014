"""The user fields of accounts, kept for a short time in files of the state folder.

A file, and not the ledger: what it holds is nobody's truth, it may be lost at any moment, and
`preview` reads it without opening a ledger. It names fields and options, no customers.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from worker.zendesk.fields import UserField

KEPT_S = 60.0
"""So long a list of fields is good enough; people who change a field see it within a minute."""


class FieldCache:
    """Keeps the user fields of accounts.

    Args:
        folder: where the files lie; it is made when it is needed.
        now: seconds since the epoch; tests pass their own.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now

    def get(self, account: str) -> tuple[UserField, ...] | None:
        """Return the fields of an account, or None if they are not kept or too old."""
        try:
            kept = orjson.loads(self._file(account).read_bytes())
            if not 0 <= self._now() - kept["at"] <= KEPT_S or kept["account"] != account:
                return None
            return tuple(_field(item) for item in kept["fields"])
        except (OSError, ValueError, TypeError, KeyError):  # not there, or damaged: not kept
            return None

    def put(self, account: str, fields: Sequence[UserField]) -> None:
        """Keep the fields of an account; where that cannot be done nothing is kept."""
        document = {"account": account, "at": self._now(), "fields": [asdict(f) for f in fields]}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(self._file(account), orjson.dumps(document))

    def _write(self, path: Path, content: bytes) -> None:
        """Readers see the old file or the new one, never a part of it."""
        handle, name = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _file(self, account: str) -> Path:
        # The name of an account may have characters that a file's must not.
        return self._folder / f"{hashlib.sha256(account.encode()).hexdigest()[:32]}.json"


def _field(item: dict[str, Any]) -> UserField:
    options = tuple((str(value), str(label)) for value, label in item.pop("options"))
    return UserField(**item, options=options)
