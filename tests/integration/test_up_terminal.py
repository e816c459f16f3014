"""What `up` shows in the terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from orchestrations.cli.supervisor import Supervisor
from orchestrations.cli.up import Running
from orchestrations.cli.up_verb import _as_dict, _say_where, _terminal


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, is_a_terminal):
        super().__init__()
        self._is_a_terminal = is_a_terminal

    def isatty(self):
        return self._is_a_terminal


def shown(monkeypatch, *, is_a_terminal, name="worker", no_color=None):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    screen = Screen(is_a_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    _terminal()(name, "hello")
    return screen.getvalue()


def test_each_process_has_a_colour_on_a_terminal(monkeypatch):
    names = ("redis", "sandbox", "worker", "beat", "flower")
    begins = {shown(monkeypatch, is_a_terminal=True, name=name)[:5] for name in names}

    assert len(begins) == 5
    assert all(begin.startswith("\x1b[") for begin in begins)


def test_all_workers_have_the_same_colour(monkeypatch):
    first = shown(monkeypatch, is_a_terminal=True, name="worker")
    second = shown(monkeypatch, is_a_terminal=True, name="worker2")

    assert first[:5] == second[:5]


@pytest.mark.parametrize(("is_a_terminal", "no_color"), [(True, "1"), (False, None), (False, "")])
def test_no_colour_into_a_file_or_where_the_person_wants_none(monkeypatch, is_a_terminal, no_color):
    text = shown(monkeypatch, is_a_terminal=is_a_terminal, no_color=no_color)

    assert text == "worker  | hello\n"


def test_an_empty_no_color_means_nothing(monkeypatch):
    assert "\x1b[" in shown(monkeypatch, is_a_terminal=True, no_color="")


@pytest.fixture
def running(tmp_path):
    supervisor = Supervisor(lambda _name, _line: None)
    with supervisor:
        yield Running(
            redis_url="redis://:hunter2@127.0.0.1:23456/0",
            sandbox_url="http://127.0.0.1:8901",
            flower_url="http://127.0.0.1:5555",
            flower_auth="deskfeed:opensesame",
            ledger="/srv/ledger.db",
            catalog=tmp_path / "catalog",
            state_dir=Path("/srv"),
            environment={},
            supervisor=supervisor,
        )


def test_the_block_tells_what_runs_where_and_what_to_do(running, capsys, monkeypatch):
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)

    _say_where(running)

    text = capsys.readouterr().out
    assert "http://127.0.0.1:5555   user deskfeed, password opensesame" in text
    assert "http://127.0.0.1:8901" in text
    assert "127.0.0.1:23456" in text
    assert "/srv/ledger.db" in text
    assert "deskfeed run loyalty --wait" in text
    assert "Ctrl-C ends everything." in text


def test_the_block_tells_which_catalog_and_what_to_do_where_it_is_not_there(
    running, capsys, tmp_path
):
    _say_where(running)
    missing = capsys.readouterr().out
    (tmp_path / "catalog").mkdir()
    _say_where(running)

    assert f"  Catalog  {tmp_path / 'catalog'}   (not there; make one, deskfeed init" in missing
    assert f"  Catalog  {tmp_path / 'catalog'}\n" in capsys.readouterr().out
    assert _as_dict(running)["catalog"] == str(tmp_path / "catalog")
    assert _as_dict(running)["ledger"] == "/srv/ledger.db"


def test_a_sandbox_elsewhere_comes_with_the_line_for_the_destination(running, capsys):
    _say_where(running)

    assert "`base_url: http://127.0.0.1:8901`" in capsys.readouterr().out


def test_the_password_of_redis_and_a_flower_login_of_ones_own_are_not_shown(
    running, capsys, monkeypatch
):
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "deskfeed:opensesame")

    _say_where(running)

    text = capsys.readouterr().out + str(_as_dict(running))
    assert "opensesame" not in text
    assert "hunter2" not in text
