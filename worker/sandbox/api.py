"""Zendesk's face of the account: routes, who may use them, and their answers. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.sandbox.clock import iso
from worker.sandbox.config import Login
from worker.sandbox.faults import Rule
from worker.sandbox.fields import field_document
from worker.sandbox.jobs import NO_FAULT
from worker.sandbox.logins import Caller
from worker.sandbox.messages import (
    BULK_UPSERT_PATH,
    UNREADABLE,
    Request,
    Response,
    error_response,
    forbidden,
    json_response,
    text_response,
)
from worker.sandbox.pages import Listing, page_response
from worker.sandbox.state import CANONICAL_URL, Account

MOST_VALUES = 100
"""Most users in a bulk upsert, and most ids in a show_many."""

_NO_ACCESS = "You do not have access to this page."


class Access(Enum):
    """Who may use a route."""

    OPEN = "open"  #: credentials are not looked at
    ANYBODY = "anybody"  #: also without a credential, but not with a bad one
    STAFF = "staff"  #: agents and admins
    IMPORTERS = "importers"  #: admins, and agents of a role with the right


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way to the answer of a route.

    Attributes:
        account: whom it asks.
        request: as it arrived.
        now: epoch seconds.
        caller: who asks.
        rule: the fault rule that acts on it.
    """

    account: Account
    request: Request
    now: float
    caller: Caller
    rule: Rule | None = None

    @property
    def login(self) -> Login:
        """Who asks, on a route that nobody reaches without logging in."""
        if self.caller.login is None:
            raise LookupError("nobody has logged in")
        return self.caller.login


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says, and the job that it queued."""

    response: Response
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    Attributes:
        kind: its name in the journal.
        method: `GET` or `POST`.
        path: exact, or ending in `/` for whatever follows.
        access: who may use it.
        answer: makes the answer of an admitted call.
    """

    kind: str
    method: str
    path: str
    access: Access
    answer: Callable[[Call], Answer]

    def matches(self, request: Request) -> bool:
        """Say whether the request is for this route."""
        if request.method != self.method:
            return False
        if self.path.endswith("/"):
            rest = request.path.removeprefix(self.path)
            return request.path.startswith(self.path) and "/" not in rest and rest != ""
        return request.path == self.path


def find_route(request: Request) -> Route | None:
    """Return the route that a request is for."""
    return next((route for route in ROUTES if route.matches(request)), None)


def answer(account: Account, request: Request, now: float, rule: Rule | None) -> Response | None:
    """Answer an API request, and write it into the journal.

    Args:
        account: whom it asks.
        request: as it arrived.
        now: epoch seconds.
        rule: the fault rule that acts on it, if one does.

    Returns:
        The answer to send; None if the rule wants silence.
    """
    account.advance(now)
    route = find_route(request)
    caller = account.logins.identify(
        request.headers,
        now + account.settings.clock_shift,
        api_tokens_enabled=account.settings.api_tokens_enabled,
    )
    answered = Answer(error_response(404, "InvalidEndpoint", "Not found"))
    if rule is None or rule.fault.apply:
        answered = _admitted(route, Call(account, request, now, caller, rule))
    response: Response | None = answered.response
    if rule is not None:
        response = rule.fault.answer or answered.response
        response = response if rule.fault.delivery.answers else None
    account.record(
        request,
        route.kind if route else "other",
        response.status if response else None,
        login=caller.login.email if caller.login else None,
        job_id=answered.job_id,
        fault=rule.id if rule else None,
    )
    return _with_rate_headers(account, request, now, response)


def refuse(account: Account, request: Request, now: float, refusal: Response) -> Response:
    """Write a request into the journal that `refusal` answers, and return the answer to send."""
    route = find_route(request)
    account.record(request, route.kind if route else "other", refusal.status)
    return _with_rate_headers(account, request, now, refusal) or refusal


def _with_rate_headers(
    account: Account, request: Request, now: float, response: Response | None
) -> Response | None:
    if response is None or not request.path.startswith("/api/"):
        return response
    return response.with_headers(
        account.requests.headers(now, account.settings.requests_per_minute)
    )


def _admitted(route: Route | None, call: Call) -> Answer:
    limit = call.account.settings.requests_per_minute
    limited = call.request.path.startswith("/api/")
    if limited and not call.account.requests.admit(call.now, limit):
        return Answer(_too_many_requests(call.account.requests.resets_in(call.now, limit)))
    if route is None:
        return Answer(error_response(404, "InvalidEndpoint", "Not found"))
    refusal = _refusal(route.access, call)
    return Answer(refusal) if refusal else route.answer(call)


