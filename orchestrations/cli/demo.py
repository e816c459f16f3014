"""`make demo`: the shipped orchestration, end to end on this machine, checked against the sandbox.

Everything is real but Zendesk: the query, the ledger, Redis, Celery workers. At the end the numbers
of the ledger are compared with what the sandbox counted; the demo ends with 0 only if all agree.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from orchestrations import report
from orchestrations.cli.output import console
from orchestrations.cli.up import Options, Running, StopAsked, everything_up
from orchestrations.cli.up_plan import FLOWER_PORT, HOST, SANDBOX_PORT
from worker.errors import DeskfeedError
from worker.ledger import Ledger, open_ledger
from worker.ledger.ledger import Secrets
from worker.settings import settings

POSTS_WITHIN_S = 26.0
RUN_WITHIN_S = 39.0
"""25 chunks at 100 users a second need 24 s from the first to the last; a job takes 10 s more."""


@dataclass(frozen=True, slots=True)
class Check:
    """One number that must agree.

    Attributes:
        what: in words.
        ours: what Deskfeed says.
        theirs: what the sandbox says, or the bound.
        holds: whether they agree.
    """

    what: str
    ours: str
    theirs: str
    holds: bool


def main(words: list[str] | None = None) -> int:
    """Run the demo; returns 0 when every number agrees, 1 when one does not, 130 on Ctrl-C.

    Args:
        words: command line; `--any-ports` takes free ports instead of the usual ones.
    """
    any_ports = "--any-ports" in (sys.argv[1:] if words is None else words)
    out = console()
    folder = Path(tempfile.mkdtemp(prefix="deskfeed-demo-"))
    try:
        good = _demo(out, folder, any_ports=any_ports)
    except StopAsked:
        out.print("\nEnded early; nothing is left running.")
        good, code = True, 130
    except DeskfeedError as error:
        out.print(f"\n{error.message}\n{error.resolution}", markup=False)
        good, code = False, 1
    else:
        code = 0 if good else 1
    if good:
        shutil.rmtree(folder)
    else:
        out.print(f"What every process said is in {folder / 'demo.log'}")
    return code


def _demo(out: Console, folder: Path, *, any_ports: bool) -> bool:
    out.print("[bold]Deskfeed demo[/bold]: 2,500 invented customers, from a CSV file to Zendesk.")
    out.print("Everything is real but Zendesk, for which the sandbox stands in. About a minute.\n")
    sandbox_port = _free(0 if any_ports else SANDBOX_PORT)
    catalog = _catalog(folder, sandbox_port)
    options = Options(
        sandbox=True,
        sandbox_port=sandbox_port,
        flower_port=0 if any_ports else _free(FLOWER_PORT),
        state_dir=folder / "state",
        environment={
            "DESKFEED_CATALOG": str(catalog),
            "DESKFEED_LEDGER_URL": f"sqlite:///{folder / 'state' / 'ledger.db'}",
        },
    )
    with (folder / "demo.log").open("w", encoding="utf-8") as log:

        def sink(name: str, line: str) -> None:
            log.write(f"{name:<8}| {line}\n")

        with everything_up(options, sink, signals=True) as running:
            return _tour(out, running)


def _free(port: int) -> int:
    """Return the port wanted, or another one when somebody has it; 0 takes any."""
    for wanted in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return port


def _catalog(folder: Path, port: int) -> Path:
    """Copy the shipped catalog, with the sandbox's address."""
    shipped = Path(__file__).parents[1] / "catalog"
    catalog = folder / "catalog"
    shutil.copytree(shipped, catalog)
    destination = catalog / "destinations" / "socktown.yaml"
    text = destination.read_text(encoding="utf-8")
    destination.write_text(text.replace(f":{SANDBOX_PORT}", f":{port}"), encoding="utf-8")
    return catalog


def _tour(out: Console, running: Running) -> bool:
    out.print("Up: Redis, one worker, beat, Flower and the sandbox. To look at while it runs:")
    if running.flower_url:
        user, _, password = (running.flower_auth or "").partition(":")
        out.print(f"  Flower   {running.flower_url}   user {user}, password {password}")
    out.print(f"  Sandbox  {running.sandbox_url}/_sandbox/stats\n")

    code = _run(out, running, "run", "loyalty", "--wait")
    first = _show(running)
    checks = _compare(running, first, delivered="created")
    checks += _timing(running, first)
    why = "finished, but some rows failed: who, and why?" if code == 3 else first["state"]
    out.print(f"\n`deskfeed run` itself ended with {code}: {why}\n")
    _run(out, running, "failures", "last")

    out.print("\n[bold]Once more[/bold]: now only what Zendesk does not have yet is sent.\n")
    _run(out, running, "run", "loyalty", "--wait")
    checks += _compare_again(first, _show(running))
    checks.append(
        _equal("people in the sandbox, still", first["rows"]["created"], len(list(_users(running))))
    )
    return _verdict(out, checks)


