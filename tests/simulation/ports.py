"""The doors between a worker and the world: where it may die, freeze, be overtaken or be failed.

Every call of the ledger, the limiter and the client goes through a `Door`. "Do it, then die" is
there as well as "die first": that is where recovery usually has its holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from tests.simulation.loop import Crash
from worker.errors import LedgerError, Superseded
from worker.ledger import Ledger

PARTS = ("runs", "planning", "chunks", "polling", "outcomes", "recovery", "reports", "alerts")


class Door:
    """A part of the world as one worker sees it.

    Args:
        process: the worker.
        name: of the part, for the trace.
        part: what is behind the door.
    """

    def __init__(self, process: Any, name: str, part: Any) -> None:
        self._process = process
        self._name = name
        self._part = part

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._part, method)
        if not callable(found):
            return found
        name = f"{self._name}.{method}"

        def call(*args: Any, **kwargs: Any) -> Any:
            return _through(self._process, name, lambda: found(*args, **kwargs), (args, kwargs))

        # Found without __getattr__ the next time.
        self.__dict__[method] = call
        return call


def _through(process: Any, name: str, act: Callable[[], Any], words: tuple[Any, Any]) -> Any:
    world = process.world
    _pass(process, name, before=True)
    if name.startswith(_LEDGER) and world.dice.happens("ledger away"):
        world.say.fault("ledger away")
        raise LedgerError("The ledger answered with OperationalError: database is locked")
    watch = world.judge.before(name, words) if name.startswith(_LEDGER) else None
    try:
        result = act()
    except Superseded:
        world.say.count("fenced write")
        world.say.line(f"{process.name:5} {name}{_shown(words)} -> fenced")
        raise
    finally:
        if watch is not None:
            world.judge.after(name, watch)
    world.say.line(f"{process.name:5} {name}{_shown(words)} -> {_short(result)}")
    _note(process, name, result)
    _pass(process, name, before=False)
    if name.startswith(_LEDGER) and world.dice.happens("ledger committed, answer lost"):
        world.say.fault("ledger committed, answer lost")
        raise LedgerError("The ledger answered with OperationalError")
    return result


_LEDGER = tuple(f"{part}." for part in PARTS)


def _pass(process: Any, name: str, *, before: bool) -> None:
    """Die, freeze or be overtaken here, if the dice say so."""
    world = process.world
    process.check()
    crash = "crash before" if before else "crash after"
    if world.dice.happens(crash) or (before and process.is_poison(name)):
        world.say.fault(crash)
        process.die(f"{crash} {name}")
        raise Crash
    # Whoever has heard from Zendesk and not yet written it down has most to get wrong.
    heard = not before and name.startswith("client.")
    if world.dice.happens("freeze") or (heard and world.dice.happens("freeze")):
        world.say.fault("freeze")
        least, most = world.dice.rng.choice(((1, 20), (36, 150), (36, 150)))
        process.freeze(world.dice.between(least, most))
    if world.dice.happens("preempt"):
        world.say.count("fault: preempt")
        world.loop.sleep(world.dice.between(0, 0.2))
    process.check()


def _note(process: Any, name: str, result: Any) -> None:
    """Keep in mind who holds what; whoever is frozen with the same chunk may thaw now."""
    world, fiber = process.world, process.world.loop.current
    if name == "chunks.claim":
        fiber.claim = result
        fiber.held = {(result.run_id, result.seq)} if result else set()
    elif name == "polling.take_due":
        fiber.held = {(due.run_id, due.seq) for due in result}
    if name in ("chunks.claim", "chunks.submitting", "chunks.accepted") and result:
        world.taken(process, (fiber.claim.run_id, fiber.claim.seq))


def doors(process: Any, ledger: Ledger) -> Ledger:
    """Return the ledger as a worker sees it."""
    known = {field.name for field in fields(ledger)}
    parts = {name: Door(process, name, getattr(ledger, name)) for name in PARTS if name in known}
    return replace(ledger, **parts)


def fenced_words(words: Any) -> Iterator[tuple[str, int, int]]:
    """Yield (run_id, seq, fence) of every claim among the arguments of a call."""
    args, kwargs = words
    for word in (*args, *kwargs.values()):
        if all(hasattr(word, name) for name in ("run_id", "seq", "fence")):
            yield word.run_id, word.seq, word.fence
    if len(args) >= 3 and isinstance(args[0], str) and all(isinstance(a, int) for a in args[1:3]):
        yield args[0], args[1], args[2]


def _shown(words: Any) -> str:
    args, kwargs = words
    shown = [_short(word) for word in args] + [f"{k}={_short(v)}" for k, v in kwargs.items()]
    return f"({', '.join(shown)})"


def _short(value: Any) -> str:
    if hasattr(value, "fence") and hasattr(value, "seq"):
        return f"<{value.run_id}/{value.seq} fence {value.fence}>"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
