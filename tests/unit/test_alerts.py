"""From the ledger's outbox to people: who is told, what is said, and that it is said once."""

from __future__ import annotations

import logging

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from structlog.testing import capture_logs
from webhook import Webhook
from world import write_catalog

from orchestrations import alerts, channels, tasks
from orchestrations.alert_rules import AlertRules, kinds
from orchestrations.alert_text import compose, kind_of
from orchestrations.channels import Channels, refuse_unsendable
from orchestrations.cli import deskfeed
from worker.errors import DestinationError, RunError, UsageError
from worker.hints import Tell
from worker.ledger.alerts import AlertKind
from worker.ledger.states import RunState
from worker.profile import OutcomeKind, RejectedRow
from worker.settings import settings

HANGS_S = 0.3


@pytest.fixture
def webhook():
    made = Webhook()
    yield made
    made.close()


@pytest.fixture
def ways(webhook):
    return Channels({"ops": SecretStr(webhook.address)}, seconds=20.0)


@pytest.fixture
def tell(sqlite_ledger, ways):
    def call(rules=None, channels=ways, seconds=60.0):
        return alerts.tell(
            "df-1",
            ledger=sqlite_ledger,
            rules=rules or AlertRules(),
            channels=channels,
            seconds=seconds,
        )

    return call


@pytest.fixture
def run(sqlite_ledger, new_run):
    """Return a function that lets a run of ten rows end, none of them sent; its report is taken."""

    def make(refused=0, error=None, ends_as=None, options=None):
        ledger = sqlite_ledger
        ledger.runs.start(new_run(options=options or {}))
        claimed = ledger.runs.claim_plan("df-1")
        rows = [
            RejectedRow(n, OutcomeKind.FAILED, "missing_name", "canary-detail")
            if n <= refused
            else RejectedRow(n, OutcomeKind.SKIPPED, "duplicate", "canary-detail")
            for n in range(1, 11)
        ]
        ledger.planning.add_rejected(claimed, 1, rows)
        if error:
            ledger.runs.fail_plan(claimed, error)
        else:
            ledger.planning.complete(claimed)
        if ends_as:
            ledger.runs.stop("df-1", ends_as=ends_as, by="eve")
        ledger.outcomes.cancel_some("df-1")
        ledger.runs.close("df-1")
        assert ledger.reports.take("df-1")
        return ledger.views.run("df-1")

    return make


def states(ledger):
    return [[str(send.state) for send in sends] for _, sends in ledger.alerts.newest()]


# --- once, and in the end ------------------------------------------------------------------------


def test_an_alert_reaches_the_channel_once_however_often_its_message_comes(
    run, tell, webhook, sqlite_ledger
):
    run(error=RunError("no such table"))
    for _ in range(3):
        tell()

    (message,) = webhook.taken
    assert message["title"] == "Deskfeed: loyalty failed"
    assert message["type"] == "failure"
    assert states(sqlite_ledger) == [["sent"]]


def test_an_alert_is_marked_after_it_was_sent(run, tell, webhook, sqlite_ledger):
    run(error=RunError("no such table"))
    seen = []
    webhook.on_message = lambda _message: seen.append(states(sqlite_ledger))
    tell()

    assert seen == [[["waiting"]]]


def test_a_channel_that_refuses_is_tried_again_and_the_others_are_not(
    run, tell, webhook, sqlite_ledger, clock, times
):
    run(error=RunError("no such table"))
    other = Webhook()
    both = Channels(
        {"crm": SecretStr(other.address), "ops": SecretStr(webhook.address)}, seconds=20.0
    )
    webhook.status = 500
    with capture_logs() as logs:
        assert tell(channels=both) == alerts.Told(sent=1, failed=1)
    webhook.status = 200
    assert tell(channels=both) == alerts.Told()
    clock.advance(times.alert_pause)
    assert tell(channels=both) == alerts.Told(sent=1)
    other.close()

    assert [len(other.taken), len(webhook.taken), webhook.asked] == [1, 1, 2]
    assert ["alert_not_sent" for line in logs if line["log_level"] == "warning"]


def test_a_channel_that_hangs_holds_nobody_for_long(run, tell, webhook, sqlite_ledger):
    run(error=RunError("no such table"))
    webhook.hold.clear()
    hanging = Channels({"ops": SecretStr(webhook.address)}, seconds=HANGS_S)
    assert tell(channels=hanging) == alerts.Told(failed=1)

    ((_, (send,)),) = sqlite_ledger.alerts.newest()
    assert send.why == "silent"


def test_no_other_send_is_begun_when_the_time_is_over(run, tell, webhook, sqlite_ledger):
    run(error=RunError("no such table"))

    assert tell(seconds=0.0) == alerts.Told()
    assert tell() == alerts.Told(sent=1)


def test_a_redirect_is_not_followed(run, tell, webhook):
    run(error=RunError("no such table"))
    webhook.status = 307

    assert tell() == alerts.Told(failed=1)
    assert webhook.asked == 1


