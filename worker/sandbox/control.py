"""The sandbox's own face, under `/_sandbox`: look at the account, adjust it, break it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker.sandbox.messages import Request, Response, error_response, json_response, text_response
from worker.sandbox.settings import Misconfigured
from worker.sandbox.state import CANONICAL_URL, Account
from worker.sandbox.users import User

PREFIX = "/_sandbox"
BANNER = "This is NOT Zendesk: it is Deskfeed's sandbox, a local stand-in that forgets everything."

_FIRST_PAGE = f"""{BANNER}

Log in with   admin@socktown.example/token   and   sandbox-token   (if the defaults were kept).

GET    /api/v2/users/me.json, /api/v2/user_fields.json, /api/v2/job_statuses.json, ...
POST   /api/v2/users/create_or_update_many.json

GET    /_sandbox/stats      sums: requests, users, peaks, jobs
GET    /_sandbox/journal    every API request        ?since=SEQ&limit=N
GET    /_sandbox/users      who was delivered        ?after=ID&limit=N&seeded=true
GET    /_sandbox/jobs       every job
GET    /_sandbox/settings   PATCH changes them
GET    /_sandbox/faults     POST adds a rule, DELETE clears (?id=N: one)
POST   /_sandbox/reset, /_sandbox/revoke_tokens, /_sandbox/foreign_requests

Everything is explained in docs/sandbox.md.
"""
_PAGE = 1000
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def is_control(request: Request) -> bool:
    """Say whether a request is for the sandbox itself rather than for the account."""
    path = request.path
    return path in {"/", PREFIX} or path.startswith(PREFIX + "/")


def answer_control(account: Account, request: Request, now: float) -> Response:
    """Answer a request for the sandbox itself. It is in no journal and counts against no limit.

    Args:
        account: the account to look at or to change.
        request: for which `is_control` holds.
        now: epoch seconds.
    """
    host = request.headers.get("host", "127.0.0.1").rpartition(":")
    if (host[0] or host[2]) not in _LOOPBACK_NAMES:
        # A web page whose name was pointed at 127.0.0.1 could read and change everything here.
        return error_response(403, "Forbidden", "the sandbox answers to 127.0.0.1 and localhost")
    if request.path in {"/", PREFIX, PREFIX + "/"}:
        return text_response(_FIRST_PAGE)
    act = _ACTS.get((request.method, request.path.removeprefix(PREFIX)))
    if act is None:
        return error_response(404, "NotFound", f"no {request.method} here; GET / lists what is")
    account.advance(now)
    try:
        return act(account, request, now)
    except Misconfigured as error:
        return error_response(400, "BadRequest", str(error))


def _number(request: Request, name: str, default: int) -> int:
    text = request.parameters.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit():
        raise Misconfigured(f"`{name}` must be a whole number")
    return int(text)


def _object(request: Request) -> Mapping[str, Any]:
    if not isinstance(request.document, dict):
        raise Misconfigured("the body must be a JSON object")
    return request.document


def _stats(account: Account, _: Request, now: float) -> Response:
    return json_response(account.stats(now))


def _journal(account: Account, request: Request, _: float) -> Response:
    since = _number(request, "since", 0)
    entries = account.journal.since(since, _number(request, "limit", _PAGE))
    documents = [entry.document() for entry in entries]
    return json_response({"entries": documents, "next": entries[-1].seq if entries else since})


def user_document(user: User) -> dict[str, Any]:
    """Return a user as the API shows them, with their addresses and whether they were seeded."""
    identities = [
        {"type": "email", "value": one.email, "primary": one.primary, "verified": one.verified}
        for one in user.identities
    ]
    written = {"created_by": user.created_by, "applied_by": user.applied_by, "digest": user.digest}
    own = {"identities": identities, "seeded": user.seeded, **written}
    return {**user.document(CANONICAL_URL), **own}


def _users(account: Account, request: Request, now: float) -> Response:
    after, limit = _number(request, "after", 0), _number(request, "limit", _PAGE)
    seeded = request.parameters.get("seeded") == ["true"]
    users = [user for user in account.users(now, seeded=seeded) if user.id > after][:limit]
    documents = [user_document(user) for user in users]
    return json_response({"users": documents, "next": users[-1].id if users else after})


def _jobs(account: Account, _: Request, now: float) -> Response:
    return json_response(
        {"jobs": [job.document(now, CANONICAL_URL) for job in account.jobs.listed()]}
    )


def _settings(account: Account, _: Request, __: float) -> Response:
    return json_response(account.settings.document())


def _change_settings(account: Account, request: Request, now: float) -> Response:
    account.change_settings(_object(request), now)
    return json_response(account.settings.document())


def _faults(account: Account, _: Request, __: float) -> Response:
    return json_response({"faults": [rule.document() for rule in account.faults.rules]})


def _add_faults(account: Account, request: Request, _: float) -> Response:
    specs = request.document if isinstance(request.document, list) else [_object(request)]
    return json_response({"faults": [account.add_fault(spec).document() for spec in specs]}, 201)


def _clear_faults(account: Account, request: Request, _: float) -> Response:
    one = _number(request, "id", 0) if "id" in request.parameters else None
    return json_response({"removed": account.faults.clear(one)})


def _reset(account: Account, _: Request, now: float) -> Response:
    account.reset(now)
    return json_response({"ok": True})


def _revoke(account: Account, _: Request, __: float) -> Response:
    return json_response({"revoked": account.logins.revoke_all()})


def _foreign(account: Account, request: Request, now: float) -> Response:
    count = _object(request).get("count")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 100_000:
        raise Misconfigured("`count` must be a whole number up to 100000")
    account.requests.add_foreign(now, count)
    limit = account.settings.requests_per_minute
    return json_response({"remaining": account.requests.remaining(now, limit)})


_ACTS: Mapping[tuple[str, str], Callable[[Account, Request, float], Response]] = {
    ("GET", "/stats"): _stats,
    ("GET", "/journal"): _journal,
    ("GET", "/users"): _users,
    ("GET", "/jobs"): _jobs,
    ("GET", "/settings"): _settings,
    ("PATCH", "/settings"): _change_settings,
    ("GET", "/faults"): _faults,
    ("POST", "/faults"): _add_faults,
    ("DELETE", "/faults"): _clear_faults,
    ("POST", "/reset"): _reset,
    ("POST", "/revoke_tokens"): _revoke,
    ("POST", "/foreign_requests"): _foreign,
}
