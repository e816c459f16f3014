"""Forks: a child process inherits no transaction and no connection of its parent's.

SQLite remembers within a process which locks its connections hold. A child that is forked while
another thread writes inherits that memory, finds the ledger locked by a connection that is not
there, and never gets in (https://www.sqlite.org/howtocorrupt.html, 2.6). Celery forks a new child
of its pool whenever one was killed, while the sweeper of the parent goes about its work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from weakref import WeakSet

from sqlalchemy import Engine

FORK_PATIENCE_S = 5.0
"""A fork waits no longer for transactions to end, nor a transaction for a fork."""


class Gate:
    """Whoever uses the database is inside; a fork waits until nobody is, and lets nobody in.

    Args:
        engine: its connections are closed before the fork, and opened again when they are needed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reset()
        _gates.add(self)

    def _reset(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def passage(self) -> Iterator[None]:
        """Be inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed, FORK_PATIENCE_S)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until nobody is inside, and close every connection."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0, FORK_PATIENCE_S)
        self._engine.dispose()

    def open(self) -> None:
        """Let everybody in again."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def begin_anew(self) -> None:
        """In the child: of the parent's threads none is here, and its connections are not ours."""
        self._reset()
        self._engine.dispose(close=False)


_gates: WeakSet[Gate] = WeakSet()


def _before() -> None:
    for gate in list(_gates):
        gate.close()


def _in_parent() -> None:
    for gate in list(_gates):
        gate.open()


def _in_child() -> None:
    for gate in list(_gates):
        gate.begin_anew()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
