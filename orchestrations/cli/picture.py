"""What a run under way looks like: some lines in a terminal, one line elsewhere. It only draws.

Nothing here is wider than 80 columns in a terminal; names that are too long are cut.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrations import report
from orchestrations.cli.output import duration
from worker.hints import WAITS
from worker.ledger.records import RunView
from worker.ledger.states import RunState

BAR = 30

LEAVES = "Ctrl-C leaves it running."


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing can be sent at this moment.

    Attributes:
        why: in words.
        seconds: how long still; None when that is not known.
    """

    why: str
    seconds: float | None = None

    def __str__(self) -> str:
        more = f", {duration(self.seconds)} more" if self.seconds else ""
        return f"{self.why}{more}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run goes.

    Attributes:
        users_per_second: over the last seconds.
        budget: what the account allows.
        seconds_left: until the last row has an outcome, as far as can be told; None when not.
        pause: what keeps the account from sending, if anything does.
    """

    users_per_second: float
    budget: int
    seconds_left: float | None
    pause: Pause | None = None


def line(view: RunView, pace: Pace) -> str:
    """Return a run's progress in one line."""
    rows, chunks = view.rows, report.chunk_buckets(view)
    done = rows.read - rows.pending
    left = f", about {duration(pace.seconds_left)} left" if pace.seconds_left else ""
    pause = f", paused: {pace.pause}" if pace.pause else ""
    return (
        f"{view.run.run_id} {view.run.state}: {done:,}/{rows.read:,} rows "
        f"({rows.created:,} created, {rows.updated:,} updated, {rows.failed:,} failed, "
        f"{rows.skipped:,} skipped), chunks {chunks['waiting']} waiting "
        f"{chunks['sending']} sending {chunks['polling']} polling {chunks['done']} done, "
        f"{pace.users_per_second:.0f} of {pace.budget} users/s{left}{pause}"
    )


def panel(view: RunView, pace: Pace) -> Group:
    """Return the picture of a run under way."""
    name = f"{view.run.orchestration} -> {view.run.target.destination}"
    head = Text(name, style="bold", no_wrap=True, overflow="ellipsis")
    which = Text.assemble((view.run.run_id, "dim"), f"  {state(view)}")
    return Group(head, which, _bars(view, pace), *_counts(view), *_tail(view, pace))


def state(view: RunView) -> str:
    """Return a run's state as people say it."""
    return str(view.run.state).replace("_", " ")


def _bars(view: RunView, pace: Pace) -> Table:
    rows = view.rows
    done = rows.read - rows.pending
    table = Table.grid(padding=(0, 1))
    percent = f"  {100 * done // rows.read} %" if rows.read else ""
    table.add_row(
        "rows",
        ProgressBar(total=max(rows.read, 1), completed=done, width=BAR),
        f"{done:,} of {rows.read:,}{percent}",
    )
    table.add_row(
        "rate",
        ProgressBar(
            total=pace.budget, completed=min(pace.users_per_second, pace.budget), width=BAR
        ),
        f"{pace.users_per_second:.0f} of {pace.budget} users/s",
    )
    return table


def _counts(view: RunView) -> tuple[Text, Text]:
    rows, chunks = view.rows, report.chunk_buckets(view)
    outcomes = {
        "created": rows.created,
        "updated": rows.updated,
        "failed": rows.failed,
        "skipped": rows.skipped,
        "unconfirmed": rows.unconfirmed,
    }
    shown = [name for name in outcomes if outcomes[name] or name != "unconfirmed"]
    states = "  ".join(
        f"{name} {chunks[name]:,}"
        for name in ("waiting", "sending", "polling", "quarantined", "cancelled")
        if chunks[name]
    )
    done = f"done {chunks['done']:,} of {chunks['total']:,}"
    return (
        Text("  ".join(f"{name} {outcomes[name]:,}" for name in shown)),
        Text(f"chunks: {done}" + (f"  {states}" if states else "")),
    )


def _tail(view: RunView, pace: Pace) -> list[Text]:
    lines = []
    if pace.pause:
        lines.append(Text(f"paused: {pace.pause}", style="yellow"))
    elif waits := ", ".join(sorted({WAITS.get(why, why) for why in view.waits})):
        lines.append(Text(f"waiting for: {waits}", style="dim"))
    if pace.seconds_left:
        left = f"about {duration(pace.seconds_left)} left"
    elif view.run.state == RunState.SENDING and not pace.pause:
        left = "time left: not known yet"
    else:
        left = ""
    lines.append(Text(f"{left}   {LEAVES}" if left else LEAVES, style="dim"))
    return lines
