"""Sending what the ledger's outbox of alerts holds; what is said stands in `alert_text`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from orchestrations.alert_rules import AlertRules
from orchestrations.alert_text import compose, rules_for, wanted
from orchestrations.channels import WORDS, Channels
from worker import metrics
from worker.ledger import Ledger
from worker.ledger.alerts import Alert, AlertState, Send
from worker.ledger.records import RunView

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What one call did.

    Attributes:
        sent: messages that a channel took.
        failed: messages that one did not take; they are tried again.
    """

    sent: int = 0
    failed: int = 0


def tell(
    run_id: str, *, ledger: Ledger, rules: AlertRules, channels: Channels, seconds: float
) -> Told:
    """Send the alerts about a run that are due, each to each channel that shall get it.

    Args:
        run_id: the run.
        ledger: holds the outbox.
        rules: who shall get what; asked once for each alert.
        channels: those that are set.
        seconds: begin no other send after this long: a channel that hangs must not hold the
            worker's thread. What is left is due, and the sweeper sends its message again.
    """
    view = ledger.views.run(run_id)
    if view is None:  # nobody writes an alert of a run that is not there
        return Told()
    for alert in ledger.alerts.new(run_id):
        ledger.alerts.address(alert, _addressees(alert, view, rules, channels))
    end = time.monotonic() + seconds
    sent = failed = 0
    while time.monotonic() < end and (send := ledger.alerts.claim(run_id)) is not None:
        if _send(send, view, ledger, channels):
            sent += 1
        else:
            failed += 1
    return Told(sent, failed)


def _addressees(
    alert: Alert, view: RunView, rules: AlertRules, channels: Channels
) -> tuple[str, ...]:
    if not wanted(alert, view, rules):
        return ()
    chosen = rules_for(alert, rules).channels
    return channels.names if chosen is None else chosen


def _send(send: Send, view: RunView, ledger: Ledger, channels: Channels) -> bool:
    """Send one, and write down what became of it."""
    why = channels.send(send.channel, compose(send.alert, view))
    words = {"alert": send.alert.kind, "channel": send.channel, "attempts": send.attempts}
    if why is None:
        ledger.alerts.sent(send)
        metrics.ALERTS_SENT.labels(send.channel).inc()
        log.info("alert_sent", **words)
        return True
    state = ledger.alerts.failed(send, why)
    metrics.ALERTS_FAILED.labels(send.channel, why).inc()
    if state == AlertState.GIVEN_UP:
        log.error("alert_given_up", reason=WORDS[why], resolution=_mend(send.channel), **words)
    else:
        log.warning("alert_not_sent", reason=WORDS[why], **words)
    return False


def _mend(channel: str) -> str:
    return f"Correct DESKFEED_ALERTS__{channel.upper()}, then: deskfeed alerts test {channel}"
