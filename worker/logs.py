"""Logs: structlog for ours, and the libraries' lines through the same chain, on stderr.

Run, chunk and task are bound to every line of a task. The last step before rendering removes what
looks like an e-mail address or a secret, whoever wrote the line: nobody's data belongs into a log.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_EMAIL = re.compile(r"\S*@\S*")  # too much rather than too little: addresses have odd shapes
_PROCESS = re.compile(rf"\W?(celery|worker\d*|gen\d+)@{re.escape(socket.gethostname())}\W?")
"""How Celery names the processes of this machine."""

_SECRET = re.compile(r"(?i)\b(basic|bearer)\s+[a-z0-9+/=._~-]{8,}")
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def redact(text: str) -> str:
    """Return the text without e-mail addresses, credentials and control characters."""
    text = _URL_PASSWORD.sub("", text)
    text = _SECRET.sub(r"\1 ***", text)
    text = _EMAIL.sub(_keep_node_names, text)
    return _CONTROL.sub(" ", text)


def _keep_node_names(found: re.Match[str]) -> str:
    word = found.group()
    return word if _PROCESS.fullmatch(word) else "***"


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(item) for item in value]
    if isinstance(value, bytes):
        return "***"
    return value


def redact_event(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Structlog processor: redact every value of a line."""
    return {
        key: _redact_traceback(value) if key == "exception" else _redact_value(value)
        for key, value in event.items()
    }


def _redact_traceback(value: Any) -> Any:
    """A traceback keeps its lines; everything else is one line."""
    if isinstance(value, str):
        return "\n".join(redact(line) for line in value.splitlines())
    return _redact_value(value)


_CELERYS = {
    "Received and deleted unknown message": "message left alone: of no task",
    "Received unregistered task": "message left alone: of a task that is not ours",
    "Received invalid task message": "message left alone: not as Celery makes them",
    "Can't decode message body": "message left alone: its body cannot be decoded",
}
"""What Celery says of messages that it cannot use, with all their contents; and what we say."""

_PROBE = "worker.probe"
"""A worker's message to itself, every few seconds: not worth two lines each time."""


def fit_to_show(record: logging.LogRecord) -> bool:
    """Filter of the handler: keeps the contents of strange messages out of the log."""
    data = getattr(record, "data", None)
    if isinstance(data, Mapping) and data.get("name") == _PROBE and record.levelno <= logging.INFO:
        return False
    if record.name == "celery.worker.consumer.consumer" and isinstance(record.msg, str):
        for theirs, ours in _CELERYS.items():
            if record.msg.lstrip().startswith(theirs):
                record.msg, record.args, record.exc_info = ours, (), None
    return True


def configure(level: str = "INFO", style: str = "console") -> None:
    """Send all logging of this process through one chain to stderr.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        style: `console` for people, `json` for machines.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_event,
                _renderer(style),
            ],
        )
    )
    handler.addFilter(fit_to_show)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("urllib3", "alembic", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level), logging.WARNING))


def _renderer(style: str) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
