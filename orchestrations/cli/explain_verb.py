"""`deskfeed explain`: what a code means, whose fault it is, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from orchestrations.cli.output import console, print_json, verb
from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.explanations import Explanation


@click.command("explain")
@click.argument("code", required=False)
@verb
def explain(code: str | None, *, as_json: bool) -> None:
    """Say what CODE means, whose fault it is and what to do; without CODE list all codes."""
    from worker.explanations import EXPLANATIONS

    if code is None:
        _list_all(as_json=as_json)
        return
    found = EXPLANATIONS.get(code.strip().lower())
    if found is None:
        raise UsageError(
            f"there is no code {code[:60]!r}{_did_you_mean(code)}",
            resolution="See all there are: deskfeed explain",
        )
    if as_json:
        print_json({"ok": True, **as_document(code.strip().lower(), found)})
    else:
        _say(found)


def as_document(code: str, explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as one JSON object."""
    return {
        "code": code,
        "title": explanation.title,
        "fault": str(explanation.fault),
        "resolution": explanation.resolution,
        "causes": list(explanation.causes),
        "steps": list(explanation.steps),
        "command": explanation.command,
    }


def _list_all(*, as_json: bool) -> None:
    from worker.explanations import CHAPTERS, EXPLANATIONS

    if as_json:
        listed = [as_document(code, one) for code, one in EXPLANATIONS.items()]
        print_json({"ok": True, "codes": listed})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for title, chapter in CHAPTERS.items():
        table.add_row(f"[bold]{title}[/]", "")
        for code, one in chapter.items():
            table.add_row(f"  {code}", one.title)
    console().print(table)
    click.echo("Whose fault it is and what to do: deskfeed explain CODE")


def _say(one: Explanation) -> None:
    out = console()
    out.print(one.title, style="bold", markup=False)
    out.print(one.resolution, markup=False)
    out.print(f"\nWhose fault: {one.fault.words}.", markup=False)
    out.print("\nIt may come from:", markup=False)
    for cause in one.causes:
        out.print(f"  - {cause}", markup=False)
    out.print("\nWhat to do:", markup=False)
    for number, step in enumerate(one.steps, 1):
        out.print(f"  {number}. {step}", markup=False)
    out.print(f"\nType: {one.command}", markup=False)


def _did_you_mean(code: str) -> str:
    from orchestrations.attributes import did_you_mean
    from worker.explanations import EXPLANATIONS

    return did_you_mean(code, EXPLANATIONS)
