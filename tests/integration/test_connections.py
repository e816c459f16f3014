"""What stands between us and a Zendesk account is told apart, over real HTTP, before a run."""

from __future__ import annotations

import json
import re
from datetime import date

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from stage import free_port
from world import write_catalog

from orchestrations import credentials
from orchestrations.cli import connections, deskfeed
from orchestrations.preflight import check_connection
from worker.errors import DestinationError
from worker.explanations import EXPLANATIONS
from worker.sandbox.config import DEFAULT_CLIENTS
from worker.sandbox.server import Sandbox
from worker.settings import settings
from worker.zendesk.auth import ApiToken, OAuthClient
from worker.zendesk.client import ZendeskClient, unlimited

TOKEN = "sandbox-token"
CLIENT = DEFAULT_CLIENTS[0]
ME = {"path": "/api/v2/users/me"}
FIELDS = {"path": "/api/v2/user_fields"}
OAUTH = {"path": "/oauth/tokens"}
GRANT = {"access_token": "t", "token_type": "bearer", "scope": "tickets:read"}
SECRETS = re.compile(f"{TOKEN}|{CLIENT.client_secret}")


@pytest.fixture(scope="module")
def running():
    with Sandbox(port=0) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.reset()
    return running


@pytest.fixture
def shell(tmp_path, monkeypatch, sandbox):
    """Return a function that runs the command on a catalog whose destination is the sandbox.

    `who` is the e-mail of an API token's user; "oauth" logs in as the OAuth client.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", "catalog")
    monkeypatch.setenv("DESKFEED_STATE_DIR", "state")
    folder = write_catalog(tmp_path / "catalog")
    file = folder / "destinations" / "socktown.yaml"
    text = re.sub(r"base_url: \S+", "base_url: {url}", file.read_text())

    def run(*words, who="admin", url=sandbox.url, token=TOKEN):
        file.write_text(text.replace("{url}", url))
        for name in ("EMAIL", "API_TOKEN", "CLIENT_ID", "CLIENT_SECRET"):
            monkeypatch.delenv(f"DESKFEED_CREDENTIALS__SOCKTOWN__{name}", raising=False)
        if who == "oauth":
            pair = {"CLIENT_ID": CLIENT.client_id, "CLIENT_SECRET": CLIENT.client_secret}
        else:
            pair = {"EMAIL": f"{who}@socktown.example", "API_TOKEN": token}
        for name, value in pair.items():
            monkeypatch.setenv(f"DESKFEED_CREDENTIALS__SOCKTOWN__{name}", value)
        settings.cache_clear()
        return CliRunner().invoke(deskfeed, words)

    yield run
    settings.cache_clear()


REFUSED = [
    pytest.param({"token": "wrong"}, None, "invalid_credentials", "401", id="401"),
    pytest.param({}, {"action": "answer", "status": 403, **FIELDS}, "authorization_error", "403",
                 id="403"),
    pytest.param({}, {"action": "answer", "status": 200, **ME, "body": {"user": {
        "id": None, "name": "Anonymous user", "role": "end-user"}}}, "anonymous_login",
                 "anonymous visitor", id="anonymous"),
    pytest.param({"who": "suspended"}, None, "login_suspended", "is suspended", id="suspended"),
    pytest.param({"who": "customer"}, None, "login_not_allowed", "role 'end-user'", id="end user"),
    pytest.param({"who": "looker"}, None, "role_may_not_write", "custom role 'Light agent'",
                 id="custom role"),
    pytest.param({"who": "oauth"}, {"action": "answer", "status": 200, "body": GRANT, **OAUTH},
                 "missing_scope", "users:read and users:write are missing", id="scope"),
    pytest.param({"who": "oauth"}, {"action": "answer", "status": 403, **FIELDS, "body": {
        "error": "forbidden", "description": "missing scope users:read"}}, "missing_scope",
                 "for want of an OAuth scope", id="scope, told late"),
    pytest.param({}, {"action": "answer", "status": 404, **ME, "body": "No help desk"},
                 "subdomain_not_found", "404", id="subdomain"),
    pytest.param({}, {"action": "redirect", "url": "https://elsewhere.example/x?y=1", **ME},
                 "unexpected_redirect", "//elsewhere.example", id="redirect"),
    pytest.param({}, {"action": "answer", "status": 503, **ME}, "destination_unavailable", "503",
                 id="503"),
    pytest.param({}, {"action": "html", **ME}, "destination_unavailable", "without a JSON object",
                 id="a page"),
]  # fmt: skip


@pytest.mark.parametrize(("login", "fault", "code", "words"), REFUSED)
def test_each_obstacle_has_its_own_code_and_words(shell, sandbox, login, fault, code, words):
    if fault:
        sandbox.add_fault(fault)

    refused = shell("destinations", "test", "socktown", "--json", **login)

    assert refused.exit_code == 1, refused.output
    error = json.loads(refused.stdout)["error"]
    assert (error["code"], error["title"]) == (code, EXPLANATIONS[code].title)
    assert words in error["message"]
    assert "destinations test NAME" not in error["resolution"]
    assert not SECRETS.search(refused.output)
    assert sandbox.stats()["posts"] == 0


def test_a_host_where_nobody_listens_is_told_apart(shell):
    refused = shell("destinations", "test", "socktown", url=f"http://127.0.0.1:{free_port()}")
    assert refused.exit_code == 1
    assert "cannot be reached; nothing was sent" in refused.output
    assert "More: deskfeed explain destination_unavailable" in refused.output


def test_a_login_that_may_write_is_told_what_only_a_run_can_show(shell, sandbox):
    passed = shell("destinations", "test", "socktown", who="lead")
    assert passed.exit_code == 0, passed.output
    assert "our role there is agent" in passed.output
    assert "Whether bulk user import is enabled" in passed.output
    assert sandbox.stats()["posts"] == 0


@pytest.mark.parametrize(
    ("who", "fault", "doubt"),
    [
        ("local", None, "may edit end users of its own organization only"),
        ("lead", {"action": "answer", "status": 403, "path": "/api/v2/custom_roles"},
         "could not be seen"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_a_warning(shell, sandbox, who, fault, doubt):
    if fault:
        sandbox.add_fault(fault)
    passed = shell("destinations", "test", "socktown", "--json", who=who)
    assert passed.exit_code == 0, passed.output
    assert [doubt in one for one in json.loads(passed.stdout)["warnings"]] == [False, True]


def test_an_administrator_is_not_asked_for_a_role(shell, sandbox):
    assert shell("destinations", "test", "socktown").exit_code == 0
    assert [one["kind"] for one in sandbox.journal()] == ["users_me", "user_fields"]


# --- check ------------------------------------------------------------------------------------


def test_check_asks_the_destination_too_and_fails_with_it(shell):
    passed = shell("check", "--json")
    assert passed.exit_code == 0, passed.output
    (asked,) = json.loads(passed.stdout)["destinations"]
    assert (asked["destination"], asked["role"], asked["error"]) == ("socktown", "admin", None)

    refused = shell("check", "--json", token="wrong")
    assert refused.exit_code == 2
    (asked,) = json.loads(refused.stdout)["destinations"]
    assert asked["error"]["code"] == "invalid_credentials"
    assert asked["error"]["resolution"].endswith("deskfeed destinations test socktown")

    said = shell("check", "loyalty", token="wrong").output
    assert "does not accept the credential (401)" in said
    assert "More: deskfeed explain invalid_credentials" in said
    assert "Every file is right" not in said


def test_check_offline_asks_nobody(shell, sandbox):
    passed = shell("check", "--offline", "--json", token="wrong")
    assert passed.exit_code == 0, passed.output
    (asked,) = json.loads(passed.stdout)["destinations"]
    assert (asked["not_asked"], asked["error"]) == ("--offline", None)
    assert sandbox.stats()["requests"] == 0


def test_check_asks_nobody_for_somebody_whose_role_may_not(shell, sandbox, tmp_path):
    (tmp_path / "catalog" / "access.yaml").write_text("default: viewer\n")
    passed = shell("check")
    assert passed.exit_code == 0, passed.output
    assert "socktown: not asked (your role may not" in passed.output
    assert sandbox.stats()["requests"] == 0


def test_check_knows_the_accounts_user_fields(shell, tmp_path):
    query = tmp_path / "catalog" / "loyalty.sql"
    query.write_text(query.read_text().replace("FROM", ', 1 AS "user_fields.loyalty_teir" FROM'))
    assert shell("check", "--offline").exit_code == 0
    refused = shell("check", "--json")
    assert refused.exit_code == 2
    (found,) = json.loads(refused.stdout)["orchestrations"]
    assert found["error"]["code"] == "unknown_user_field"
    assert "did you mean 'loyalty_tier'" in found["error"]["message"]


# --- API tokens end ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("check",), ("check", "--offline"),
                                   ("destinations", "test", "socktown"), ("doctor",)])  # fmt: skip
def test_a_destination_with_an_api_token_is_warned_of(shell, words):
    token, oauth = shell(*words), shell(*words, who="oauth")
    assert "'socktown' is an API token" in " ".join(token.output.split())
    assert "docs/credentials.md" in token.output
    assert "is an API token" not in oauth.output


def test_after_their_end_the_words_say_so_and_nothing_is_refused(shell, monkeypatch):
    monkeypatch.setattr(credentials, "TOKENS_END", date(2026, 1, 1))
    passed = shell("check")
    assert passed.exit_code == 0, passed.output
    assert "Zendesk takes none since 2026-01-01" in passed.output


# --- the client by itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "secrets",
    [
        ApiToken("admin@socktown.example", SecretStr(TOKEN)),
        OAuthClient(CLIENT.client_id, SecretStr(CLIENT.client_secret)),
    ],
)
def test_nothing_of_a_secret_is_in_an_error(sandbox, secrets):
    sandbox.add_fault({"action": "answer", "status": 401, "body": f"bad {TOKEN}"})
    with (
        ZendeskClient(sandbox.url, secrets) as client,
        pytest.raises(DestinationError) as caught,
    ):
        check_connection(client, unlimited)
    assert not SECRETS.search(repr(caught.value.as_dict()))
    assert caught.value.__context__ is None


def test_a_connection_that_hangs_is_given_up(shell, sandbox, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE_S", 0.2)
    sandbox.add_fault({"action": "hang", **ME})
    refused = shell("destinations", "test", "socktown", "--json")
    assert json.loads(refused.stdout)["error"]["code"] == "destination_unavailable"
