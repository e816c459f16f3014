"""Whether it was told that a run has ended: once, and by all means.

The transaction that ends a run says by when it must have been told (`wake_at`). Whoever tells of it
takes the report first, by a compare-and-set; the sweeper sends the message again for a run that
nobody has told of in time. So a message that is lost is sent again, and one that comes twice, or
late, finds that the report is taken.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from worker.ledger.alerts import wake
from worker.ledger.database import Database
from worker.ledger.events import record
from worker.ledger.schema import runs
from worker.ledger.states import RUN_ENDED

BATCH = 200
"""Reports that one sweep sends again; the next sweep takes the rest."""


class Reports:
    """Who tells of an ended run.

    Args:
        database: where the ledger lies.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def take(self, run_id: str) -> bool:
        """Take it upon oneself to tell of a run; False when it has not ended, or was told of.

        What must be told even if this process dies now (an alert to a person) was written down
        when the run ended, and is woken in this very transaction; what is done after it is done at
        most once.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            changed = connection.execute(
                update(runs)
                .where(
                    runs.c.run_id == run_id,
                    runs.c.state.in_(RUN_ENDED),
                    runs.c.reported_at.is_(None),
                )
                .values(reported_at=now, wake_at=None)
            ).rowcount
            if changed:
                wake(connection, run_id, now)
                record(connection, self._db, "run_reported", run_id)
            return changed == 1


def send_again(connection: Connection, now: float, overdue: float) -> list[str]:
    """Return the ended runs of which nobody has told in time, and expect it anew.

    Args:
        connection: a transaction that writes.
        now: the ledger's time.
        overdue: seconds after which the message that is now sent counts as lost.
    """
    late = (
        select(runs.c.run_id)
        .where(runs.c.state.in_(RUN_ENDED), runs.c.wake_at <= now, runs.c.reported_at.is_(None))
        .order_by(runs.c.wake_at)
        .limit(BATCH)
    )
    sent = update(runs).where(runs.c.run_id.in_(late), runs.c.reported_at.is_(None))
    again = sent.values(wake_at=now + overdue).returning(runs.c.run_id)
    return sorted(connection.scalars(again))