def test_a_channel_without_an_address_is_not_forgotten(run, tell, sqlite_ledger):
    run(error=RunError("no such table"))

    assert tell(AlertRules(channels=("crm",))) == alerts.Told(failed=1)
    ((_, (send,)),) = sqlite_ledger.alerts.newest()
    assert (send.channel, send.why, str(send.state)) == ("crm", "not_set", "waiting")


@pytest.mark.parametrize("address", ["hush://hush", "json://", "hush-hush"])
def test_an_address_that_apprise_does_not_understand_is_said_so_without_it(address, caplog):
    with caplog.at_level(logging.DEBUG):
        why = Channels({"ops": SecretStr(address)}, 5.0).send("ops", channels_message())

    assert why == "not_understood"
    assert "hush" not in caplog.text


def channels_message():
    from orchestrations.alert_text import trial

    return trial()


def test_nothing_of_an_address_is_logged(run, tell, webhook, caplog):
    run(error=RunError("no such table"))
    webhook.status = 500
    with caplog.at_level(logging.DEBUG, logger="apprise"), capture_logs() as logs:
        tell()

    assert "hush" not in caplog.text + str(logs)


# --- who is told of what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "percent", "told"), [(1, 0, 1), (0, 0, 0), (1, 10, 0), (2, 10, 1)]
)
def test_row_failures_are_told_above_the_share_that_is_allowed(
    run, tell, webhook, refused, percent, told
):
    run(refused=refused, options={"sample": None})
    tell(AlertRules(failed_percent=percent))

    assert len(webhook.taken) == told


@pytest.mark.parametrize("kind", ["succeeded", "stopped"])
def test_success_and_stops_are_told_to_whoever_wants_to_know(run, tell, webhook, kind):
    run(ends_as=RunState.STOPPED if kind == "stopped" else None)
    if kind == "succeeded":
        tell(AlertRules(tell=("succeeded",)))
    else:
        tell(AlertRules(tell=("stopped",)))

    assert [message["title"] for message in webhook.taken] == [f"Deskfeed: loyalty {kind}"]


def test_what_nobody_wants_is_told_to_nobody(run, tell, webhook, sqlite_ledger):
    run(error=RunError("no such table"))
    tell(AlertRules(tell=("paused",)))

    assert (webhook.asked, states(sqlite_ledger)) == (0, [[]])


def test_an_orchestrations_own_channels_are_told(run, tell, webhook, sqlite_ledger):
    run(error=RunError("no such table"))
    rules = AlertRules.model_validate(
        {"channels": ["nobody"], "orchestrations": {"loyalty": {"channels": ["ops"]}}}
    )

    assert tell(rules) == alerts.Told(sent=1)


# --- what is said --------------------------------------------------------------------------------


def test_a_failure_says_what_happened_how_many_rows_and_what_to_type(run, tell, webhook):
    run(refused=3, error=RunError("no such table: hats", code="query_failed"))
    tell()

    (message,) = webhook.taken
    text = message["message"]
    assert "Run df-1 of loyalty, to socktown." in text
    assert "The query failed (query_failed): no such table: hats" in text
    assert "What to do: Correct the query or its source" in text
    assert "3 rows: The row has no name (missing_name)" in text
    assert "deskfeed show df-1" in text
    assert "deskfeed failures df-1 --format csv" in text


def test_a_pause_says_how_to_mend_it_and_how_to_go_on(sqlite_ledger, new_run, tell, webhook):
    sqlite_ledger.runs.start(new_run())
    sqlite_ledger.planning.complete(sqlite_ledger.runs.claim_plan("df-1"))
    error = DestinationError("Zendesk answered 401", code="invalid_credentials")
    assert sqlite_ledger.runs.pause("df-1", error)
    tell()

    (message,) = webhook.taken
    assert message["title"] == "Deskfeed: the destination socktown is paused"
    assert "Zendesk answered 401" in message["message"]
    assert "deskfeed resume df-1" in message["message"]
    assert "deskfeed destinations test socktown" in message["message"]


@pytest.mark.parametrize("kind", list(AlertKind))
def test_no_customer_is_named_whatever_a_sentence_holds(run, sqlite_ledger, kind):
    error = RunError("row of ada@example.com, token Bearer abcdef0123456789\r\nforged: line")
    view = run(refused=2, error=error)
    ((alert, _),) = sqlite_ledger.alerts.newest()
    data = {**error.as_dict(), "state": "failed"}
    message = compose(type(alert)(**{**_fields(alert), "kind": kind, "data": data}), view)

    text = message.title + message.body
    assert "df-1" in text
    for canary in ("ada@", "abcdef0123456789", "canary-detail", "\nforged"):
        assert canary not in text


def _fields(alert):
    return {name: getattr(alert, name) for name in alert.__slots__}


