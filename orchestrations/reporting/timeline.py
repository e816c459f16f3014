"""What happened to a run, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrations import report
from orchestrations.reporting.model import Moment, Part, Tone
from worker.ledger.records import Event
from worker.ledger.states import RunState

MOST_MOMENTS = 60
"""Of so many the first and the last halves are shown: how it began and how it ended."""

TROUBLES: Mapping[str, str] = {
    "chunk_unclear": "answers that were unclear, so the chunk settled and was sent again",
    "chunk_split": "chunks that Zendesk refused as a whole and that were halved",
    "rows_again": "times rows were sent once more, because another job held them",
    "claim_expired": "chunks taken over from a worker that was lost",
    "worker_lost": "POSTs of a worker that was lost",
    "chunk_quarantined": "chunks that were given up",
}
"""What is counted, not told one by one: there may be one for each chunk."""

_TONES: Mapping[str, Tone] = {
    RunState.SUCCEEDED: "good",
    RunState.FINISHED_WITH_FAILURES: "warning",
    RunState.STOPPED: "warning",
    RunState.FAILED: "bad",
    RunState.INCONSISTENT: "bad",
}


def tone_of(state: RunState) -> Tone:
    """Return how to take a run's state."""
    return _TONES.get(state, "neutral")


def moments(events: Iterable[Event]) -> tuple[tuple[Moment, ...], int]:
    """Return what happened in order, and how many moments between are left out."""
    told = [moment for event in events if (moment := _moment(event)) is not None]
    if len(told) <= MOST_MOMENTS:
        return tuple(told), 0
    half = MOST_MOMENTS // 2
    return (*told[:half], *told[-half:]), len(told) - 2 * half


def troubles(counts: Mapping[str, int]) -> tuple[Part, ...]:
    """Return what delivery had to cope with."""
    return tuple(
        Part(words, counts[kind], "warning") for kind, words in TROUBLES.items() if counts.get(kind)
    )


def posts_as_events(accepted: Sequence[float]) -> list[Event]:
    """Return the first and the last acceptance by Zendesk as events beside the others.

    Args:
        accepted: ledger times.
    """
    if not accepted:
        return []
    ends = [Event(min(accepted), "first_post", None, {})]
    if len(accepted) > 1:
        ends.append(Event(max(accepted), "last_post", None, {}))
    return ends


_WORDS: Mapping[str, str] = {
    "run_created": "The run was started",
    "run_spooled": "All rows were read, checked and spooled; sending began",
    "first_post": "Zendesk accepted the first chunk",
    "last_post": "Zendesk accepted the chunk that was sent last",
    "run_resumed": "The run went on",
}


def _moment(event: Event) -> Moment | None:
    match event.kind:
        case "planning_warning":
            return Moment(event.at, f"Planning warned: {event.data['what']}", "warning")
        case "run_throttled":
            return _throttled(event)
        case "run_paused":
            return Moment(event.at, f"The run was paused{_why(event)}", "warning")
        case "run_stopping":
            return Moment(event.at, f"The run was being stopped{_why(event)}", "warning")
        case "run_ended":
            state = RunState(event.data["state"])
            return Moment(event.at, f"The run ended: {words(state)}", tone_of(state))
    said = _WORDS.get(event.kind)
    return Moment(event.at, said) if said else None


def _why(event: Event) -> str:
    """Return the reason after a colon; without one a person did it."""
    code = event.data.get("code")
    return f": {report.title_of(code)}" if code else " by a person"


def _throttled(event: Event) -> Moment:
    whom = {"account": "the account", "chunk": "a chunk", "jobs": "new jobs"}
    scope = whom.get(event.data["scope"], "a request")
    often = "" if event.data["times"] == 1 else f" {event.data['times']} times"
    what = f"Zendesk asked{often} to wait with {scope} (429), {event.data['seconds']:.0f} s"
    return Moment(event.at, what, "warning")


def words(state: RunState) -> str:
    """Return a state for people."""
    return str(state).replace("_", " ")
