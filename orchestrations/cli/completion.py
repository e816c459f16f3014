"""Completion of names in the shell: orchestrations, destinations, runs. Quick, and silent.

Whoever presses the tab key waits for the answer and wants no error in the middle of a line. So
names come from a listing of the catalog's folders, without reading its files, and runs from one
SELECT that neither opens the ledger as the verbs do (which makes and changes its tables) nor waits
for anybody. Where something is not there, nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from worker.settings import settings

if TYPE_CHECKING:
    from worker.settings import Settings

Offer = Callable[["Settings"], Iterator[tuple[str, str]]]
"""Yields names, each with a word about it."""

ACCESS = "access.yaml"

RUNS = 30
"""So many of the newest runs are offered."""


class Named(click.types.StringParamType):
    """A text whose beginnings can be completed.

    Args:
        offer: what there is.
    """

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return what begins like this; nothing when it cannot be found out."""
        try:
            offered = list(self._offer(settings()))
        except Exception:  # noqa: BLE001  a shell must not show it; the verb itself will tell
            return []
        return [
            CompletionItem(name, help=about)
            for name, about in offered
            if name.startswith(incomplete)
        ]


def complete(group: click.Group) -> None:
    """Let the arguments of a command and all below it be completed, as their names say."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            complete(command)
        for parameter in command.params:
            offer = _offer_of(group.name or "", command.name or "", parameter.name or "")
            if isinstance(parameter, click.Argument) and offer:
                parameter.type = Named(offer)


def _offer_of(group: str, command: str, parameter: str) -> Offer | None:
    if parameter == "run_id":
        return runs
    if parameter == "orchestration":
        return orchestrations
    if parameter == "name" and (group == "limits" or (group, command) == ("destinations", "test")):
        return destinations
    return None


def orchestrations(found: Settings) -> Iterator[tuple[str, str]]:
    """Yield the orchestrations of the catalog."""
    yield from _files(found.catalog, "orchestration")


def destinations(found: Settings) -> Iterator[tuple[str, str]]:
    """Yield the destinations of the catalog."""
    yield from _files(found.catalog / "destinations", "destination")


def _files(folder: Path, about: str) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("*.yaml")):
        if path.name != ACCESS and not path.name.startswith("."):
            yield path.stem, about


def runs(found: Settings) -> Iterator[tuple[str, str]]:
    """Yield `last` and the newest runs, for whoever may list them."""
    if (found.catalog / ACCESS).exists():
        from orchestrations.access import load_access, myself

        load_access(found.catalog).require(myself(), "runs")
    newest = _newest(found.ledger)
    if newest:
        yield "last", "the newest run"
    for run_id, orchestration, state in newest:
        yield run_id, f"{orchestration} {state.replace('_', ' ')}"


def _newest(url: str) -> list[tuple[str, str, str]]:
    from worker.glance import newest_runs

    return newest_runs(url, RUNS)
