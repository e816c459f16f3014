"""The verb `forget`: erase what is held of one person."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from orchestrations.cli import opened
from orchestrations.cli.output import print_json, verb
from worker.errors import UsageError
from worker.profile import key_of

if TYPE_CHECKING:
    from worker.ledger.forgetting import Erased

MOST_CHARS = 1_000
"""Longer than every identity."""

UNTOUCHED = (
    "The source and Zendesk are untouched: the next run sends this person again unless the query "
    "leaves them out."
)


@click.command("forget")
@click.argument("kind", type=click.Choice(["external_id", "email"]))
@click.argument("value", metavar="VALUE")
@click.option("--dry-run", is_flag=True, help="Count what would be erased; erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@verb
def forget(kind: str, value: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase what Deskfeed holds of a person: digests, kept rows, rows that are not sent yet.

    VALUE is their external_id or e-mail, compared without regard to case; `-` reads it from
    standard input, so that it does not stand in the history of the shell. Somebody who is known by
    both is forgotten by both: one command each.
    """
    key = _key(kind, value)
    if not dry_run:
        _confirm(kind, yes=yes, from_input=value == "-")
    with opened.ledger() as ledger:
        if dry_run:
            erased = ledger.forgetting.look(key)
        else:
            erased = ledger.forgetting.forget(key, opened.principal())
    if as_json:
        answer = {"ok": True, "dry_run": dry_run, "erased": asdict(erased), "note": UNTOUCHED}
        print_json(answer)
    else:
        _say(erased, dry_run=dry_run)


def _key(kind: str, value: str) -> str:
    """Return what identifies the person to the ledger."""
    if value == "-":
        value = sys.stdin.readline(MOST_CHARS + 1)
    value = value.strip()
    if len(value) > MOST_CHARS:
        raise UsageError(f"the {kind} is longer than {MOST_CHARS} characters")
    key = key_of(value, None) if kind == "external_id" else key_of(None, value)
    if key is None:
        raise UsageError(f"the {kind} is empty")
    return key


def _confirm(kind: str, *, yes: bool, from_input: bool) -> None:
    if yes:
        return
    if from_input or not sys.stdin.isatty():
        raise UsageError(
            "nothing was erased: there is nobody here who could be asked",
            resolution="Say that it is meant: deskfeed forget … --yes (or look first: --dry-run)",
        )
    click.confirm(
        f"Erase what is held of the person with this {kind}? It cannot be undone.",
        abort=True,
        err=True,
    )


def _say(erased: Erased, *, dry_run: bool) -> None:
    if not erased.anything:
        click.echo("Nothing is held of this person.")
    else:
        click.echo("Would be erased:" if dry_run else "Erased:")
    for count, words in (
        (erased.digests, "digests of what Zendesk confirmed"),
        (erased.kept_rows, "kept rows that were not delivered"),
        (erased.unsent_rows, "rows that are not sent yet; they are skipped (forgotten)"),
    ):
        if count:
            click.echo(f"  {count:>9,}  {words}")
    if erased.in_flight_rows:
        click.echo(
            f"  {erased.in_flight_rows:>9,}  rows are with Zendesk right now and cannot be taken "
            "back; nothing of them is kept once their job has ended"
        )
    if erased.unreadable:
        click.echo(
            f"{erased.unreadable:,} chunks are damaged and cannot be read: nobody can say whether "
            "they hold the person. Their rows go by themselves (docs/privacy.md)."
        )
    click.echo(UNTOUCHED)
