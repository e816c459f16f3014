"""What an alert says: what happened, numbers, what to do, the command to type.

Pure: from the ledger's values to text. It names runs, orchestrations, codes and counts, never a
customer; the last step redacts it like a line of a log, whatever a sentence of an error holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrations.alert_rules import AlertRules, Kind
from orchestrations.report import explained, title_of, told, verdict
from worker.hints import WAITS
from worker.ledger.alerts import Alert, AlertKind
from worker.ledger.records import RunView
from worker.ledger.states import RunState
from worker.redaction import redact

Severity = Literal["success", "info", "warning", "failure"]

MOST_REASONS = 5
"""So many reasons of rows that did not arrive are named, the most frequent first."""

_ENDS: Mapping[RunState, Kind] = {
    RunState.FAILED: "failed",
    RunState.INCONSISTENT: "failed",
    RunState.FINISHED_WITH_FAILURES: "row_failures",
    RunState.STOPPED: "stopped",
    RunState.SUCCEEDED: "succeeded",
}

_SEVERITIES: Mapping[Kind, Severity] = {
    "failed": "failure",
    "row_failures": "warning",
    "stopped": "info",
    "succeeded": "success",
    "paused": "failure",
    "recovered": "success",
    "too_long": "warning",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent.

    Attributes:
        severity: how a channel may show it: a colour, a sign.
    """

    title: str
    body: str
    severity: Severity


def kind_of(alert: Alert) -> Kind:
    """Return the word of `alerts.yaml` for what an alert tells of."""
    match alert.kind:
        case AlertKind.PAUSED:
            return "paused"
        case AlertKind.RECOVERED:
            return "recovered"
        case AlertKind.TOO_LONG:
            return "too_long"
    return _ENDS[RunState(alert.data["state"])]


def wanted(alert: Alert, view: RunView, rules: AlertRules) -> bool:
    """Whether the rules want somebody to be told.

    A pause and its end concern all orchestrations of a destination: the general rules decide.
    """
    kind = kind_of(alert)
    mine = rules_for(alert, rules)
    if kind not in mine.tell:
        return False
    rows = view.rows
    return kind != "row_failures" or (
        100 * (rows.failed + rows.unconfirmed) > mine.failed_percent * rows.read
    )


def rules_for(alert: Alert, rules: AlertRules) -> AlertRules:
    """Return the rules that decide about an alert."""
    of_all = alert.kind in (AlertKind.PAUSED, AlertKind.RECOVERED)
    return rules if of_all else rules.of(alert.orchestration)


def compose(alert: Alert, view: RunView) -> Message:
    """Return what an alert says."""
    kind = kind_of(alert)
    lines = [f"Run {alert.run_id} of {alert.orchestration}, to {alert.destination}."]
    lines += _BODIES[kind](alert, view)
    return Message(
        title=redact(f"Deskfeed: {_title(kind, alert, view)}"),
        body="\n".join(redact(line) for line in lines),
        severity=_SEVERITIES[kind],
    )


def trial() -> Message:
    """Return what `deskfeed alerts test` sends."""
    return Message(
        title="Deskfeed: a test",
        body="Alerts of Deskfeed arrive here. Nothing happened, and there is nothing to do.",
        severity="info",
    )


def _title(kind: Kind, alert: Alert, view: RunView) -> str:
    match kind:
        case "failed":
            return f"{alert.orchestration} failed"
        case "row_failures":
            rows = view.rows.failed + view.rows.unconfirmed
            return f"{alert.orchestration}: {rows:,} of {view.rows.read:,} rows did not arrive"
        case "paused":
            return f"the destination {alert.destination} is paused"
        case "recovered":
            return f"the destination {alert.destination} takes rows again"
        case "too_long":
            return f"{alert.orchestration} takes too long"
    return f"{alert.orchestration} {kind}"


def _end(alert: Alert, view: RunView) -> Iterator[str]:
    """A run has ended, as it did."""
    sentence = verdict(view)
    yield f"{sentence[0].upper()}{sentence[1:]}."
    yield from _numbers(view)
    if view.run.error is not None:
        yield from _error(view.run.error, view)
    yield from _reasons(view)
    yield ""
    yield f"See it: deskfeed show {alert.run_id}"
    if view.rows.failed or view.rows.unconfirmed:
        yield f"Rows that did not arrive: deskfeed failures {alert.run_id} --format csv"
        yield f"Send them again, once they are mended: deskfeed retry {alert.run_id}"


def _pause(alert: Alert, view: RunView) -> Iterator[str]:
    yield from _error({key: str(value) for key, value in alert.data.items()}, view)
    yield "Nothing more is sent to it; nothing is lost, and no attempt is used."
    yield from _numbers(view)
    yield ""
    yield f"Once it is mended: deskfeed resume {alert.run_id}"
    yield f"Whether it is: deskfeed destinations test {alert.destination}"


def _recovery(_alert: Alert, view: RunView) -> Iterator[str]:
    yield "Zendesk took a chunk of it. Runs that are still paused: deskfeed runs"
    yield from _numbers(view)


def _too_long(alert: Alert, view: RunView) -> Iterator[str]:
    minutes = (alert.made_at - view.run.created_at) / 60
    yield f"It was started {minutes:,.0f} minutes before this alert, and is {view.run.state}."
    yield from _numbers(view)
    waits = [f"{n:,} chunks for {WAITS.get(why, why)}" for why, n in sorted(view.waits.items())]
    if waits:
        yield f"Waiting: {', '.join(waits)}."
    yield ""
    yield f"Watch it: deskfeed watch {alert.run_id}"
    yield "What the account allows, and who waits: deskfeed limits show"
    yield f"End it: deskfeed stop {alert.run_id}"


_BODIES: Mapping[Kind, Callable[[Alert, RunView], Iterator[str]]] = {
    "failed": _end,
    "row_failures": _end,
    "stopped": _end,
    "succeeded": _end,
    "paused": _pause,
    "recovered": _recovery,
    "too_long": _too_long,
}


def _numbers(view: RunView) -> Iterator[str]:
    rows = view.rows
    words = ("read", "created", "updated", "failed", "skipped", "unconfirmed", "pending")
    yield "Rows: " + ", ".join(f"{getattr(rows, word):,} {word}" for word in words) + "."


def _error(error: Mapping[str, str], view: RunView) -> Iterator[str]:
    said = told(error, view.run)
    yield f"{said['title']} ({said['code']}): {said['message']}"
    yield f"What to do: {said['resolution']}"
    known = explained(said["code"], view.run)
    if known is not None:
        yield f"Whose fault: {known.fault.words}."
        yield f"Type: {known.command}   Step by step: deskfeed explain {said['code']}"


def _reasons(view: RunView) -> Iterator[str]:
    reasons = [(count, code) for (kind, code), count in view.reasons.items() if kind != "skipped"]
    for count, code in sorted(reasons, key=lambda found: (-found[0], found[1]))[:MOST_REASONS]:
        yield f"  {count:,} rows: {title_of(code)} ({code})"
        known = explained(code, view.run)
        if known is not None:
            yield f"    {known.resolution}"
    if len(reasons) > MOST_REASONS:
        yield f"  and {len(reasons) - MOST_REASONS} other reasons"
