"""How `limits show` tells of an account: as JSON, and in lines that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

from orchestrations import report
from orchestrations.cli.output import duration
from worker.hints import WAITS
from worker.ledger.records import AccountView, LimitName, Override, Waiting
from worker.ledger.states import RunState
from worker.limiter import State

NAMES: tuple[LimitName, ...] = get_args(LimitName)


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is told of one account.

    Attributes:
        view: what the ledger says.
        destinations: the names that the catalog has for it.
        use: what Redis says of this moment; None when it does not answer.
    """

    view: AccountView
    destinations: tuple[str, ...]
    use: State | None

    def used(self, name: LimitName) -> int | None:
        """Return how much of a limit is used now, if that is known."""
        if name == "jobs_in_flight":
            return self.view.jobs
        if self.use is None:
            return None
        return self.use.users if name == "users_per_second" else self.use.requests


# --- for programs -----------------------------------------------------------------------------


def as_json(shown: Shown) -> dict[str, Any]:
    """Return what `limits show --json` says of an account."""
    standing = shown.view.standing
    return {
        "account": shown.view.account,
        "destinations": list(shown.destinations),
        "limits": {
            name: {
                "declared": standing.declared.of(name),
                "now": standing.limits.of(name),
                "used": shown.used(name),
            }
            for name in NAMES
        },
        "reserve_percent": standing.declared.reserve_percent,
        "lowered": [override_as_json(one) for one in standing.overrides],
        "jobs_cap": _cap_as_json(shown.view),
        **_use_as_json(shown.use),
        "job_seconds": standing.job_seconds,
        "waiting": [_waiting_as_json(one) for one in shown.view.waiting],
    }


def override_as_json(override: Override) -> dict[str, Any]:
    """Return a limit that a person lowered."""
    return {
        "name": override.name,
        "value": override.value,
        "until": report.iso(override.until),
        "by": override.set_by,
        "since": report.iso(override.set_at),
    }


def _cap_as_json(view: AccountView) -> dict[str, Any] | None:
    standing = view.standing
    if standing.jobs_cap is None:
        return None
    return {"value": standing.jobs_cap, "until": report.iso(standing.jobs_cap_until)}


def _use_as_json(use: State | None) -> dict[str, Any]:
    """What the limiter tells beside the use of the limits; all of it null when Redis is silent."""
    paused = use is not None and use.paused_s > 0
    return {
        "gate": use.gate if use else None,
        "requests_cap": use.requests_cap if use else None,
        "booked_users": use.booked_users if use else None,
        "paused": {"seconds": use.paused_s, "reason": use.pause_reason} if use and paused else None,
    }


def _waiting_as_json(waiting: Waiting) -> dict[str, Any]:
    return {
        "run_id": waiting.run_id,
        "orchestration": waiting.orchestration,
        "state": str(waiting.state),
        "why": waiting.why,
        "chunks": waiting.chunks,
        "waited_seconds": waiting.waited_seconds,
        "next_in_seconds": waiting.next_in_seconds,
    }


# --- for people -------------------------------------------------------------------------------


def lines(shown: Shown) -> Iterator[str]:
    """Yield what `limits show` says of an account."""
    view = shown.view
    names = f"  ({', '.join(shown.destinations)})" if shown.destinations else ""
    yield f"{view.account}{names}"
    for name in NAMES:
        yield _row(words(name), _budget(shown, name))
        yield from _lowered(view, name)
        yield from _left_by_others(shown, name)
    yield from _left_to_others(view)
    yield from _gate(shown.use)
    if view.standing.job_seconds is not None:
        yield _row("a full job takes", f"about {view.standing.job_seconds:.1f} s (learned)")
    yield from _waits(view)


def words(name: LimitName) -> str:
    """Return the name of a limit as people say it."""
    return name.replace("_", " ")


def moment(at: float) -> str:
    """Return a time for people, to the minute."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _row(label: str, text: str) -> str:
    return f"  {label:<20} {text}"


def _budget(shown: Shown, name: LimitName) -> str:
    ceiling, used = shown.view.standing.limits.of(name), shown.used(name)
    if used is None:
        return f"at most {ceiling}; how much is used now is not known"
    booked = shown.use.booked_users if shown.use and name == "users_per_second" else 0
    return f"{used} of {ceiling} now" + (f", {booked} booked" if booked else "")


def _lowered(view: AccountView, name: LimitName) -> Iterator[str]:
    """Yield why a limit is not what is declared; each reason with its end."""
    standing = view.standing
    declared = standing.declared.of(name)
    for one in standing.overrides:
        if one.name == name:
            yield f"    lowered from {declared} to {one.value} by {one.set_by}"
            yield _until(view, one.until)
    if name == "jobs_in_flight" and standing.jobs_cap is not None:
        yield f"    lowered from {declared} to {standing.jobs_cap}: Zendesk said TooManyJobs"
        yield _until(view, standing.jobs_cap_until or view.at)


def _until(view: AccountView, until: float) -> str:
    return f"    until {moment(until)} ({duration(until - view.at)} more)"


def _left_by_others(shown: Shown, name: LimitName) -> Iterator[str]:
    """Yield that others use so much of the account that less than the limit is left for us."""
    cap = shown.use.requests_cap if shown.use else None
    if (
        name == "requests_per_minute"
        and cap is not None
        and cap < shown.view.standing.limits.of(name)
    ):
        yield f"    at most {cap} at present: other users of the account have the rest"
        yield "    (told by Zendesk's headers)"


def _left_to_others(view: AccountView) -> Iterator[str]:
    percent = view.standing.declared.reserve_percent
    if percent:
        yield _row("left to others", f"{percent} % of the requests that Zendesk allows")


def _gate(use: State | None) -> Iterator[str]:
    """Yield what keeps the whole account from sending."""
    if use is None:
        return
    match use.gate:
        case "paused":
            why = report.title_of(use.pause_reason)
            yield _row("paused", f"{duration(use.paused_s)} more: {why}")
        case "cold":
            yield _row("cold", "Redis lost its memory of this account:")
            yield _row("", f"nothing goes for another {duration(use.paused_s)}")
        case "probe":
            yield _row("probe", "one request goes first; the others wait for its answer")


def _waits(view: AccountView) -> Iterator[str]:
    if not view.waiting:
        yield _row("waiting", "nobody")
        return
    yield "  waiting"
    run_id = ""
    for one in view.waiting:
        if one.run_id != run_id:
            run_id = one.run_id
            yield f"    {run_id}  {one.orchestration}"
            if one.state == RunState.PAUSED:
                yield f"      paused; go on with: deskfeed resume {run_id}"
        yield from (f"      {line}" for line in _wait(one))


def _wait(waiting: Waiting) -> Iterator[str]:
    what = WAITS.get(waiting.why, report.title_of(waiting.why))
    count = f"{waiting.chunks} chunk{'s' * (waiting.chunks != 1)}"
    yield f"{count} for {what}"
    known, soon = waiting.waited_seconds, waiting.next_in_seconds
    longest = "" if known is None else f"longest {duration(known)}, "
    yield f"  {longest}next {f'in {duration(soon)}' if soon >= 1 else 'now'}"
