"""No customer and no secret reaches a log line, whoever writes it."""

from __future__ import annotations

import base64
import logging
import socket
import subprocess
import sys

import pytest
import redis
import requests
from hypothesis import given
from hypothesis import strategies as st

from worker import redaction
from worker.errors import UsageError
from worker.logs import redact, redact_event


@pytest.mark.parametrize(
    "text",
    [
        "Name: Email: ada@example.com is not properly formatted",
        "<ada@example.com>",
        "['ada@example.com']",
        "email=ada@example.com,",
        "b'ada@example.com'",
        "=ada@example.com",
    ],
)
def test_e_mail_addresses_are_removed(text):
    assert "ada" not in redact(text)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Basic YWRhOnNlY3JldA==", "YWRhOnNlY3JldA"),
        ("Bearer abcdef0123456789", "abcdef0123456789"),
        ("redis://:hunter2@127.0.0.1:6379/0", "hunter2"),
        ("postgresql+psycopg://me:hunter2@db/x", "hunter2"),
    ],
)
def test_credentials_are_removed(text, secret):
    assert secret not in redact(text)


def test_of_an_address_with_a_password_the_host_stays():
    assert redact("Connected to redis://:hunter2@10.0.0.7:6379/0") == (
        "Connected to redis://10.0.0.7:6379/0"
    )


def test_names_of_celerys_processes_stay():
    line = f"celery@{socket.gethostname()}: sync with gen42@{socket.gethostname()}"
    assert redact(line) == line
    assert redact("worker@example.com") == "***"


@pytest.mark.parametrize("character", ["\r", "\n", "\x1b", "\x00", "\u2028", "\x9b"])
def test_control_characters_cannot_forge_a_line_or_colour_a_terminal(character):
    assert character not in redact(f"row{character}2026 [error] forged")


@given(st.emails())
def test_no_e_mail_survives(email):
    assert email not in redact(f"row of {email}, refused")


def test_values_inside_of_values_are_redacted_too():
    event = redact_event(None, "", {"rows": [{"mail": "ada@example.com"}], "raw": b"ada", "n": 1})
    assert event == {"rows": [{"mail": "***"}], "raw": "***", "n": 1}


def test_library_lines_and_tracebacks_go_through_the_same_chain():
    code = (
        "import logging; from worker import logs; logs.configure('INFO', 'json')\n"
        "logging.getLogger('some.library').warning('row %s', 'ada@example.com')\n"
        "try: raise ValueError('ada@example.com')\n"
        "except ValueError: logging.getLogger('x').exception('failed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "ada@" not in done.stderr
    assert '"event": "row ***"' in done.stderr
    assert "ValueError" in done.stderr
    assert done.stdout == ""


def test_debug_of_http_libraries_stays_off():
    from worker import logs

    logs.configure("DEBUG")
    try:
        assert logging.getLogger("urllib3").getEffectiveLevel() == logging.WARNING
    finally:
        logging.getLogger().handlers.clear()
        logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture
def told():
    """Secrets of this process, told to the log, and forgotten again."""
    before = redaction._known
    redaction.hide(["s3cr3t/with+odd=chars", "hunter2hunter2"])
    yield
    redaction._known = before


@pytest.mark.parametrize(
    "text",
    [
        "it is s3cr3t/with+odd=chars, really",
        "url redis://x/s3cr3t/with+odd=chars",
        f"as base64 {base64.b64encode(b'hunter2hunter2').decode()}",
    ],
)
def test_secrets_that_the_process_knows_are_removed_however_they_look(told, text):
    shown = redact(text)
    assert "s3cr3t" not in shown
    assert "hunter2" not in shown
    assert base64.b64encode(b"hunter2hunter2").decode().rstrip("=") not in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"access_token": "canary123"}',
        "{'password': 'canary123', 'x': 1}",
        "headers={'Authorization': 'Token canary123'}",
        "{'authorization': b'canary123'}",
        "connect password=canary123 host=db",
        "https://x/?client_secret=canary123&y=1",
    ],
)
def test_what_is_named_as_a_secret_is_removed(text):
    assert "canary123" not in redact(text)


def test_whatever_is_in_a_line_is_redacted():
    class Odd:
        def __repr__(self):
            return "Odd(ada@example.com)"

    event = {
        "a": Odd(),
        "b": {"ada@example.com": 1},
        "c": {"ada@example.com"},
        "n": None,
        "t": True,
    }
    shown = redact_event(
        None, "", {**event, "e": ValueError("Ada Lovelace"), "x": bytearray(b"Ada")}
    )

    assert "ada" not in str(shown).lower()
    assert (shown["n"], shown["t"]) == (None, True)


def test_of_errors_that_may_quote_values_only_the_type_is_kept():
    name = "Ada Lovelace"
    with pytest.raises(KeyError) as caught:
        {}[name]
    shown = redaction.traceback_of(caught.value)
    assert "Lovelace" not in shown
    assert "KeyError" in shown
    assert "test_logs.py" in shown


def test_errors_of_machines_and_of_ours_keep_their_words():
    assert "refused" in redaction.words_of(ConnectionRefusedError(111, "Connection refused"))
    assert "no Redis" in redaction.words_of(UsageError("no Redis is known"))
    assert "away" in redaction.words_of(redis.ConnectionError("Redis is away"))
    url = requests.ConnectionError("https://x/api?external_ids=canary")  # an OSError, too
    assert "canary" not in redaction.words_of(url)


def test_causes_are_told_and_their_values_are_not():
    name = "Ada Lovelace"
    try:
        try:
            raise ValueError(name)
        except ValueError as error:
            raise RuntimeError(name) from error
    except RuntimeError as error:
        shown = redaction.traceback_of(error)

    assert shown.index("ValueError") < shown.index("which led to") < shown.index("RuntimeError")
    assert "Ada" not in shown


NOBODY_CAUGHT = """
import logging, sys, threading, warnings
from worker import logs
logs.configure('INFO', 'json', ['hunter2hunter2'])
secret = ''.join(['hunter2', 'hunter2'])
mail = '@'.join(['ada', 'example.com'])
log = logging.getLogger('celery.app.trace')
log.info('x', extra={'data': {'name': 'y'}})
log.error('Task %s[%s] raised: %r', 'a', 'b', ValueError(mail))
logging.getLogger('redis').warning('AUTH %s', secret)
logging.getLogger('sqlalchemy.engine').warning('[parameters: %r]', ({'email': mail},))
logging.getLogger('bad').warning('%d rows', mail)
log.warning('stack of %s', mail, stack_info=True)
warnings.warn('deprecated for ' + mail)
thread = threading.Thread(target=lambda: {}[mail]); thread.start(); thread.join()
raise KeyError(mail + secret)
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_nothing_that_goes_wrong_prints_a_value(style):
    code = NOBODY_CAUGHT.replace("'json'", repr(style))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.count("uncaught_error") == 2
    assert "a line of the logger bad could not be written" in done.stderr
    assert "deprecated for" in done.stderr
    assert "stack of" in done.stderr
    for secret in ("ada@", "example.com", "hunter2hunter2"):
        assert secret not in done.stderr
    assert done.stdout == ""
