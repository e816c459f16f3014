"""Which of Celery's remote-control commands a worker obeys.

Whoever can write to the broker can send them, and nobody signs them. What Flower and `celery
inspect` look at is answered. What changes or ends a worker is not there: that is for whoever may
log in to its host, and runs are paused and stopped in the ledger.
"""

from __future__ import annotations

import logging

from celery import Celery
from celery.worker.control import Panel

OBEYED = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "disable_events",
        "dump_active",
        "dump_conf",
        "dump_reserved",
        "dump_revoked",
        "dump_schedule",
        "enable_events",
        "heartbeat",
        "hello",
        "ping",
        "query_task",
        "registered",
        "dump_tasks",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
    }
)
"""Commands that look on, under all their names; events may be switched, for they change no work."""


_LOGGERS = ("celery.worker.pidbox", "kombu.pidbox", "kombu.transport.redis")
"""They repeat what a command or an event holds that they cannot use."""


class _WithoutContents(logging.Filter):
    """Takes what somebody wrote out of a line about it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            record.msg, record.args, record.exc_info = (
                "message left alone: a command or event that is not obeyed", (), None
            )  # fmt: skip
        return True


_WITHOUT_CONTENTS = _WithoutContents()


def limit_commands() -> tuple[str, ...]:
    """Let this process obey no other command; returns the names of those taken away.

    `shutdown`, `cancel_consumer`, `revoke` and `terminate` would stop work, `pool_grow`,
    `autoscale` and `add_consumer` make a worker larger than its host, `pool_restart` can load
    modules, `objgraph` and `memdump` write files and hold up the worker, `report` tells much.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_WITHOUT_CONTENTS)
    taken = tuple(sorted(Panel.data.keys() - OBEYED))
    for name in taken:
        Panel.data.pop(name, None)
        Panel.meta.pop(name, None)
    return taken


def forget_foreign_tasks(app: Celery) -> tuple[str, ...]:
    """Take Celery's own tasks out of a worker; returns their names.

    `celery.map`, `celery.chunks` and the like run other tasks as often as a message says.
    """
    taken = tuple(sorted(name for name in app.tasks if name.startswith("celery.")))
    for name in taken:
        app.tasks.pop(name)
    return taken
