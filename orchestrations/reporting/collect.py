"""Collects what the report of a run says. It changes nothing, and asks nobody but the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrations import report
from orchestrations.masking import MASK, masked_row
from orchestrations.report import explained
from orchestrations.reporting import series, timeline
from orchestrations.reporting.journey import journey
from orchestrations.reporting.model import Reason, RunReport, Tone, Verdict
from orchestrations.runs import Options
from worker.errors import RunError, UsageError
from worker.ledger import Ledger
from worker.ledger.parameters import names_of
from worker.ledger.records import Event, Run, RunView
from worker.sealing import KeyMissing

EXAMPLES = 5
"""Rows that are shown for each reason; all of them are in `deskfeed failures`."""

NOT_KEPT = "(not kept: the run has ended)"
NOT_READABLE = "(encrypted: DESKFEED_SPOOL_KEY lacks its key here)"

_ORDER = {"failed": 0, "unconfirmed": 1, "skipped": 2}
_TONES: Mapping[str, Tone] = {"failed": "bad", "unconfirmed": "warning", "skipped": "neutral"}


def collect(ledger: Ledger, run_id: str, *, masked: bool = False) -> RunReport:
    """Return what the report of a run says, as the run stands now.

    Args:
        ledger: the record of truth.
        run_id: which run.
        masked: whether whose rows these are is not shown.

    Raises:
        UsageError: there is no such run.
    """
    view = ledger.views.run(run_id)
    if view is None:
        raise UsageError(f"there is no run {run_id!r}", code="run_not_found")
    history, run = ledger.history, view.run
    posts, events, now = history.posts(run_id), history.milestones(run_id), history.now()
    until = None if report.ended(run) else now
    told = [*events, *timeline.posts_as_events([post.at for post in posts])]
    moments, left_out = timeline.moments(sorted(told, key=lambda event: event.at))
    return RunReport(
        view=view,
        made_at=now,
        verdict=verdict(view),
        journey=journey(view, history.chunk_rows(run_id)),
        rate=series.rate(posts, events, _budget(ledger, run, events), until),
        jobs=series.jobs(history.job_seconds(run_id)),
        reasons=_reasons(ledger, view, masked=masked),
        moments=moments,
        left_out=left_out,
        troubles=timeline.troubles(history.counts(run_id)),
        digests=_last(events, "run_configured"),
        options=_options(ledger, run, masked=masked),
        masked=masked,
        next_commands=tuple(_next(view)),
    )


def verdict(view: RunView) -> Verdict:
    """Return how a run stands, in a sentence."""
    run, rows = view.run, view.rows
    word = timeline.words(run.state)
    if report.ended(run):
        return Verdict(word, _sentence(report.verdict(view)), timeline.tone_of(run.state), True)
    done = rows.created + rows.updated
    sentence = (
        f"{_sentence(word)} So far {done:,} of {rows.read:,} rows are delivered, "
        f"{rows.failed + rows.unconfirmed:,} are not, {rows.pending:,} are still open."
    )
    return Verdict(word, sentence, timeline.tone_of(run.state), False)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].removesuffix(".") + "."


def _budget(ledger: Ledger, run: Run, events: Iterable[Event]) -> int | None:
    """Return what the account allowed when the run was started; else what it allows now."""
    limits = _last(events, "run_created").get("limits")
    if limits is not None:
        return int(limits["users_per_second"])
    known = ledger.views.account(run.target.account)
    return known.standing.limits.users_per_second if known else None


def _last(events: Iterable[Event], kind: str) -> Mapping[str, Any]:
    """Return what the last event of a kind tells: a second planner plans anew."""
    found: Mapping[str, Any] = {}
    for event in events:
        if event.kind == kind:
            found = event.data
    return found


def _reasons(ledger: Ledger, view: RunView, *, masked: bool) -> tuple[Reason, ...]:
    ordered = sorted(view.reasons.items(), key=lambda item: (_ORDER[item[0][0]], -item[1], item[0]))
    return tuple(_reason(ledger, view, *reason, rows, masked) for reason, rows in ordered)


def _reason(ledger: Ledger, view: RunView, kind: str, code: str, rows: int, masked: bool) -> Reason:
    examples = ledger.history.examples(view.run.run_id, kind, code, EXAMPLES)
    known = explained(code, view.run)
    return Reason(
        outcome=kind,
        code=code,
        title=report.title_of(code),
        rows=rows,
        fault=known.fault.words if known else "",
        causes=known.causes if known else (),
        steps=known.steps if known else (),
        command=known.command if known else "",
        examples=tuple(map(masked_row, examples) if masked else examples),
        tone=_TONES[kind],
    )


def _options(ledger: Ledger, run: Run, *, masked: bool) -> tuple[tuple[str, str], ...]:
    """Return what start was asked for, as (name, value)."""
    options = Options.from_json(run.options)
    said = [
        ("sample", f"the first {options.sample:,} rows" if options.sample else ""),
        ("full", "also rows that have not changed" if options.full else ""),
        ("codes", ", ".join(options.codes)),
        *_parameters(ledger, run, masked=masked),
    ]
    return tuple((name, value) for name, value in said if value)


def _parameters(ledger: Ledger, run: Run, *, masked: bool) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a run; values only as long as they are there and can be read."""
    names = names_of(run.options)
    values: Mapping[str, Any] = {}
    missing = NOT_KEPT
    if names and not masked:
        try:
            values = ledger.kept.params(run.run_id) or {}
        except (KeyMissing, RunError):
            missing = NOT_READABLE
    for name in names:
        yield f"${name}", MASK if masked else str(values.get(name, missing))


def _next(view: RunView) -> Iterable[tuple[str, str]]:
    run_id = view.run.run_id
    if not report.ended(view.run):
        yield "Watch it to its end", f"deskfeed watch {run_id}"
        yield "Make this report anew", f"deskfeed report {run_id} -o {run_id}.html --force"
    if view.rows.failed + view.rows.unconfirmed and not view.rows_pruned:
        yield "Every row with its reason", f"deskfeed failures {run_id}"
    if report.may_be_retried(view):
        yield "Send what did not arrive again", f"deskfeed retry {run_id}"
    if report.ended(view.run) and view.rows.created + view.rows.updated:
        yield "Hold what arrived against Zendesk", f"deskfeed verify {run_id}"
