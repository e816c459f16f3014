"""Mutants of the outbox: no alert without its cause, none lost, none told twice."""

from __future__ import annotations

from .mutant import mutant

OUTBOX = "worker/ledger/alerts.py"
RUNS = "worker/ledger/runs.py"
SENDING = "orchestrations/alerts.py"

KEPT = "tests/unit/test_ledger_alerts.py::test_"
TOLD = "tests/unit/test_alerts.py::test_"

MUTANTS = [
    mutant(
        "an alert is marked before it was sent",
        SENDING,
        "    why = channels.send(send.channel, compose(send.alert, view))\n",
        "    ledger.alerts.sent(send)\n"
        "    why = channels.send(send.channel, compose(send.alert, view))\n",
        TOLD + "an_alert_is_marked_after_it_was_sent",
        TOLD + "a_channel_that_refuses_is_tried_again_and_the_others_are_not",
    ),
    mutant(
        "an alert that was sent is not marked",
        SENDING,
        "        ledger.alerts.sent(send)\n",
        "",
        TOLD + "an_alert_reaches_the_channel_once_however_often_its_message_comes",
    ),
    mutant(
        "the alert of a run's end is written after the transaction that ends it",
        RUNS,
        "            alerts.note_end(connection, self._db, run_id, final)\n",
        "        with self._db.write() as connection:\n"
        "            alerts.note_end(connection, self._db, run_id, final)\n",
        KEPT + "an_end_that_is_not_committed_is_not_told",
    ),
    mutant(
        "who gets an alert is decided by everybody who looks at it",
        OUTBOX,
        ".where(alerts.c.id == alert.id, alerts.c.state == AlertState.NEW)",
        ".where(alerts.c.id == alert.id)",
        KEPT + "who_shall_get_it_is_decided_once",
    ),
    mutant(
        "a send is no longer claimed",
        OUTBOX,
        ".values(attempts=alert_sends.c.attempts + 1, due_at=now + self._times.lease)",
        ".values(attempts=alert_sends.c.attempts + 1)",
        KEPT + "of_many_workers_one_makes_each_send",
    ),
    mutant(
        "whoever lost the lease of a send may still mark it",
        OUTBOX,
        "            alert_sends.c.attempts == send.attempts,\n",
        "",
        KEPT + "whoever_is_late_marks_nothing",
    ),
    mutant(
        "nobody looks again after an alert whose message was lost",
        "worker/ledger/reports.py",
        "                wake(connection, run_id, now)\n",
        "",
        KEPT + "an_alert_that_nobody_looked_at_is_looked_at_again",
    ),
    mutant(
        "each run that a destination pauses is told of",
        OUTBOX,
        "    if found is not None and not found.answered:\n        return\n",
        "",
        KEPT + "of_many_runs_that_one_destination_pauses_the_first_is_told",
    ),
    mutant(
        "what was on its way when the pause came counts as recovery",
        OUTBOX,
        ".where(alerts.c.open == destination, or_(alerts.c.answered, alerts.c.made_at < started))",
        ".where(alerts.c.open == destination)",
        KEPT + "what_was_on_its_way_when_the_pause_came_is_no_recovery",
    ),
    mutant(
        "a run that takes too long is told of at every sweep",
        OUTBOX,
        "        .values(late_at=None)\n",
        "        .values(late_at=now)\n",
        KEPT + "a_run_that_takes_too_long_is_told_once",
    ),
]
