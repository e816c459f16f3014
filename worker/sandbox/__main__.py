"""`python -m worker.sandbox`: the sandbox as a process of its own."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

from worker.sandbox.control import BANNER
from worker.sandbox.listener import LOOPBACK
from worker.sandbox.server import Sandbox
from worker.sandbox.settings import Settings

_USUAL = Settings()


_SWITCHES: tuple[tuple[str, type, str, str], ...] = (
    ("--seconds-per-user", float, "S", f"work of a job per user ({_USUAL.seconds_per_user})"),
    ("--queue-seconds", float, "S", "time a job stays queued (0)"),
    ("--requests-per-minute", int, "N", f"the account's limit ({_USUAL.requests_per_minute})"),
    ("--users-per-second", int, "N", "refuse bulk upserts above this (not enforced)"),
    ("--job-limit", int, "N", f"most jobs queued or working ({_USUAL.job_limit})"),
    ("--job-expiry-seconds", float, "S", f"life of a job ({_USUAL.job_expiry_seconds:.0f})"),
)
"""Switches for the settings of the same names: the name, type, unit, and help with the default."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=BANNER)
    parser.add_argument("--host", default=LOOPBACK, help=f"only {LOOPBACK} is accepted")
    parser.add_argument("--port", type=int, default=8900, help="0 takes a free one (8900)")
    for name, kind, unit, meaning in _SWITCHES:
        parser.add_argument(name, type=kind, metavar=unit, help=meaning)
    parser.add_argument("--import-disabled", action="store_true", help="bulk upserts get 403")
    what = "JSON: logins, clients, user_fields, organizations, users, settings, faults"
    parser.add_argument("--config", type=Path, metavar="FILE", help=what)
    what = "log requests, without customers' values"
    parser.add_argument("--verbose", action="store_true", help=what)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox until SIGTERM or SIGINT.

    Args:
        arguments: of the command line, without the program's name.

    Returns:
        The exit code: 0 after a signal, 2 if it could not start.
    """
    options = _parser().parse_args(arguments)
    if options.host != LOOPBACK:
        return _refused(
            f"--host {options.host}: the sandbox listens on {LOOPBACK} only, "
            "as it lets anybody in who can reach it"
        )
    try:
        sandbox = Sandbox(
            options.port, config=options.config, verbose=options.verbose, **_settings(options)
        )
        sandbox.start()
    except (OSError, OverflowError, ValueError) as error:
        return _refused(_reason(error, options.port))
    try:
        _run(sandbox)
    finally:
        sandbox.stop()
    return 0


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    given = {name[2:].replace("-", "_") for name, *_ in _SWITCHES}
    changes = {name: getattr(options, name) for name in given}
    changes = {name: value for name, value in changes.items() if value is not None}
    return changes | ({"import_enabled": False} if options.import_disabled else {})


def _run(sandbox: Sandbox) -> None:
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sys.stdout.write(f"{BANNER}\nListening on {sandbox.url}  (what is where: GET {sandbox.url}/)\n")
    sys.stdout.flush()
    ended.wait()


def _reason(error: Exception, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: stop what listens there, or choose another with --port"
    return str(error)


def _refused(reason: str) -> int:
    sys.stderr.write(f"sandbox: {reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