def test_every_kind_has_words_of_its_own(run, sqlite_ledger):
    view = run(refused=1)
    ((alert, _),) = sqlite_ledger.alerts.newest()
    found = {}
    for kind in AlertKind:
        for state in RunState:
            data = {"state": state, "code": "usage", "message": "m", "resolution": "r"}
            one = type(alert)(**{**_fields(alert), "kind": kind, "data": data})
            if kind != AlertKind.ENDED or state in ENDS:
                found[kind_of(one)] = compose(one, view).title

    assert set(found) == set(kinds())
    assert len(set(found.values())) == len(found)


ENDS = {"succeeded", "finished_with_failures", "stopped", "failed", "inconsistent"}


# --- the tasks ----------------------------------------------------------------------------------


@pytest.fixture
def sent(sqlite_ledger, times, tmp_path, monkeypatch, webhook):
    """The tasks on this ledger, with a channel; what they enqueue."""
    catalog = write_catalog(tmp_path / "catalog")
    monkeypatch.setenv("DESKFEED_CATALOG", str(catalog))
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DESKFEED_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("DESKFEED_ALERTS__OPS", webhook.address)
    settings.cache_clear()
    parts = type("Parts", (), {"ledger": sqlite_ledger, "times": times})
    monkeypatch.setattr(tasks, "parts", lambda: parts)
    found = []
    monkeypatch.setattr(tasks, "send_all", found.extend)
    yield found
    settings.cache_clear()


def test_whoever_tells_of_a_run_lets_its_alerts_be_sent(run, sent, sqlite_ledger, webhook):
    run(error=RunError("no such table"))
    with sqlite_ledger.database.write() as connection:
        from worker.ledger.schema import runs

        connection.execute(runs.update().values(reported_at=None))

    tasks.finish(v=1, run_id="df-1")
    tasks.finish(v=1, run_id="df-1")
    assert sent == [Tell("df-1")]
    assert tasks.alert(v=1, run_id="df-1") == "1 sent, 0 not"
    assert tasks.alert(v=1, run_id="df-1") == "0 sent, 0 not"
    assert len(webhook.taken) == 1


def test_a_message_that_cannot_be_read_sends_nothing(sent):
    assert tasks.alert(v=1, run_id="df-1", more=1) == "malformed"
    assert tasks.alert(v=1, run_id="df-none") == "0 sent, 0 not"


def test_a_broken_file_of_rules_keeps_nobody_from_being_told(run, sent, webhook, tmp_path):
    run(error=RunError("no such table"))
    (tmp_path / "catalog" / "alerts.yaml").write_text("tel: []")
    with capture_logs() as logs:
        assert tasks.alert(v=1, run_id="df-1") == "1 sent, 0 not"

    assert logs[0]["event"] == "alert_rules_unusable"
    assert "alerts.yaml:1 tel" in logs[0]["reason"]


def test_without_apprise_a_worker_says_so_and_goes_on(sent, monkeypatch):
    monkeypatch.setattr(channels, "installed", lambda: False)
    with capture_logs() as logs:
        tasks._say_if_alerts_cannot_be_sent()

    assert [line["event"] for line in logs] == ["alerts_unsendable"]
    assert "deskfeed[alerts]" in logs[0]["resolution"]
    with pytest.raises(UsageError):
        refuse_unsendable({"ops"})
    refuse_unsendable(())


# --- the command ---------------------------------------------------------------------------------


def command(*words):
    return CliRunner().invoke(deskfeed, words)


def test_the_test_says_which_channels_work(sent, webhook, monkeypatch):
    done = command("alerts", "test")
    assert (done.exit_code, done.output) == (0, "ops: took it\n")

    monkeypatch.setenv("DESKFEED_ALERTS__CRM", "hush://hush")
    settings.cache_clear()
    done = command("alerts", "test")
    assert done.exit_code == 1
    assert "ops: took it" in done.output
    assert "crm: FAILED: its address is none that apprise understands" in done.output
    assert "hush" not in done.output
    assert command("alerts", "test", "ops").exit_code == 0


def test_a_channel_that_is_not_there_is_told(sent, monkeypatch):
    done = command("alerts", "test", "pager")
    assert done.exit_code == 2
    assert "there are: ops" in done.output
    assert "DESKFEED_ALERTS__PAGER" in done.output
    monkeypatch.delenv("DESKFEED_ALERTS__OPS")
    settings.cache_clear()
    assert "no channel is set" in command("alerts", "test").output


def test_the_list_shows_what_became_of_each_alert(run, sent, webhook):
    assert "nothing to tell" in command("alerts", "list").output
    run(error=RunError("no such table"))
    assert "not looked at yet" in command("alerts", "list").output
    webhook.status = 500
    tasks.alert(v=1, run_id="df-1")

    assert "ops: waiting (refused, 1 attempts)" in command("alerts", "list").output
    assert '"next_at": "2027-' in command("alerts", "list", "--json").output


def test_the_doctor_knows_channels_that_are_named_and_not_set(sent, tmp_path):
    assert "alerts" in command("doctor").output
    (tmp_path / "catalog" / "alerts.yaml").write_text("channels: [pager]")
    output = command("doctor", "--json").output

    assert "DESKFEED_ALERTS__PAGER" in output
