"""`deskfeed doctor`: what was found, judged. Pure: finding it is the shell's part."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.errors import DeskfeedError, UsageError
from worker.explanations import explain
from worker.ledger.pulse import Backlog, WorkerPulse
from worker.ledger.secrecy import Sealed
from worker.redis_server import RedisServer
from worker.times import Times

SLOW_REDIS_S = 0.05
"""Two round trips a permit: slower than this, Redis delays what is to be sent."""

CLOCKS_S = 2.0
"""Countdowns go by the workers' clocks, slots by Redis': so much difference is harmless."""

DISK_WARN_BYTES = 2_000_000_000
DISK_FAIL_BYTES = 200_000_000
"""A full disk stops the ledger, and so everything."""

WAY_OVER = "Make an OAuth client and set it in the token's place: docs/credentials.md."

LATE_FACTOR = 3.0
"""So many sweeps after its time something should be on its way again."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    Attributes:
        name: what was looked at.
        verdict: how it is.
        said: what was found.
        remedy: what to do, unless all is well.
    """

    name: str
    verdict: Verdict
    said: str
    remedy: str | None = None


def ok(name: str, said: str) -> Check:
    """All is well."""
    return Check(name, Verdict.OK, said)


def warn(name: str, said: str, remedy: str) -> Check:
    """It works, and should be better."""
    return Check(name, Verdict.WARN, said, remedy)


def fail(name: str, error: DeskfeedError) -> Check:
    """It does not work."""
    return Check(name, Verdict.FAIL, error.message, error.resolution)


def judge_times(times: Times) -> Check:
    """Whether the table of times holds together."""
    try:
        times.check()
    except UsageError as error:
        return fail("times", error)
    return ok("times", "the table of times holds together")


def judge_redis(server: RedisServer, latency_s: float, ahead_s: float) -> list[Check]:
    """Whether a server that answers is one to rely on.

    Args:
        server: what it says of itself.
        latency_s: a round trip.
        ahead_s: its clock against this machine's.
    """
    return [
        _judge_latency(server, latency_s),
        _judge_eviction(server),
        _judge_append_only(server),
        _judge_clock(ahead_s),
    ]


def _judge_latency(server: RedisServer, latency_s: float) -> Check:
    said = f"version {server.version or 'unknown'} answers in {latency_s * 1000:.1f} ms"
    if latency_s <= SLOW_REDIS_S:
        return ok("redis", said)
    return warn("redis", said, "Run Redis nearer to the workers: each request asks it twice.")


def _judge_eviction(server: RedisServer) -> Check:
    if server.policy is None:
        return warn(
            "redis eviction",
            "Redis does not say what it does when its memory is full",
            "Make sure that its maxmemory-policy is noeviction.",
        )
    try:
        server.refuse_eviction()
    except UsageError as error:
        return fail("redis eviction", error)
    return ok("redis eviction", server.policy)


def _judge_append_only(server: RedisServer) -> Check:
    if server.append_only:
        return ok("redis append-only", "on")
    return warn(
        "redis append-only",
        "off: a restart forgets all messages" if server.append_only is False else "not told",
        "Set `appendonly yes` in its configuration. Without, a restart costs time, never rows.",
    )


def _judge_clock(ahead_s: float) -> Check:
    said = f"differs from this machine's by {abs(ahead_s):.2f} s"
    if abs(ahead_s) <= CLOCKS_S:
        return ok("redis clock", said)
    return warn("redis clock", said, "Let both machines set their clocks by NTP.")


def judge_revision(found: str, wanted: str, kind: str) -> Check:
    """Whether the ledger's tables are those of this version."""
    said = f"{kind}, revision {found}"
    if found == wanted:
        return ok("ledger", said)
    remedy = "Let workers and commands be of one version."
    return Check("ledger", Verdict.FAIL, f"{said}; this version wants {wanted}", remedy)


def judge_disk(free_bytes: int) -> Check:
    """Whether the ledger's disk has room."""
    said = f"{free_bytes / 1e9:,.1f} GB free"
    if free_bytes >= DISK_WARN_BYTES:
        return ok("ledger disk", said)
    remedy = "Make room: when the disk is full nothing is sent any more (nothing is lost)."
    full = free_bytes < DISK_FAIL_BYTES
    return Check("ledger disk", Verdict.FAIL if full else Verdict.WARN, said, remedy)


def judge_encryption(sealed: Sealed) -> Check:
    """Whether rows are encrypted, with which keys, and whether each of them is here."""
    parts = [f"{n:,} with {name}" for name, n in sorted(sealed.batches.items(), key=str) if name]
    parts += [f"{n:,} in clear" for name, n in sealed.batches.items() if name is None]
    held = f"; chunks with rows, and parameters: {', '.join(parts)}" if parts else ""
    if sealed.lacking or (sealed.encrypted and sealed.first is None):
        named = ", ".join(sealed.lacking) or "any"
        return Check(
            "encryption",
            Verdict.FAIL,
            f"rows are encrypted, and a key is not here ({named}){held}",
            explain("spool_key_missing").resolution,
        )
    if sealed.first is None:
        return ok("encryption", f"off: rows lie in clear in the ledger (docs/privacy.md){held}")
    if not sealed.encrypted:
        said = f"key {sealed.first} is set; a worker that starts with it switches it on"
        return ok("encryption", said + held)
    return ok("encryption", f"rows are encrypted with the key {sealed.first}{held}")


