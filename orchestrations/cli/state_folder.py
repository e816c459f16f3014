"""The state folder of `deskfeed up`: whose it is, and what other commands find in it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from worker.errors import UsageError
from worker.settings import UP_FILE

LOCK_FILE = "up.lock"

DYING_S = 3.0
"""How long the children of an `up` that was killed may take to vanish, before we refuse."""


@contextmanager
def claimed(state_dir: Path) -> Iterator[int]:
    """Hold the state folder's lock; gives its descriptor, which the children inherit.

    Thus the folder stays claimed while any of them lives, even should we be killed: two Redis
    servers must never write into one folder.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(
            f"the state folder {state_dir} cannot be used: {error.strerror}",
            code="ledger_unavailable",
        ) from None
    try:
        _lock(lock, state_dir)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        (state_dir / UP_FILE).unlink(missing_ok=True)  # of an `up` that was killed
        yield lock
    finally:
        os.close(lock)


def _lock(lock: int, state_dir: Path) -> None:
    deadline = time.monotonic() + DYING_S
    while not _try_lock(lock):
        pid = os.pread(lock, 20, 0).decode().strip()
        if _is_alive(pid):
            raise UsageError(
                f"another `deskfeed up` (process {pid}) runs with the state folder {state_dir}",
                code="already_up",
            )
        if time.monotonic() > deadline:
            raise UsageError(
                f"a `deskfeed up` that was killed (process {pid}) left processes behind that "
                f"still work with the state folder {state_dir}",
                code="already_up",
                resolution="End them (ps shows valkey-server, celery -A worker.app and "
                "worker.sandbox), then start again.",
            )
        time.sleep(0.1)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def up_file(state_dir: Path, made: Mapping[str, str]) -> Iterator[None]:
    """Tell other commands how to reach what runs, until the block is left."""
    path, new = state_dir / UP_FILE, state_dir / f"{UP_FILE}.new"
    new.unlink(missing_ok=True)
    lines = ["# Written by `deskfeed up`, removed when it ends.", *(f"{k}={made[k]}" for k in made)]
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    new.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
