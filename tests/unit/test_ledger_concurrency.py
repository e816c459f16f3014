"""Many at once on each database: whatever they all want, one of them gets."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from world import TARGET

from worker.errors import Superseded
from worker.ledger import open_ledger
from worker.ledger.records import Limits
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind

MANY = 16


def at_once(act, number=MANY):
    """Call `act(0)`, `act(1)`, … in threads that begin together; returns what they return."""
    barrier = threading.Barrier(number)

    def start(one):
        barrier.wait()
        return act(one)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(start, range(number)))


@pytest.fixture
def processes(ledger, ledger_url, clock, times):
    """As many ledgers as processes would have: no connection and no lock of ours is shared."""
    opened = [open_ledger(ledger_url, times, clock) for _ in range(4)]
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def claimed(ledger, sending):
    """Return a function that makes a run of so many chunks, all claimed."""

    def make(number, **kwargs):
        sending(*[1] * number, **kwargs)
        ledger.chunks.admit("df-1", number)
        return [ledger.chunks.claim("df-1", seq, "w") for seq in range(1, number + 1)]

    return make


@pytest.fixture
def in_flight(ledger, claimed):
    """Return a function that makes a run of so many chunks whose jobs are due now."""

    def make(number):
        for claim in claimed(number, limits=Limits(100, 400, jobs_in_flight=number)):
            assert ledger.chunks.submitting(claim)
            ledger.chunks.accepted(claim, f"V3-{claim.seq}", 0.0, 0.0)

    return make


def test_a_chunk_is_claimed_by_one_of_many(ledger, processes, sending):
    sending(1)
    ledger.chunks.admit("df-1", 8)

    claims = at_once(lambda n: processes[n % 4].chunks.claim("df-1", 1, f"w{n}"))
    assert [claim.fence for claim in claims if claim] == [1]


def test_of_many_one_takes_the_last_job_slot(ledger, processes, claimed):
    claims = claimed(MANY, limits=Limits(100, 400, jobs_in_flight=3))

    taken = at_once(lambda n: processes[n % 4].chunks.submitting(claims[n]))
    assert sum(taken) == 3
    assert ledger.polling.jobs_in_flight(TARGET.account) == 3


def test_each_due_job_is_looked_at_by_one_poller(processes, in_flight, clock, times):
    in_flight(20)
    clock.advance(times.poll_batch)

    taken = at_once(lambda n: processes[n % 4].polling.take_due(TARGET.account))
    assert Counter(due.seq for dues in taken for due in dues) == Counter(range(1, 21))


def test_of_twenty_starts_with_one_key_in_several_processes_one_makes_a_run(processes, new_run):
    found = at_once(lambda n: processes[n % 4].runs.start(new_run(f"df-{n}", key="monday")), 20)

    assert sum(new for _, new in found) == 1
    assert len({run.run_id for run, _ in found}) == 1


def test_the_window_holds_however_many_fill_it(ledger, processes, sending):
    sending(*[1] * 40)

    admitted = at_once(lambda n: processes[n % 4].chunks.admit("df-1", 8))
    assert sorted(seq for some in admitted for seq in some) == list(range(1, 9))
    assert ledger.views.run("df-1").chunks[ChunkState.QUEUED] == 8


def test_a_chunk_ends_once(ledger, processes, in_flight):
    in_flight(1)

    def finish(n):
        try:
            processes[n % 4].outcomes.finish("df-1", 1, 1, [Outcome(1, OutcomeKind.CREATED)])
        except Superseded:
            return 0
        return 1

    assert sum(at_once(finish)) == 1
    assert ledger.views.run("df-1").rows.created == 1


def test_a_run_is_closed_once(ledger, processes, in_flight):
    in_flight(1)
    ledger.outcomes.finish("df-1", 1, 1, [Outcome(1, OutcomeKind.CREATED)])

    closed = at_once(lambda n: processes[n % 4].runs.close("df-1"))
    assert [state for state in closed if state] == [RunState.SUCCEEDED]
    assert [e.kind for e in ledger.views.events("df-1")].count("run_ended") == 1


def test_one_of_many_sweeps(processes):
    locks = at_once(lambda n: processes[n % 4].recovery.lock("sweeper", f"w{n}", 10.0))

    assert sum(locks) == 1


def test_sweeper_and_pollers_meet_on_the_same_jobs_without_harm(processes, in_flight, clock, times):
    in_flight(40)
    clock.advance(times.poll_batch + times.overdue)

    def meet(n):
        if n % 2:
            return [d.seq for d in processes[n % 4].polling.take_due(TARGET.account)]
        processes[n % 4].recovery.find_lost()
        return []

    taken = at_once(meet)
    # What the sweeper held just then the pollers passed over; the next look finds it.
    taken.append([due.seq for due in processes[0].polling.take_due(TARGET.account)])
    assert Counter(seq for some in taken for seq in some) == Counter(range(1, 41))


def test_many_processes_open_a_new_ledger_at_once(sqlite_url, times):
    opened = at_once(lambda n: open_ledger(sqlite_url, times))

    assert len({ledger.chunks._hash_key for ledger in opened}) == 1
    for ledger in opened:
        ledger.close()
