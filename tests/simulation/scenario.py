"""One seed: a world is made, shaken for a while, left in peace, and judged."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from tests.simulation.broker import Broker
from tests.simulation.dice import Dice
from tests.simulation.judge import RUN_ENDED, Judge
from tests.simulation.ledgers import fresh_ledger, rows
from tests.simulation.loop import Loop
from tests.simulation.process import Process
from tests.simulation.small_redis import SmallRedis
from tests.simulation.tally import Say
from tests.simulation.zendesk import Zendesk
from worker.digests import digest, sent_digest
from worker.errors import RunError
from worker.hints import Plan
from worker.ledger.records import Limits, NewRun, Target
from worker.limiter import Go, Limiter
from worker.profile import OutcomeKind, Profile, RejectedRow
from worker.times import Times

ACCOUNT = "socktown.zendesk.com"
TARGET = Target("socktown", ACCOUNT, f"https://{ACCOUNT}", "socktown")
TIMES = replace(Times(), job_deadline=150.0)
"""The production table, but for half an hour's patience with a job that does not move."""

PATIENCE_S = 4000.0
"""Once the faults are over, every run ends within this time: five settlings and five leases of
chunks that come one after the other, and the longest pauses."""


@dataclass
class Rows:
    """The rows of one run."""

    chunks: list[list[Profile]]
    parent: str | None = None
    rejected: list[RejectedRow] = field(default_factory=list)
    unchanged: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[int]:
        """The numbers of all that need an outcome of their own; a retry's are its parent's."""
        sent = [profile.row for chunk in self.chunks for profile in chunk]
        return sent + [row.row for row in self.rejected]


class CountedLimiter:
    """The real limiter; the stamp that a fiber was given is left with it, until it sends."""

    def __init__(self, world: World, limiter: Limiter) -> None:
        self._world = world
        self._limiter = limiter
        self._users: dict[str, int] = {}
        self.pause = limiter.pause
        self.cancel = limiter.cancel
        self.observe = limiter.observe

    def reserve(self, account: str, permit: str, *, users: int, **rest: Any) -> Any:
        """As the limiter's."""
        self._users[permit] = users
        return self._limiter.reserve(account, permit, users=users, **rest)

    def confirm(self, account: str, permit: str, **rest: Any) -> Any:
        """As the limiter's."""
        answer = self._limiter.confirm(account, permit, **rest)
        if isinstance(answer, Go):
            lost = answer.probe and self._world.loop.now < self._world.memory_lost + 61
            self._world.loop.current.stamp = (answer.stamp_us, self._users[permit], lost)
        return answer


