"""Zendesk's replies: an answer becomes a typed result, or the error that `consequences` names.

Nothing here raises anything but errors of `worker.errors`, whatever bytes are put in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.zendesk.answer import Answer, RateHeaders
from worker.zendesk.consequences import error_of, unclear
from worker.zendesk.fields import FieldPage, parse_field_page
from worker.zendesk.jobs import JobAccepted, JobState, JobStatus, JobStatuses, ResultItem
from worker.zendesk.matching import Matched, match_results
from worker.zendesk.staff import StaffPage, parse_staff_page

__all__ = [
    "Identity",
    "JobAccepted",
    "JobState",
    "JobStatus",
    "JobStatuses",
    "Matched",
    "RateHeaders",
    "ResultItem",
    "UserRecord",
    "match_results",
    "read_custom_roles",
    "read_field_page",
    "read_identity",
    "read_job_accepted",
    "read_job_statuses",
    "read_staff_page",
    "read_users",
]

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""A job's id: recorded are `V3-` and 32 hex digits, and without `V3-`. It enters URLs."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom Zendesk takes us for. Name and e-mail are not kept.

    Attributes:
        user_id: None for an anonymous visitor.
        role: `admin`, `agent`, `end-user`; empty when Zendesk does not say.
        suspended: a suspended user may do nothing.
        anonymous: `users/me` answers 200 to a wrong password too, with the anonymous user.
        custom_role_id: of an agent on an account with roles of its own; else None.
        rate: what the answer's headers said about the request budget.
    """

    user_id: int | None
    role: str
    suspended: bool
    anonymous: bool
    custom_role_id: int | None = None
    rate: RateHeaders = field(default_factory=RateHeaders)


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as Zendesk has it, to compare with what was sent. Its repr shows no customer value.

    Attributes:
        user_id: the user's id at Zendesk.
        external_id: None when the user has none.
        created_at: None when Zendesk does not say.
        attributes: the whole user object.
    """

    user_id: int
    external_id: str | None = field(repr=False)
    created_at: datetime | None
    attributes: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class UsersFound:
    """The users of one answer.

    Attributes:
        users: in any order; those that Zendesk does not know are missing.
        rate: what the answer's headers said about the request budget.
    """

    users: tuple[UserRecord, ...]
    rate: RateHeaders = field(default_factory=RateHeaders)


def read_job_accepted(answer: Answer) -> JobAccepted:
    """Read the answer to create_or_update_many: the job that Zendesk queued.

    Raises:
        DestinationError: a person must act.
        Refused: Zendesk did nothing with the request.
        Throttled: Zendesk asks to wait.
        Ambiguous: the answer does not name a job, so nobody knows whether there is one.
    """
    status = _document(answer, posted=True).get("job_status")
    job_id = status.get("id") if isinstance(status, dict) else None
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        raise unclear("Zendesk's answer names no job", posted=True)
    return JobAccepted(job_id, answer.rate)


def read_job_statuses(answer: Answer, asked: Collection[str]) -> JobStatuses:
    """Read the answer to job_statuses/show_many; jobs that were not asked for are left out.

    404 with a JSON body means that Zendesk knows none of them.

    Raises:
        DestinationError: a person must act.
        Throttled: Zendesk asks to wait.
        NotSent: no usable answer; ask again.
    """
    if _knows_none(answer):
        return JobStatuses({}, answer.rate)
    listed = _listed(answer, "job_statuses")
    found: dict[str, JobStatus] = {}
    for item in listed:
        status = _job_status(item)
        if status is None or status.job_id not in asked:
            continue
        before = found.get(status.job_id)
        if before is not None and before != status:
            # Two answers about one job: neither can be believed; the next look may tell.
            status = JobStatus(status.job_id, JobState.UNKNOWN)
        found[status.job_id] = status
    return JobStatuses(found, answer.rate)


def read_identity(answer: Answer) -> Identity:
    """Read the answer to users/me.

    Raises:
        DestinationError, Throttled, NotSent: as `read_job_statuses`.
    """
    user = _document(answer, posted=False).get("user")
    if not isinstance(user, dict):
        raise unclear("Zendesk's answer names no user", posted=False)
    user_id = _integer(user.get("id"))
    return Identity(
        user_id=user_id,
        role=_text(user.get("role")) or "",
        suspended=user.get("suspended") is True,
        anonymous=user_id is None or user.get("name") == "Anonymous user",
        custom_role_id=_integer(user.get("custom_role_id")),
        rate=answer.rate,
    )


def read_custom_roles(answer: Answer) -> Mapping[str, Any] | None:
    """Read the answer to custom_roles; None: this login may not see them, or there are none.

    Accounts below Enterprise have no custom roles, and whether a token with scopes for users may
    read them is documented nowhere; so 403 and 404 are no errors here.

    Raises:
        DestinationError, Throttled, NotSent: as `read_job_statuses`.
    """
    if answer.status in (403, 404):
        return None
    return _document(answer, posted=False)


def read_field_page(answer: Answer) -> FieldPage:
    """Read one page of user_fields.

    Raises:
        DestinationError, Throttled, NotSent: as `read_job_statuses`.
    """
    page = parse_field_page(_document(answer, posted=False))
    if page is None:
        raise unclear("Zendesk's answer lists no user fields", posted=False)
    return page


def read_staff_page(answer: Answer) -> StaffPage:
    """Read one page of users with the roles of staff.

    Raises:
        DestinationError, Throttled, NotSent: as `read_job_statuses`.
    """
    page = parse_staff_page(_document(answer, posted=False))
    if page is None:
        raise unclear("Zendesk's answer lists no users", posted=False)
    return page


def read_users(answer: Answer) -> UsersFound:
    """Read the answer to users/show_many; 404 with a JSON body means that there are none.

    Raises:
        DestinationError, Throttled, NotSent: as `read_job_statuses`.
    """
    if _knows_none(answer):
        return UsersFound((), answer.rate)
    users = (_user(item) for item in _listed(answer, "users"))
    return UsersFound(tuple(user for user in users if user is not None), answer.rate)


# --- parts ----------------------------------------------------------------------------------------


def _document(answer: Answer, *, posted: bool) -> Mapping[str, Any]:
    error = error_of(answer, posted=posted)
    if error is not None:
        raise error
    document = answer.document
    if document is None:
        raise unclear(f"Zendesk answered {answer.status} without a JSON object", posted=posted)
    return document


def _listed(answer: Answer, key: str) -> list[Any]:
    listed = _document(answer, posted=False).get(key)
    if not isinstance(listed, list):
        raise unclear(f"Zendesk's answer has no list of {key}", posted=False)
    return listed


def _knows_none(answer: Answer) -> bool:
    document = answer.document if answer.status == 404 else None
    return document is not None and document.get("error") == "RecordNotFound"


def _job_status(item: Any) -> JobStatus | None:
    job_id = item.get("id") if isinstance(item, dict) else None
    if not isinstance(job_id, str):
        return None
    word = _text(item.get("status")) or ""
    known = word.lower() in set(JobState)
    return JobStatus(
        job_id,
        JobState(word.lower()) if known else JobState.UNKNOWN,
        total=_integer(item.get("total")),
        progress=_integer(item.get("progress")),
        results=_results(item.get("results")),
    )


def _results(value: Any) -> tuple[ResultItem, ...] | None:
    """A list has an item per user, in whatever shape; an object is taken as the only item."""
    if isinstance(value, dict):
        return (_result(value),)
    return tuple(_result(item) for item in value) if isinstance(value, list) else None


def _result(item: Any) -> ResultItem:
    if not isinstance(item, dict):
        return ResultItem()  # keeps its place, says nothing
    status = _text(item.get("status"))
    failed = (
        bool(item.get("error"))
        or bool(item.get("errors"))
        or item.get("success") is False
        or (status or "").lower() == "failed"
    )
    return ResultItem(
        id=_integer(item.get("id")),
        index=_integer(item.get("index")),
        external_id=_identifier(item.get("external_id")),
        email=_text(item.get("email")),
        status=status,
        failed=failed,
        error=_text(item.get("error")),
        details=_text(item.get("details")) or _text(item.get("description")),
    )


def _user(item: Any) -> UserRecord | None:
    user_id = _integer(item.get("id")) if isinstance(item, dict) else None
    if user_id is None:
        return None
    return UserRecord(
        user_id, _identifier(item.get("external_id")), _time(item.get("created_at")), item
    )


def _time(value: Any) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed is not None and parsed.tzinfo is None else parsed


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _identifier(value: Any) -> str | None:
    """external_id is a string; a number is taken for the string that it shows."""
    number = _integer(value)
    return str(number) if number is not None else _text(value)
