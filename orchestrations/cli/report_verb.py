"""The verb `report`: one HTML file that tells how a run went."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from orchestrations.cli import opened
from orchestrations.cli.output import print_json, verb
from worker.errors import UsageError


@click.command("report")
@click.argument("run_id", metavar="RUN")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to; `-` is standard output. Without, RUN.html in this folder.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there already.")
@verb
def report(run_id: str, *, output: str | None, force: bool, as_json: bool) -> None:
    """Write the report of RUN as one HTML file: verdict, numbers, pictures, what to mend.

    The file needs nothing else and asks nobody. It may name people, so only you can read it; with
    restricted access to personal data it names nobody. RUN may be `last`, or still going on.
    """
    from orchestrations import runs
    from orchestrations.reporting import collect, render

    if output == "-" and as_json:
        raise UsageError("--json and -o - both want standard output; give one of them")
    masked = opened.rights("report").restrict_pii
    with opened.ledger() as ledger:
        found = runs.find_run(ledger, run_id).run_id
        told = collect(ledger, found, masked=masked)
    page = render(told)
    if output == "-":
        click.echo(page)
        return
    path = Path(output or f"{found}.html")
    write_private(path, page, force=force)
    if as_json:
        print_json(
            {
                "ok": True,
                "run_id": found,
                "path": str(path.absolute()),
                "bytes": path.stat().st_size,
                "state": str(told.view.run.state),
                "ended": told.verdict.ended,
                "masked": masked,
            }
        )
        return
    click.echo(f"{path}: {told.verdict.sentence}")


def write_private(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        UsageError: the file is there and `force` is not given, or it cannot be written.
    """
    if not force and os.path.lexists(path):
        raise _exists(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".deskfeed-", suffix=".html")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp made it with mode 0600
                file.write(text)
            _put(Path(name), path, force=force)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            resolution="Name a file in a folder that is there and that you may write to: -o FILE.",
        ) from None


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
