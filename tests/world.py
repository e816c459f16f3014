"""What many tests speak of: a destination, its limits, a clock, invented people."""

from __future__ import annotations

from pathlib import Path

from worker.ledger.records import Limits, Target
from worker.profile import Profile

TARGET = Target("socktown", "127.0.0.1:8900", "http://127.0.0.1:8900", "socktown")
LIMITS = Limits(users_per_second=100, requests_per_minute=400, jobs_in_flight=20)


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def warm(client, account=TARGET.account):
    """Let a limiter on this server find its memory in order: no cold start, no probe."""
    import redis

    try:
        server = client.info("server")["run_id"]
    except redis.ResponseError:  # the fake server has no INFO, and so no identity
        server = "unknown"
    client.hset(f"deskfeed:{{{account}}}:gate", "server", server)


def profiles(first: int, count: int) -> list[Profile]:
    """Profiles of the rows from `first` on; external_id and e-mail name the row."""
    return [
        Profile(
            row,
            {
                "external_id": f"C-{row}",
                "email": f"person{row}@example.com",
                "name": f"Person {row}",
            },
        )
        for row in range(first, first + count)
    ]


def write_catalog(
    folder: Path,
    *,
    rows: str = "id,name,mail\n1,Ada,ada@example.com\n2,Bob,bob@example.com\n",
    sql: str = "SELECT id AS external_id, name, mail AS email FROM people ORDER BY id",
    url: str = "http://127.0.0.1:8900",
    status: str = "active",
    thresholds: str = "{fail_below: 1}",
    limits: str = "{}",
    send: str = "all",
    more: str = "",
) -> Path:
    """Write a small catalog and return its folder: one orchestration, `loyalty`."""
    for name in ("destinations", "sources", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "data" / "people.csv").write_text(rows, encoding="utf-8")
    (folder / "loyalty.sql").write_text(sql, encoding="utf-8")
    (folder / "loyalty.yaml").write_text(
        f"description: For tests\nstatus: {status}\nsource: people\nquery: loyalty.sql\n"
        f"destination: socktown\nsend: {send}\nthresholds: {thresholds}\n{more}\n"
    )
    (folder / "destinations" / "socktown.yaml").write_text(
        f"description: The sandbox\nplugin: zendesk\ncredential: socktown\nbase_url: {url}\n"
        f"limits: {limits}\n"
    )
    (folder / "sources" / "people.yaml").write_text(
        "description: People\ntype: files\ntables: {people: data/people.csv}\n"
    )
    return folder
