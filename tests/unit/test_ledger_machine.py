"""The ledger as a state machine: random transitions, and after each one G1 and G5 hold.

The rules call the transitions in any order, also with claims that are long over, as a worker does
that was frozen. A transition either happens or raises `Superseded` and changes nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import postgres
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, select
from world import LIMITS, TARGET, Clock, profiles

from worker.errors import Superseded
from worker.ledger import open_ledger
from worker.ledger.records import NewRun
from worker.ledger.schema import chunks, outcomes, runs
from worker.ledger.states import CHUNK_ENDED, RUN_ENDED, ChunkState, RunState
from worker.profile import Outcome, OutcomeKind, RejectedRow
from worker.times import Times

RUN = "df-1"
KINDS = (OutcomeKind.CREATED, OutcomeKind.UPDATED, OutcomeKind.FAILED, OutcomeKind.UNCONFIRMED)


class LedgerMachine(RuleBasedStateMachine):
    """One run; claims and polls are kept by the test as long as it likes, stale ones too."""

    def open(self, clock):
        """Return an empty ledger; a subclass opens another database."""
        self.folder = tempfile.TemporaryDirectory()
        return open_ledger(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}", Times(), clock)

    def advance(self, seconds):
        """Let the ledger's clock move."""
        self.clock.advance(seconds)

    @initialize(
        sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
        rejected=st.integers(0, 2),
        unchanged=st.integers(0, 2),
        jobs=st.sampled_from([1, 3]),
    )
    def start_and_plan(self, sizes, rejected, unchanged, jobs):
        self.clock = Clock()
        self.ledger = self.open(self.clock)
        limits = LIMITS.at_most("jobs_in_flight", jobs)
        self.ledger.runs.start(NewRun(RUN, "loyalty", RUN, TARGET, limits, {}, "tester"))
        run = self.ledger.runs.claim_plan(RUN)
        row = 1
        for seq, size in enumerate(sizes, start=1):
            self.ledger.planning.add_chunks(run, seq, [profiles(row, size)])
            row += size
        refused = [
            RejectedRow(row + n, OutcomeKind.FAILED, "missing_key", "no key")
            for n in range(rejected)
        ]
        if refused:
            self.ledger.planning.add_rejected(run, 1, refused)
        self.ledger.planning.complete(run, unchanged)
        self.read = sum(sizes) + rejected + unchanged
        self.jobs, self.claims, self.dues, self.accepted = jobs, [], [], 0
        self.before = self.snapshot()

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()

    # --- what workers do ------------------------------------------------------------------------

    @rule(window=st.integers(1, 4))
    def admit(self, window):
        self.ledger.chunks.admit(RUN, window)

    @rule(data=st.data())
    def claim(self, data):
        seq = data.draw(st.sampled_from(sorted(self.snapshot()[0])))
        claim = self.ledger.chunks.claim(RUN, seq, "w")
        if claim is not None:
            self.claims.append(claim)

    def try_with(self, word, act):
        """A transition of a claim or poll: it fits, or it is fenced and changes nothing."""
        before = self.snapshot()
        try:
            act(word)
        except Superseded:
            assert self.snapshot() == before
        else:
            held = before[0][word.seq]
            assert held["fence"] == word.fence, "a stale worker was let in"

    def any_claim(self, data):
        return data.draw(st.sampled_from(self.claims))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 5.0, 600.0]), message=st.booleans())
    def wait(self, data, seconds, message):
        self.try_with(
            self.any_claim(data),
            lambda claim: self.ledger.chunks.wait(claim, seconds, "users", message=message),
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def submitting(self, data):
        claim = self.any_claim(data)
        free = self.ledger.chunks.free_job_slots(TARGET.account)
        self.try_with(claim, lambda c: self.take_slot(c, free))

    def take_slot(self, claim, free):
        if not self.ledger.chunks.submitting(claim):
            assert free <= 0
            # Nothing was written, so it is no matter whose claim it was.
            raise Superseded("no slot")

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def accept(self, data):
        self.accepted += 1
        job_id = f"V3-{self.accepted}"
        self.try_with(
            self.any_claim(data), lambda c: self.ledger.chunks.accepted(c, job_id, 5.0, 0.0)
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), sent=st.booleans())
    def unsubmit(self, data, sent):
        self.try_with(
            self.any_claim(data),
            lambda c: self.ledger.chunks.unsubmit(c, 1.0, "rate_limited", sent=sent),
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def unclear(self, data):
        self.try_with(
            self.any_claim(data), lambda c: self.ledger.chunks.unclear(c, 20.0, "unclear_answer")
        )

    @precondition(lambda self: any(len(claim.profiles) > 1 for claim in self.claims))
    @rule(data=st.data())
    def split(self, data):
        claim = data.draw(st.sampled_from([c for c in self.claims if len(c.profiles) > 1]))
        self.try_with(claim, self.ledger.chunks.split)

    @rule()
    def take_due(self):
        self.dues += self.ledger.polling.take_due(TARGET.account)

    @precondition(lambda self: self.dues)
    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def finish(self, data, kind):
        self.try_with(data.draw(st.sampled_from(self.dues)), lambda due: self.end(due, kind))

    def end(self, due, kind):
        rows = self.ledger.outcomes.profiles(RUN, due.seq)
        found = [Outcome(profile.row, kind) for profile in rows]
        self.ledger.outcomes.finish(RUN, due.seq, due.fence, found)

    @precondition(lambda self: self.dues)
    @rule(data=st.data())
    def look_again(self, data):
        due = data.draw(st.sampled_from(self.dues))
        self.try_with(due, lambda d: self.ledger.polling.look_again(d, 2.0))

    @precondition(lambda self: self.dues)
    @rule(data=st.data())
    def lose(self, data):
        due = data.draw(st.sampled_from(self.dues))
        self.try_with(due, lambda d: self.ledger.polling.lost(d, 20.0, "job_lost", message=True))

    # --- what time, sweepers and people do --------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 16.0, 36.0, 700.0]))
    def tick(self, seconds):
        self.advance(seconds)

    @rule()
    def sweep(self):
        self.ledger.recovery.release_expired()
        self.ledger.recovery.find_lost()

    @rule()
    def pause(self):
        self.ledger.runs.pause(RUN)

    @rule()
    def resume(self):
        self.ledger.runs.resume(RUN)

    @precondition(lambda self: self.accepted)
    @rule()
    def stop(self):
        self.ledger.runs.stop(RUN)

    @rule()
    def cancel(self):
        self.ledger.outcomes.cancel_some(RUN)

    @rule()
    def close(self):
        ended = self.ledger.runs.close(RUN)
        if ended is not None:
            assert ended != RunState.INCONSISTENT
            assert self.ledger.views.run(RUN).rows.pending == 0

    # --- what holds after each --------------------------------------------------------------------

    COLUMNS: ClassVar = ("seq", "state", "fence", "attempt", "spent", "rows", "job_id", "results")

    def snapshot(self):
        """Chunks by number, outcomes by row, and the run's state."""
        with self.ledger.database.read() as connection:
            held = {
                row["seq"]: {name: row[name] for name in self.COLUMNS}
                for row in connection.execute(select(chunks)).mappings()
            }
            ended = {r["row"]: dict(r) for r in connection.execute(select(outcomes)).mappings()}
            return held, ended, connection.scalar(select(runs.c.state))

    @invariant()
    def every_row_has_one_outcome_or_is_pending(self):
        if not hasattr(self, "before"):
            return
        view = self.ledger.views.run(RUN)
        assert view.rows.read == self.read
        assert view.rows.agree, view.rows
        rows = [row for row, _, _ in self.ledger.views.delivered(RUN)]
        rows += [row.row for row in self.ledger.views.not_delivered(RUN)]
        assert len(rows) == len(set(rows))
        assert len(rows) == self.read - view.rows.pending - view.run.unchanged

    @invariant()
    def what_has_ended_stays_as_it_is_and_fences_only_grow(self):
        if not hasattr(self, "before"):
            return
        now, before = self.snapshot(), self.before
        for seq, was in before[0].items():
            assert now[0][seq]["fence"] >= was["fence"]
            if ChunkState(was["state"]) in CHUNK_ENDED:
                assert now[0][seq] == was
        assert before[1].items() <= now[1].items()
        assert before[2] not in RUN_ENDED or now[2] == before[2]
        self.before = now

    @invariant()
    def no_more_jobs_than_allowed(self):
        if hasattr(self, "before"):
            assert self.ledger.polling.jobs_in_flight(TARGET.account) <= self.jobs


HISTORIES = settings(
    max_examples=18,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_random_histories_keep_every_promise(backend, request):
    if backend == "sqlite":
        run_state_machine_as_test(LedgerMachine, settings=HISTORIES)
        return
    url = request.getfixturevalue("postgres_url")
    cleaner = create_engine(url, pool_pre_ping=True)

    class OnPostgres(LedgerMachine):
        def open(self, clock):
            with cleaner.begin() as connection:
                postgres.empty(connection)
            return open_ledger(url, Times(), clock)

    try:
        run_state_machine_as_test(OnPostgres, settings=HISTORIES)
    finally:
        with cleaner.begin() as connection:
            postgres.empty(connection)
        cleaner.dispose()
