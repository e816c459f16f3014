"""Which credential a request is made with, and what a refused one leads to."""

from __future__ import annotations

import base64
import os

import pytest
from pydantic import SecretStr
from world import TARGET

from worker import app, redaction
from worker.clients import Clients
from worker.errors import DestinationError, Renewed, UsageError
from worker.settings import Credential, Settings, settings
from worker.times import Times


class File:
    """A `.env` that tests write."""

    def __init__(self):
        self.write("admin@socktown.example")

    def write(self, email, token="token"):
        credential = Credential(email=email, api_token=SecretStr(token))
        self.settings = Settings(credentials={"socktown": credential})

    def read(self):
        if isinstance(self.settings, Exception):
            raise self.settings
        return self.settings


@pytest.fixture
def file():
    return File()


@pytest.fixture
def clients(file):
    return Clients(file.settings, Times(), file.read)


def refusing(client, code):
    def ask(*_):
        raise DestinationError("no", code=code)

    client._client.create_or_update_many = client._client.job_statuses = ask
    return client


def test_a_client_is_kept_while_its_credential_is_the_same(clients):
    assert clients(TARGET) is clients(TARGET)


def test_a_changed_credential_is_used_from_the_next_request_on(clients, file):
    before = clients(TARGET)
    file.write("lead@socktown.example")
    after = clients(TARGET)
    assert after is not before
    assert after.credential.email == "lead@socktown.example"
    file.write("lead@socktown.example", token="another")
    assert clients(TARGET) is not after


@pytest.mark.parametrize("code", ["invalid_credentials", "anonymous_login"])
@pytest.mark.parametrize("request_", ["create_or_update_many", "job_statuses"])
def test_a_refused_credential_that_was_changed_meanwhile_is_no_reason_to_pause(
    clients, file, code, request_
):
    client = refusing(clients(TARGET), code)
    file.write("lead@socktown.example")
    with pytest.raises(Renewed):
        getattr(client, request_)([])


def test_a_refused_credential_that_is_still_the_same_pauses(clients):
    with pytest.raises(DestinationError):
        refusing(clients(TARGET), "invalid_credentials").create_or_update_many([])


def test_a_certificate_is_not_mended_by_another_credential(clients, file):
    client = refusing(clients(TARGET), "tls_error")
    file.write("lead@socktown.example")
    with pytest.raises(DestinationError, match="no"):
        client.create_or_update_many([])


def test_a_file_that_is_being_edited_leaves_the_credential_as_it_was(clients, file):
    before = clients(TARGET)
    file.settings = UsageError("settings: nonsense")
    assert clients(TARGET) is before


def test_a_credential_that_is_not_set_is_the_destinations_to_mend(file):
    file.settings = Settings()
    with pytest.raises(DestinationError) as caught:
        Clients(file.settings, Times(), file.read)(TARGET)
    assert caught.value.code == "credential_missing"


@pytest.fixture
def worker_here(tmp_path, monkeypatch):
    """The parts of a worker that reads its credential from a `.env`, and a function to write it."""
    file = tmp_path / ".env"

    def write(token):
        file.write_text(
            "DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL=admin@socktown.example\n"
            f"DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN={token}\n"
            f"DESKFEED_CREDENTIALS__NEW__CLIENT_ID=deskfeed\n"
            f"DESKFEED_CREDENTIALS__NEW__CLIENT_SECRET=client-{token}\n"
        )
        file.chmod(0o600)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://127.0.0.1:1/0")  # nobody connects
    monkeypatch.setattr(redaction, "_known", ())
    write("first-token")
    settings.cache_clear()
    parts = app._parts.__wrapped__(os.getpid())
    redaction.hide(settings().hidden())  # as every process does when it begins to log
    yield parts, write
    parts.ledger.close()
    settings.cache_clear()


def test_a_credential_that_is_changed_while_a_worker_lives_is_left_out_of_its_log(worker_here):
    parts, write = worker_here
    login = base64.b64encode(b"admin@socktown.example/token:second-token").decode()
    told = f"sent second-token, client-second-token, {login}; before it was first-token"
    assert "second-token" in redaction.without_known(told)

    write("second-token")
    client = parts.delivery._context.clients(TARGET)

    assert client.credential.api_token.get_secret_value() == "second-token"
    assert redaction.without_known(told) == "sent ***, ***, ***; before it was ***"
