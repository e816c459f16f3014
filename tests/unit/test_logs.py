"""No customer and no secret reaches a log line, whoever writes it."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
