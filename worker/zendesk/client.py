"""The calls that Deskfeed makes to Zendesk, over requests.

Every call ends within the deadline, with a typed result or an error of `worker.errors` that says
what follows. Errors of the libraries never leave: they carry the request, and with it the
credential and the customers.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

import requests
import urllib3

from worker.errors import DeskfeedError, DestinationError, NotSent, UsageError
from worker.profile import Profile
from worker.zendesk.answer import Answer, RateHeaders
from worker.zendesk.auth import ApiToken, Auth, BasicToken, OAuthClient, Secrets
from worker.zendesk.consequences import unclear
from worker.zendesk.fields import FieldPage, UserField
from worker.zendesk.oauth import ClientCredentials
from worker.zendesk.payload import (
    MAX_QUERY_CHARS,
    SHOW_MANY_LIMIT,
    encode_users,
    is_readable,
    quote_id,
)
from worker.zendesk.replies import (
    JOB_ID,
    Identity,
    JobAccepted,
    JobStatuses,
    UsersFound,
    read_custom_roles,
    read_field_page,
    read_identity,
    read_job_accepted,
    read_job_statuses,
    read_staff_page,
    read_users,
)
from worker.zendesk.roles import CustomRole, find_role
from worker.zendesk.staff import STAFF_ROLES, StaffPage
from worker.zendesk.transport import DeadlineAdapter, Exchange, exchange, silence_urllib3

__all__ = ["Identity", "ZendeskClient", "checked_base_url"]

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""A decoded answer is not read beyond this; show_many of 100 jobs has about 2 MB."""

MAX_FIELD_PAGES = 20
"""2,000 user fields; an account with more, or a server that never ends, is refused."""

MAX_STAFF_PAGES = 200
"""20,000 agents and admins: more than any help desk has."""

_READ_BYTES = 65_536
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.zendesk\.com", re.ASCII)
_LIBRARY_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)

Method = Literal["GET", "POST"]

_P = TypeVar("_P", FieldPage, StaffPage)

Permit = Callable[[], Callable[[RateHeaders], None]]
"""Waits for leave to send one request; returns what to tell the headers of its answer."""


def unlimited() -> Callable[[RateHeaders], None]:
    """The `Permit` of a caller that needs no leave."""
    return lambda _rate: None


