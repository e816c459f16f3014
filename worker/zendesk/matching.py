"""Which result of a job speaks about which row. What cannot be told is never a success.

Zendesk echoes external_id and e-mail of most users, and keeps the order of the request; the list
may all the same be short, and a failure may bear nothing but its position. So:

1. An item speaks about every row that it names: the same external_id, or the same e-mail without
   another external_id. (A changed e-mail becomes a secondary one, and the primary is echoed: beside
   the right external_id another e-mail is no contradiction.)
2. An item that names nobody speaks about the row at its position, if the list is as long as the
   request and the item states no other position.
3. A row has an outcome if some item speaks about it alone and all items that speak about it agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from worker.profile import Outcome, OutcomeKind, Profile
from worker.zendesk.jobs import JobStatus, ResultItem
from worker.zendesk.redaction import error_class, redact

_SUCCESS = {"created": OutcomeKind.CREATED, "updated": OutcomeKind.UPDATED}

TRANSIENT_CLASSES = frozenset(
    {
        "Conflict",  # the word of 409, for which other clients wait and try again
        "DatabaseConflict",  # "Database collision"
        "DatabaseDeadlock",  # "Database deadlock found; please retry your transaction"
        "LockTimeout",
        "ResourceLocked",
    }
)
"""Classes of a failed row that another job in flight causes, and that pass by themselves.

`DatabaseConflict` and `DatabaseDeadlock` are recorded as whole answers (409 and 503) by clients of
Zendesk's API in PHP and Python; that they also stand in the result of a row is our inference, as
are the locks. Zendesk documents no list of the classes of rows.
"""

TRANSIENT_PHRASES = (
    "database collision",
    "deadlock found",
    "retry your transaction",
    "lock wait timeout",
    "already being processed",
    "is being processed",
    "currently being updated",
    "rate limit for updating a single unique user",
)
"""The same in Zendesk's words, for results whose class is only `UserUpdateError`; lower case.

The last one is recorded as an answer in plain text: one person may be changed five times a minute.
"Email … is already being used by another user" is none of these: it stays so.
"""

MASKED_REASON = "Zendesk gave no reason that can be shown"
"""The detail of a failure of which nothing is left once values are masked."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What a job says about the rows of a chunk; each row is in exactly one of the two.

    Attributes:
        outcomes: created, updated or failed, in the rows' order.
        unmatched: rows of which the job says nothing certain, in the rows' order.
    """

    outcomes: tuple[Outcome, ...]
    unmatched: tuple[Profile, ...]


def match_results(profiles: Sequence[Profile], status: JobStatus) -> Matched:
    """Tell from an ended job what became of each row.

    A job that has not ended says nothing yet: every row is unmatched. Of a failed or killed job
    the results that are there count.

    Args:
        profiles: the rows as they were sent, in order.
        status: the job.
    """
    items = status.results if status.state.ended and status.results else ()
    keys = [(_fold(profile.external_id), _fold(profile.email)) for profile in profiles]
    spoken: dict[int, list[tuple[ResultItem, bool]]] = defaultdict(list)
    for position, item in enumerate(items):
        about = _named(keys, item) or _at(items, position, len(profiles))
        for index in about:
            spoken[index].append((item, len(about) == 1))
    outcomes: list[Outcome] = []
    unmatched: list[Profile] = []
    for index, profile in enumerate(profiles):
        outcome = _agreed(profile, spoken[index])
        if outcome is None:
            unmatched.append(profile)
        else:
            outcomes.append(outcome)
    return Matched(tuple(outcomes), tuple(unmatched))


def _named(keys: Sequence[tuple[str, str]], item: ResultItem) -> list[int]:
    """The rows that an item names, by index."""
    echoed = _fold(item.external_id), _fold(item.email)
    return [index for index, key in enumerate(keys) if _names(*echoed, *key)]


def _names(item_id: str, item_email: str, row_id: str, row_email: str) -> bool:
    if item_id and row_id:
        return item_id == row_id
    return bool(item_email) and item_email == row_email


def _at(items: Sequence[ResultItem], position: int, rows: int) -> list[int]:
    """The row at an item's position, unless something speaks against it."""
    if len(items) != rows:
        return []
    item = items[position]
    if _fold(item.external_id) or _fold(item.email):
        return []  # it names somebody, and it is nobody of this chunk
    # A failure's id is a position or a user's id; users' ids are not as small as positions.
    stated = [item.index, item.id if item.failed else None]
    if any(s is not None and 0 <= s < len(items) and s != position for s in stated):
        return []
    return [position]


def _agreed(profile: Profile, spoken: Sequence[tuple[ResultItem, bool]]) -> Outcome | None:
    outcomes = [_outcome(profile, item) for item, _ in spoken]
    first = next((o for o, (_, alone) in zip(outcomes, spoken, strict=True) if alone), None)
    if first is None:
        return None
    verdict = (first.kind, first.zendesk_id)
    if any(o is None or (o.kind, o.zendesk_id) != verdict for o in outcomes):
        return None
    return first


def _outcome(profile: Profile, item: ResultItem) -> Outcome | None:
    """What an item says; None for a word that we do not know, and that is no success then."""
    if item.failed:
        code = "row_conflict" if is_transient(item) else "rejected_by_zendesk"
        return Outcome(profile.row, OutcomeKind.FAILED, code, _detail(profile, item))
    kind = _SUCCESS.get(item.status.lower()) if item.status else None
    return None if kind is None else Outcome(profile.row, kind, zendesk_id=item.id)


def is_transient(item: ResultItem) -> bool:
    """Whether a failed row is worth sending once more, as it stands."""
    said = (item.details or "").lower()
    return item.error in TRANSIENT_CLASSES or any(phrase in said for phrase in TRANSIENT_PHRASES)


def _detail(profile: Profile, item: ResultItem) -> str:
    fields = profile.user.get("user_fields")
    keys = {str(key).lower() for key in fields} if isinstance(fields, dict) else set()
    said = redact(item.details or "", keys)
    shown = said.strip("…:;., ")
    return (said if shown else "") or error_class(item.error) or MASKED_REASON


def _fold(value: object) -> str:
    """What Zendesk compares: without regard to case and surrounding blanks; empty is none."""
    return value.strip().lower() if isinstance(value, str) else ""