def _too_many_requests(seconds: int) -> Response:
    document = {
        "error": "APIRateLimitExceeded",
        "description": "Number of allowed API requests per minute exceeded",
    }
    return json_response(document, 429, Retry_After=str(seconds))


def _refusal(access: Access, call: Call) -> Response | None:
    """Return the answer to somebody who may not use the route; None if they may."""
    caller = call.caller
    if access is Access.OPEN or (access is Access.ANYBODY and not caller.refused):
        return None
    if caller.login is None:
        return _unauthorized(call.request)
    allowed = caller.login.role != "end-user" and not caller.login.suspended
    if access is Access.IMPORTERS:
        allowed = allowed and caller.login.may_import
    return None if allowed and caller.may(call.request.method) else forbidden(_NO_ACCESS)


def _unauthorized(request: Request) -> Response:
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        words = "The access token provided is expired, revoked, malformed or invalid."
        return json_response({"error": "invalid_token", "error_description": words}, 401)
    return error_response(401, "Couldn't authenticate you")


def _upsert_many(call: Call) -> Answer:
    account, settings = call.account, call.account.settings
    if not settings.import_enabled:
        return Answer(forbidden("Data imports are not enabled"))
    refusal = _unusable(call.request)
    if refusal is not None:
        return Answer(refusal)
    rows = call.request.rows or []
    allowed = settings.users_per_second
    if allowed is not None and not account.users_posted.admit(call.request.at, len(rows), allowed):
        return Answer(_too_many_requests(1))
    job = account.queue_job(
        rows,
        call.now,
        by_admin=call.login.role == "admin",
        fault=call.rule.fault.job if call.rule else NO_FAULT,
    )
    if job is None:
        return Answer(error_response(429, "TooManyJobs", "Too many jobs are queued or running"))
    # Also an instant job is queued at first: that is what the answer to a POST always says.
    document = job.document(call.now, CANONICAL_URL) | _JUST_QUEUED
    return Answer(json_response({"job_status": document}), job.id)


_JUST_QUEUED = {"status": "queued", "progress": None, "message": None, "results": None}


def _unusable(request: Request) -> Response | None:
    """Return the refusal of a body that holds no 1 to 100 users; None if it does."""
    if request.document is UNREADABLE:
        # Documented: malformed requests are answered in plain text.
        return text_response("The request could not be understood: not valid JSON", 400)
    if not request.rows:
        return error_response(400, "ParameterMissing", "Parameter users is required")
    if len(request.rows) > MOST_VALUES:
        most = f"Maximum {MOST_VALUES} users may be created per call"
        return error_response(400, "TooManyValues", most)
    return None


def _listed(call: Call, name: str) -> list[str]:
    """Return the values of a comma-separated list in the query, without repeats."""
    values = call.request.parameters.get(name, [])
    return list(dict.fromkeys(part for value in values for part in value.split(",") if part))


def _too_many_values() -> Answer:
    description = f"Parameter  cannot specify more than {MOST_VALUES} values"
    document = {"error": "TooManyValues", "description": description, "max_count": MOST_VALUES}
    return Answer(json_response(document, 400))


def _missing(name: str) -> Answer:
    return Answer(error_response(400, "ParameterMissing", f"Parameter {name} is required"))


def _job_status(call: Call) -> Answer:
    job = call.account.jobs.find(call.request.path.rpartition("/")[2])
    if job is None:
        return Answer(error_response(404, "RecordNotFound", "Not found"))
    return Answer(json_response({"job_status": job.document(call.now, CANONICAL_URL)}))


def _job_statuses(call: Call) -> Answer:
    ids = _listed(call, "ids")
    if not ids:
        return _missing("ids")
    if len(ids) > MOST_VALUES:
        return _too_many_values()
    found = [job for job in map(call.account.jobs.find, ids) if job is not None]
    documents = [job.document(call.now, CANONICAL_URL) for job in found]
    return Answer(json_response({"job_statuses": documents}))


def _all_job_statuses(call: Call) -> Answer:
    jobs = call.account.jobs.listed()
    listing = Listing("job_statuses", jobs, lambda job: job.document(call.now, CANONICAL_URL))
    return Answer(page_response(listing, call.request))