class ZendeskClient:
    """Talks to one Zendesk account; may be shared by threads, not across a fork.

    Args:
        base_url: `https://<label>.zendesk.com`, or http on a loopback address for the sandbox.
        secrets: the credential; or one in use, for tests.
        deadline_s: seconds from the start of a request to the last byte of its answer.
        max_answer_bytes: most bytes of an answer, after decompression.
        pool_size: connections kept open; more threads than this work, and reconnect more often.
        ca_file: certificates to trust in place of those that come with requests.

    Raises:
        UsageError: `base_url` is neither of the two.
    """

    def __init__(
        self,
        base_url: str,
        secrets: Secrets | Auth,
        *,
        deadline_s: float = 20.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        pool_size: int = 32,
        ca_file: str | None = None,
    ) -> None:
        self._base = checked_base_url(base_url)
        self._auth = self._login(secrets)
        self._deadline_s = deadline_s
        self._max_answer_bytes = max_answer_bytes
        self._adapter = DeadlineAdapter(pool_size)
        # There is no way to switch the check of certificates off.
        self._verify: str | Literal[True] = ca_file or True
        self._user_agent = f"deskfeed/{_version()}"
        silence_urllib3()

    def __repr__(self) -> str:
        return f"ZendeskClient({self._base!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections kept open."""
        self._adapter.close()

    @property
    def auth(self) -> Auth:
        """The credential in use."""
        return self._auth

    def _login(self, secrets: Secrets | Auth) -> Auth:
        match secrets:
            case ApiToken(email, api_token):
                return BasicToken(email, api_token)
            case OAuthClient():
                return ClientCredentials(secrets, self._fetch_token)
        return secrets

    def _fetch_token(self, body: bytes) -> Answer:
        """POST to /oauth/tokens; a token that nobody got does no harm, so it may be asked again."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = self._request("POST", "/oauth/tokens", headers, body)
        answer = self._attempt(request, posted=False)
        if isinstance(answer, DeskfeedError):
            raise answer
        return answer

    def create_or_update_many(self, profiles: Sequence[Profile]) -> JobAccepted:
        """POST the users; return the job that Zendesk queued. Nothing is delivered by that alone.

        Raises:
            DestinationError: a person must act: credential, rights, subdomain, TLS, redirect.
            NotSent: no byte left this machine.
            Refused: Zendesk did nothing with the request; or it is too large to send.
            Throttled: Zendesk asks to wait.
            Ambiguous: nobody knows whether there is a job now.
        """
        path = "/api/v2/users/create_or_update_many.json"
        return read_job_accepted(self._send("POST", path, encode_users(profiles)))

    def job_statuses(self, job_ids: Sequence[str]) -> JobStatuses:
        """Return the jobs, by id, that Zendesk knows of these (at most 100).

        Raises:
            ValueError: too many ids, or one that is no job's id.
            DestinationError: a person must act.
            Throttled: Zendesk asks to wait.
            NotSent: no usable answer; ask again.
        """
        if not 1 <= len(job_ids) <= SHOW_MANY_LIMIT:
            raise ValueError(f"ask for 1 to {SHOW_MANY_LIMIT} jobs, not {len(job_ids)}")
        if not all(JOB_ID.fullmatch(job_id) for job_id in job_ids):
            raise ValueError("a job's id has 1 to 64 letters, digits, _ or -")
        answer = self._send("GET", "/api/v2/job_statuses/show_many.json?ids=" + ",".join(job_ids))
        return read_job_statuses(answer, job_ids)

    def whoami(self) -> Identity:
        """Return whom Zendesk takes us for; a wrong login may be answered as `anonymous`.

        Raises:
            DestinationError, Throttled, NotSent: as `job_statuses`.
        """
        return read_identity(self._send("GET", "/api/v2/users/me.json"))

    def custom_role(self, role_id: int, permit: Permit = unlimited) -> CustomRole | None:
        """Return a custom role of the account; None if there is none or it may not be seen.

        Args:
            role_id: which one.
            permit: as `user_fields`.

        Raises:
            DestinationError, Throttled, NotSent: as `job_statuses`.
        """
        report = permit()
        answer = self._send("GET", "/api/v2/custom_roles.json")
        document = read_custom_roles(answer)
        report(answer.rate)
        return None if document is None else find_role(document, role_id)

    def user_fields(self, permit: Permit = unlimited) -> tuple[UserField, ...]:
        """Return the account's user fields; one request for each 100 of them.

        Args:
            permit: called before each request; blocks until it may be sent, and returns what is to
                be called with the headers of the answer.

        Raises:
            DestinationError, Throttled, NotSent: as `job_statuses`.
        """
        pages = self._pages("/api/v2/user_fields.json?", permit, MAX_FIELD_PAGES, read_field_page)
        return tuple(field for page in pages for field in page.fields)

    def staff(self, permit: Permit = unlimited) -> frozenset[str]:
        """Return the keys of the account's agents and admins; one request for each 100 of them.

        Args:
            permit: as `user_fields`.

        Raises:
            DestinationError, Throttled, NotSent: as `job_statuses`.
        """
        roles = "&".join(f"role%5B%5D={role}" for role in STAFF_ROLES)
        path = f"/api/v2/users.json?{roles}&"
        pages = self._pages(path, permit, MAX_STAFF_PAGES, read_staff_page)
        return frozenset().union(*(page.keys for page in pages))

    def _pages(
        self, path: str, permit: Permit, most: int, read: Callable[[Answer], _P]
    ) -> Iterator[_P]:
        after = ""
        for _ in range(most):
            report = permit()
            answer = self._send("GET", f"{path}page%5Bsize%5D=100{after}")
            page = read(answer)
            report(answer.rate)
            yield page
            if page.after_cursor is None:
                return
            # Built from the cursor: `links.next` is a URL, and it may name another host.
            after = "&page%5Bafter%5D=" + quote(page.after_cursor, safe="", errors="replace")
        raise unclear(f"a list has more than {most} pages", posted=False)

    def users_show_many(self, external_ids: Sequence[str]) -> UsersFound:
        """Return the users that have these external_ids, in any order; unknown ones are missing.

        Args:
            external_ids: one batch of `payload.readable_batches`.

        Raises:
            ValueError: too many ids, too long together, or one that cannot be asked for.
            DestinationError, Throttled, NotSent: as `job_statuses`.
        """
        ids = ",".join(quote_id(external_id) for external_id in external_ids)
        if not 1 <= len(external_ids) <= SHOW_MANY_LIMIT or len(ids) > MAX_QUERY_CHARS:
            raise ValueError("ask for the users of one batch of readable_batches")
        if not all(is_readable(external_id) for external_id in external_ids):
            raise ValueError("an external_id with a comma, or blank, cannot be asked for")
        return read_users(self._send("GET", "/api/v2/users/show_many.json?external_ids=" + ids))

    def users_search(
        self, *, external_id: str | None = None, email: str | None = None
    ) -> UsersFound:
        """Return the users that have one external_id, or one e-mail, be it a secondary one.

        Zendesk's search lags behind what was written by a minute or two.

        Raises:
            DestinationError, Throttled, NotSent: as `job_statuses`.
        """
        if external_id is not None:
            asked = "external_id=" + quote_id(external_id)
        else:
            # Quotes keep what is special to the search apart; an address with one goes without.
            words = f'email:"{email}"' if '"' not in (email or "") else f"email:{email}"
            asked = "query=" + quote(words, safe="", errors="replace")
        return read_users(self._send("GET", "/api/v2/users/search.json?" + asked))

    def _send(self, method: Method, path: str, body: bytes | None = None) -> Answer:
        headers = {"Authorization": self._auth.header(), "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        # Raised here, where no library error is being handled, so that the error has no context:
        # that would hold the request, with the credential and the customers.
        request = self._request(method, path, headers, body)
        answer = self._attempt(request, posted=method == "POST")
        if isinstance(answer, DeskfeedError):
            raise answer
        return answer

    def _attempt(
        self, request: requests.PreparedRequest, *, posted: bool
    ) -> Answer | DeskfeedError:
        if not _same_origin(request.url or "", self._base):
            return DestinationError("the request would go to another host", code="wrong_host")
        with exchange(self._deadline_s) as current:
            try:
                return self._exchange(request, current)
            except _LIBRARY_ERRORS as error:
                return _converted(error, current, posted=posted)

    def _request(
        self, method: Method, path: str, headers: dict[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        headers = {
            **headers,
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": self._user_agent,
        }
        return requests.Request(method, self._base + path, headers, data=body).prepare()

    def _exchange(self, request: requests.PreparedRequest, current: Exchange) -> Answer:
        response = self._adapter.send(
            request, stream=True, timeout=self._deadline_s, verify=self._verify
        )
        try:
            body = bytearray()
            for piece in response.iter_content(_READ_BYTES):
                body += piece
                current.remaining()
                if len(body) > self._max_answer_bytes:
                    raise ValueError("the answer is too long")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, headers, bytes(body))
        finally:
            response.close()


def checked_base_url(base_url: str) -> str:
    """Return scheme and host (and port) of an account's API, without a slash at the end.

    Raises:
        UsageError: it is neither `https://<label>.zendesk.com` nor http on a loopback address.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    shown = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    zendesk = parts.scheme == "https" and port is None and _SUBDOMAIN.fullmatch(host)
    local = parts.scheme == "http" and _is_loopback(host)
    # Compared as a whole: user, path, query and fragment would still be in `base_url`.
    if not (zendesk or local) or base_url.rstrip("/") != origin:
        raise UsageError(
            "base_url must be https://<subdomain>.zendesk.com, or http on a loopback address"
        )
    return origin


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same_origin(url: str, base: str) -> bool:
    """Compare what the library will connect to with what was meant, after all its quoting."""
    found, meant = urlsplit(url), urlsplit(base)
    return (found.scheme, found.netloc) == (meant.scheme, meant.netloc)


def _converted(error: Exception, current: Exchange, *, posted: bool) -> DeskfeedError:
    """Say what an error of the libraries means; nothing of the error itself is passed on."""
    if not current.left:
        # Before ConnectionError, of which it is a subclass: a certificate needs a person.
        if isinstance(error, requests.exceptions.SSLError):
            return DestinationError("the TLS certificate or handshake failed", code="tls_error")
        if not current.named:
            return NotSent(
                "the name of the Zendesk account cannot be looked up: is there a network, and DNS? "
                "Nothing was sent"
            )
        return NotSent("Zendesk cannot be reached; nothing was sent")
    return unclear("Zendesk's answer did not arrive whole and in time", posted=posted)


def _version() -> str:
    try:
        return metadata.version("deskfeed")
    except metadata.PackageNotFoundError:
        return "0"
