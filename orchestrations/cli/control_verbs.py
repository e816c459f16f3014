"""The verbs that change a run: pause, resume, stop, retry."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from orchestrations.cli import opened
from orchestrations.cli.output import errors, print_json, verb
from orchestrations.cli.run_verbs import enqueue_plan, follow
from worker.errors import RunError
from worker.settings import settings

if TYPE_CHECKING:
    from orchestrations.retrying import Retry
    from worker.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb does to a run, in words.

    Attributes:
        done: what the run is afterwards.
        already: states in which it is so already: doing it twice is harmless.
        hint: what to do next; the run's id is put in.
        remedies: what to do instead in other states; the run's id is put in.
    """

    done: str
    already: frozenset[str]
    hint: str
    remedies: dict[str, str]


_NOT_BEGUN = ("planned", "planning")
_ENDED = {
    **dict.fromkeys(("succeeded", "inconsistent"), "It has ended, see how: deskfeed show {run}"),
    **dict.fromkeys(
        ("stopped", "failed", "finished_with_failures"),
        "It has ended. Its rows that did not arrive are sent again by: deskfeed retry {run}",
    ),
}
_PAUSE = Change(
    done="paused",
    already=frozenset({"paused"}),
    hint="Nothing more is sent; jobs in flight are followed. Go on with: deskfeed resume {run}",
    remedies={
        **dict.fromkeys(
            _NOT_BEGUN,
            "Nothing of it is sent yet. Pause it once it sends (deskfeed watch {run}), or end it: "
            "deskfeed stop {run}",
        ),
        "stopping": "Nothing more is sent anyway. See how it ends: deskfeed watch {run}",
        **_ENDED,
    },
)
_RESUME = Change(
    done="resumed",
    already=frozenset({"sending"}),
    hint="Watch it: deskfeed watch {run}",
    remedies={
        **dict.fromkeys(_NOT_BEGUN, "It sends by itself once it is planned: deskfeed watch {run}"),
        "stopping": "A run that was stopped cannot go on. Once it has ended "
        "(deskfeed watch {run}) send the rest with: deskfeed retry {run}",
        **_ENDED,
    },
)
_STOP = Change(
    done="stopping",
    already=frozenset({"stopping", "stopped"}),
    hint="What is not sent is cancelled, jobs in flight are followed to their end: "
    "deskfeed watch {run}",
    remedies=_ENDED,
)


@click.command("pause")
@click.argument("run_id", metavar="RUN")
@verb
def pause(run_id: str, *, as_json: bool) -> None:
    """Send nothing more of RUN until it is resumed; jobs in flight are still followed."""
    with opened.ledger() as ledger:
        _change(ledger, run_id, ledger.runs.pause, _PAUSE, as_json=as_json)


@click.command("resume")
@click.argument("run_id", metavar="RUN")
@verb
def resume(run_id: str, *, as_json: bool) -> None:
    """Let a paused RUN go on, with the same rows as before."""
    with opened.ledger() as ledger:
        _change(ledger, run_id, ledger.runs.resume, _RESUME, as_json=as_json)


@click.command("stop")
@click.argument("run_id", metavar="RUN")
@verb
def stop(run_id: str, *, as_json: bool) -> None:
    """End RUN: what is not sent yet is cancelled; what Zendesk has is followed to its end."""
    with opened.ledger() as ledger:
        _change(ledger, run_id, ledger.runs.stop, _STOP, as_json=as_json)


