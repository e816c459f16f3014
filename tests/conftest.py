"""Fixtures for all tests: a ledger of one's own, a run ready to send."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from world import LIMITS, TARGET, Clock, profiles

from worker.ledger import open_ledger
from worker.ledger.records import NewRun
from worker.times import Times


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def ledger(tmp_path, clock, times):
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", times, clock)
    yield opened
    opened.close()


@pytest.fixture
def new_run():
    def make(
        run_id="df-1",
        orchestration="loyalty",
        key=None,
        target=TARGET,
        limits=LIMITS,
        options=MappingProxyType({}),
    ):
        return NewRun(run_id, orchestration, key or run_id, target, limits, options, "tester")

    return make


@pytest.fixture
def sending(ledger, new_run):
    """Return a function that records a run with chunks of the given sizes, ready to send."""

    def make(*sizes: int, run_id: str = "df-1", orchestration: str = "loyalty", **kwargs):
        ledger.runs.start(new_run(run_id, orchestration, **kwargs))
        run = ledger.runs.claim_plan(run_id)
        row = 1
        for seq, size in enumerate(sizes, start=1):
            ledger.planning.add_chunks(run, seq, [profiles(row, size)])
            row += size
        ledger.planning.complete(run)
        return ledger.runs.get(run_id)

    return make
