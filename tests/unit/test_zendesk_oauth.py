"""OAuth client credentials: when a token is fetched, and what each answer leads to."""

from __future__ import annotations

import threading

import orjson
import pytest
from pydantic import SecretStr

from worker.errors import DestinationError, NotSent, Throttled, UsageError
from worker.zendesk.answer import Answer
from worker.zendesk.auth import OAuthClient
from worker.zendesk.oauth import ClientCredentials

CLIENT = OAuthClient("deskfeed", SecretStr("hunter2"))


class Zendesk:
    """Gives out tokens t1, t2, …; or whatever a test puts into `answers`."""

    def __init__(self):
        self.now = 1000.0
        self.asked = []
        self.answers = []
        self.life = 1800
        self.scope = "users:read users:write"

    def fetch(self, body):
        self.asked.append(orjson.loads(body))
        if self.answers:
            return self.answers.pop(0)
        token = {"access_token": f"t{len(self.asked)}", "scope": self.scope}
        return answer(200, token | {"expires_in": self.life})

    def clock(self):
        return self.now


def answer(status, document, **headers):
    return Answer(status, headers, orjson.dumps(document))


@pytest.fixture
def zendesk():
    return Zendesk()


@pytest.fixture
def login(zendesk):
    return ClientCredentials(CLIENT, zendesk.fetch, zendesk.clock)


def test_one_token_serves_until_two_minutes_before_its_end(zendesk, login):
    assert login.header() == "Bearer t1"
    zendesk.now += 1679.9
    assert login.header() == "Bearer t1"
    zendesk.now += 0.2
    login.ready()
    assert login.header() == "Bearer t2"
    assert len(zendesk.asked) == 2


def test_of_a_short_life_half_is_used(zendesk, login):
    zendesk.life = 100
    login.header()
    zendesk.now += 49
    assert login.header() == "Bearer t1"
    zendesk.now += 2
    assert login.header() == "Bearer t2"


@pytest.mark.parametrize("life", [None, True, -5, 0, "soon", 10**12])
def test_a_strange_life_is_no_reason_to_use_a_token_for_ever(zendesk, login, life):
    zendesk.life = life
    login.header()
    zendesk.now += 2 * 86_400
    assert login.header() == "Bearer t2"


def test_what_is_asked_for_is_users_only(zendesk, login):
    login.header()
    assert zendesk.asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "deskfeed",
            "client_secret": "hunter2",
            "scope": "users:read users:write",
        }
    ]


def test_blanks_around_id_and_secret_are_cut_off(zendesk):
    padded = OAuthClient(" deskfeed\n", SecretStr("hunter2\n"))
    ClientCredentials(padded, zendesk.fetch).header()
    assert zendesk.asked[0]["client_secret"] == "hunter2"
    assert zendesk.asked[0]["client_id"] == "deskfeed"


@pytest.mark.parametrize(("id_", "secret"), [(" ", "s"), ("i", " ")])
def test_a_blank_id_or_secret_is_refused(zendesk, id_, secret):
    with pytest.raises(UsageError):
        ClientCredentials(OAuthClient(id_, SecretStr(secret)), zendesk.fetch)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_unknown_client_is_the_credentials_fault(zendesk, login, status):
    zendesk.answers = [answer(status, {"error": "invalid_client"})]
    with pytest.raises(DestinationError) as caught:
        login.header()
    assert caught.value.code == "invalid_credentials"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("scope", "missing"),
    [
        ("users:read", "users:write"),
        ("write", "users:read"),
        ("user:read user:write", "users:read and users:write"),
        ("", "users:read and users:write"),
    ],
)
def test_a_scope_that_is_too_small_is_told_by_name(zendesk, login, scope, missing):
    zendesk.scope = scope
    with pytest.raises(DestinationError, match=f"{missing} (is|are) missing") as caught:
        login.header()
    assert caught.value.code == "missing_scope"


@pytest.mark.parametrize(
    "scope", ["read write", "users:write users:read", "read users:write", None]
)
def test_a_scope_that_covers_is_enough(zendesk, login, scope):
    zendesk.scope = scope
    assert login.header() == "Bearer t1"


def test_too_many_requests_and_a_broken_server_are_no_fault_of_the_credential(zendesk, login):
    zendesk.answers = [answer(429, {}, **{"retry-after": "7"}), answer(503, {})]
    with pytest.raises(Throttled) as caught:
        login.header()
    assert caught.value.retry_after_seconds == 7
    with pytest.raises(NotSent):
        login.header()
    assert login.header() == "Bearer t3"


@pytest.mark.parametrize(
    "document",
    [[], {}, {"access_token": None}, {"access_token": "a\r\nX: y"}, {"access_token": "é"}],
)
def test_an_answer_without_a_usable_token_is_none(zendesk, login, document):
    zendesk.answers = [answer(200, document)]
    with pytest.raises(NotSent):
        login.header()


def test_a_token_that_was_taken_back_is_replaced_once(zendesk, login):
    assert login.header() == "Bearer t1"
    assert login.renewed() is True
    assert login.header() == "Bearer t2"
    zendesk.now += 29
    assert login.renewed() is False
    zendesk.now += 31
    assert login.renewed() is True


def test_threads_that_need_a_token_at_once_ask_once(zendesk):
    begun = threading.Event()

    def slow(body):
        begun.wait(10)
        return zendesk.fetch(body)

    login = ClientCredentials(CLIENT, slow, zendesk.clock)
    headers = []
    threads = [threading.Thread(target=lambda: headers.append(login.header())) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert headers == ["Bearer t1"] * 8
    assert len(zendesk.asked) == 1


def test_nothing_of_it_is_shown(login):
    login.header()
    assert repr(login) == "ClientCredentials()"
