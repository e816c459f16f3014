"""The first hour: a new catalog, credentials listed and not shown, a tested destination."""

from __future__ import annotations

import json
from datetime import date

import pytest
import yaml
from click.testing import CliRunner
from stage import free_port

from orchestrations.cli import deskfeed, setup_verbs
from orchestrations.credentials import token_warnings
from worker.errors import UsageError
from worker.sandbox.config import DEFAULT_CLIENTS
from worker.sandbox.server import Sandbox
from worker.settings import Credential, Settings, load_settings, settings

CLIENT = DEFAULT_CLIENTS[0]
LOCAL = "http://127.0.0.1:1"
EMAIL, TOKEN = "admin@socktown.example", "sandbox-token"


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Return a function that runs the command in an empty folder with nothing set."""
    for name in ("EMAIL", "API_TOKEN", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"DESKFEED_CREDENTIALS__SOCKTOWN__{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", "catalog")

    def run(*words, **kwargs):
        settings.cache_clear()
        return CliRunner().invoke(deskfeed, words, **kwargs)

    yield run
    settings.cache_clear()


@pytest.fixture
def sandbox():
    with Sandbox(port=0) as running:
        yield running


def add(shell, url, *words, **kwargs):
    return shell(
        "destinations",
        "add",
        "desk",
        "--description",
        "Our desk",
        "--base-url",
        url,
        *words,
        **kwargs,
    )


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_new_catalog_is_right_as_it_is_and_sends_what_it_says(shell):
    made = shell("init", "catalog")
    assert made.exit_code == 0, made.output
    assert "deskfeed preview loyalty" in made.output

    assert shell("check", "--offline").exit_code == 0
    rows = json.loads(shell("preview", "loyalty", "--json").stdout)["rows"]
    assert [row["user"]["name"] for row in rows] == ["Ada Lovelace", "Grace Hopper", "Alan Turing"]
    assert rows[0]["user"]["user_fields"] == {"loyalty_tier": "gold"}


def test_a_folder_with_something_in_it_is_left_alone(shell, tmp_path):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "mine.txt").write_text("mine")

    refused = shell("init", "catalog")

    assert refused.exit_code == 2
    assert "not empty; nothing was changed" in refused.output
    assert files(tmp_path) == ["catalog/mine.txt"]


def test_a_destination_that_answers_is_saved_with_its_secret_for_its_owner_only(
    shell, sandbox, tmp_path
):
    added = add(shell, sandbox.url, "--email", EMAIL, "--secret-stdin", input=TOKEN + "\n")

    assert added.exit_code == 0, added.output
    saved = yaml.safe_load((tmp_path / "catalog" / "destinations" / "desk.yaml").read_text())
    assert saved == {
        "description": "Our desk",
        "plugin": "zendesk",
        "credential": "desk",
        "base_url": sandbox.url,
    }
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert load_settings().credential("desk").api_token.get_secret_value() == TOKEN
    assert TOKEN not in added.output
    assert shell("destinations", "test", "desk").exit_code == 0


def test_an_oauth_client_may_be_added_and_its_secret_is_asked_for_without_echo(
    shell, sandbox, tmp_path
):
    added = add(
        shell, sandbox.url, "--client-id", CLIENT.client_id, input=CLIENT.client_secret + "\n"
    )

    assert added.exit_code == 0, added.output
    assert CLIENT.client_secret not in added.output
    assert shell("destinations", "test", "desk").exit_code == 0
    listed = json.loads(shell("credentials", "list", "--json").stdout)["credentials"]
    assert listed == [
        {"name": "desk", "kind": "oauth client", "problem": None, "used_by": ["desk"]}
    ]


def test_other_lines_of_the_file_stay(shell, sandbox, tmp_path):
    (tmp_path / ".env").write_text("DESKFEED_LOG_LEVEL=ERROR\n")

    assert add(shell, sandbox.url, "--email", EMAIL, "--secret-stdin", input=TOKEN).exit_code == 0
    assert (tmp_path / ".env").read_text().startswith("DESKFEED_LOG_LEVEL=ERROR\n")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "secret", "code"),
    [
        (("--email", EMAIL), "wrong", "invalid_credentials"),
        (("--client-id", CLIENT.client_id), "wrong", "invalid_credentials"),
        (("--email", EMAIL), " ", "credential_missing"),
        ((), None, "credential_missing"),
    ],
)
def test_what_does_not_work_is_not_saved(shell, sandbox, tmp_path, words, secret, code):
    stdin = ("--secret-stdin",) if secret else ()
    refused = add(shell, sandbox.url, *words, *stdin, "--json", input=secret)

    assert refused.exit_code in (1, 2)
    assert json.loads(refused.stdout)["error"]["code"] == code
    assert files(tmp_path) == []


def test_a_host_that_does_not_answer_is_not_saved(shell, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    refused = add(shell, url, "--email", EMAIL, "--secret-stdin", "--json", input=TOKEN)

    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "destination_unavailable"
    assert error["message"].endswith("Nothing was saved")
    assert error["resolution"].endswith("then: deskfeed destinations add desk …")
    assert files(tmp_path) == []


def test_somebody_at_a_terminal_is_asked_for_a_credential_that_is_not_set(
    shell, sandbox, monkeypatch
):
    monkeypatch.setattr(setup_verbs, "_is_terminal", lambda: True)
    answers = f"{CLIENT.client_id}\n{CLIENT.client_secret}\n"

    added = add(shell, sandbox.url, input=answers)

    assert added.exit_code == 0, added.output
    assert "Identifier of a confidential OAuth client" in added.output
    assert CLIENT.client_secret not in added.output
    assert shell("destinations", "test", "desk").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--base-url", "http://example.com"), "loopback"),
        (("--subdomain", "https://socktown.zendesk.com"), "bare label, e.g. 'socktown'"),
        (
            ("--base-url", "http://127.0.0.1:1", "--credential", "NOT A NAME"),
            "name of a credential",
        ),
        (("--base-url", "http://127.0.0.1:1", "--description", " "), "must not be blank"),
    ],
)
def test_a_wrong_value_is_told_before_anybody_is_asked(shell, tmp_path, words, said):
    refused = shell("destinations", "add", "desk", "--description", "d", *words, input=TOKEN)

    assert refused.exit_code == 2
    assert said in refused.output
    assert files(tmp_path) == []


def test_a_destination_is_never_overwritten(shell, sandbox, tmp_path):
    assert add(shell, sandbox.url, "--email", EMAIL, "--secret-stdin", input=TOKEN).exit_code == 0
    before = (tmp_path / "catalog" / "destinations" / "desk.yaml").read_text()

    again = add(shell, sandbox.url, "--admin-only")

    assert again.exit_code == 2
    assert "there is a destination 'desk'" in again.output
    assert (tmp_path / "catalog" / "destinations" / "desk.yaml").read_text() == before


def test_credentials_are_listed_with_what_is_missing_and_no_value(shell, monkeypatch):
    shell("init", "catalog")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL", "canary@socktown.example")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__OTHER__CLIENT_ID", "canary-id")
    monkeypatch.setenv("DESKFEED_CREDENTIALS__OTHER__CLIENT_SECRET", "canary-secret")

    shown = shell("credentials", "list")

    assert "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN is not set" in shown.output
    assert "oauth client" in shown.output
    assert "canary" not in shown.output


def test_the_coming_end_of_api_tokens_is_told_with_the_way_over():
    config = Settings(
        credentials={
            "old": Credential(email=EMAIL, api_token=TOKEN),
            "new": Credential(client_id="id", client_secret="secret"),
        }
    )

    (sentence,) = token_warnings(config, ["old", "new", "old"], date(2026, 11, 24))
    assert "'old' is an API token" in sentence
    assert "in 157 days" in sentence
    assert "OAuth client" in sentence
    (after,) = token_warnings(config, ["old"], date(2027, 5, 1))
    assert "takes none since 2027-04-30" in after


def test_secrets_in_a_file_that_others_can_read_are_refused(shell, tmp_path):
    (tmp_path / ".env").write_text(f"DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN={TOKEN}\n")
    (tmp_path / ".env").chmod(0o644)

    refused = shell("credentials", "list").exception
    assert isinstance(refused, UsageError)
    assert refused.code == "secrets_readable"
    assert "chmod 600 .env" in refused.resolution
    assert TOKEN not in str(refused)

    (tmp_path / ".env").chmod(0o600)
    assert shell("credentials", "list", "--json").exit_code == 0