def _change(
    ledger: Ledger, wanted: str, act: Callable[..., bool], change: Change, *, as_json: bool
) -> None:
    """Do something to a run and say so; workers take note within ten seconds."""
    from orchestrations import runs

    run_id = runs.find_run(ledger, wanted).run_id
    changed = act(run_id, by=opened.principal())
    state = runs.find_run(ledger, run_id).state
    words = str(state).replace("_", " ")
    if not changed and state not in change.already:
        raise RunError(
            f"{run_id} is {words}; it cannot be {change.done} now",
            code="wrong_state",
            resolution=change.remedies[state].format(run=run_id),
        )
    if as_json:
        print_json({"ok": True, "run_id": run_id, "state": str(state), "changed": changed})
    elif changed:
        click.echo(f"{run_id}: {change.done}. {change.hint.format(run=run_id)}")
    else:
        click.echo(f"{run_id} is {words} already; nothing was changed.")


@click.command("retry")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="C",
    help="Only rows with this code (see `failures`); may be given several times.",
)
@click.option("--wait", is_flag=True, help="Stay and watch until the new run has ended.")
@click.option("--key", metavar="K", help="The same key again is the same retry, started once.")
@verb
def retry(
    run_id: str, *, codes: tuple[str, ...], wait: bool, key: str | None, as_json: bool
) -> None:
    """Send the rows of RUN again that failed, are unconfirmed or were cancelled, in a new run.

    The rows are those that were kept: the query does not run again. RUN keeps its numbers. The
    same retry twice is one run; what fails in it again is retried by retrying it.
    """
    from orchestrations import retrying, runs
    from orchestrations.starting import refuse_key

    refuse_key(key)
    catalog = opened.catalog()
    settings().redis()
    with opened.ledger() as ledger:
        parent = runs.find_run(ledger, run_id)
        begun = retrying.retry(
            catalog,
            parent,
            ledger=ledger,
            principal=opened.principal(),
            groups=opened.myself().groups,
            codes=codes,
            key=key,
        )
        reached = enqueue_plan(begun.run.run_id) if begun.new else True
        if not as_json:
            _say_retry(begun, parent.run_id, reached=reached)
        if wait:
            follow(ledger, begun.run.run_id, as_json=as_json)
        if as_json:
            print_json(_retry_as_json(begun, parent.run_id, reached=reached))


def _retry_as_json(begun: Retry, parent: str, *, reached: bool) -> dict[str, object]:
    return {
        "ok": True,
        "run_id": begun.run.run_id,
        "parent_run": parent,
        "new": begun.new,
        "enqueued": reached,
        "rows": begun.rows.kept,
        "rows_gone": begun.rows.gone,
        "rows_refused": begun.rows.refused,
        "later_run": begun.later.run_id if begun.later else None,
    }


def _say_retry(begun: Retry, parent: str, *, reached: bool) -> None:
    from orchestrations import report

    out, run = errors(), begun.run
    if not begun.new:
        out.print(f"Retried already as {run.run_id}, which is {run.state}", markup=False)
        if report.ended(run):
            out.print(f"What failed in it again is sent by: deskfeed retry {run.run_id}")
        return
    out.print(f"Started {run.run_id}: {begun.rows.kept:,} rows of {parent} again", markup=False)
    for notice in _notices(begun, parent):
        out.print(notice, style="yellow", markup=False)
    if not reached:
        out.print(
            "Redis does not answer. The run is recorded and starts by itself once Redis and a "
            "worker are there.",
            style="yellow",
        )
    sys.stderr.flush()
    click.echo(f"  Watch it: deskfeed watch {run.run_id}", err=True)


def _notices(begun: Retry, parent: str) -> list[str]:
    """Return what else a person should know of a retry that was started."""
    said, again = [], f"deskfeed run {begun.run.orchestration}"
    if begun.rows.refused:
        said.append(
            f"{begun.rows.refused:,} rows were refused before anything was sent and are not among "
            f"them: correct them in the source (deskfeed failures {parent}), then: {again}"
        )
    if begun.rows.gone:
        said.append(f"{begun.rows.gone:,} rows are no longer kept; to send them: {again}")
    if begun.later:
        said.append(
            f"{begun.later.run_id} has read the whole result since: what it has delivered is not "
            "sent again, and the rows sent now may be older than the source."
        )
    return said
