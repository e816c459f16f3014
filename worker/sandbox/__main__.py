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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=BANNER)
    add = parser.add_argument
    add("--host", default=LOOPBACK, help=f"only {LOOPBACK} is accepted")
    add("--port", type=int, default=8900, help="0 takes a free one (default: %(default)s)")
    add(
        "--seconds-per-user",
        type=float,
        default=None,
        metavar="S",
        help=f"work of a job per user; 0: instant (default: {_USUAL.seconds_per_user})",
    )
    add(
        "--queue-seconds",
        type=float,
        default=None,
        metavar="S",
        help="time a job stays queued (default: 0)",
    )
    add(
        "--requests-per-minute",
        type=int,
        default=None,
        metavar="N",
        help=f"limit of the account (default: {_USUAL.requests_per_minute})",
    )
    add(
        "--users-per-second",
        type=int,
        default=None,
        metavar="N",
        help="refuse bulk upserts above this (default: not enforced)",
    )
    add(
        "--job-limit",
        type=int,
        default=None,
        metavar="N",
        help=f"most jobs queued or running (default: {_USUAL.job_limit})",
    )
    add(
        "--job-expiry-seconds",
        type=float,
        default=None,
        metavar="S",
        help=f"when a job is forgotten (default: {_USUAL.job_expiry_seconds:.0f})",
    )
    add("--import-disabled", action="store_true", help="refuse bulk upserts with 403")
    add(
        "--config",
        type=Path,
        default=None,
        metavar="FILE",
        help="JSON: logins, clients, user_fields, organizations, users, settings, faults",
    )
    add("--verbose", action="store_true", help="log requests, without customers' values")
    return parser  # fmt: skip


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
    names = (
        "seconds_per_user", "queue_seconds", "requests_per_minute", "users_per_second",
        "job_limit", "job_expiry_seconds",
    )  # fmt: skip
    given = {name: getattr(options, name) for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
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
