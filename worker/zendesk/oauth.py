"""OAuth client credentials: a token is fetched, kept in memory, and renewed before it ends.

`POST /oauth/tokens` with `grant_type=client_credentials`
(developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens). A misspelt scope still
gets a token, one that opens nothing, so what was granted is compared with what is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker.errors import DeskfeedError, DestinationError, NotSent, UsageError
from worker.zendesk.answer import Answer
from worker.zendesk.auth import OAuthClient
from worker.zendesk.consequences import error_of

SCOPE = "users:read users:write"
"""What is asked for: users, their fields and the jobs that write them; nothing of tickets."""

_COVERS = {"users:read": {"users:read", "read"}, "users:write": {"users:write", "write"}}
"""Scope that is needed -> scopes of which one grants it."""

RENEW_BEFORE_S = 120.0
"""A token is renewed when it ends so soon: well before a request that was prepared is sent."""

SHORT_LIFE = 0.5
"""Of a token whose whole life is short, this part is used."""

DEFAULT_LIFE_S = 1_800.0
"""When the answer names no `expires_in`: that of a new client is half an hour."""

REFUSED_AGAIN_S = 30.0
"""A token that is refused so soon after the last one was is the credential's fault."""

MAX_TOKEN_CHARS = 4_096

Fetch = Callable[[bytes], Answer]
"""Posts a JSON body to `/oauth/tokens`; raises what `ZendeskClient` raises."""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    renew_at: float


class ClientCredentials:
    """Logs in as an OAuth client. Safe for threads: one fetches, the others wait for it.

    Args:
        client: id and secret.
        fetch: asks for a token.
        clock: seconds that only go forward.

    Raises:
        UsageError: id or secret is blank.
    """

    def __init__(
        self, client: OAuthClient, fetch: Fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._id = client.client_id.strip()
        self._secret = client.client_secret.get_secret_value().strip()
        if not self._id or not self._secret:
            raise UsageError("OAuth client id or secret is blank", code="credential_missing")
        self._fetch = fetch
        self._clock = clock
        self._token: _Token | None = None
        self._refused_at: float | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "ClientCredentials()"

    def header(self) -> str:
        """Return `Bearer …`; asks Zendesk for a token if there is none that lasts.

        Raises:
            DestinationError: Zendesk knows no such client, or grants too little.
            Throttled, NotSent: there is no token now; ask again.
        """
        with self._lock:
            if self._token is None or self._clock() >= self._token.renew_at:
                self._token = self._fetched()
            return self._token.header

    def ready(self) -> None:
        """Fetch a token now if the next request would have to; raises as `header`."""
        self.header()

    def renewed(self) -> bool:
        """Forget a token that was refused; False when the one before it was, a moment ago."""
        with self._lock:
            now = self._clock()
            again = self._refused_at is not None and now - self._refused_at < REFUSED_AGAIN_S
            self._refused_at = now
            self._token = None
            return not again

    def _fetched(self) -> _Token:
        asked_at = self._clock()
        answer = self._fetch(
            orjson.dumps(
                {
                    "grant_type": "client_credentials",
                    "client_id": self._id,
                    "client_secret": self._secret,
                    "scope": SCOPE,
                }
            )
        )
        document = _granted(answer)
        _check_scope(document.get("scope"))
        life = _life(document.get("expires_in"))
        used = max(life - RENEW_BEFORE_S, life * SHORT_LIFE)
        return _Token(f"Bearer {document['access_token']}", asked_at + used)


def _granted(answer: Answer) -> Mapping[str, Any]:
    """Return the answer's document with a token that can stand in a header."""
    # Every 4xx but 429 says that this client gets no token: 400 and 401 with the same words.
    if answer.status in (400, 401, 403, 404, 422):
        raise DestinationError(
            f"Zendesk gives this OAuth client no token ({answer.status}): its id or secret is "
            "wrong, or the client is not confidential",
            code="invalid_credentials",
        )
    error: DeskfeedError | None = error_of(answer, posted=False)
    if error is not None:
        raise error
    document = answer.document or {}
    token = document.get("access_token")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_CHARS or not _plain(token):
        raise NotSent("the answer to the OAuth client holds no token", code="unclear_answer")
    return document


def _plain(token: str) -> bool:
    """Whether it is visible ASCII: anything else could end a header and begin another."""
    return token.isascii() and token.isprintable() and " " not in token


def _check_scope(granted: Any) -> None:
    if not isinstance(granted, str):
        return  # an answer may leave it out when it is what was asked for (RFC 6749, 5.1)
    scopes = set(granted.split())
    missing = [scope for scope, covering in _COVERS.items() if not scopes & covering]
    if missing:
        raise DestinationError(
            f"Zendesk granted the OAuth client too little: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            code="missing_scope",
        )


def _life(expires_in: Any) -> float:
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool) and expires_in > 0:
        return min(float(expires_in), 2 * 86_400.0)
    return DEFAULT_LIFE_S
