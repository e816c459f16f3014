"""The judge: reads only the ledger's rows, the limiter's stamps and what Zendesk really did."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from tests.simulation.ledgers import rows
from tests.simulation.ports import fenced_words

ENDED = ("done", "split", "quarantined", "cancelled")
RUN_ENDED = ("succeeded", "finished_with_failures", "stopped", "failed", "inconsistent")
MOVES = {
    "planned": {"queued", "cancelled", "done"},
    "queued": {"claimed", "cancelled", "done"},
    "claimed": {"submitting", "waiting", "queued", "quarantined", "cancelled", "done"},
    "waiting": {"claimed", "cancelled", "done"},
    "submitting": {"polling", "waiting", "ambiguous", "split", "done"},
    "polling": {"done", "ambiguous"},
    "ambiguous": {"claimed", "done"},
}
"""Where a chunk may go from each state; DESIGN's picture, written down a second time."""


QUIET = {
    "chunks.due_in",
    "chunks.free_job_slots",
    "chunks.last_waits",
    "outcomes.profiles",
    "polling.account",
    "polling.account_of",
    "polling.count_look",
    "polling.learn",
    "recovery.active_runs",
    "recovery.lock",
    "runs.get",
}
"""What changes no chunk and no outcome."""


PLANNING = "(SELECT run_id FROM runs WHERE state IN ('planned', 'planning'))"
"""What a planner has spooled is cleared by the next one, when the first has died."""


class Violation(AssertionError):
    """A guarantee does not hold."""


