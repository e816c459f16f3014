"""The verbs about limits: show what each account may do and who waits, lower it for a while."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from orchestrations.cli import opened
from orchestrations.cli.output import duration, print_json, say_error, verb
from worker.errors import CatalogError, DeskfeedError, LimiterUnavailable, UsageError
from worker.settings import settings
from worker.times import time_span

if TYPE_CHECKING:
    from orchestrations.cli.limits_words import Shown
    from orchestrations.loader import Catalog
    from worker.ledger import Ledger
    from worker.ledger.records import LimitName, Limits, Override
    from worker.limiter import State


class TimeSpan(click.ParamType[float]):
    """A time span such as 30m, 2h or 1d, in seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        seconds = time_span(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not a time span such as 30m, 2h or 1d", param, ctx)
        return seconds


@click.group("limits")
def limits() -> None:
    """What each account may do now, who waits for it, and how to make it less for a while."""


@limits.command("show")
@click.argument("name", required=False, metavar="[ACCOUNT|DESTINATION]")
@verb
def limits_show(name: str | None, *, as_json: bool) -> None:
    """Show the limits of every account, their use now, and who waits for what and how long."""
    catalog, broken = _catalog()
    with opened.ledger() as ledger:
        accounts = [_account_of(name, catalog, ledger, broken)] if name else _known(catalog, ledger)
        use, silent = _use_now(accounts)
        found = _shown(catalog, ledger, accounts, use)
    if as_json:
        _print_shown(found, silent, broken)
    else:
        _say_shown(found, silent, broken)


def _catalog() -> tuple[Catalog, CatalogError | None]:
    """Load the catalog; when it is broken return an empty one and what is wrong.

    What the ledger knows can be shown and lowered all the same: an emergency brake must not wait
    for somebody who mends a file.
    """
    from orchestrations.loader import Catalog

    try:
        return opened.catalog(), None
    except CatalogError as error:
        return Catalog(settings().catalog, {}, {}, {}, {}), error


def _known(catalog: Catalog, ledger: Ledger) -> list[str]:
    """Return the accounts that the ledger or the catalog knows."""
    declared = {destination.account for destination in catalog.destinations.values()}
    return sorted(declared.union(ledger.views.accounts()))


def _account_of(
    name: str, catalog: Catalog, ledger: Ledger, broken: CatalogError | None = None
) -> str:
    """Return the account of a destination, or the account that has this name itself."""
    if name in catalog.destinations:
        return catalog.destinations[name].account
    known = _known(catalog, ledger)
    if name in known:
        return name
    if broken is not None:
        raise _not_known(name, known, broken)
    near = get_close_matches(name, sorted({*catalog.destinations, *known}), n=3)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    raise UsageError(
        f"there is no destination or account {name!r}{hint}",
        code="destination_not_found",
        resolution="See all there are: deskfeed limits show",
    )


def _not_known(name: str, known: Sequence[str], broken: CatalogError) -> UsageError:
    accounts = ", ".join(known) or "none yet"
    return CatalogError(
        f"the catalog is broken, so destinations are not known, and the ledger has no account "
        f"{name!r}:\n{broken.message}",
        resolution=f"Name an account that the ledger knows ({accounts}), or mend the catalog: "
        "deskfeed check",
    )


def _say_broken(broken: CatalogError) -> None:
    say_error(
        f"the catalog is broken; only what the ledger knows is heeded:\n{broken.message}",
        broken.resolution,
    )


def _declared(catalog: Catalog, account: str) -> Limits | None:
    """Return what the catalog says; the ledger has it only from the first start of a run on."""
    from orchestrations import runs

    return runs.limits_of(catalog, account) if _names(catalog, account) else None


def _names(catalog: Catalog, account: str) -> tuple[str, ...]:
    found = [name for name, one in catalog.destinations.items() if one.account == account]
    return tuple(sorted(found))


def _use_now(accounts: Iterable[str]) -> tuple[dict[str, State], DeskfeedError | None]:
    """Ask Redis what accounts use at this moment; return that, and why it is not all of it."""
    from worker.limiter import Limiter, connect  # only here: it may be away, the rest is shown

    found: dict[str, State] = {}
    try:
        with connect(settings().redis()) as client:
            limiter = Limiter(client)
            for account in accounts:
                found[account] = limiter.state(account)
    except (LimiterUnavailable, UsageError) as error:
        return found, error
    return found, None


def _shown(
    catalog: Catalog, ledger: Ledger, accounts: Sequence[str], use: dict[str, State]
) -> list[Shown]:
    from orchestrations.cli.limits_words import Shown

    views = [ledger.views.account(name, _declared(catalog, name)) for name in accounts]
    return [
        Shown(view, _names(catalog, view.account), use.get(view.account))
        for view in views
        if view is not None
    ]


def _print_shown(
    found: Sequence[Shown], silent: DeskfeedError | None, broken: DeskfeedError | None
) -> None:
    from orchestrations.cli import limits_words

    print_json(
        {
            "ok": True,
            "accounts": [limits_words.as_json(shown) for shown in found],
            "redis_error": silent.as_dict() if silent else None,
            "catalog_error": broken.as_dict() if broken else None,
        }
    )


def _say_shown(
    found: Sequence[Shown], silent: DeskfeedError | None, broken: CatalogError | None
) -> None:
    from orchestrations.cli import limits_words

    for shown in found:
        for line in limits_words.lines(shown):
            click.echo(line)
        click.echo()
    if silent is not None:
        say_error("Redis does not answer; what is used now is not known", silent.resolution)
    if broken is not None:
        _say_broken(broken)
    if found:
        click.echo("Lower one for a while:")
        click.echo("  deskfeed limits set NAME --requests-per-minute N --for 2h")
    elif broken is None:
        click.echo("No accounts yet: the catalog holds no destinations. See: deskfeed check")


@limits.command("set")
@click.argument("name", metavar="ACCOUNT|DESTINATION")
@click.option(
    "--users-per-second", type=int, metavar="N", help="At least 100: a chunk is sent whole."
)
@click.option("--requests-per-minute", type=int, metavar="N", help="Each chunk is one request.")
@click.option("--jobs-in-flight", type=int, metavar="N", help="Zendesk jobs of ours at a time.")
@click.option(
    "--for", "seconds", type=TimeSpan(), help="How long, e.g. 30m, 2h or 1d; at most 7d. Required."
)
@click.option("--lift", is_flag=True, help="Let the declared limits hold again.")
@verb
def limits_set(
    name: str,
    *,
    users_per_second: int | None,
    requests_per_minute: int | None,
    jobs_in_flight: int | None,
    seconds: float | None,
    lift: bool,
    as_json: bool,
) -> None:
    """Lower one limit of an account for a while, or lift what was lowered.

    The catalog stays as it is. Workers heed it from their next request on, also in runs that are
    being sent.
    """
    values: dict[LimitName, int | None] = {
        "users_per_second": users_per_second,
        "requests_per_minute": requests_per_minute,
        "jobs_in_flight": jobs_in_flight,
    }
    wanted = {limit: value for limit, value in values.items() if value is not None}
    _refuse_mixture(len(wanted), seconds, lift=lift)
    catalog, broken = _catalog()
    with opened.ledger() as ledger:
        account = _account_of(name, catalog, ledger, broken)
        if broken is not None:
            _say_broken(broken)
        if lift:
            _say_lifted(name, account, _lift(ledger, account), as_json=as_json)
        for limit, value in wanted.items():
            override = ledger.limits.lower(
                account,
                limit,
                value,
                seconds or 0.0,
                opened.principal(),
                declared=_declared(catalog, account),
            )
            _say_lowered(name, override, as_json=as_json)


def _refuse_mixture(wanted: int, seconds: float | None, *, lift: bool) -> None:
    example = "deskfeed limits set NAME --requests-per-minute 100 --for 2h"
    if lift and (wanted or seconds is not None):
        raise UsageError(
            "--lift removes all that was lowered and goes with nothing else",
            resolution="First: deskfeed limits set NAME --lift",
        )
    if not lift and wanted != 1:
        raise UsageError(
            "give exactly one of --users-per-second, --requests-per-minute, --jobs-in-flight",
            resolution=f"For example: {example}",
        )
    if not lift and seconds is None:
        raise UsageError(
            "--for is missing: a limit is lowered for a while, e.g. 30m, 2h or 1d",
            resolution=f"For example: {example}",
        )


def _lift(ledger: Ledger, account: str) -> list[Override]:
    return ledger.limits.lift(account, None, opened.principal())


def _say_lifted(name: str, account: str, lifted: Sequence[Override], *, as_json: bool) -> None:
    from orchestrations.cli import limits_words

    if as_json:
        listed = [limits_words.override_as_json(one) for one in lifted]
        print_json({"ok": True, "account": account, "lifted": listed})
        return
    for one in lifted:
        click.echo(f"{account}: {limits_words.words(one.name)} is as declared again.")
    if not lifted:
        click.echo(f"{account}: nobody had lowered anything.")
    click.echo(f"  See what holds: deskfeed limits show {name}")


def _say_lowered(name: str, override: Override, *, as_json: bool) -> None:
    from orchestrations.cli import limits_words

    if as_json:
        lowered = limits_words.override_as_json(override)
        print_json({"ok": True, "account": override.account, "lowered": lowered})
        return
    span = duration(override.until - override.set_at)
    click.echo(f"{override.account}: {limits_words.words(override.name)} at most {override.value}")
    click.echo(f"  until {limits_words.moment(override.until)} ({span}).")
    click.echo(f"  See its use:    deskfeed limits show {name}")
    click.echo(f"  End it earlier: deskfeed limits set {name} --lift")
