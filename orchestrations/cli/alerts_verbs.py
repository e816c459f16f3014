"""The verbs `alerts list` and `alerts test`: what people were told, and whether they would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.output import EXIT_FAILED, console, print_json, verb
from worker.errors import UsageError
from worker.settings import settings

if TYPE_CHECKING:
    from orchestrations.channels import Channels
    from worker.ledger.alerts import Alert, Send


@click.group("alerts")
def alerts() -> None:
    """What must reach people: who was told, who is still to be told."""


@alerts.command("list")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@verb
def alerts_list(limit: int, *, as_json: bool) -> None:
    """List the alerts, the newest first, with what became of them in each channel."""
    with opened.ledger() as ledger:
        found = ledger.alerts.newest(limit)
    if as_json:
        shown = [_as_json(alert, sends) for alert, sends in found]
        print_json({"ok": True, "alerts": shown})
        return
    if not found:
        click.echo("There was nothing to tell yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("when (UTC)", "alert", "run", "channels"):
        table.add_column(title)
    for alert, sends in found:
        table.add_row(_moment(alert.made_at), _kind(alert), alert.run_id, _words(alert, sends))
    console().print(table, markup=False)


@alerts.command("test")
@click.argument("channel", required=False)
@verb
def alerts_test(channel: str | None, *, as_json: bool) -> None:
    """Send a test message to CHANNEL, or to every one, and say which took it; 1 if one did not."""
    from orchestrations.alert_text import trial
    from orchestrations.channels import WORDS, Channels, refuse_unsendable

    channels = Channels(settings().alerts, opened.times().post_deadline)
    names = _named(channels, channel)
    refuse_unsendable(names)
    found = {name: channels.send(name, trial()) for name in names}
    if as_json:
        shown = [
            {"channel": name, "ok": why is None, "reason": WORDS[why] if why else None}
            for name, why in found.items()
        ]
        print_json({"ok": not any(found.values()), "channels": shown})
    else:
        for name, why in found.items():
            click.echo(f"{name}: {'took it' if why is None else f'FAILED: {WORDS[why]}'}")
    if any(found.values()):
        raise SystemExit(EXIT_FAILED)


def _named(channels: Channels, channel: str | None) -> tuple[str, ...]:
    """Return the channels to test: the one that is named, or all that are set or named in rules."""
    from orchestrations.alert_rules import load_rules

    known = sorted({*channels.names, *load_rules(settings().catalog).all_channels})
    if channel is not None and channel not in known:
        raise UsageError(
            f"there is no channel {channel!r}; there are: {', '.join(known) or 'none'}",
            resolution=f"Set its address: DESKFEED_ALERTS__{channel.upper()} (docs/alerts.md)",
        )
    if not known:
        raise UsageError(
            "no channel is set",
            resolution="Set an address, e.g. DESKFEED_ALERTS__OPS=slack://… (docs/alerts.md)",
        )
    return (channel,) if channel else tuple(known)


def _kind(alert: Alert) -> str:
    from orchestrations.alert_text import kind_of

    return kind_of(alert)


def _words(alert: Alert, sends: Sequence[Send]) -> str:
    if alert.state == "new":
        return "not looked at yet"
    if not sends:
        return "nobody is to be told"
    return ", ".join(f"{send.channel}: {_state(send)}" for send in sends)


def _state(send: Send) -> str:
    state = send.state.replace("_", " ")
    return f"{state} ({_why(send)}, {send.attempts} attempts)" if send.why else state


def _why(send: Send) -> str:
    return (send.why or "").replace("_", " ")


def _as_json(alert: Alert, sends: Sequence[Send]) -> dict[str, Any]:
    return {
        "alert": _kind(alert),
        "run_id": alert.run_id,
        "orchestration": alert.orchestration,
        "destination": alert.destination,
        "at": _moment(alert.made_at),
        "state": str(alert.state),
        "channels": [
            {
                "channel": send.channel,
                "state": str(send.state),
                "attempts": send.attempts,
                "reason": send.why,
                "next_at": _moment(send.due_at),
                "ended_at": _moment(send.ended_at),
            }
            for send in sends
        ],
    }


def _moment(at: float | None) -> str | None:
    from orchestrations.report import iso

    return iso(at)