class Judge:
    """Watches every write, and judges the whole at the end.

    Args:
        connection: the ledger's, to look from aside.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._chunks: dict[tuple[str, int], dict[str, Any]] = {}
        self._outcomes: dict[tuple[str, int], dict[str, Any]] = {}
        self._runs: dict[str, str] = {}
        self.cap = 0
        self.watching = 0

    # --- at every write -------------------------------------------------------------------------

    def before(self, name: str, words: Any) -> list[tuple[str, int, dict[str, Any]]]:
        """Note what a caller who has been overtaken must not change."""
        stale = []
        for run_id, seq, fence in fenced_words(words):
            row = self._chunk(run_id, seq)
            if row is not None and row["fence"] != fence:
                stale.append((run_id, seq, row))
        return stale

    def after(self, name: str, stale: list[tuple[str, int, dict[str, Any]]]) -> None:
        """G5: a stale worker changed nothing, and nothing final changed; G6: jobs in flight."""
        for run_id, seq, row in stale:
            self._demand(self._chunk(run_id, seq) == row, f"G5: {name} of a stale worker wrote")
        if not name.startswith("planning.") and "plan" not in name and name not in QUIET:
            self._look()

    def _chunk(self, run_id: str, seq: int) -> dict[str, Any] | None:
        found = rows(
            self._connection, "SELECT * FROM chunks WHERE run_id = ? AND seq = ?", run_id, seq
        )
        return found[0] if found else None

    def _look(self) -> None:
        found = rows(
            self._connection,
            "SELECT run_id, seq, state, fence, attempt, rows, created, updated, results, job_id "
            "FROM chunks WHERE run_id NOT IN " + PLANNING,
        )
        now = {(row["run_id"], row["seq"]): row for row in found}
        for key, row in now.items():
            before = self._chunks.get(key)
            if before is not None and before != row:
                self._moved(key, before, row)
        for key in self._chunks:
            self._demand(key in now, f"G3: chunk {key} is gone")
        self._chunks = now
        self._look_at_outcomes()

    def _moved(self, key: Any, before: dict[str, Any], row: dict[str, Any]) -> None:
        was, state = before["state"], row["state"]
        self._demand(was not in ENDED, f"G5: chunk {key} had ended as {was} and changed: {row}")
        self._demand(row["fence"] >= before["fence"], f"G5: the fence of {key} went back")
        allowed = was == state or state in MOVES[was]
        self._demand(allowed, f"chunk {key} went from {was} to {state}")

    def _look_at_outcomes(self) -> None:
        found = rows(self._connection, "SELECT * FROM outcomes WHERE run_id NOT IN " + PLANNING)
        now = {(row["run_id"], row["row"]): row for row in found}
        for key, row in self._outcomes.items():
            self._demand(now.get(key) == row, f"G5: the outcome of {key} changed")
        self._outcomes = now
        for row in rows(self._connection, "SELECT run_id, state FROM runs"):
            was = self._runs.get(row["run_id"])
            same = was == row["state"] or was not in RUN_ENDED
            self._demand(same, f"G5: run {row['run_id']} had ended as {was}, is {row['state']}")
            self._runs[row["run_id"]] = row["state"]

    # --- at the end -----------------------------------------------------------------------------

    def judge(self, world: Any) -> None:
        """Every guarantee, over the whole history."""
        self._look()
        for run_id, plan in world.plans.items():
            self._accounted(world, run_id, plan)
        self._posts(world)
        self._people(world)
        self._tags(world)
        self._rate(world)
        self._digests(world)

    def _accounted(self, world: Any, run_id: str, plan: Any) -> None:
        """G1: each row exactly one outcome, and the sums say so."""
        view = world.ledger.views.run(run_id)
        run, sums = view.run, view.rows
        self._demand(run.state != "inconsistent", f"G1: {run_id} is inconsistent: {sums}")
        self._demand(sums.agree and sums.pending == 0, f"G1: the sums of {run_id}: {sums}")
        if not run.spool_complete:
            return
        found = Counter(row for row, _, _ in world.ledger.views.delivered(run_id))
        found.update(row.row for row in world.ledger.views.not_delivered(run_id))
        expected = Counter(plan.rows())
        self._demand(
            self._as_planned(found, expected), f"G1: {run_id}: outcomes {found} of rows {expected}"
        )
        total = sum(expected.values()) + plan.unchanged
        self._demand(sums.read == total, f"G1: {run_id} read {sums.read} of {total}")
        delivered = list(world.ledger.views.delivered(run_id))
        for row, kind, _ in delivered:
            truth = world.zendesk.truth[f"{plan.parent or run_id}/{row}"]
            self._demand(truth.applied > 0, f"invented: {run_id}/{row} was never applied")
            if kind == "created":
                self._demand(truth.created > 0, f"invented: {run_id}/{row} was not created")
        self._failures(world, run_id, plan.parent)
        ended = [e for e in world.ledger.views.events(run_id) if e.kind == "run_ended"]
        self._demand(len(ended) == 1, f"{run_id} ended {len(ended)} times")
        told = [e for e in world.ledger.views.events(run_id) if e.kind == "run_reported"]
        self._demand(len(told) == 1, f"the report of {run_id} was taken {len(told)} times")
        times = world.told.count(run_id)  # none if the worker died, having taken it
        self._demand(times <= 1, f"the end of {run_id} was told {times} times")
        self._demand(run_id in world.alerted, f"nobody was alerted of the end of {run_id}")
        sent = world.ledger.views.events(run_id, "alert_sent")
        ends = sum(e.data["alert"] == "ended" for e in sent)
        self._demand(ends == 1, f"the alert of the end of {run_id} is marked {ends} times")
        self._kept(run_id)

    @staticmethod
    def _as_planned(found: Counter[int], expected: Counter[int]) -> bool:
        """Rows of a spoiled payload have no number any more; they are below zero, and as many."""
        unknown = {row for row in found if row < 0}
        numbered = Counter({row: n for row, n in found.items() if row >= 0})
        lost = expected - numbered
        return not numbered - expected and lost.total() == len(unknown)

    def _failures(self, world: Any, run_id: str, parent: str | None) -> None:
        retried = parent is not None or f"{run_id}-r" in world.plans
        for row in world.ledger.views.not_delivered(run_id):
            truth = world.zendesk.truth[f"{parent or run_id}/{row.row}"]
            if row.code == "rejected_by_zendesk":
                said = truth.failed + truth.refused > 0
                self._demand(said, f"invented: {run_id}/{row.row} was never rejected")
            if row.code == "cancelled" and not retried:
                self._demand(
                    truth.applied == 0, f"invented: {run_id}/{row.row} was applied, not cancelled"
                )

    def _kept(self, run_id: str) -> None:
        """Nobody who was delivered stays in the ledger."""
        waiting = rows(
            self._connection,
            "SELECT seq FROM payloads WHERE run_id = ? AND expires_at IS NULL",
            run_id,
        )
        self._demand(not waiting, f"{run_id}: payloads of {waiting} are kept for ever")

    def _posts(self, world: Any) -> None:
        """G2: never more POSTs of a chunk than attempts; exactly one without faults."""
        posts = Counter((run_id, seq) for _, run_id, seq, _ in world.zendesk.posts)
        fenced = Counter((r, s, f) for _, r, s, f in world.zendesk.posts)
        self._demand(max(fenced.values(), default=0) <= 1, f"G2: twice under one fence: {fenced}")
        for key, row in self._chunks.items():
            self._demand(posts[key] <= row["attempt"], f"G2: {posts[key]} POSTs of {row}")
            if world.dice.calm and row["state"] == "done":
                self._demand(posts[key] == 1, f"G2: {posts[key]} POSTs of {key} without faults")

    def _people(self, world: Any) -> None:
        """G2 and G4: one user per key, and nobody without one."""
        for name in ("external_id", "email"):
            keys = Counter(str(user[name]).lower() for user in world.zendesk.users if name in user)
            self._demand(max(keys.values(), default=0) <= 1, f"G2: users made twice: {keys}")
        for user in world.zendesk.users:
            self._demand("external_id" in user or "email" in user, "G4: a user without a key")

    def _tags(self, world: Any) -> None:
        """With `tags: add` nobody loses a tag, and whoever was sent one has it."""
        shown = {user["notes"]: user for user in world.zendesk.users if "notes" in user}
        for run_id, plan in world.plans.items():
            if plan.options.get("adds_tags") and plan.parent is None:
                for profile in (p for chunk in plan.chunks for p in chunk):
                    name = f"{run_id}/{profile.row}"
                    if name in shown:
                        due = {*world.had_tags.get(name, ()), *profile.user.get("tags", ())}
                        lost = due - set(shown[name].get("tags", ()))
                        self._demand(not lost, f"tags: {name} has lost {lost}")

    def _rate(self, world: Any) -> None:
        """G6: no rolling window holds more than the budget, by the stamps in Redis' time.

        Where Redis has forgotten the minute, only an answer tells what is left of it: the probe
        that asks is a request of which nobody can know beforehand whether it still fits.
        """
        limits = world.limits
        stamps = sorted(world.zendesk.stamps)
        for at, users, _ in stamps:
            second = sum(u for t, u, _ in stamps if at - 1_000_000 <= t <= at)
            minute = sum(not asks for t, _, asks in stamps if at - 60_000_000 <= t <= at)
            self._demand(
                not users or second <= limits.users_per_second, f"G6: {second} users in a second"
            )
            self._demand(
                minute <= limits.requests_per_minute, f"G6: {minute} requests in a minute at {at}"
            )
        self._demand(
            world.most_jobs <= limits.jobs_in_flight, f"G6: {world.most_jobs} jobs in flight"
        )

    def _digests(self, world: Any) -> None:
        """What the ledger believes Zendesk to have was really sent and applied."""
        known = rows(self._connection, "SELECT digest FROM delivered")
        applied = {
            world.digests[name]
            for name, truth in world.zendesk.truth.items()
            if truth.applied and name in world.digests
        }
        for row in known:
            self._demand(row["digest"] in applied, "invented: a digest of what was never applied")

    def _demand(self, holds: bool, what: str) -> None:
        if not holds:
            raise Violation(what)
