"""Where requests may go: an account's own host, or this machine."""

import pytest
from pydantic import SecretStr

from worker.errors import UsageError
from worker.zendesk.auth import BasicToken
from worker.zendesk.client import ZendeskClient, checked_base_url

AUTH = BasicToken("ops@socktown.example", SecretStr("s3cret"))


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://socktown.zendesk.com", "https://socktown.zendesk.com"),
        ("https://socktown.zendesk.com/", "https://socktown.zendesk.com"),
        ("https://s-0.zendesk.com", "https://s-0.zendesk.com"),
        ("http://127.0.0.1:8900", "http://127.0.0.1:8900"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:8900/", "http://localhost:8900"),
        ("http://[::1]:8900", "http://[::1]:8900"),
    ],
)
def test_an_accounts_host_and_loopback_are_taken(base_url, origin):
    assert checked_base_url(base_url) == origin


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "socktown",
        "socktown.zendesk.com",
        "http://socktown.zendesk.com",
        "https://zendesk.com",
        "https://.zendesk.com",
        "https://-a.zendesk.com",
        "https://a.b.zendesk.com",
        "https://socktown.zendesk.com.evil.example",
        "https://evil.example/.zendesk.com",
        "https://evil.example#.zendesk.com",
        "https://evil.example?.zendesk.com",
        "https://evil.example\\.zendesk.com",
        "https://a@evil.example/.zendesk.com",
        "https://jo:pw@socktown.zendesk.com",
        "https://socktown.zendesk.com:444",
        "https://socktown.zendesk.com/api",
        "https://socktown.zendesk.com?x",
        "https://socktown.zendesk.com#x",
        "https://socktown.zendesk.com\n",
        " https://socktown.zendesk.com",
        "https://SOCKTOWN.zendesk.com",
        "https://127.0.0.1",
        "http://127.0.0.1:80/.zendesk.com",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.evil.example",
        "http://127.0.0.1:99999",
        "http://[::1",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
    ],
)
def test_every_other_address_is_refused(base_url):
    with pytest.raises(UsageError):
        ZendeskClient(base_url, AUTH)


def test_the_repr_of_a_client_shows_no_credential():
    with ZendeskClient("https://socktown.zendesk.com", AUTH) as client:
        assert repr(client) == "ZendeskClient('https://socktown.zendesk.com')"
