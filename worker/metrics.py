"""What a worker counts, under Prometheus' names; docs/metrics.md tells each one.

Counters and histograms are this process' own: Prometheus adds them up over the workers. What all
workers share (the use of a budget, jobs in flight) is read from the ledger and from Redis when
somebody asks (`worker.exposition`). Labels are accounts, reasons and kinds, never people.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# Else each series had a second one, of when it began, that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
"""Ours alone: a page of it shows nothing that other libraries registered."""

PERMITS_GRANTED = Counter(
    "deskfeed_permits_granted",
    "Permits under which a request was sent.",
    ("account", "kind"),
    registry=REGISTRY,
)
USERS_GRANTED = Counter(
    "deskfeed_permit_users_granted",
    "Users in the requests that were sent.",
    ("account",),
    registry=REGISTRY,
)
PERMITS_DENIED = Counter(
    "deskfeed_permits_denied",
    "Callers that were told to come back later, by what stood in the way.",
    ("account", "why"),
    registry=REGISTRY,
)
PERMITS_VOIDED = Counter(
    "deskfeed_permits_voided",
    "Booked permits that no longer held when their slot came.",
    ("account", "why"),
    registry=REGISTRY,
)
PERMIT_WAIT = Histogram(
    "deskfeed_permit_wait_seconds",
    "From booking a slot to sending in it.",
    ("account",),
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0),
    registry=REGISTRY,
)
PERMIT_LATENESS = Histogram(
    "deskfeed_permit_lateness_seconds",
    "How long after its slot a permit was used.",
    ("account",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0),
    registry=REGISTRY,
)
THROTTLED = Counter(
    "deskfeed_zendesk_throttled",
    "Answers of Zendesk that ask to wait: for the account, for one chunk, or for a free job.",
    ("account", "scope"),
    registry=REGISTRY,
)
PAUSES = Counter(
    "deskfeed_account_pauses",
    "Times at which this worker stopped an account for all.",
    ("account", "reason"),
    registry=REGISTRY,
)
PAUSE_SECONDS = Counter(
    "deskfeed_account_pause_seconds",
    "For how long this worker stopped accounts.",
    ("account", "reason"),
    registry=REGISTRY,
)
COLD_STARTS = Counter(
    "deskfeed_limiter_cold_starts",
    "Times at which this worker found that Redis had lost its memory of an account.",
    ("account",),
    registry=REGISTRY,
)

ALERTS_SENT = Counter(
    "deskfeed_alerts_sent",
    "Alerts that a channel took.",
    ("channel",),
    registry=REGISTRY,
)
ALERTS_FAILED = Counter(
    "deskfeed_alerts_failed",
    "Attempts to send an alert that a channel did not take.",
    ("channel", "why"),
    registry=REGISTRY,
)


def note_pause(account: str, reason: str, seconds: float) -> None:
    """Count a pause of an account."""
    PAUSES.labels(account, reason).inc()
    PAUSE_SECONDS.labels(account, reason).inc(max(0.0, seconds))


def note_cold_start(account: str) -> None:
    """Count a cold start of an account's limiter."""
    COLD_STARTS.labels(account).inc()
