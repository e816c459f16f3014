"""A worker process: a few slots for tasks, a sweeper, and a life that may end at any call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from orchestrations.retrying import spool_kept
from tests.simulation.loop import Crash, Fiber
from tests.simulation.ports import Door, doors
from tests.simulation.zendesk import Port
from worker.delivery import Context, Delivery
from worker.errors import DeskfeedError, RunError
from worker.hints import Deliver, Done, Finish, Hint, Plan, Poll, Tell, Wait
from worker.ledger.alerts import AlertKind
from worker.ledger.records import Run
from worker.sweeper import Sweeper


class Process:
    """One worker.

    Args:
        world: everything around it.
        name: unlike that of any other process before it.
        slots: how many messages it works on at a time.
    """

    def __init__(self, world: Any, name: str, slots: int) -> None:
        self.world = world
        self.name = name
        self.slots = slots
        self.busy = 0
        self.alive = True
        self.frozen_until = 0.0
        self.frozen: Fiber | None = None
        self.ledger = doors(self, world.ledger)
        port = Door(self, "client", Port(world.zendesk))
        self.delivery = Delivery(
            Context(
                ledger=self.ledger,
                limiter=Door(self, "limiter", world.limiter),  # type: ignore[arg-type]
                clients=lambda _target: port,  # type: ignore[arg-type,return-value]
                times=world.times,
                owner=name,
                window=world.window,
                sleep=self.sleep,
            )
        )
        self.sweeper = Sweeper(self.ledger, self.delivery, world.times, name)
        world.loop.spawn(self._sweep)

    # --- its life -------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing is done by the dead, and nothing by the frozen before they thaw."""
        loop = self.world.loop
        while self.alive and loop.now < self.frozen_until:
            loop.sleep(self.frozen_until - loop.now)
        if not self.alive or loop.closing:
            raise Crash

    def sleep(self, seconds: float) -> None:
        """What the use-cases sleep with: late by a little, as threads are."""
        self.world.loop.sleep(seconds + self.world.dice.between(0, 0.01))
        self.check()

    def freeze(self, seconds: float) -> None:
        """SIGSTOP; SIGCONT comes later."""
        self.frozen_until = self.world.loop.now + seconds
        self.frozen = self.world.loop.current
        self.world.say.line(f"{self.name:5} frozen for {seconds:.1f} s")
        self.check()

    def thaw(self, chunk: tuple[str, int]) -> None:
        """SIGCONT at the worst moment: another worker has the chunk that this one still holds."""
        loop, fiber = self.world.loop, self.frozen
        if fiber is not None and chunk in fiber.held and loop.now < self.frozen_until:
            seconds = self.world.dice.between(0, 0.1)
            self.frozen_until = loop.now + seconds
            loop.wake_in(seconds, fiber)

    def die(self, why: str) -> None:
        """SIGKILL; a supervisor starts another process a while later."""
        if self.alive:
            self.alive = False
            self.world.say.line(f"{self.name:5} dead: {why}")
            self.world.died(self)

    def is_poison(self, name: str) -> bool:
        """Whether the chunk in hand kills whoever is about to ask for its permit."""
        fiber = self.world.loop.current
        claim = fiber.claim if fiber else None
        return (
            name == "limiter.reserve"
            and claim is not None
            and (claim.run_id, claim.seq) == self.world.poison
        )

    # --- its work -------------------------------------------------------------------------------

    @property
    def free(self) -> bool:
        """Whether it takes another message."""
        return self.alive and self.busy < self.slots and self.world.loop.now >= self.frozen_until

    def take(self, hint: Hint) -> None:
        """Work on a message."""
        self.busy += 1
        self.world.loop.spawn(lambda: self._task(hint))

    def _task(self, hint: Hint) -> None:
        try:
            self._guarded(lambda: self._work(hint))
        except Crash:
            self.world.broker.unacknowledged(hint)
            raise
        finally:
            self.busy -= 1
        self.world.broker.look()

    def _guarded(self, act: Callable[[], None]) -> None:
        """As Celery and the sweeper's thread do: an error ends the task, not the process."""
        try:
            act()
        except DeskfeedError as error:
            self.world.say.count("task failed")
            self.world.say.line(f"{self.name:5} task failed: {error.code} {error.message}")

    def _work(self, hint: Hint) -> None:
        match hint:
            case Deliver(run_id, seq):
                self._answer(hint, self.delivery.submit(run_id, seq))
            case Poll(run_id, seq):
                self._answer(hint, self.delivery.poll(run_id, seq))
            case Plan(run_id):
                self._plan(run_id)
            case Finish(run_id):
                self._finish(run_id)
            case Tell(run_id):
                self._tell(run_id)

    def _finish(self, run_id: str) -> None:
        """As the task `orchestrations.finish` does."""
        if self.ledger.reports.take(run_id):
            self.world.told.append(run_id)
            self.send([Tell(run_id)])

    def _tell(self, run_id: str) -> None:
        """As the task `orchestrations.alert` does, to a channel that takes everything."""
        for alert in self.ledger.alerts.new(run_id):
            self.ledger.alerts.address(alert, ["ops"])
        while (send := self.ledger.alerts.claim(run_id)) is not None:
            self.check()
            if send.alert.kind == AlertKind.ENDED:
                self.world.alerted.append(run_id)
            self.ledger.alerts.sent(send)

    def _answer(self, hint: Any, step: Any) -> None:
        self.world.say.line(f"{self.name:5} {type(hint).__name__} {hint.run_id}/{hint.seq}: {step}")
        if isinstance(step, Done):
            self.send(step.hints)
        elif isinstance(step, Wait) and step.message:
            self.send([type(hint)(hint.run_id, hint.seq, step.seconds)])

    def send(self, hints: Iterable[Hint]) -> None:
        """Put hints on the broker, one after the other."""
        for hint in hints:
            self.check()
            self.world.broker.put(hint)

    def _plan(self, run_id: str) -> None:
        run = self.ledger.runs.claim_plan(run_id)
        if run is None:
            return
        plan = self.world.plans[run_id]
        self.ledger.planning.clear(run)
        if plan.parent is not None:
            self._take_over(run)
            return
        if plan.rejected:
            self.ledger.planning.add_rejected(run, 1, plan.rejected)
        for seq, profiles in enumerate(plan.chunks, start=1):
            self.ledger.planning.add_chunks(run, seq, [profiles])
        self.ledger.planning.complete(run, plan.unchanged)
        self.send(self.delivery.admit(run_id))
        self.send(self.delivery.close(run_id))

    def _take_over(self, run: Run) -> None:
        """As the planner does with a retry."""
        try:
            spool_kept(self.ledger, run)
        except RunError as error:
            self.ledger.runs.fail_plan(run, error)
        self.send(self.delivery.admit(run.run_id))
        self.send(self.delivery.close(run.run_id))

    def _sweep(self) -> None:
        self.world.loop.sleep(self.world.dice.between(0, self.world.times.sweep))
        while True:
            self.check()
            self._guarded(lambda: self.send(self.sweeper.sweep()))
            self.world.loop.sleep(self.world.times.sweep)
