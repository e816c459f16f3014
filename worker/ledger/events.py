"""Events: what happened to a run, in order. Written in the transaction that makes it so.

They are the outbox that report and alerts read, and the history that tests judge. Never with
customer data.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, insert

from worker.ledger.database import Database
from worker.ledger.schema import events


def record(
    connection: Connection,
    database: Database,
    kind: str,
    run_id: str | None,
    seq: int | None = None,
    **data: Any,
) -> None:
    """Add an event within the transaction of what it tells of."""
    connection.execute(
        insert(events).values(
            run_id=run_id,
            seq=seq,
            at=database.now(connection),
            kind=kind,
            data=orjson.dumps(data).decode(),
        )
    )
