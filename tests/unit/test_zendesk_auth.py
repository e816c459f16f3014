"""The credential: what is sent, what is refused, what is never shown."""

import base64

import pytest
from pydantic import SecretStr

from worker.errors import UsageError
from worker.zendesk.auth import BasicToken


def test_the_header_is_basic_with_email_slash_token():
    header = BasicToken("ops@socktown.example", SecretStr("s3cret")).header()

    scheme, _, encoded = header.partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(encoded) == b"ops@socktown.example/token:s3cret"


def test_blanks_around_the_values_are_cut_off():
    padded = BasicToken(" ops@socktown.example\n", SecretStr("s3cret\n"))

    assert padded.header() == BasicToken("ops@socktown.example", SecretStr("s3cret")).header()


def test_letters_beyond_ascii_are_sent_as_utf8():
    header = BasicToken("jürgen@socktown.example", SecretStr("s3cret")).header()

    assert base64.b64decode(header[6:]).decode() == "jürgen@socktown.example/token:s3cret"


@pytest.mark.parametrize(
    ("email", "token"),
    [
        ("", "s3cret"),
        ("  ", "s3cret"),
        ("ops@socktown.example", ""),
        ("ops@socktown.example", " \n"),
        ("ops@socktown.example/token", "s3cret"),
        ("ops@socktown.example/TOKEN ", "s3cret"),
        ("ops@socktown.example:x", "s3cret"),
    ],
)
def test_a_credential_that_cannot_work_is_refused_without_showing_it(email, token):
    with pytest.raises(UsageError) as refused:
        BasicToken(email, SecretStr(token))

    assert refused.value.code == "credential_missing"
    assert "s3cret" not in str(refused.value)
    assert "socktown" not in str(refused.value)


def test_the_repr_shows_neither_secret_nor_email():
    shown = repr(BasicToken("ops@socktown.example", SecretStr("s3cret")))

    assert "s3cret" not in shown
    assert "ops@" not in shown
