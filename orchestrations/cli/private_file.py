"""Files that a verb writes: readable by their owner only, and in place of none that is there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from worker.errors import UsageError


def write_private(path: Path, texts: Iterable[str], *, force: bool) -> int:
    """Write a file that only its owner can read, whole or not at all; return how many texts.

    Args:
        path: where to.
        texts: what, in order; as it stands.
        force: replace the file that is there.

    Raises:
        UsageError: the file is there and `force` is not given, or it cannot be written.
    """
    if not force and os.path.lexists(path):
        raise _exists(path)
    count = 0
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".deskfeed-", suffix=path.suffix)
        try:
            # mkstemp made it with mode 0600.
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                for text in texts:
                    file.write(text)
                    count += 1
            _put(Path(name), path, force=force)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            resolution="Name a file in a folder that is there and that you may write to: -o FILE.",
        ) from None
    return count


def _put(made: Path, path: Path, *, force: bool) -> None:
    """Give the file its name; somebody may have taken the name meanwhile."""
    if force:
        made.replace(path)
        return
    try:
        path.hardlink_to(made)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        made.replace(path)  # a file system without links; that it was not there was seen above


def _exists(path: Path) -> UsageError:
    return UsageError(
        f"{path} is there already",
        resolution="Replace it with --force, or name another file: -o FILE.",
    )