def _me(call: Call) -> Answer:
    login = call.caller.login
    user = call.account.people.with_email(login.email) if login else None
    if user is not None:
        return Answer(json_response({"user": user.document(CANONICAL_URL)}))
    # Recorded by a probe: 200 for nobody, also for a wrong password.
    anonymous: dict[str, Any] = {
        "id": None, "name": "Anonymous user", "email": None, "role": "end-user",
        "created_at": iso(call.account.started_at), "active": True, "suspended": False,
        "verified": False, "tags": [], "user_fields": {},
    }  # fmt: skip
    return Answer(json_response({"user": anonymous}))


def _users_show_many(call: Call) -> Answer:
    ids, external_ids = _listed(call, "ids"), _listed(call, "external_ids")
    if not ids and not external_ids:
        return _missing("ids")
    if len(ids) > MOST_VALUES or len(external_ids) > MOST_VALUES:
        return _too_many_values()
    people = call.account.people
    found = [people.by_id.get(int(one)) for one in ids if one.isascii() and one.isdigit()]
    found += [people.with_external_id(one) for one in external_ids]
    by_id = {user.id: user for user in found if user is not None}
    documents = [by_id[user_id].document(CANONICAL_URL) for user_id in sorted(by_id)]
    return Answer(
        json_response(
            {"users": documents, "next_page": None, "previous_page": None, "count": len(documents)}
        )
    )


def _users_search(call: Call) -> Answer:
    asked, people = call.request.parameters, call.account.people
    external_id, query = asked.get("external_id", [""])[0], asked.get("query", [""])[0].strip()
    if external_id:
        found = people.with_external_id(external_id)
        users = [found] if found else []
    else:
        key, _, value = query.partition(":")
        found = people.with_email(value.strip('"')) if key == "email" else None
        users = [found] if found else []
        if key != "email" and query:
            users = [user for user in people if query.strip('"').lower() in user.name.lower()]
    listing = Listing("users", users, lambda user: user.document(CANONICAL_URL))
    return Answer(page_response(listing, call.request))


def _users(call: Call) -> Answer:
    asked = call.request.parameters
    roles = {*asked.get("role[]", []), *asked.get("role", [])}
    external_id = asked.get("external_id", [None])[0]
    people = call.account.people
    users = [people.with_external_id(external_id)] if external_id else list(people)
    shown = [user for user in users if user is not None and (not roles or user.role in roles)]
    listing = Listing("users", shown, lambda user: user.document(CANONICAL_URL))
    return Answer(page_response(listing, call.request))


def _user_fields(call: Call) -> Answer:
    created_at = call.account.started_at
    fields = list(enumerate(call.account.people.fields.values()))
    listing = Listing(
        "user_fields", fields, lambda placed: field_document(*placed, CANONICAL_URL, created_at)
    )
    return Answer(page_response(listing, call.request))


def _custom_roles(call: Call) -> Answer:
    if not call.account.roles:
        return Answer(forbidden(_NO_ACCESS))
    documents = [
        {
            "id": role_id,
            "name": role.name,
            "description": "",
            "role_type": 0,
            "configuration": {"end_user_profile_access": role.end_user_profile_access},
        }
        for role_id, role in call.account.roles.items()
    ]
    return Answer(
        json_response(
            {
                "custom_roles": documents,
                "count": len(documents),
                "next_page": None,
                "previous_page": None,
            }
        )
    )


def _token(call: Call) -> Answer:
    settings = call.account.settings
    now = call.now + settings.clock_shift
    return Answer(call.account.logins.issue(call.request, now, settings.token_seconds))


ROUTES = (
    Route("bulk_upsert", "POST", BULK_UPSERT_PATH, Access.IMPORTERS, _upsert_many),
    Route(
        "job_statuses_show_many", "GET", "/api/v2/job_statuses/show_many", Access.STAFF,
        _job_statuses,
    ),
    Route("job_status", "GET", "/api/v2/job_statuses/", Access.STAFF, _job_status),
    Route("job_statuses", "GET", "/api/v2/job_statuses", Access.STAFF, _all_job_statuses),
    Route("users_me", "GET", "/api/v2/users/me", Access.ANYBODY, _me),
    Route("users_show_many", "GET", "/api/v2/users/show_many", Access.STAFF, _users_show_many),
    Route("users_search", "GET", "/api/v2/users/search", Access.STAFF, _users_search),
    Route("users", "GET", "/api/v2/users", Access.STAFF, _users),
    Route("user_fields", "GET", "/api/v2/user_fields", Access.STAFF, _user_fields),
    Route("custom_roles", "GET", "/api/v2/custom_roles", Access.STAFF, _custom_roles),
    Route("oauth_token", "POST", "/oauth/tokens", Access.OPEN, _token),
)  # fmt: skip
"""Every endpoint, the special before the general."""
