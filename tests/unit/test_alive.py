"""A healthcheck tells a worker that gets on from one that does not, and from none."""

from __future__ import annotations

import os

import pytest

from worker.alive import AliveFile, signs
from worker.health import main, say
from worker.process import Process
from worker.stopping import Stopping
from worker.times import Times

NOBODY = 2**22 + 1
"""No process has this number: it is above what Linux gives."""


def test_a_worker_that_gets_on_is_healthy_and_one_that_ended_is_none(tmp_path, capsys):
    alive = AliveFile(tmp_path / "alive")
    alive.note()

    assert say(tmp_path / "alive", 15.0) == 0
    assert "1 worker(s) get on" in capsys.readouterr().out

    alive.remove()
    assert say(tmp_path / "alive", 15.0) == 1
    assert "no worker runs here" in capsys.readouterr().out


def test_a_worker_without_progress_is_ill_however_well_another_is(tmp_path, clock):
    mine, other = AliveFile(tmp_path, clock=clock), AliveFile(tmp_path, os.getppid(), clock)
    mine.note()
    clock.advance(61)
    other.note()

    found = signs(tmp_path, clock)

    assert {sign.pid: sign.is_good(60.0) for sign in found} == {
        os.getpid(): False,
        os.getppid(): True,
    }


def test_a_sign_is_never_dated_ahead_of_the_clock(tmp_path):
    AliveFile(tmp_path, clock=lambda: 7.0006).note()

    (sign,) = signs(tmp_path, lambda: 7.0006)

    assert sign.is_good(60.0)


def test_an_ill_worker_is_named_with_its_silence(tmp_path, capsys):
    AliveFile(tmp_path, clock=lambda: 0.0).note()

    assert say(tmp_path, 1e-9) == 1
    assert f"worker process {os.getpid()} shows no progress for" in capsys.readouterr().out


def test_a_process_that_is_gone_counts_for_nothing(tmp_path):
    AliveFile(tmp_path, NOBODY).note()

    assert signs(tmp_path) == []


@pytest.mark.parametrize("text", ["", "soon", "1e99"])
def test_a_spoiled_sign_or_one_of_before_a_restart_of_the_machine_is_none(tmp_path, text):
    (tmp_path / str(os.getpid())).write_text(text)

    (sign,) = signs(tmp_path)

    assert not sign.is_good(60.0)


def test_settings_that_cannot_be_read_are_no_health(monkeypatch, capsys):
    monkeypatch.setenv("DESKFEED_TIME_SCALE", "never")

    assert main() == 1
    assert "DESKFEED_TIME_SCALE" in capsys.readouterr().err


def test_the_command_looks_into_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path))
    assert main() == 1

    AliveFile(tmp_path / "alive").note()
    assert main() == 0


class Quiet:
    """A consumer or background that does nothing."""

    def __getattr__(self, _name):
        return lambda: None


def started(folder):
    stopping = Stopping()
    stopping.ask()  # the watching thread ends at once
    process = Process(Quiet(), Quiet(), Quiet(), Times(), stopping, AliveFile(folder))
    process.start()
    return process


def test_a_process_shows_its_progress_from_the_start_to_the_end(tmp_path):
    process = started(tmp_path)
    assert [sign.pid for sign in signs(tmp_path)] == [os.getpid()]

    process.stop()
    assert signs(tmp_path) == []


def test_a_sign_that_cannot_be_written_is_no_reason_to_end(tmp_path):
    (tmp_path / "file").write_text("")

    started(tmp_path / "file" / "alive")