def _run(out: Console, running: Running, *words: str) -> int:
    """Run `deskfeed` in this terminal; a Ctrl-C ends it and everything else."""
    out.print("$ deskfeed " + " ".join(words), style="bold")
    environment = {**os.environ, **running.environment}
    command = [sys.executable, "-m", "orchestrations", *words]
    with subprocess.Popen(command, env=environment) as child:  # noqa: S603 - our own module
        try:
            while child.poll() is None:
                if running.wait(0.1):
                    raise StopAsked
        finally:
            if child.poll() is None:
                child.terminate()
    if running.wait(0):
        raise StopAsked
    return child.returncode


def _ledger(running: Running) -> Ledger:
    secrets = Secrets(settings().spool_keys, settings().hash_key_bytes)
    return open_ledger(f"sqlite:///{running.state_dir / 'ledger.db'}", secrets=secrets)


def _show(running: Running) -> dict[str, Any]:
    ledger = _ledger(running)
    try:
        view = ledger.views.run(ledger.runs.newest(1)[0].run_id)
        if view is None:
            raise LookupError("the run that was just made")
        return report.run_as_json(view)
    finally:
        ledger.close()


def _compare(running: Running, shown: dict[str, Any], *, delivered: str) -> list[Check]:
    """Hold the ledger against the sandbox, number by number and person by person."""
    stats = _get(running, "/_sandbox/stats")
    users = {user["id"] for user in _users(running)}
    ledger = _ledger(running)
    try:
        ids = {zendesk_id for _, _, zendesk_id in ledger.views.delivered(shown["run_id"])}
        sent = ledger.views.events(shown["run_id"], "chunk_submitted")
    finally:
        ledger.close()
    rows = shown["rows"]
    outcomes = sum(value for name, value in rows.items() if name != "read")
    peak = max(report.peak_users_per_second(sent), stats["peak_users_in_950_ms"])
    return [
        _equal("rows read, and rows with exactly one outcome", rows["read"], outcomes),
        _equal(f"people {delivered}", rows[delivered], len(users)),
        Check("the same people, one by one", f"{len(ids):,}", f"{len(users):,}", ids == users),
        _equal("POSTs", shown["posts"], stats["posts"]),
        _equal(
            "users sent",
            sum(event.data["users"] for event in sent),
            stats["users_posted"],
        ),
        Check("most users in any second", f"{peak}", "at most 100", peak <= 100),
        _equal("times Zendesk had to refuse us (429)", 0, stats["responses_429"]),
    ]


def _compare_again(first: dict[str, Any], second: dict[str, Any]) -> list[Check]:
    """Hold a second run of the same rows against the first."""
    rows = second["rows"]
    outcomes = sum(value for name, value in rows.items() if name != "read")
    delivered = first["rows"]["created"] + first["rows"]["updated"]
    return [
        _equal("second run: created nobody", rows["created"], 0),
        _equal("second run: every row accounted for", outcomes, rows["read"]),
        _equal(
            "second run: those are unchanged who were delivered", second["unchanged"], delivered
        ),
    ]


def _timing(running: Running, shown: dict[str, Any]) -> list[Check]:
    ledger = _ledger(running)
    try:
        sent = ledger.views.events(shown["run_id"], "chunk_submitted")
        run = ledger.runs.get(shown["run_id"])
    finally:
        ledger.close()
    stamps = [event.data["stamp"] for event in sent] or [0.0]
    posts = max(stamps) - min(stamps)
    whole = (run.ended_at or 0.0) - (run.started_at or 0.0) if run else 0.0
    return [
        Check(
            "seconds from the first to the last POST",
            f"{posts:.1f}",
            f"at most {POSTS_WITHIN_S:g}",
            posts <= POSTS_WITHIN_S,
        ),
        Check(
            "seconds from start to end, jobs of 10 s included",
            f"{whole:.1f}",
            f"at most {RUN_WITHIN_S:g}",
            whole <= RUN_WITHIN_S,
        ),
    ]


def _equal(what: str, ours: int, theirs: int) -> Check:
    return Check(what, f"{ours:,}", f"{theirs:,}", ours == theirs)


def _users(running: Running) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = _get(running, f"/_sandbox/users?after={after}&limit=1000")
        if not page["users"]:
            return
        yield from page["users"]
        after = page["next"]


def _get(running: Running, path: str) -> Any:
    url = f"{running.sandbox_url}{path}"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback, our own
        return json.load(answer)


def _verdict(out: Console, checks: list[Check]) -> bool:
    out.print("\n[bold]Does Deskfeed's ledger agree with the sandbox's own count?[/bold]")
    for check in checks:
        mark = "yes" if check.holds else "NO "
        out.print(f"  {mark}  {check.what}: {check.ours} / {check.theirs}", markup=False)
    good = all(check.holds for check in checks)
    if good:
        out.print("\nEvery number agrees. Ending everything.")
    else:
        out.print("\nNot every number agrees: see the lines marked NO.")
    return good


if __name__ == "__main__":
    click.echo()
    sys.exit(main())
