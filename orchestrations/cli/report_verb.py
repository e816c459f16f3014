"""The verb `report`: one HTML file that tells how a run went."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrations.cli import opened
from orchestrations.cli.output import print_json, verb
from orchestrations.cli.private_file import write_private
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
    write_private(path, [page], force=force)
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
