"""Errors of libraries are converted where they arise, without values, bodies or headers."""

from __future__ import annotations

import traceback

import pytest
import requests
from pydantic import BaseModel, SecretStr, ValidationError
from sqlalchemy import insert, text

from worker.errors import Conflict, DeskfeedError, LedgerError
from worker.ledger.schema import meta
from worker.settings import Retention
from worker.zendesk.auth import ApiToken
from worker.zendesk.client import ZendeskClient

CANARY = "canary-4711"
CANARY_SECRET = SecretStr("canary-4711-token")


def all_of(error):
    """Whatever a log could show of an error: words, traceback, causes, attributes."""
    shown = "".join(traceback.format_exception(error))
    return shown + str(error) + repr(error) + str(vars(error))


def test_a_key_that_is_there_twice_is_told_without_its_value(sqlite_ledger):
    row = insert(meta).values(name="twice", value=CANARY.encode())
    with sqlite_ledger.database.write() as connection:
        connection.execute(row)
    with pytest.raises(Conflict) as caught, sqlite_ledger.database.write() as connection:
        connection.execute(row)

    assert CANARY not in all_of(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.postgres
def test_what_postgresql_says_of_a_key_that_is_there_twice_is_not_repeated(ledger, backend):
    """PostgreSQL adds `Key (name)=(…) already exists.`, its DETAIL, to its words."""
    row = insert(meta).values(name=CANARY, value=b"1")
    with ledger.database.write() as connection:
        connection.execute(row)
    with pytest.raises(Conflict) as caught, ledger.database.write() as connection:
        connection.execute(row)
    assert CANARY not in all_of(caught.value)


@pytest.mark.postgres
def test_what_postgresql_says_of_a_value_that_does_not_fit_is_not_repeated(ledger, backend):
    with pytest.raises(LedgerError) as caught, ledger.database.read() as connection:
        connection.execute(text("SELECT CAST(CAST(:x AS text) AS integer)"), {"x": CANARY})
    assert CANARY not in all_of(caught.value)


@pytest.mark.parametrize(
    "statement", ["INSERT INTO nowhere (x) VALUES (:x)", "SELECT :x FROM runs WHERE nothing = :x"]
)
def test_a_statement_that_fails_is_told_without_its_parameters(sqlite_ledger, statement):
    with pytest.raises(LedgerError) as caught, sqlite_ledger.database.write() as connection:
        connection.execute(text(statement), {"x": CANARY})

    assert CANARY not in all_of(caught.value)
    assert "nothing" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(f"https://user:{CANARY}@host/?external_ids={CANARY}"),
        requests.exceptions.SSLError(f"body {CANARY}"),
        requests.exceptions.InvalidHeader(f"Authorization: Basic {CANARY}"),
        requests.exceptions.ChunkedEncodingError(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_requests_says_of_a_request_is_not_repeated(monkeypatch, error):
    error.request = requests.Request("GET", f"https://x/{CANARY}").prepare()

    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", fail)
    login = ApiToken("admin@socktown.example", CANARY_SECRET)
    with (
        ZendeskClient("http://127.0.0.1:9", login, deadline_s=1.0) as client,
        pytest.raises(DeskfeedError) as caught,
    ):
        client.users_show_many([CANARY])

    assert CANARY not in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value)).replace(
        "client.users_show_many([CANARY])", ""
    )


def test_pydantic_repeats_no_value_of_a_setting():
    with pytest.raises(ValidationError) as caught:
        Retention.model_validate({"runs": CANARY})
    assert CANARY not in str(caught.value)


def every_model():
    import worker.settings as module

    return [
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, BaseModel)
        and one.__module__ == module.__name__
    ]


def test_every_model_of_the_settings_hides_what_it_was_given():
    assert len(every_model()) >= 3
    for model in every_model():
        assert model.model_config["hide_input_in_errors"], model
