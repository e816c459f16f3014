"""Where settings come from, which one holds, and that none is ever repeated in an error."""

from __future__ import annotations

import base64
import os
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from worker.errors import UsageError
from worker.settings import load_settings, variable
from worker.zendesk.auth import ApiToken, OAuthClient


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("DESKFEED_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_ledger_lies_in_the_state_folder_by_default(tmp_path):
    assert load_settings().ledger == f"sqlite:///{tmp_path / '.deskfeed' / 'ledger.db'}"


def test_a_credential_comes_from_two_variables(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCK_TOWN__EMAIL", "admin@socktown.example")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCK_TOWN__API_TOKEN", "hunter2")

    found = load_settings().credential("sock_town")
    assert found == ApiToken("admin@socktown.example", SecretStr("hunter2"))
    assert "hunter2" not in repr(load_settings())


def test_half_a_credential_names_the_missing_variable(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL", "admin@socktown.example")

    with pytest.raises(UsageError, match="SOCKTOWN__API_TOKEN is not set") as caught:
        load_settings().credential("socktown")
    assert caught.value.code == "credential_missing"


def test_a_credential_may_be_an_oauth_client(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__CLIENT_ID", "deskfeed")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__CLIENT_SECRET", "hunter2")

    found = load_settings().credential("socktown")
    assert found == OAuthClient("deskfeed", SecretStr("hunter2"))
    assert "hunter2" not in repr(found)
    assert "deskfeed" not in repr(found)


def test_half_an_oauth_client_names_the_missing_variable(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__CLIENT_ID", "deskfeed")

    with pytest.raises(UsageError, match="SOCKTOWN__CLIENT_SECRET is not set"):
        load_settings().credential("socktown")


def test_two_ways_in_under_one_name_are_refused(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL", "admin@socktown.example")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN", "hunter2")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__CLIENT_SECRET", "hunter3")

    with pytest.raises(UsageError, match="not some of both") as caught:
        load_settings().credential("socktown")
    assert "hunter" not in str(caught.value)


def test_a_dot_env_file_is_read_and_the_environment_overrides_it(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("DESKFEED_CATALOG=from-file\nDESKFEED_LOG_LEVEL=ERROR\n")
    monkeypatch.setenv("DESKFEED_CATALOG", "from-environment")

    assert str(load_settings().catalog) == "from-environment"
    assert load_settings().log_level == "ERROR"


def test_what_a_running_up_left_is_found_and_everything_else_overrides_it(monkeypatch, tmp_path):
    (tmp_path / ".deskfeed").mkdir()
    (tmp_path / ".deskfeed" / "up.env").write_text("DESKFEED_REDIS_URL=redis://:a@127.0.0.1:1/0\n")
    assert load_settings().redis() == "redis://:a@127.0.0.1:1/0"

    (tmp_path / ".env").write_text("DESKFEED_REDIS_URL=redis://127.0.0.1:2/0\n")
    assert load_settings().redis() == "redis://127.0.0.1:2/0"

    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://127.0.0.1:3/0")
    assert load_settings().redis() == "redis://127.0.0.1:3/0"


def test_without_redis_the_error_names_the_command_that_starts_it():
    with pytest.raises(UsageError) as caught:
        load_settings().redis()
    assert "deskfeed up" in caught.value.resolution


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DESKFEED_CONCURRENCY", "hunter2"),
        ("DESKFEED_LOG_FORMAT", "hunter2"),
        ("DESKFEED_TIME_SCALE", "hunter2"),
        ("DESKFEED_METRICS_PORT", "hunter2"),
        ("DESKFEED_METRICS_PORT", "0"),
        ("DESKFEED_METRICS_PORT", "65536"),
        ("DESKFEED_METRICS_HOST", ""),
    ],
)
def test_a_wrong_value_names_its_variable_and_is_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    with pytest.raises(UsageError, match=name) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_credential_name_that_could_not_be_written_in_a_catalog_is_refused(monkeypatch):
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCK-TOWN__EMAIL", "x@example.com")

    with pytest.raises(UsageError, match="cannot be called"):
        load_settings()


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:x", "127.0.0.1:6379", "http://127.0.0.1", "redis://", "hunter2"]
)
def test_a_redis_url_that_is_none_is_refused_and_not_repeated(monkeypatch, url):
    monkeypatch.setenv("DESKFEED_REDIS_URL", url)

    with pytest.raises(UsageError, match="DESKFEED_REDIS_URL is not of the form") as caught:
        load_settings().redis()
    assert "hunter2" not in str(caught.value)


def test_metrics_are_off_and_for_this_machine_only_by_default(monkeypatch):
    assert (load_settings().metrics_port, load_settings().metrics_host) == (None, "127.0.0.1")

    monkeypatch.setenv("DESKFEED_METRICS_PORT", "9108")
    monkeypatch.setenv("DESKFEED_METRICS_HOST", "0.0.0.0")
    assert (load_settings().metrics_port, load_settings().metrics_host) == (9108, "0.0.0.0")


def test_what_is_kept_is_set_as_a_time_span(monkeypatch):
    monkeypatch.setenv("DESKFEED_RETENTION__FAILED_PAYLOAD", "12h")

    kept = load_settings().retention
    assert (kept.failed_payload, kept.outcomes, kept.runs) == (43_200, 2_592_000, 34_560_000)

    monkeypatch.setenv("DESKFEED_RETENTION__FAILED_PAYLOAD", "soon")
    with pytest.raises(UsageError, match=r"RETENTION__FAILED_PAYLOAD.*12h or 30d"):
        load_settings()


@pytest.fixture
def secret_files(monkeypatch, tmp_path):
    """Return what writes a secret file."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("DESKFEED_SECRETS_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return lambda name, text: (folder / name).write_text(text)


def test_a_credential_may_lie_in_secret_files(secret_files):
    secret_files("DESKFEED_CREDENTIALS__TWO_WORDS__CLIENT_ID", "deskfeed\n")
    secret_files("DESKFEED_CREDENTIALS__TWO_WORDS__CLIENT_SECRET", "from-a-file\n")
    secret_files("DESKFEED_LEDGER_URL", "postgresql+psycopg://u:p@h/d\n")

    found = load_settings()

    assert found.credential("two_words").client_secret.get_secret_value() == "from-a-file"
    assert found.ledger == "postgresql+psycopg://u:p@h/d"


def test_all_credentials_may_lie_in_one_secret_file(secret_files):
    secret_files("DESKFEED_CREDENTIALS", '{"desk": {"client_id": "d", "client_secret": "s"}}')

    assert load_settings().credential("desk").client_id == "d"


def test_the_environment_goes_over_secret_files_and_white_space_is_no_secret(
    secret_files, monkeypatch
):
    secret_files("DESKFEED_REDIS_URL", "redis://:file@h:1/0")
    secret_files("DESKFEED_LEDGER_URL", " \n")
    secret_files("redis_password", "of another program")
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://:env@h:1/0")

    assert load_settings().redis() == "redis://:env@h:1/0"
    assert load_settings().ledger_url is None


def test_a_secret_file_that_is_no_text_or_endless_is_left_alone(secret_files, tmp_path):
    (tmp_path / "credentials" / "DESKFEED_REDIS_URL").write_bytes(b"\xff\xfe")
    secret_files("DESKFEED_LEDGER_URL", "x" * 100_000)

    assert (load_settings().redis_url, load_settings().ledger_url) == (None, None)


def test_a_variable_of_the_catalog_is_found_where_settings_are(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("worker.settings.SECRETS_DIR", str(tmp_path / "secrets"))
    (tmp_path / "secrets").mkdir()
    assert variable("WAREHOUSE_URL") is None

    (tmp_path / "secrets" / "WAREHOUSE_URL").write_text("from-a-secret-file\n")
    assert variable("WAREHOUSE_URL") == "from-a-secret-file"
    (tmp_path / ".env").write_text("WAREHOUSE_URL=from-dotenv\n")
    assert variable("WAREHOUSE_URL") == "from-dotenv"
    monkeypatch.setenv("WAREHOUSE_URL", "from-the-environment")
    assert variable("WAREHOUSE_URL") == "from-the-environment"


def test_addresses_of_alerts_are_secrets_by_the_channels_name(monkeypatch):
    monkeypatch.setenv("DESKFEED_ALERTS__OPS_TEAM", "slack://hush/hush/hush")
    monkeypatch.setenv("DESKFEED_ALERTS__NOBODY", "")

    found = load_settings()
    assert {name: url.get_secret_value() for name, url in found.alerts.items()} == {
        "ops_team": "slack://hush/hush/hush"
    }
    assert "hush" not in repr(found)


def test_a_channel_with_an_odd_name_is_refused_without_its_address(monkeypatch):
    monkeypatch.setenv("DESKFEED_ALERTS__OPS-", "slack://hush")

    with pytest.raises(UsageError, match="ALERTS") as caught:
        load_settings()
    assert "hush" not in caught.value.message


def test_an_env_file_with_an_address_must_be_its_owners(tmp_path):
    (tmp_path / ".env").write_text("DESKFEED_ALERTS__OPS=slack://hush\n")
    (tmp_path / ".env").chmod(0o644)

    with pytest.raises(UsageError) as caught:
        load_settings()
    assert caught.value.code == "secrets_readable"


@pytest.mark.parametrize(
    "line",
    [
        "deskfeed_credentials__socktown__api_token=hush",
        "Deskfeed_Spool_Key=hush",
        "DESKFEED_LEDGER_URL=postgresql+psycopg://deskfeed:hush@db/deskfeed",
        "WAREHOUSE_URL=snowflake://me:hush@account/db",
        "FLOWER_BASIC_AUTH=me:hush",
    ],
)
def test_an_env_file_with_a_secret_by_any_name_must_be_its_owners(tmp_path, line):
    (tmp_path / ".env").write_text(line + "\n")
    (tmp_path / ".env").chmod(0o640)

    with pytest.raises(UsageError) as caught:
        load_settings()
    assert caught.value.code == "secrets_readable"
    assert "hush" not in str(caught.value)


def test_an_env_file_without_secrets_may_be_read(tmp_path):
    (tmp_path / ".env").write_text("DESKFEED_LOG_LEVEL=INFO\nDESKFEED_REDIS_URL=redis://h:1/0\n")
    (tmp_path / ".env").chmod(0o644)

    assert load_settings().log_level == "INFO"


KEY = "a:" + "A" * 43 + "="


def test_keys_of_the_ledger_are_read_and_never_shown(monkeypatch):
    monkeypatch.setenv("DESKFEED_SPOOL_KEY", f"b:{'B' * 43}=,{KEY}")
    monkeypatch.setenv("DESKFEED_HASH_KEY", "h" * 32)
    found = load_settings()

    assert (found.spool_keys.first, found.spool_keys.names) == ("b", ("b", "a"))
    assert found.hash_key_bytes == b"h" * 32
    assert "BBB" not in repr(found)
    assert "hhh" not in repr(found)


def test_without_keys_there_are_none(monkeypatch):
    monkeypatch.setenv("DESKFEED_SPOOL_KEY", "")
    assert (load_settings().spool_keys.first, load_settings().hash_key_bytes) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DESKFEED_SPOOL_KEY", "hunter2"),
        ("DESKFEED_SPOOL_KEY", "a:hunter2"),
        ("DESKFEED_SPOOL_KEY", f"{KEY},hunter2"),
        ("DESKFEED_HASH_KEY", "hunter2"),
    ],
)
def test_a_wrong_key_is_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_everything_that_the_log_must_leave_out_is_told(monkeypatch):
    monkeypatch.setenv("DESKFEED_SPOOL_KEY", KEY)
    monkeypatch.setenv("DESKFEED_HASH_KEY", "h" * 32)
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://:pass%2Fword@h:1/0")
    monkeypatch.setenv("DESKFEED_LEDGER_URL", "postgresql+psycopg://me:ledgerpass@h/x")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__S__API_TOKEN", "token-token")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__S__CLIENT_SECRET", "client-secret")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__S__EMAIL", "me@example.com")
    monkeypatch.setenv("DESKFEED_ALERTS__OPS", "slack://hush/hush/hush")

    login = base64.b64encode(b"me@example.com/token:token-token").decode()
    assert {login, quote(KEY, safe="")} <= {*load_settings().hidden()}
    wanted = {
        "slack://hush/hush/hush",
        KEY,
        KEY[2:],
        "h" * 32,
        "pass%2Fword",
        "pass/word",
        "ledgerpass",
        "token-token",
    }
    assert wanted | {"client-secret"} <= {*load_settings().hidden()}
