"""docs/errors.md and docs/runbook.md, written from the catalogue. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.explanations import CHAPTERS
from worker.explanations.model import Explanation, Fault

_MADE = "<!-- Made by `make docs` from worker/explanations; edit there. -->"


def pages() -> Mapping[str, str]:
    """Return the text of each page, by the name of its file in docs."""
    return {"errors.md": _page(_errors()), "runbook.md": _page(_runbook())}


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


def _errors() -> Iterator[str]:
    yield from (_MADE, "# Error and outcome codes", "")
    yield "Every error and every row that was not delivered has a code. `--json` output,"
    yield "`failures`, `show`, logs and alerts use it; its meaning never changes."
    yield "`deskfeed explain CODE` tells the same as the code's section in the"
    yield "[runbook](runbook.md)."
    for title, chapter in CHAPTERS.items():
        yield from ("", f"## {title}", "")
        yield from ("| code | title | whose fault | what to do |", "|---|---|---|---|")
        for code, one in chapter.items():
            link = f"[`{code}`](runbook.md#{code})"
            yield f"| {link} | {one.title} | {one.fault} | {_cell(one.resolution)} |"
    yield from _faults()


def _faults() -> Iterator[str]:
    yield from ("", "## Whose fault", "", "| word | who has to do something |", "|---|---|")
    for fault in Fault:
        yield f"| `{fault}` | {fault.words} |"


def _runbook() -> Iterator[str]:
    yield from (_MADE, "# Runbook", "")
    yield "One section for each code: what it means, whose fault it is, what it may come from, what"
    yield "to do in which order, and what to type. RUN, ORCHESTRATION, NAME (of a destination) and"
    yield "CODE stand for your own; `deskfeed show RUN` and `deskfeed failures RUN` fill them in."
    yield "Nothing here can lose or double a row: a run that is paused or failed keeps what it has,"
    yield "and sending a row twice is harmless."
    for title, chapter in CHAPTERS.items():
        yield from ("", f"## {title}")
        for code, one in chapter.items():
            yield from _section(code, one)


def _section(code: str, one: Explanation) -> Iterator[str]:
    yield from ("", f"### {code}", "", f"**{one.title}.** {one.resolution}", "")
    yield from (f"Whose fault: {one.fault.words}.", "", "It may come from:", "")
    yield from (f"- {cause}" for cause in one.causes)
    yield from ("", "What to do:", "")
    yield from (f"{number}. {step}" for number, step in enumerate(one.steps, 1))
    yield from ("", "```sh", one.command, "```")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
