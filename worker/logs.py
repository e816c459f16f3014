"""Logs: structlog for ours, and the libraries' lines through the same chain, on stderr.

Run, chunk, attempt and task are bound to every line of a task (`worker.log_context`). The last step
before rendering removes what looks like an e-mail address or a secret, whoever wrote the line:
nobody's data belongs into a log.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.log_context import add_context
from worker.redaction import hide, redact, redact_value, traceback_of, without_known


def redact_event(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Structlog processor: redact every value of a line."""
    return {
        redact(str(key)): _redact_traceback(value) if key in _OF_LINES else redact_value(value)
        for key, value in event.items()
    }


_OF_LINES = ("exception", "stack")


def _redact_traceback(value: Any) -> Any:
    """A traceback keeps its lines; everything else is one line."""
    if isinstance(value, str):
        return "\n".join(redact(line) for line in value.splitlines())
    return redact_value(value)


def _last_look(_logger: WrappedLogger, _name: str, line: Any) -> Any:
    """The last step of all: no secret that this process knows leaves it, wherever it stood."""
    return without_known(line) if isinstance(line, str) else line


def _traceback(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None],
) -> str:
    return traceback_of(exc_info[1])


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


class _Handler(logging.StreamHandler[Any]):
    """Writes lines; of one that cannot be made it says only who wanted it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base's name
        """Keep logging from printing the values that could not be formatted."""
        self.stream.write(f"a line of the logger {redact(record.name)} could not be written\n")


def configure(level: str = "INFO", style: str = "console", secrets: Iterable[str] = ()) -> None:
    """Send all logging of this process through one chain to stderr.

    Warnings of Python and errors that nobody caught go the same way.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        style: `console` for people, `json` for machines.
        secrets: what is left out wherever it stands.
    """
    hide(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_context,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(_traceback),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_event,
                _renderer(style),
                _last_look,
            ],
        )
    )
    handler.addFilter(fit_to_show)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("urllib3", "alembic", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level), logging.WARNING))
    _catch_what_nobody_caught()


def _catch_what_nobody_caught() -> None:
    logging.captureWarnings(True)
    warnings.formatwarning = _warning
    if sys.excepthook is sys.__excepthook__:  # else somebody waits for them who knows more
        sys.excepthook = _uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger("uncaught").critical("uncaught_error", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    if error is None or isinstance(error, SystemExit):
        return
    name = args.thread.name if args.thread else None
    structlog.get_logger("uncaught").critical(
        "uncaught_error", thread=name, exc_info=(type(error), error, error.__traceback__)
    )


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,  # noqa: ARG001 - the source line is of no use in a log
) -> str:
    return f"{filename}:{lineno}: {category.__name__}: {message}"


def wants_colors() -> bool:
    """Whether stderr is a terminal, not a dumb one, of a person who wants colours (NO_COLOR)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def _renderer(style: str) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=wants_colors(), exception_formatter=structlog.dev.plain_traceback
    )
