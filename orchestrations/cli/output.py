"""How every verb speaks: one object with `--json`, plain words without, errors with a remedy."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console

from worker.errors import DeskfeedError, UsageError
from worker.explanations import fill

EXIT_FAILED = 1
PARAM_HELP = "A value for $NAME in the query; may be given several times."
EXIT_USAGE = 2

SAID_WHOLE = frozenset({"usage"})
"""Codes whose message and remedy say all there is."""

_F = TypeVar("_F", bound=Callable[..., Any])


def console() -> Console:
    """Return a console on stdout; honours NO_COLOR and the width of the terminal."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def errors() -> Console:
    """Return a console on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def is_live(console: Console) -> bool:
    """Whether lines can be drawn over again there: a terminal that is not dumb."""
    return console.is_terminal and not console.is_dumb_terminal


def _set_no_color(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"  # what we start, and the libraries, read it too


def no_color(*, hidden: bool = False) -> Callable[[_F], _F]:
    """Give a command `--no-color`; as good as the variable NO_COLOR."""
    return click.option(
        "--no-color",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        hidden=hidden,
        callback=_set_no_color,
        help="No colours; so does the variable NO_COLOR.",
    )


def print_json(value: dict[str, Any]) -> None:
    """Print one object on stdout."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def verb(function: _F) -> _F:
    """Give a command `--json` (as `as_json`), and turn our errors into words and exit code.

    It is also where somebody is asked whether they may use the verb at all.
    """

    @no_color(hidden=True)  # the whole command shows it
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, **kwargs: Any) -> Any:
        from orchestrations.cli import opened

        name = _name_of(click.get_current_context())
        try:
            opened.rights(name)
            return function(*args, as_json=as_json, **kwargs)
        except DeskfeedError as error:
            error.resolution = _filled(error.resolution, name, kwargs)
            fail(error, as_json=as_json)

    return wrapper  # type: ignore[return-value]


def _name_of(context: click.Context | None) -> str:
    """Return the verb, such as `limits set`, without the name of the whole command."""
    names: list[str] = []
    while context is not None:
        names.append(context.command.name or "")
        context = context.parent
    return " ".join(name for name in reversed(names) if name != "deskfeed")


def _filled(resolution: str, verb_name: str, given: Mapping[str, Any]) -> str:
    """Return what to do with the names that the command was given, to be typed as it stands."""
    destination = given.get("name") if verb_name.startswith("destinations") else None
    return fill(
        resolution,
        {
            "RUN": given.get("run_id"),
            "ORCHESTRATION": given.get("orchestration"),
            "NAME": destination,
        },
    )


def fail(error: DeskfeedError, *, as_json: bool) -> None:
    """Tell of an error and end: 2 when nothing was started, else 1."""
    if as_json:
        print_json({"ok": False, "error": error.as_dict()})
    else:
        say_error(error.message, error.resolution, error.code)
    sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)


def say_error(message: str, resolution: str | None, code: str | None = None) -> None:
    """Print what is wrong and what to do, on stderr; with a code also where more is said."""
    out = errors()
    out.print(f"deskfeed: {message}", style="bold red", markup=False)
    if resolution:
        out.print(f"  What to do: {resolution}", markup=False)
    if code is not None and code not in SAID_WHOLE:
        out.print(f"  More: deskfeed explain {code}", markup=False)


def duration(seconds: float) -> str:
    """Return a time span for people, in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, left = divmod(hours, 24)
    if days > 1:
        return f"{days} d {left} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
