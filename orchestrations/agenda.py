"""What starts by itself and when, for people; and what of it looks like a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from orchestrations.chains import followers
from orchestrations.loader import Catalog, Reading
from orchestrations.report import iso
from orchestrations.schedule import clock_changes, is_skipped, next_minutes
from orchestrations.spec import Orchestration
from orchestrations.ticking import chained
from worker.ledger import Ledger
from worker.ledger.records import Run
from worker.ledger.schedules import Seen

A_YEAR = 366
"""Days: within them every zone changes its clock as often as it does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An orchestration and what starts it.

    Attributes:
        orchestration: as the catalog declares it; None while its file is broken.
        next: when it is due next, in UTC; none for a draft and for what has no schedule.
        then: what comes after it.
        seen: as the last tick saw it; None if none did.
        last: its newest run.
    """

    name: str
    orchestration: Orchestration | None
    next: tuple[datetime, ...]
    then: tuple[str, ...]
    seen: Seen | None
    last: Run | None

    @property
    def by_itself(self) -> bool:
        """Whether beat is needed to start it."""
        one = self.orchestration
        return one is not None and one.status == "active" and bool(one.schedule or one.after)


def agenda(reading: Reading, ledger: Ledger, count: int, now: datetime) -> list[Entry]:
    """Return all orchestrations with their next times, by name.

    Args:
        reading: the catalog as far as it is right.
        ledger: what ticks saw, and the last runs.
        count: so many of the next times.
        now: from when on.
    """
    catalog, seen = reading.catalog, ledger.schedules.all()
    after = chained(catalog)
    return [
        Entry(
            name=name,
            orchestration=catalog.orchestrations.get(name),
            next=_next(catalog.orchestrations.get(name), count, now),
            then=tuple(followers(after, name)),
            seen=seen.get(name),
            last=next(iter(ledger.runs.newest(1, name)), None),
        )
        for name in sorted(catalog.orchestrations.keys() | reading.broken)
    ]


def _next(one: Orchestration | None, count: int, now: datetime) -> tuple[datetime, ...]:
    if one is None or one.schedule is None or one.status == "draft":
        return ()
    return tuple(next_minutes(one.schedule.cron, one.schedule.timezone, now, count))


def local(moment: datetime, timezone: str) -> str:
    """Return a moment as the clock of a zone shows it, with the name that the zone has then."""
    return f"{moment.astimezone(ZoneInfo(timezone)):%a %Y-%m-%d %H:%M %Z}"


def as_json(entry: Entry) -> dict[str, Any]:
    """Return what `schedule --json` prints of an orchestration."""
    one = entry.orchestration
    schedule = one.schedule if one else None
    return {
        "orchestration": entry.name,
        "status": one.status if one else "broken",
        "schedule": schedule.model_dump() if schedule else None,
        "after": one.after if one else None,
        "next": [
            {
                "utc": f"{moment:%Y-%m-%dT%H:%MZ}",
                "local": moment.astimezone(ZoneInfo(schedule.timezone)).isoformat("T", "minutes"),
            }
            for moment in entry.next
            if schedule
        ],
        "then": list(entry.then),
        "seen_since": iso(entry.seen.first_seen) if entry.seen else None,
        "last_run": _run(entry.last) if entry.last else None,
        "not_started": dict(entry.seen.note) if entry.seen and entry.seen.note else None,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "state": str(run.state),
        "origin": run.origin,
        "key": run.key,
        "created_at": iso(run.created_at),
    }


def not_made_up_for(entry: Entry) -> Mapping[str, Any] | None:
    """Return what was due last by a schedule and not started, if no run was started since."""
    note = entry.seen.note if entry.seen else None
    due = _minute((note or {}).get("last") or (note or {}).get("key"))
    if due is None or (entry.last is not None and entry.last.created_at >= due.timestamp()):
        return None
    return note


def _minute(key: str | None) -> datetime | None:
    """Return the minute that a key of a schedule's run names; None for another key."""
    try:
        return datetime.strptime(key or "", "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def warnings(
    catalog: Catalog, one: Orchestration, now: datetime | None = None, days: int = A_YEAR
) -> list[str]:
    """Return what looks like a mistake in what starts an orchestration by itself.

    Args:
        catalog: where what it comes after is found.
        one: the orchestration.
        now: from when on changes of the clock are looked for; None is this moment.
        days: for so long.
    """
    key = "schedule" if one.schedule else "after" if one.after else None
    if key is None:
        return []
    found = []
    if one.status == "draft":
        found.append(f"`{key}` starts nothing while it is a draft")
    earlier = catalog.orchestrations.get(one.after or "")
    if earlier is not None and earlier.status == "draft":
        found.append(f"it comes after {earlier.name}, which is a draft and never runs")
    return found + _at_clock_changes(one, now or datetime.now(UTC), days)


def _at_clock_changes(one: Orchestration, now: datetime, days: int) -> list[str]:
    """Return the coming days on which the clock skips the time, or shows it twice."""
    if one.schedule is None:
        return []
    zone = one.schedule.timezone
    return [
        f"{shown:%H:%M} on {shown:%Y-%m-%d} "
        + ("does not exist" if is_skipped(shown, ZoneInfo(zone)) else "comes twice")
        + f" in {zone}: the run starts at {local(due, zone)} ({due:%H:%M} UTC), once"
        for shown, due in clock_changes(one.schedule.cron, zone, now, days)
    ]
