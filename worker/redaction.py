"""What must not be in a log line, whoever wrote it: secrets, e-mail addresses, values. Pure.

Two kinds of secrets are taken out: those that look like one, and those that this process was told
of (`hide`), however they look. Of an error that is not ours only the type is kept: the words of
libraries quote values.
"""

from __future__ import annotations

import base64
import re
import socket
import traceback
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from worker.errors import DeskfeedError

HIDDEN = "***"

LEAST_SECRET_CHARS = 6
"""Shorter ones would be found inside of words that are none."""

LEFT_OUT = "(its words are left out: they may quote values)"

_EMAIL = re.compile(r"\S*@\S*")  # too much rather than too little: addresses have odd shapes
_PROCESS = re.compile(rf"\W?(celery|worker\d*|gen\d+)@{re.escape(socket.gethostname())}\W?")
"""How Celery names the processes of this machine."""

_SECRET = re.compile(r"(?i)\b(basic|bearer)\s+[a-z0-9+/=._~-]{8,}")
_NAMED = re.compile(
    r"(?i)\b((?:api[_-]?)?token|access_token|refresh_token|client_secret|secret|password|passwd|pwd"
    r"|authorization|x-api-key)([\"']?\s*(?:=|:)\s*b?[\"'])[^\"']*"
)
"""A value in quotes after a name that says what it is: JSON, or a dict as Python prints it."""

_ASSIGNED = re.compile(
    r"(?i)\b(token|access_token|client_secret|secret|password|passwd|pwd)=[^\s&;,]+"
)
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_PLAIN = (bool, int, float, type(None))

_SPEAKS = (
    OSError, ImportError, NameError, AttributeError, TypeError, AssertionError, RecursionError,
    MemoryError, NotImplementedError,
)  # fmt: skip
"""Errors of Python whose words are about code and machines, not about rows."""

_PYTHONS = ("builtins", "socket", "ssl")
"""Where they are at home: requests' errors are OSErrors, too, and name the URL."""

_SPEAKING_PACKAGES = ("redis.", "kombu.exceptions", "celery.exceptions", "amqp.")

_known: tuple[str, ...] = ()  # the longest first: one may be a part of another


def hide(secrets: Iterable[str]) -> None:
    """Have these secrets left out of every line from now on, also in base64."""
    global _known  # noqa: PLW0603 - one process has one log
    found = {one for secret in secrets for one in _shapes(secret) if len(one) >= LEAST_SECRET_CHARS}
    _known = tuple(sorted(found.union(_known), key=len, reverse=True))


def _shapes(secret: str) -> Iterable[str]:
    yield secret
    yield secret.strip()
    yield base64.b64encode(secret.strip().encode()).decode().rstrip("=")


def without_known(text: str) -> str:
    """Return the text without the secrets that this process was told of."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def redact(text: str) -> str:
    """Return the text without e-mail addresses, credentials and control characters."""
    text = without_known(text)
    text = _URL_PASSWORD.sub("", text)
    text = _SECRET.sub(rf"\1 {HIDDEN}", text)
    text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\1={HIDDEN}", text)
    text = _EMAIL.sub(_keep_node_names, text)
    return _CONTROL.sub(" ", text)


def redact_value(value: Any) -> Any:
    """Return a value of a line redacted, whatever it is and whatever is inside of it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact_value(key): redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return HIDDEN
    if isinstance(value, BaseException):
        return redact(words_of(value))
    return value if isinstance(value, _PLAIN) else redact(str(value))


def words_of(error: BaseException) -> str:
    """Return type and words of an error; only the type where the words may quote values."""
    name = type(error).__qualname__
    module = type(error).__module__
    full = name if module == "builtins" else f"{module}.{name}"
    pythons = module in _PYTHONS and isinstance(error, _SPEAKS)
    if pythons or isinstance(error, DeskfeedError) or module.startswith(_SPEAKING_PACKAGES):
        return f"{full}: {error}"
    return f"{full}: {LEFT_OUT}" if error.args else full


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error and of those that led to it, in lines, without values."""
    parts: list[str] = []
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        parts.append(_one_traceback(current, current.__traceback__))
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return "\n\nwhich led to:\n\n".join(reversed(parts))


def _one_traceback(error: BaseException, trace: TracebackType | None) -> str:
    frames = "".join(traceback.format_tb(trace)).rstrip()
    lines = [*frames.splitlines(), *words_of(error).splitlines()]
    return "\n".join(["Traceback (most recent call last):", *map(redact, lines)])


def _keep_node_names(found: re.Match[str]) -> str:
    word = found.group()
    return word if _PROCESS.fullmatch(word) else HIDDEN
