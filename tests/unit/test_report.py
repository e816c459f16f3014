"""What people are told of a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrations import report
from worker.explanations import EXPLANATIONS
from worker.ledger.records import Event
from worker.ledger.states import RUN_ENDED, ChunkState
from worker.profile import Outcome, OutcomeKind


def test_every_way_a_run_ends_has_an_exit_code():
    assert set(report.EXIT_CODES) == RUN_ENDED


def test_every_state_of_a_chunk_is_shown_but_split():
    assert set(report._BUCKETS) == set(ChunkState) - {ChunkState.SPLIT}


def test_show_has_the_promised_shape(ledger, sending):
    sending(2, 1)
    ledger.chunks.admit("df-1", 1)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, "V3-1", 1.0, 0.0)
    ledger.outcomes.finish(
        "df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED), Outcome(2, OutcomeKind.UPDATED)]
    )

    shown = report.run_as_json(ledger.views.run("df-1"))

    assert shown == {
        "ok": True,
        "run_id": "df-1",
        "orchestration": "loyalty",
        "destination": "socktown",
        "state": "sending",
        "parent_run": None,
        "retries": [],
        "origin": "manual",
        "key": "df-1",
        "rows": {
            "read": 3, "created": 1, "updated": 1, "failed": 0, "skipped": 0, "unconfirmed": 0,
            "pending": 1,
        },
        "params": [],
        "unchanged": 0,
        "warnings": [],
        "chunks": {
            "total": 2, "planned": 1, "waiting": 0, "sending": 0, "polling": 0, "done": 1,
            "quarantined": 0, "cancelled": 0,
        },
        "posts": 1,
        "polls": 0,
        "started_at": "2027-01-15T08:00:00.000Z",
        "ended_at": None,
        "error": None,
    }  # fmt: skip


def stamps(*pairs):
    return [Event(0.0, "chunk_submitted", 1, {"stamp": at, "users": n}) for at, n in pairs]


@pytest.mark.parametrize(
    ("events", "peak"),
    [
        ([], 0),
        (stamps((0.0, 100)), 100),
        (stamps((0.0, 100), (1.0, 100)), 200),
        (stamps((0.0, 100), (1.000002, 100)), 100),
        (stamps((0.0, 40), (0.5, 40), (1.2, 40), (1.4, 30)), 110),
    ],
)
def test_the_peak_is_that_of_any_closed_rolling_second(events, peak):
    assert report.peak_users_per_second(events) == peak


def test_every_error_code_has_a_title_and_a_resolution():
    for code, explanation in EXPLANATIONS.items():
        assert explanation.title, code
        assert explanation.resolution.endswith(
            (".", "NAME", "RUN", "ORCHESTRATION", "check", "list", "runs", "last")
        ), code


def test_why_a_run_is_paused_is_told_with_commands_to_type_as_they_stand():
    run = SimpleNamespace(
        run_id="df-1",
        orchestration="loyalty",
        target=SimpleNamespace(destination="socktown"),
        error={
            "code": "bulk_import_disabled",
            "message": "403",
            "resolution": EXPLANATIONS["bulk_import_disabled"].resolution + " NAME",
        },
    )
    told = report.error_of(run)
    assert told["title"] == EXPLANATIONS["bulk_import_disabled"].title
    assert told["resolution"].endswith("then: deskfeed resume df-1 socktown")
    run.error = None
    assert report.error_of(run) is None
