"""The sandbox's configuration file and adjustable settings."""

import orjson
import pytest

from worker.sandbox.config import Config, load_config, parse_config
from worker.sandbox.settings import Misconfigured, Settings
from worker.sandbox.state import Account


def test_a_file_replaces_what_it_names_and_keeps_the_rest(tmp_path):
    path = tmp_path / "sandbox.json"
    path.write_bytes(
        orjson.dumps(
            {
                "user_fields": [{"key": "size", "type": "dropdown", "options": ["s", "m"]}],
                "users": [{"external_id": "x", "name": "X"}],
                "settings": {"requests_per_minute": 5, "users_per_second": None},
                "faults": [{"action": "close"}],
            }
        )
    )
    config = load_config(path)
    account = Account(config, 0.0)

    assert [one.key for one in config.user_fields] == ["size"]
    assert config.logins == Config().logins
    assert account.settings.requests_per_minute == 5
    assert account.people.with_external_id("x").seeded
    assert account.users(0.0) == []
    assert len(account.faults.rules) == 1


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"colour": 1}, "colour"),
        ({"logins": {}}, "logins"),
        ({"logins": [{"mail": "x"}]}, "email"),
        ({"logins": [{"email": "x", "role": "boss"}]}, "role"),
        ({"clients": [{}]}, "client_id"),
        ({"settings": []}, "settings"),
        ({"settings": {"speed": 1}}, "speed"),
        ({"organizations": [1]}, "organizations"),
        ({"user_fields": [{"key": "12", "type": "text"}]}, "key"),
        ({"user_fields": [{"key": "a", "type": "colour"}]}, "type"),
        ({"user_fields": [{"key": "a", "type": "dropdown"}]}, "options"),
        ({"user_fields": [{"key": "a", "type": "text", "options": ["x"]}]}, "options"),
        ({"user_fields": [{"key": "a", "type": "text", "options": "x"}]}, "options"),
        ({"user_fields": [{"key": "a", "type": "regexp", "regexp": "("}]}, "regexp"),
        ({"user_fields": [{"key": "a", "type": "text", "wide": 1}]}, "wide"),
        ({"user_fields": [{"key": "a", "type": "text"}] * 2}, "same key"),
    ],
)
def test_what_cannot_be_understood_is_named(document, named):
    with pytest.raises(Misconfigured, match=named):
        parse_config(document)


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_a_file_that_holds_no_object_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "sandbox.json"
    path.write_bytes(content)

    with pytest.raises(Misconfigured, match=r"sandbox\.json"):
        load_config(path)


def test_a_seeded_user_who_is_refused_stops_the_account():
    with pytest.raises(Misconfigured, match="users"):
        Account(parse_config({"users": [{"email": "x"}]}), 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds_per_user": -1},
        {"seconds_per_user": float("nan")},
        {"seconds_per_user": "1"},
        {"requests_per_minute": 1.5},
        {"requests_per_minute": True},
        {"import_enabled": 1},
        {"job_limit": None},
        {"nothing": 1},
    ],
)
def test_a_wrong_setting_changes_nothing(changes):
    account = Account(Config(), 0.0)

    with pytest.raises(Misconfigured, match=next(iter(changes))):
        account.change_settings({"queue_seconds": 9, **changes}, 0.0)
    assert account.settings == Settings()
