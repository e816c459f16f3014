"""The life of a run and of a chunk: every state with its meaning, and the groups that matter."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands."""

    PLANNED = "planned"  #: in the ledger; nobody has begun
    PLANNING = "planning"  #: the query is running, chunks are being spooled; nothing is sent
    SENDING = "sending"  #: everything is spooled; chunks go out
    PAUSED = "paused"  #: nothing new goes out until `resume`; jobs in flight are polled
    STOPPING = "stopping"  #: jobs in flight are polled to the end, the rest is cancelled
    SUCCEEDED = "succeeded"  #: every row delivered or rightly skipped
    FINISHED_WITH_FAILURES = "finished_with_failures"  #: some rows failed or are unconfirmed
    STOPPED = "stopped"  #: ended by a person before its end
    FAILED = "failed"  #: could not go on; see its error
    INCONSISTENT = "inconsistent"  #: the sums do not agree: a defect, never success


RUN_ENDED = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.FINISHED_WITH_FAILURES,
        RunState.STOPPED,
        RunState.FAILED,
        RunState.INCONSISTENT,
    }
)


class ChunkState(StrEnum):
    """Where a chunk stands."""

    PLANNED = "planned"  #: spooled, no message yet
    QUEUED = "queued"  #: a message is (or was) on its way to a worker
    CLAIMED = "claimed"  #: a worker holds it, nothing has left yet
    WAITING = "waiting"  #: given back; not before `not_before`
    SUBMITTING = "submitting"  #: committed before the POST leaves: it may have left
    POLLING = "polling"  #: Zendesk took it as `job_id`
    AMBIGUOUS = "ambiguous"  #: it may have arrived; settles, then goes again or is read back
    DONE = "done"  #: every row has its outcome
    SPLIT = "split"  #: refused as a whole; its halves are chunks of their own
    QUARANTINED = "quarantined"  #: workers died on it, or its payload changed; its rows failed
    CANCELLED = "cancelled"  #: the run was stopped first; its rows are skipped


CHUNK_ENDED = frozenset(
    {ChunkState.DONE, ChunkState.SPLIT, ChunkState.QUARANTINED, ChunkState.CANCELLED}
)
UNSUBMITTED = frozenset(
    {ChunkState.QUEUED, ChunkState.CLAIMED, ChunkState.WAITING, ChunkState.SUBMITTING}
)
"""What fills a run's window: enqueued and not yet with Zendesk."""

IN_FLIGHT = frozenset({ChunkState.SUBMITTING, ChunkState.POLLING, ChunkState.AMBIGUOUS})
"""What may hold one of the account's job slots."""

HELD_BACK = frozenset({ChunkState.WAITING, ChunkState.AMBIGUOUS})
"""What waits until `not_before`."""

MAY_BE_SENT = frozenset(
    {
        ChunkState.PLANNED,
        ChunkState.QUEUED,
        ChunkState.WAITING,
        ChunkState.CLAIMED,
        ChunkState.AMBIGUOUS,
    }
)
"""What a worker may yet send, and what `stop` keeps from it."""
