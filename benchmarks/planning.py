"""How fast a result becomes chunks, and what that takes: `python -m benchmarks.planning`.

A Parquet file of invented people, 12 columns, the same on every machine. Each measurement is one
run through the real planning process (`python -m orchestrations.planner`), from start to end:
pre-flight against the sandbox under a real Redis, query, mapping, duplicates, comparison with what
was delivered, spooling into a ledger on SQLite. Beside it stands a plain scan of the same file by
DuckDB, in the same minute on the same machine.

1. plan: everybody is new. 2. unchanged: Zendesk has confirmed everybody. 3. one percent changed.
4. dirty phones: the first again, with telephone numbers as people write them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import redis
from sqlalchemy import func, insert, select, update

from benchmarks.server import Server
from benchmarks.verdict import Target, judge, table
from orchestrations import runs
from orchestrations.cli.up_plan import SANDBOX_CREDENTIAL
from orchestrations.loader import load_catalog
from worker.digests import digest, key_hash
from worker.ledger import Ledger, open_ledger
from worker.ledger.records import Run
from worker.ledger.schema import chunks, delivered, payloads
from worker.ledger.spool import decode_profiles
from worker.ledger.states import ChunkState
from worker.sandbox.server import Sandbox

ROWS_PER_SECOND = 40_000.0
UNCHANGED_S = 30.0
MIB = 1024.0 * 1024.0
MOST_MEMORY_MIB = 450.0
MOST_REDIS_MIB = 50.0
MILLION = 1_000_000
LOOK_EVERY_S = 0.05
CONFIRMED_TOGETHER = 200

PEOPLE = """
COPY (
    SELECT
        'C-' || lpad(i::VARCHAR, 9, '0')                        AS external_id,
        'person' || i || '@mail' || i % 997 || '.example.com'   AS email,
        'First' || d(i, 3) % 5000 || ' Last' || d(i, 7) % 20000 AS name,
        {phone}                                                 AS phone,
        ['bronze', 'silver', 'gold'][1 + d(i, 5) % 3]           AS "user_fields.loyalty_tier",
        (d(i, 11) % 100000)::INTEGER                            AS "user_fields.loyalty_points",
        DATE '2020-01-01' + (d(i, 13) % 2000)::INTEGER          AS "user_fields.last_order_on",
        ((d(i, 17) % 10000000) / 100)::DECIMAL(10, 2)           AS "user_fields.lifetime_value",
        d(i, 19) % 2 = 0                                        AS "user_fields.prefers_email",
        'City ' || d(i, 23) % 500                               AS "user_fields.city",
        'Organization ' || d(i, 29) % 500                       AS organization,
        'Customer since ' || 2000 + d(i, 31) % 25 || ', store ' || d(i, 37) % 300
            || CASE WHEN {changed} AND i % 100 = 0 THEN ', moved' ELSE '' END AS notes
    FROM range({rows}) people(i)
) TO '{file}' (FORMAT parquet)
"""
DICE = "CREATE MACRO d(i, side) AS i * side * 48271 % 2147483647"
CLEAN = "'+1' || 2025550000 + d(i, 41) % 10000"
DIRTY = """['(202) 555-', '202.555.', '+1 202 555 ', '1-202-555-'][1 + d(i, 43) % 4]
        || lpad((d(i, 41) % 10000)::VARCHAR, 4, '0')"""

FILES = {
    "catalog/destinations/socktown.yaml": (
        "description: The sandbox\nplugin: zendesk\ncredential: socktown\nbase_url: {url}\n"
    ),
    "catalog/people.yaml": (
        "description: Invented people\nstatus: active\nsource: people\nquery: people.sql\n"
        "destination: socktown\nsend: changed\nphone_region: US\n"
    ),
    "catalog/people.sql": "SELECT * FROM people",
    "catalog/sources/people.yaml": "type: files\ntables: {{people: people.parquet}}\n",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run's planning took.

    Attributes:
        what: which one.
        seconds: from the start of the process to its end.
        cpu_s: processor time of the process and its helpers.
        scan_s: a plain scan of the same file.
        memory: peak of the resident memory of the process and its helpers, each its own, in bytes.
        run: as the ledger has it then.
        pending: rows that are to be sent.
        requests: what the sandbox was asked.
    """

    what: str
    seconds: float
    cpu_s: float
    scan_s: float
    memory: int
    run: Run
    pending: int
    requests: int

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.run.rows_read / self.seconds

    def row(self) -> tuple[str, ...]:
        """Its line in the table."""
        return (
            self.what,
            f"{self.run.rows_read:,}",
            f"{self.pending:,}",
            f"{self.seconds:.1f} s",
            f"{self.cpu_s:.1f} s",
            f"{self.rate:,.0f}",
            f"{self.scan_s:.2f} s",
            f"{self.seconds / self.scan_s:.0f}",
            f"{self.memory / MIB:.0f} MiB",
            f"{self.requests}",
        )


