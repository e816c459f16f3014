"""The verb `up`: everything in this terminal, each line under its process' name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from orchestrations.cli.output import print_json, verb
from orchestrations.cli.processes import OURS, Sink
from orchestrations.cli.supervisor import StopAsked
from orchestrations.cli.up import Running, everything_up
from orchestrations.cli.up_plan import FLOWER_PORT, HOST, SANDBOX_PORT, Options

_COLOURS = {
    "redis": "red",
    "sandbox": "magenta",
    "worker": "green",
    "beat": "yellow",
    "flower": "cyan",
    OURS: "white",
}


@click.command("up")
@click.option("--sandbox", is_flag=True, help="Also a local stand-in for Zendesk.")
@click.option("--no-flower", is_flag=True, help="Without Flower, Celery's web page.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), metavar="N", help="Threads of the worker."
)
@click.option(
    "--sandbox-port", type=click.IntRange(0, 65535), default=SANDBOX_PORT, show_default=True
)
@click.option(
    "--flower-port", type=click.IntRange(0, 65535), default=FLOWER_PORT, show_default=True
)
@verb
def up(
    *,
    sandbox: bool,
    no_flower: bool,
    concurrency: int | None,
    sandbox_port: int,
    flower_port: int,
    as_json: bool,
) -> None:
    """Start Redis, worker, beat and Flower here; Ctrl-C ends them all.

    Redis is the embedded one, unless DESKFEED_REDIS_URL is set. Ends with 1 when a process dies.
    """
    options = Options(
        sandbox=sandbox,
        flower=not no_flower,
        concurrency=concurrency,
        sandbox_port=sandbox_port,
        flower_port=flower_port,
    )
    try:
        with everything_up(options, _terminal(), signals=True) as running:
            print_json(_as_dict(running)) if as_json else _say_where(running)
            running.wait()
    except StopAsked:
        return


def _terminal() -> Sink:
    """Return a sink that writes to stderr, in colour where that is wanted."""
    stream = sys.stderr
    colour = stream.isatty() and not os.environ.get("NO_COLOR")

    def write(name: str, line: str) -> None:
        label = f"{name:<8}|"
        if colour:
            label = click.style(label, fg=_COLOURS.get(name.rstrip("0123456789"), "white"))
        stream.write(f"{label} {line}\n")
        stream.flush()

    return write


def _say_where(running: Running) -> None:
    lines = ["", "Everything is up."]
    if running.flower_url:
        lines.append(f"  Flower   {running.flower_url}   {_flower_login(running)}")
    if running.sandbox_url:
        lines.append(f"  Sandbox  {running.sandbox_url}   stands in for Zendesk")
    lines += [
        f"  Redis    {_redis_place(running)}",
        f"  Ledger   {running.ledger}",
        f"  Catalog  {running.catalog}{_if_missing(running.catalog)}",
    ]
    if running.sandbox_url not in (None, f"http://{HOST}:{SANDBOX_PORT}"):
        lines.append(f"A destination reaches the sandbox with `base_url: {running.sandbox_url}`.")
    lines += [
        "In another terminal:  deskfeed run loyalty --wait",
        "Ctrl-C ends everything.",
        "",
    ]
    click.echo("\n".join(lines))


def _flower_login(running: Running) -> str:
    if "FLOWER_BASIC_AUTH" in os.environ:  # the person's own: not ours to show
        return "login as in FLOWER_BASIC_AUTH"
    user, _, password = (running.flower_auth or "").partition(":")
    return f"user {user}, password {password}"


def _redis_place(running: Running) -> str:
    url = urlsplit(running.redis_url)
    return f"{url.hostname}:{url.port or 6379}"


def _if_missing(catalog: Path) -> str:
    """Say what to do where the folder is not there; the worker looks anew for each run."""
    if catalog.is_dir():
        return ""
    return "   (not there; make one, deskfeed init, or set DESKFEED_CATALOG and start again)"


def _as_dict(running: Running) -> dict[str, Any]:
    return {
        "ok": True,
        "redis": _redis_place(running),
        "sandbox": running.sandbox_url,
        "flower": running.flower_url,
        "flower_login": _flower_login(running) if running.flower_url else None,
        "ledger": running.ledger,
        "catalog": str(running.catalog),
        "state_dir": str(running.state_dir),
    }