class World:
    """Everything of one seed.

    Args:
        seed: which.
        write: takes the lines of the trace.
    """

    def __init__(self, seed: int, write: Callable[[str], None] | None = None) -> None:
        random.seed(seed)  # the jitter of the code under test
        self.dice = Dice(seed)
        self.loop = Loop()
        self.say = Say(lambda: self.loop.now - self.loop.start, write)
        self.times = TIMES
        self.ledger, self.connection = fresh_ledger(TIMES, self.loop.clock)
        self.judge = Judge(self.connection)
        skew = self.dice.rng.choice((0.0, 0.0, 300.0, -300.0))
        self.redis = SmallRedis(lambda: self.loop.now + skew)
        self.most_jobs = 0
        self.memory_lost = self.loop.now  # when Redis last forgot what was sent
        self.plans: dict[str, Rows] = {}
        self.digests: dict[str, bytes] = {}
        self.had_tags: dict[str, set[str]] = {}  # by name of the row: before anything was sent
        self.told: list[str] = []  # runs of whose end a worker has told
        self.alerted: list[str] = []  # runs of whose end a channel took an alert
        self.retried = False
        self.poison: tuple[str, int] | None = None
        self.window = self.dice.rng.choice((1, 2, 8))
        self.processes: list[Process] = []
        self.born = 0
        self.limits = self._limits()
        self.zendesk = Zendesk(
            self.loop, self.dice, self.say, limit=self.limits.requests_per_minute
        )
        self.limiter = CountedLimiter(
            self,
            Limiter(
                self.redis,  # type: ignore[arg-type]
                probe_s=25.0,
                on_cold_start=lambda _account: self.say.count("cold start"),
            ),
        )
        self.broker = Broker(self)

    def _limits(self) -> Limits:
        pick = self.dice.rng.choice
        return Limits(pick((20, 30, 100)), pick((12, 30, 400)), pick((1, 2, 20)))

    # --- what there is to do --------------------------------------------------------------------

    def begin(self) -> None:
        """Start runs and workers, and plan what will happen to them."""
        if self.dice.chance(0.2):  # else the limiter finds itself in order
            self.say.count("cold at first")
        else:
            gate = f"deskfeed:{{{ACCOUNT}}}:gate"
            self.redis.hset(gate, "server", self.redis.info("server")["run_id"])
        for number in range(1, self.dice.rng.choice((1, 1, 1, 2)) + 1):
            self._add_run(f"df-{number}")
        for _ in range(self.dice.rng.choice((1, 2, 3))):
            self.add_process()
        self.chaos_s = 300.0 if self.dice.haunted else self.dice.between(20, 80)
        self.loop.call_in(self.chaos_s, self._peace)
        self._plan_happenings()

    def _add_run(self, run_id: str) -> None:
        sizes = [self.dice.rng.choice((1, 2, 3, 4)) for _ in range(self.dice.rng.randint(1, 3))]
        options = {"adds_tags": True} if self.dice.rng.random() < 0.25 else {}
        row, chunks = 1, []
        for size in sizes:
            make = self._tagged if options else self._profile
            chunks.append([make(run_id, row + n) for n in range(size)])
            row += size
        plan = Rows(chunks, options=options)
        if self.dice.rng.random() < 0.3:
            words = (OutcomeKind.FAILED, "missing_key", "there is neither external_id nor email")
            plan.rejected.append(RejectedRow(row, *words))
            plan.unchanged = self.dice.rng.randint(0, 3)
        self.plans[run_id] = plan
        if self.dice.chance(0.03):
            self.poison = (run_id, self.dice.rng.randint(1, len(sizes)))
            self.say.fault("poisoned chunk")
        new = NewRun(run_id, f"o-{run_id}", run_id, TARGET, self.limits, options, "operator")
        self.loop.call_in(self.dice.between(0, 3), lambda: self._start(new))

    def _start(self, new: NewRun) -> None:
        self.ledger.runs.start(new)
        self.broker.put(Plan(new.run_id))

    def _profile(self, run_id: str, row: int) -> Profile:
        name = f"{run_id}/{row}"
        user = {"name": f"Person {row}", "notes": name}
        kind = self.dice.rng.random()
        if kind < 0.9:
            user["external_id"] = f"C-{run_id}-{row}"
        if kind > 0.5:
            user["email"] = f"{run_id}.{row}@example.com"
        if self.dice.chance(0.04):
            self.zendesk.bad.add(name)
            self.say.count("fault: row refused by Zendesk")
        if self.dice.chance(0.02):
            self.zendesk.refusing.add(name)
            self.say.count("fault: refusing row")
        if self.dice.rng.random() < 0.2:  # somebody whom Zendesk already knows
            known = {k: user[k] for k in ("external_id", "email") if k in user}
            self.zendesk.users.append(
                {"id": 7_000_000 + row, "created_at": "2020-01-01T00:00:00Z", **known}
            )
        self.digests[name] = digest(user)
        return Profile(row, user)

    def _tagged(self, run_id: str, row: int) -> Profile:
        """A row of a run that adds tags: it has an external_id, and whom it means may have some."""
        name, email = f"{run_id}/{row}", f"{run_id}.{row}@example.com"
        user: dict[str, Any] = {"name": f"Person {row}", "notes": name, "email": email}
        user["external_id"] = f"C-{run_id}-{row}"
        if self.dice.rng.random() < 0.8:
            user["tags"] = ["vip", f"row-{row}"]
        if self.dice.rng.random() < 0.5:
            key = self.dice.rng.choice(("external_id", "email"))
            old = {"id": 8_000_000 + row, "created_at": "2020-01-01T00:00:00Z", key: user[key]}
            self.zendesk.users.append({**old, "tags": ["old", f"was-{name}"]})
            self.had_tags[name] = {"old", f"was-{name}"}
        self.digests[name] = sent_digest(user, adds_tags=True)
        return Profile(row, user)

    # --- workers --------------------------------------------------------------------------------

    def add_process(self) -> None:
        """A supervisor starts a worker."""
        self.born += 1
        slots = self.dice.rng.choice((1, 2, 4))
        self.processes.append(Process(self, f"w{self.born}", slots))
        self.broker.look()

    def taken(self, process: Process, chunk: tuple[str, int]) -> None:
        """A worker has got on with a chunk; one that is frozen with it thaws, or sleeps on."""
        for other in self.processes:
            if other is not process and self.dice.rng.random() < 0.4:
                other.thaw(chunk)
        if not self.dice.over and self.dice.rates["freeze"] and self.dice.rng.random() < 0.5:
            self.loop.sleep(self.dice.between(0, 0.2))

    def died(self, process: Process) -> None:
        """A worker is dead; its supervisor starts another one."""
        self.processes.remove(process)

        def replace_it() -> None:
            self.say.fault("worker replaced")
            self.add_process()

        self.loop.call_in(self.dice.between(1, 15), replace_it)

    # --- what happens to them ---------------------------------------------------------------------

    def _plan_happenings(self) -> None:
        happenings = (
            (0.2, "redis flushed", self._flush),
            (0.15, "redis restarted", self._restart),
            (0.15, "redis away", self._redis_away),
            (0.1, "credential broken", self._break_credential),
            (0.3, "operator paused", lambda: self._operate("pause")),
            (0.3, "operator resumed", lambda: self._operate("resume")),
            (0.08, "payload spoiled", self._spoil),
            (0.12, "operator stopped", lambda: self._operate("stop")),
        )
        for chance, name, act in happenings:
            for _ in range(2):
                if self.dice.chance(chance):
                    self.loop.call_in(
                        self.dice.between(0, self.chaos_s), lambda n=name, a=act: self._happen(n, a)
                    )

    def _happen(self, name: str, act: Callable[[], object]) -> None:
        self.say.fault(name)
        act()

    def _flush(self) -> None:
        self.redis.flushall()
        self.memory_lost = self.loop.now
        self.broker.flush()

    def _restart(self) -> None:
        self.redis.restart()
        self.memory_lost = self.loop.now

    def _redis_away(self) -> None:
        self.redis.away = True
        self.loop.call_in(self.dice.between(1, 20), lambda: setattr(self.redis, "away", False))

    def _break_credential(self) -> None:
        self.zendesk.broken_until = self.loop.now + self.dice.between(1, 40)

    def _spoil(self) -> None:
        """A bit of a payload that is still to be sent turns over on the disk."""
        found = rows(
            self.connection, "SELECT rowid, blob FROM payloads WHERE expires_at IS NULL AND seq > 0"
        )
        if found:
            row = self.dice.rng.choice(found)
            blob = bytearray(row["blob"])
            blob[self.dice.rng.randrange(len(blob))] ^= 1 << self.dice.rng.randrange(8)
            self.connection.execute(
                "UPDATE payloads SET blob = ? WHERE rowid = ?", (bytes(blob), row["rowid"])
            )

    def _operate(self, verb: str) -> None:
        run_id = self.dice.rng.choice(sorted(self.plans))
        done = self._resume(run_id) if verb == "resume" else getattr(self.ledger.runs, verb)(run_id)
        self.say.line(f"      operator: {verb} {run_id} -> {done}")

    def _resume(self, run_id: str) -> bool:
        """A run whose rows have changed on the disk is not resumed; all that is left is to stop."""
        try:
            return self.ledger.runs.resume(run_id)
        except RunError as error:
            self.say.count("resume refused")
            self.say.line(f"      operator: {error.message}")
            return self.ledger.runs.stop(run_id)

    def _retry(self) -> None:
        """The operator sends what did not arrive once more, as runs of their own."""
        self.retried = True
        for run_id in list(self.plans):
            try:
                kept = [list(part.profiles) for part in self.ledger.kept.rows(run_id)]
            except RunError:
                continue  # damaged: the operator reads so, and runs the orchestration again
            if kept:
                self.say.fault("operator retried")
                child = f"{run_id}-r"
                options = self.plans[run_id].options
                self.plans[child] = Rows(kept, parent=run_id, options=options)
                words = (f"o-{run_id}", child, TARGET, self.limits, options, "operator", run_id)
                self._start(NewRun(child, *words))

    def _peace(self) -> None:
        """The faults are over; somebody resumes what is still paused."""
        self.say.line("      the faults are over")
        self.dice.over = True
        self._care()

    def _care(self) -> None:
        for run_id in self.plans:
            self._resume(run_id)
        self.broker.look()
        self.loop.call_in(30.0, self._care)

    def watch_jobs(self) -> None:
        """Count job slots in the ledger, as G6 does: what has settled holds none."""
        found = rows(
            self.connection,
            "SELECT count(*) AS n FROM chunks WHERE state IN ('submitting', 'polling') "
            "OR (state = 'ambiguous' AND not_before > ?)",
            self.loop.now,
        )
        self.most_jobs = max(self.most_jobs, found[0]["n"])

    def ended(self) -> bool:
        """Whether every run has ended."""
        self.watch_jobs()
        if not self._all_ended():
            return False
        if not self.retried and self.dice.chance(0.5):
            self._retry()
        self.retried = True
        return self._all_ended()

    def _all_ended(self) -> bool:
        found = rows(self.connection, "SELECT state, reported_at FROM runs")
        over = all(run["state"] in RUN_ENDED and run["reported_at"] for run in found)
        untold = rows(
            self.connection,
            "SELECT id FROM alerts WHERE state = 'new' OR id IN "
            "(SELECT alert_id FROM alert_sends WHERE state = 'waiting')",
        )
        return len(found) == len(self.plans) and over and not untold


def play(seed: int, write: Callable[[str], None] | None = None) -> Say:
    """Play one seed to its end and judge it.

    Raises:
        AssertionError: a guarantee does not hold, or a run does not end.
        Exception: whatever the code under test raised and should not have.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    world = World(seed, write)
    try:
        world.begin()
        world.loop.run(world.ended, world.chaos_s + PATIENCE_S)
        world.judge.judge(world)
        _note_branches(world)
    finally:
        world.loop.close()
    return world.say


def _note_branches(world: World) -> None:
    for row in rows(world.connection, "SELECT kind, count(*) AS n FROM events GROUP BY kind"):
        world.say.counts["event: " + row["kind"]] += row["n"]
    for row in rows(world.connection, "SELECT code, count(*) AS n FROM outcomes GROUP BY code"):
        world.say.counts["outcome: " + row["code"]] += row["n"]
    for row in rows(world.connection, "SELECT state, count(*) AS n FROM runs GROUP BY state"):
        world.say.counts["run: " + row["state"]] += row["n"]