HEAD = (
    "run",
    "rows",
    "to send",
    "took",
    "CPU",
    "rows/s",
    "plain scan",
    "ratio",
    "memory",
    "requests",
)


class Bench:
    """One folder with everything: catalog, ledger, Redis, sandbox."""

    def __init__(self, folder: Path, server: Server, sandbox: Sandbox) -> None:
        self.folder = folder
        self._redis_url = server.url
        self._sandbox = sandbox
        self.ledger: Ledger = open_ledger(self._ledger_url)
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(url=sandbox.url), encoding="utf-8")

    @property
    def _ledger_url(self) -> str:
        return f"sqlite:///{self.folder / 'ledger.db'}"

    @property
    def _file(self) -> Path:
        return self.folder / "catalog" / "people.parquet"

    def write_people(self, rows: int, *, phone: str = CLEAN, changed: bool = False) -> None:
        """Write the file anew."""
        _duckdb(PEOPLE.format(rows=rows, file=self._file, phone=phone, changed=changed))

    def scan(self) -> float:
        """Return how long DuckDB needs to read the whole file, every value of it."""
        began = time.perf_counter()
        _duckdb(f"SELECT sum(hash(COLUMNS(*))) FROM '{self._file}'")
        return time.perf_counter() - began

    def plan(self, what: str) -> Planned:
        """Start a run and let the planning process plan it."""
        print(f"{what} ...", file=sys.stderr, flush=True)
        scan = self.scan()
        catalog = load_catalog(self.folder / "catalog")
        run, _ = runs.start(catalog, "people", ledger=self.ledger, principal="bench")
        asked = len(self._sandbox.journal())
        began, cpu = time.perf_counter(), _cpu_of_children()
        with subprocess.Popen(
            [sys.executable, "-m", "orchestrations.planner", run.run_id],
            env={**os.environ, **self._environment()},
            stdin=subprocess.PIPE,
        ) as planner:
            memory = _watched(planner)
        seconds, cpu = time.perf_counter() - began, _cpu_of_children() - cpu
        view = self.ledger.views.run(run.run_id)
        if view is None or not view.run.spool_complete:
            raise SystemExit(f"{what}: the run was not planned: {view and view.run.error}")
        requests = len(self._sandbox.journal()) - asked
        return Planned(what, seconds, cpu, scan, memory, view.run, view.rows.pending, requests)

    def _environment(self) -> dict[str, str]:
        return {
            **SANDBOX_CREDENTIAL,
            "DESKFEED_REDIS_URL": self._redis_url,
            "DESKFEED_LEDGER_URL": self._ledger_url,
            "DESKFEED_CATALOG": str(self.folder / "catalog"),
            "DESKFEED_STATE_DIR": str(self.folder / "state"),
            "DESKFEED_LOG_LEVEL": "WARNING",
        }

    def confirm(self, run: Run) -> None:
        """Let the ledger have it that Zendesk confirmed every row of a run, and end the run."""
        hash_key = self.ledger.kept.hash_key
        last = 0
        while group := self._spooled(run, last):
            with self.ledger.database.write() as connection:
                people: dict[bytes, dict[str, Any]] = {}
                for _, blob in group:
                    for profile in decode_profiles(blob):
                        hashed = key_hash(profile.key, hash_key)
                        people[hashed] = {
                            "account": run.target.account,
                            "orchestration": run.orchestration,
                            "key_hash": hashed,
                            "email_hash": key_hash(f"e:{profile.email}", hash_key),
                            "digest": digest(profile.user),
                        }
                connection.execute(insert(delivered).prefix_with("OR REPLACE"), [*people.values()])
            last = group[-1][0]
        with self.ledger.database.write() as connection:
            mine = chunks.c.run_id == run.run_id
            connection.execute(
                update(chunks).where(mine).values(state=ChunkState.DONE, updated=chunks.c.rows)
            )
            connection.execute(payloads.delete().where(payloads.c.run_id == run.run_id))
        self.ledger.runs.close(run.run_id)

    def _spooled(self, run: Run, after: int) -> list[tuple[int, bytes]]:
        with self.ledger.database.read() as connection:
            rows = connection.execute(
                select(payloads.c.seq, payloads.c.blob)
                .where(payloads.c.run_id == run.run_id, payloads.c.seq > after)
                .order_by(payloads.c.seq)
                .limit(CONFIRMED_TOGETHER)
            )
            return [(row.seq, bytes(row.blob)) for row in rows]

    def end(self, run: Run) -> None:
        """Stop a run, so that the next one may start."""
        self.ledger.runs.stop(run.run_id)
        while self.ledger.outcomes.cancel_some(run.run_id):
            pass
        self.ledger.runs.close(run.run_id)

    def ledger_bytes(self) -> int:
        """Return how large the ledger's files are."""
        return sum(path.stat().st_size for path in self.folder.glob("ledger.db*"))

    def digests(self) -> int:
        """Return of how many people the ledger has a digest."""
        with self.ledger.database.read() as connection:
            return int(connection.scalar(select(func.count()).select_from(delivered)) or 0)

    def redis_bytes(self) -> int:
        """Return the most memory that Redis has had."""
        client = redis.Redis.from_url(self._redis_url)
        try:
            info: Any = client.info("memory")
            return int(info["used_memory_peak"])
        finally:
            client.close()


