"""Flower is never open: on loopback, and with a login, unless somebody said otherwise."""

from __future__ import annotations

import stat

import pytest

from worker.errors import UsageError
from worker.flower_access import LOGIN_FILE, guard, is_flower

COMMAND = ["/venv/bin/celery", "-A", "worker.app", "flower"]


def test_without_a_login_one_is_made_up_and_left_for_its_owner_only(tmp_path):
    environment = {}
    path = guard(COMMAND, environment, tmp_path / "state")

    assert path == tmp_path / "state" / LOGIN_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert environment == {
        "FLOWER_ADDRESS": "127.0.0.1", "FLOWER_BASIC_AUTH": path.read_text().strip()
    }  # fmt: skip
    user, _, password = environment["FLOWER_BASIC_AUTH"].partition(":")
    assert user == "deskfeed"
    assert len(password) >= 24


def test_each_start_has_its_own_and_nothing_is_written_through_a_link(tmp_path):
    target = tmp_path / "target"
    (tmp_path / LOGIN_FILE).symlink_to(target)
    first, second = {}, {}
    guard(COMMAND, first, tmp_path)
    guard(COMMAND, second, tmp_path)
    assert first["FLOWER_BASIC_AUTH"] != second["FLOWER_BASIC_AUTH"]
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ((), {"FLOWER_BASIC_AUTH": "me:pw"}),
        ((), {"FLOWER_AUTH": ".*@socktown.example"}),
        (("--basic_auth=me:pw",), {}),
        (("--basic-auth=me:pw",), {}),
        (("--auth=.*@socktown.example",), {}),
    ],
)
def test_somebodys_own_login_stays(tmp_path, words, environment):
    before = dict(environment)
    assert guard([*COMMAND, *words], environment, tmp_path) is None
    assert environment == {**before, "FLOWER_ADDRESS": "127.0.0.1"}
    assert [*tmp_path.iterdir()] == []


def test_an_empty_login_is_none(tmp_path):
    assert guard(COMMAND, {"FLOWER_BASIC_AUTH": " "}, tmp_path) is not None


def test_an_address_that_somebody_set_stays_and_still_needs_a_login(tmp_path):
    environment = {"FLOWER_ADDRESS": "0.0.0.0"}
    assert guard(COMMAND, environment, tmp_path) is not None
    assert environment["FLOWER_ADDRESS"] == "0.0.0.0"


def test_where_no_login_can_be_left_flower_does_not_start(tmp_path):
    (tmp_path / "file").write_text("")
    environment = {}
    with pytest.raises(UsageError, match="Flower has no password") as caught:
        guard(COMMAND, environment, tmp_path / "file")
    assert "FLOWER_BASIC_AUTH" in caught.value.resolution
    assert "FLOWER_BASIC_AUTH" not in environment


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (COMMAND, True),
        (["/venv/lib/celery/__main__.py", "-A", "worker.app", "flower", "--port=1"], True),
        (["/venv/bin/celery", "-A", "worker.app", "worker"], False),
        (["/venv/bin/deskfeed", "preview", "flower"], False),
        ([""], False),
    ],
)
def test_only_flower_is_flower(argv, answer):
    assert is_flower(argv) is answer
