"""The one table of times, in seconds: what waits for what, and for how long.

The numbers hold each other up (a lease must outlive the request it covers, a countdown must end
before the broker believes its message lost), so they live in one frozen value that is checked as
a whole at start-up and scaled as a whole by tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from worker.errors import UsageError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def time_span(text: str) -> float | None:
    """Return the seconds of a time span such as 30m, 2h or 1d; None if it is none."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text, re.ASCII)
    return None if match is None else int(match[1]) * UNITS[match[2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Durations in seconds; the defaults are for production."""

    post_deadline: float = 20.0  #: a request to Zendesk ends by then, whatever drips in
    lease: float = 35.0  #: a claim, or `submitting`, belongs to its worker this long
    sweep: float = 10.0  #: the sweeper looks this often
    slept_slot: float = 2.0  #: a booked slot up to this far away is slept in the task
    settle: float = 20.0  #: at least this long before an unclear POST is repeated
    longest_countdown: float = 30.0  #: no Celery message waits longer than this
    overdue: float = 15.0  #: a message, wait or poll this late counts as lost
    unreachable: float = 5.0  #: an account rests this long when Zendesk or Redis is not reached
    visibility: float = 300.0  #: the broker redelivers an unacknowledged message after this
    grace: float = 30.0  #: from SIGTERM to the worker's end
    heartbeat: float = 3.0  #: a worker says in the ledger that it lives this often
    worker_dead: float = 9.0  #: a worker silent for this long is not counted as living
    probe: float = 10.0  #: a worker sends itself a message this often
    stalled: float = 60.0  #: a worker that took no message for this long starts anew
    poll_lease: float = 25.0  #: the jobs a poller asks about are its own this long
    poll_batch: float = 4.0  #: how long a poll may wait for more chunks to be asked about with it
    poll_again: float = 1.5  #: first pause after a look that found the job still running
    poll_longest: float = 30.0  #: longest pause between two looks
    job_guess: float = 10.0  #: a full chunk's job before the first: recorded ones took 8 to 12 s
    job_deadline: float = 1800.0  #: a job that has not ended by then counts as lost
    alert_pause: float = 30.0  #: first pause after an alert that could not be sent

    def scaled(self, factor: float) -> Times:
        """Return the same table with every duration multiplied, for tests that cannot wait."""
        return Times(**{f.name: getattr(self, f.name) * factor for f in fields(self)})

    def check(self) -> None:
        """Raise `UsageError` naming the two durations that contradict each other, if any do."""
        rules = (
            ("post_deadline", "lease", 1.5),  # a request must end well inside its claim
            ("unreachable", "longest_countdown", 1.0),  # whoever waits for it keeps his message
            ("longest_countdown", "visibility", 4.0),  # else the broker delivers it twice
            ("lease", "visibility", 4.0),
            ("slept_slot", "lease", 4.0),
            ("post_deadline", "poll_lease", 1.2),
            ("poll_longest", "visibility", 4.0),
            ("heartbeat", "worker_dead", 2.0),
            ("probe", "stalled", 3.0),  # several probes must be lost before a worker is given up
            ("post_deadline", "grace", 1.25),  # what is being sent ends before the worker must
            ("slept_slot", "grace", 4.0),
            ("sweep", "overdue", 1.0),  # a sweep finds what is late, not what is under way
        )
        for shorter, longer, ratio in rules:
            if getattr(self, shorter) * ratio > getattr(self, longer):
                raise UsageError(
                    f"times: {longer} ({getattr(self, longer):g} s) must be at least {ratio:g} x "
                    f"{shorter} ({getattr(self, shorter):g} s)"
                )
