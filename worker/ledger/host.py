"""SQLite's one host: a second one is refused before it can do harm.

SQLite's WAL keeps its index in memory that processes share. Processes of two kernels share none,
whatever file system lies between them, and would overwrite each other's pages. What counts is
therefore the kernel: containers on one machine are one host, though each has a name of its own.
"""

from __future__ import annotations

import json
import platform
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from worker.errors import UsageError
from worker.ledger.database import Database
from worker.ledger.schema import meta, workers

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux: another one for each start of a kernel, the same in all its containers."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: what tells it from others, and its name for people."""

    id: str
    name: str


def this_host() -> Host:
    """Return the machine that this process runs on."""
    name = platform.node() or "unknown"
    try:
        return Host(BOOT_ID.read_text(encoding="ascii").strip(), name)
    except OSError:  # macOS
        node = uuid.getnode()
        is_random = bool(node >> 40 & 1)  # no network card was found (RFC 9562, section 6.10)
        return Host(name if is_random else f"{node:012x}", name)


def keep_to_one_host(database: Database, silence: float) -> None:
    """Note that this host uses the ledger, unless another one does; PostgreSQL serves several.

    Args:
        database: the ledger's.
        silence: a worker not heard of for so many seconds does not live any more; nor does a host
            keep the ledger that long after it took it, without a worker.

    Raises:
        UsageError: another host uses it. Nothing was written.
    """
    if not database.is_sqlite:
        return
    mine = this_host()
    with database.read() as connection:
        if _held_by(connection) == mine:
            return
    with database.write() as connection:
        since = database.now(connection) - silence
        held = _held_by(connection)
        if held is not None and held.id != mine.id and _in_use(connection, since):
            raise _on_another_host(held, mine)
        _put(connection, "host", json.dumps(asdict(mine)))
        _put(connection, "host_since", repr(database.now(connection)))


def check_host(connection: Connection) -> None:
    """Make sure that the ledger was not taken to another host meanwhile; SQLite only.

    It may be while this process stands still: whoever is not heard of does not keep it.

    Raises:
        UsageError: another host uses it. Whoever goes on writing here damages the file.
    """
    held, mine = _held_by(connection), this_host()
    if held is not None and held.id != mine.id:
        raise _on_another_host(held, mine)


def _on_another_host(held: Host, mine: Host) -> UsageError:
    return UsageError(
        f"the ledger is SQLite and in use on the host {held.name}; this is {mine.name}",
        code="ledger_on_another_host",
    )


def _held_by(connection: Connection) -> Host | None:
    value = _get(connection, "host")
    return None if value is None else Host(**json.loads(value))


def _in_use(connection: Connection, since: float) -> bool:
    """Whether a worker lives, or the host took the ledger so lately that its first may start."""
    taken_at = _get(connection, "host_since")
    if taken_at is not None and float(taken_at) >= since:
        return True
    living = select(workers.c.worker).where(workers.c.seen_at >= since).limit(1)
    return connection.scalar(living) is not None


def _get(connection: Connection, name: str) -> str | None:
    value = connection.scalar(select(meta.c.value).where(meta.c.name == name))
    return None if value is None else bytes(value).decode()


def _put(connection: Connection, name: str, value: str) -> None:
    changed = connection.execute(
        update(meta).where(meta.c.name == name).values(value=value.encode())
    ).rowcount
    if changed == 0:
        connection.execute(insert(meta).values(name=name, value=value.encode()))