def _duckdb(sql: str) -> None:
    connection = duckdb.connect(":memory:", config={"threads": "2"})
    try:
        connection.execute(DICE)
        connection.execute(sql).fetchall()
    finally:
        connection.close()


def _cpu_of_children() -> float:
    """Return the processor time of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watched(planner: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the peaks of its memory and of its children's, added up."""
    peaks: dict[int, int] = {}
    while planner.poll() is None:
        for pid in (planner.pid, *_children(planner.pid)):
            # The newest is the largest: the system keeps the peak. Before it has become a program
            # of its own, a child has that of its parent.
            peaks[pid] = _peak(pid) or peaks.get(pid, 0)
        time.sleep(LOOK_EVERY_S)
    return sum(peaks.values())


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended, or this is not Linux
        return []


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return (
        int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024 if "VmHWM" in status else 0
    )


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything in a folder of its own, which is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="deskfeed-bench-") as temp:
        sandbox = Sandbox(0)
        sandbox.start()
        try:
            with Server(Path(temp) / "redis") as server:
                made = Bench(Path(temp), server, sandbox)
                try:
                    yield made
                finally:
                    made.ledger.close()
        finally:
            sandbox.stop()


def measure(made: Bench, rows: int, *, only_plan: bool) -> list[Target]:
    """Plan everything there is to plan; return the targets of it."""
    made.write_people(rows)
    planned = [first := made.plan("everybody is new")]
    size = made.ledger_bytes()
    targets = [
        Target("rows/s", first.rate, ROWS_PER_SECOND, most=False, show="{:,.0f}".format),
        Target("everybody is planned", first.pending, rows, most=False, show="{:,.0f}".format),
    ]
    if not only_plan:
        made.confirm(first.run)
        planned.append(second := made.plan("unchanged"))
        made.ledger.runs.close(second.run.run_id)
        made.write_people(rows, changed=True)
        planned.append(third := made.plan("1 % changed"))
        made.end(third.run)
        made.write_people(rows, phone=DIRTY)
        planned.append(made.plan("dirty phones"))
        share = (rows + 99) // 100
        targets += [
            Target("seconds of a run in which nothing changed", second.seconds, UNCHANGED_S),
            Target("rows that it sends", second.pending, 0),
            Target("rows that changed and are sent", third.pending, share, most=False),
            Target("rows that are sent and did not change", third.pending - share, 0),
        ]
    table("Planning", HEAD, [one.row() for one in planned])
    table(
        "What it leaves",
        ("", "size"),
        [
            ("ledger with the whole run spooled", f"{size / MIB:,.0f} MiB"),
            ("  a row", f"{size / rows:.0f} bytes"),
            ("Redis, at most", f"{made.redis_bytes() / MIB:.1f} MiB"),
        ],
    )
    memory = max(one.memory for one in planned) / MIB
    redis_mib = made.redis_bytes() / MIB
    return [
        *targets,
        Target("MiB of memory, all processes of planning together", memory, MOST_MEMORY_MIB),
        Target("MiB of Redis", redis_mib, MOST_REDIS_MIB, show="{:.1f}".format),
    ]


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 0 when every target is held, 1 when one is missed.

    Args:
        words: the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--rows", type=int, default=MILLION, help=f"(default: {MILLION:,})")
    parser.add_argument("--only-plan", action="store_true", help="only the first of the four")
    asked = parser.parse_args(words)
    with bench() as made:
        return judge(measure(made, asked.rows, only_plan=asked.only_plan))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nEnded early; nothing is left running.", file=sys.stderr)
        sys.exit(130)
