"""Alerts through real workers to a real webhook: once for each event, also after a crash."""

from __future__ import annotations

import os
import signal

import pytest
from stage import make_stage, until
from webhook import Webhook

from worker.failpoints import reached


@pytest.mark.slow
def test_an_alert_arrives_once_and_no_worker_that_dies_loses_it(tmp_path):
    webhook = Webhook()
    with make_stage(tmp_path) as stage:
        (stage.catalog / "alerts.yaml").write_text("tell: [succeeded]\n")
        stage.environment["DESKFEED_ALERTS__OPS"] = webhook.address
        marks = tmp_path / "marks"
        marks.mkdir()

        # It dies after the run's end is in the ledger, before anybody was told of it.
        first = stage.start_worker(
            DESKFEED_FAILPOINTS="run.closed=kill", DESKFEED_FAILPOINTS_DIR=str(marks)
        )
        run = stage.json("run", "loyalty")["run_id"]
        first.wait(60)
        assert reached(marks, "run.closed")
        assert webhook.asked == 0
        second = stage.start_worker()
        until(lambda: webhook.taken, "the alert")
        assert _of(webhook, run) == 1

        # It dies when the service has the message, before the ledger knows.
        webhook.on_message = lambda _message: os.kill(second.pid, signal.SIGKILL)
        other = stage.json("run", "loyalty")["run_id"]
        second.wait(60)
        webhook.on_message = lambda _message: None
        assert _of(webhook, other) == 1
        stage.start_worker()
        until(lambda: _of(webhook, other) == 2, "the alert after the lease")

        with stage.ledger() as ledger:
            until(lambda: ledger.alerts.counts(60) == (0, 0), "all alerts to be told")
        listed = stage.json("alerts", "list")["alerts"]
        assert [one["channels"][0]["attempts"] for one in listed] == [2, 1]
        assert _of(webhook, run) == 1
        logs = "".join(stage.worker_log(number) for number in range(3))
        assert "alert_sent" in logs
        assert "hush" not in logs
    webhook.close()


def _of(webhook, run_id):
    return sum(run_id in message["message"] for message in webhook.taken)
