"""The broker: a queue of hints that loses, doubles, delays and reorders them, by the dice."""

from __future__ import annotations

from typing import Any

from worker.hints import Hint


class Broker:
    """Brings messages to workers.

    Args:
        world: everything around it.
    """

    def __init__(self, world: Any) -> None:
        self._world = world
        self._waiting: list[Hint] = []
        self._epoch = 0

    def put(self, hint: Hint) -> None:
        """Take a message."""
        world = self._world
        if world.redis.away:
            world.say.count("message to nowhere")
            return
        if self._happens("message lost"):
            return
        self._later(hint, getattr(hint, "in_seconds", 0.0))
        if self._happens("message doubled"):
            self._later(hint, getattr(hint, "in_seconds", 0.0) + world.dice.between(0, 20))

    def _later(self, hint: Hint, seconds: float) -> None:
        if self._happens("message late"):
            seconds += self._world.dice.between(0, 40)
        epoch = self._epoch
        self._world.loop.call_in(seconds, lambda: self._arrive(hint, epoch))

    def _arrive(self, hint: Hint, epoch: int) -> None:
        if epoch != self._epoch:
            return  # it lay in a Redis that has forgotten it
        self._waiting.append(hint)
        self.look()

    def look(self) -> None:
        """Give what waits to who is free."""
        while self._waiting:
            free = [process for process in self._world.processes if process.free]
            if not free:
                return
            at = 0
            if len(self._waiting) > 1 and self._happens("messages reordered"):
                at = self._world.dice.rng.randrange(len(self._waiting))
            self._world.dice.rng.choice(free).take(self._waiting.pop(at))

    def unacknowledged(self, hint: Hint) -> None:
        """The worker is dead: the message comes again after a while."""
        if not self._world.loop.closing:
            self._later(hint, self._world.dice.between(1, 60))

    def flush(self) -> None:
        """Forget everything."""
        self._epoch += 1
        self._waiting.clear()

    def _happens(self, fault: str) -> bool:
        if not self._world.dice.happens(fault):
            return False
        self._world.say.count("fault: " + fault)
        return True