def judge_workers(found: Sequence[WorkerPulse], times: Times) -> Check:
    """Whether anybody works."""
    alive = [one for one in found if one.silent_seconds <= times.worker_dead]
    silent = len(found) - len(alive)
    if not alive:
        return Check(
            "workers",
            Verdict.FAIL,
            f"none alive{f'; {silent} fell silent' if silent else ''}",
            "Start one: celery -A worker.app worker   (or everything here: deskfeed up)",
        )
    said = f"{len(alive)} alive: " + ", ".join(
        f"{one.worker} for {_span(one.age_seconds)}" for one in alive[:10]
    )
    if silent:
        return warn("workers", f"{said}; {silent} fell silent", "See the logs of their hosts.")
    return ok("workers", said)


def judge_backlog(backlog: Backlog, times: Times) -> Check:
    """Whether what should have happened has happened."""
    if not backlog.late:
        return ok("backlog", "nothing is late")
    said = f"{backlog.late:,} late, the latest by {_span(backlog.longest_seconds)}"
    if backlog.longest_seconds <= LATE_FACTOR * times.sweep:
        return ok("backlog", said)
    return warn(
        "backlog",
        said,
        "Workers put it back on its way every few seconds. If this number grows, see their logs.",
    )


def judge_beat(silent_seconds: float | None, tick_seconds: float) -> Check:
    """Whether beat ticks."""
    if silent_seconds is not None and silent_seconds <= 3 * tick_seconds:
        return ok("beat", f"seen {_span(silent_seconds)} ago")
    said = "not seen" if silent_seconds is None else f"not seen for {_span(silent_seconds)}"
    return warn("beat", said, "For schedules start one: celery -A worker.app beat")


def judge_schedules(
    by_itself: int,
    doubts: Mapping[str, Sequence[str]],
    unstarted: Mapping[str, str],
    broken: Collection[str],
) -> list[Check]:
    """Whether what starts by itself starts as somebody means it to.

    Args:
        by_itself: so many orchestrations are started by a schedule or after another.
        doubts: by orchestration, what looks like a mistake, and changes of the clock soon.
        unstarted: by orchestration, what was due last, was not started, and no run came since.
        broken: orchestrations that started by themselves until their files were broken.
    """
    what = "1 orchestration starts by itself"
    if by_itself != 1:
        what = f"{by_itself or 'no'} orchestrations start by themselves"
    found = [ok("schedules", what)]
    for name, sentences in sorted(doubts.items()):
        remedy = f"Change {name}.yaml unless it is meant so; all next times: deskfeed schedule"
        found += [warn(f"schedule {name}", sentence, remedy) for sentence in sentences]
    for name, sentence in sorted(unstarted.items()):
        remedy = f"If it is still wanted: deskfeed run {name}"
        found.append(warn(f"schedule {name}", f"not started: {sentence}", remedy))
    for name in sorted(broken):
        said = "its file is wrong, so nothing starts it"
        found.append(warn(f"schedule {name}", said, f"See the mistake: deskfeed check {name}"))
    return found


def judge_credentials(
    problems: Mapping[str, UsageError | None], used: set[str], ending: Mapping[str, str]
) -> list[Check]:
    """Whether credentials are set; what they are is not looked at.

    Args:
        problems: every credential that the catalog names, with what is wrong.
        used: those that an active orchestration needs.
        ending: those that are API tokens, with a sentence about the end of these.
    """
    found = []
    for name, problem in sorted(problems.items()):
        if name in ending:
            found.append(warn(f"credential {name}", ending[name], WAY_OVER))
        elif problem is None:
            found.append(ok(f"credential {name}", "set"))
        elif name in used:
            found.append(fail(f"credential {name}", problem))
        else:
            found.append(warn(f"credential {name}", problem.message, problem.resolution))
    return found


def judge_channels(there: set[str], named: set[str]) -> Check:
    """Whether alerts can reach somebody; whether a channel works says `deskfeed alerts test`.

    Args:
        there: the channels that are set.
        named: those that alerts.yaml names.
    """
    lacking = sorted(named - there)
    if lacking:
        variables = ", ".join(f"DESKFEED_ALERTS__{name.upper()}" for name in lacking)
        return Check(
            "alerts",
            Verdict.FAIL,
            f"alerts.yaml names channels that are not set: {', '.join(lacking)}",
            f"Set {variables} where workers run (docs/alerts.md).",
        )
    if not there:
        return warn(
            "alerts",
            "no channel is set: nobody is told when a run fails",
            "Set one, e.g. DESKFEED_ALERTS__OPS=slack://… (docs/alerts.md)",
        )
    return ok("alerts", f"set: {', '.join(sorted(there))}")


def failed(checks: Sequence[Check]) -> bool:
    """Whether any check failed."""
    return any(check.verdict == Verdict.FAIL for check in checks)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
