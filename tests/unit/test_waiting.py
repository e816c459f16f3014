"""What a person sees who watches a run."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrations.cli import waiting
from orchestrations.cli.gates import ASK_EVERY_S, REST_S, Gates
from orchestrations.cli.picture import Pace, Pause, line, panel
from worker.errors import DeskfeedError, LimiterUnavailable
from worker.ledger.records import RowSums
from worker.ledger.states import RunState
from worker.limiter import State

OPEN = State(0, 0, 0, 0, 0.0, "", "open")
THROTTLED = State(0, 0, 0, 0, 41.6, "rate_limited", "paused")


@pytest.fixture
def view(sqlite_ledger, new_run):
    from world import profiles

    sqlite_ledger.runs.start(new_run(orchestration="o" * 70))
    run = sqlite_ledger.runs.claim_plan("df-1")
    sqlite_ledger.planning.add_chunks(run, 1, [profiles(1, 100)])
    sqlite_ledger.planning.complete(run)
    return sqlite_ledger.views.run("df-1")


def drawn(view, pace, *, width=80, **console):
    screen = io.StringIO()
    Console(file=screen, width=width, **console).print(panel(view, pace))
    return screen.getvalue()


def test_the_picture_fits_into_80_columns_also_with_long_names_and_large_numbers(view):
    large = replace(
        view, rows=RowSums(10_000_000, 3_000_000, 3_000_000, 10_000, 10_000, 0, 3_980_000)
    )
    text = drawn(large, Pace(99.6, 100, 100_000.0, Pause("Zendesk asked to wait", 42.0)))

    assert max(len(each) for each in text.splitlines()) <= 80
    assert "…" in text.splitlines()[0]
    assert len(text.splitlines()) == 8


def test_the_picture_tells_rows_rate_pause_and_time(view):
    text = drawn(view, Pace(97.2, 100, 61.0, Pause("Zendesk asked to wait", 42.0)))

    assert "0 of 100  0 %" in text
    assert "97 of 100 users/s" in text
    assert "paused: Zendesk asked to wait, 42 s more" in text
    assert "about 1 min 1 s left   Ctrl-C leaves it running." in text


def test_the_picture_says_that_the_time_is_not_known_yet(view):
    assert "time left: not known yet" in drawn(view, Pace(0.0, 100, None))


def test_the_picture_has_no_escapes_on_a_dumb_terminal(view, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")

    assert "\x1b" not in drawn(view, Pace(1.0, 100, None), force_terminal=True)


def test_a_line_tells_the_pause_with_its_reason(view):
    assert line(view, Pace(0.0, 100, None, Pause("Zendesk asked to wait", 42.0))).endswith(
        "0 of 100 users/s, paused: Zendesk asked to wait, 42 s more"
    )


def test_what_is_no_terminal_gets_lines_without_escapes(view, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "")
    with waiting._picture() as show:
        show(view, Pace(0.0, 100, None))
        show(view, Pace(0.0, 100, None))  # nothing new, and too soon
        show(view, Pace(0.0, 100, None, Pause("Zendesk asked to wait", 42.0)))

    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize(("term", "live"), [("dumb", False), ("xterm", True)])
def test_only_a_terminal_that_can_draw_over_is_live(term, live, monkeypatch):
    monkeypatch.setenv("TERM", term)
    console = Console(file=io.StringIO(), force_terminal=True)

    assert waiting.is_live(console) is live


@pytest.mark.parametrize("state", [None, OPEN, replace(OPEN, gate="probe")])
def test_an_open_account_is_no_pause(view, state):
    assert waiting.pause_of(view, state) is None


def test_a_pause_of_the_account_has_its_reason_and_its_end(view):
    assert waiting.pause_of(view, THROTTLED) == Pause("Zendesk asks to wait", 41.6)


def test_a_paused_run_says_why_and_no_end(sqlite_ledger, view):
    error = DeskfeedError("401", code="invalid_credentials")
    sqlite_ledger.runs.pause("df-1", error)

    pause = waiting.pause_of(sqlite_ledger.views.run("df-1"), THROTTLED)

    assert pause == Pause("Zendesk does not accept the credential")


def test_a_run_that_ended_is_not_paused(view):
    ended = replace(view, run=replace(view.run, state=RunState.SUCCEEDED))

    assert waiting.pause_of(ended, THROTTLED) is None


def test_the_rate_is_that_of_the_last_ten_seconds(sqlite_ledger, view, clock):
    sqlite_ledger.chunks.admit("df-1", 1)
    claim = sqlite_ledger.chunks.claim("df-1", 1, "w")
    sqlite_ledger.chunks.submitting(claim)
    sqlite_ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    clock.advance(5)
    watcher = waiting.Watcher(sqlite_ledger, "df-1", lambda _text: None)

    assert watcher.pace(sqlite_ledger.views.run("df-1")).users_per_second == 100 / 5
    clock.advance(6)
    assert watcher.pace(sqlite_ledger.views.run("df-1")).users_per_second == 0


# --- asking Redis ----------------------------------------------------------------------------


class Account:
    """A limiter that counts how often it is asked."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def state(self, _account):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def gates(clock, monkeypatch):
    from pydantic import SecretStr

    made = Gates(SecretStr("redis://127.0.0.1:1/0"), clock)

    def answering(*answers):
        monkeypatch.setattr(made, "_limiter", Account(*answers))
        return made

    return answering


def test_the_gate_is_asked_once_a_second(gates, clock):
    asked = gates(OPEN, THROTTLED)

    assert [asked.state("a"), asked.state("a")] == [OPEN, OPEN]
    clock.advance(ASK_EVERY_S)
    assert asked.state("a") == THROTTLED


def test_a_redis_that_is_away_is_no_error_and_not_asked_again_at_once(gates, clock):
    asked = gates(LimiterUnavailable("away"), OPEN)

    assert asked.state("a") is None
    clock.advance(REST_S - 1)
    assert asked.state("a") is None
    clock.advance(1)
    assert asked.state("a") == OPEN


def test_without_a_redis_nobody_is_asked(clock):
    assert Gates(None, clock).state("a") is None
