"""Who is asking: API tokens, OAuth tokens, and the anonymous rest."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from worker.sandbox.config import Login, OAuthClient
from worker.sandbox.messages import Request, Response, error_response, json_response

SCOPES = frozenset({"read", "write", "users:read", "users:write"})
"""Scopes that open something here; a token of other scopes is issued and opens nothing."""

_SHORTEST_TOKEN, _LONGEST_TOKEN = 300, 172_800  # documented bounds of expires_in, in seconds


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as the headers tell.

    Attributes:
        login: None for somebody anonymous or refused.
        scopes: what a token may do; None for API tokens, which may do all that their user may.
        refused: whether a token was shown that is not good. A wrong *password* is not refused
            but anonymous, as Zendesk does it.
    """

    login: Login | None = None
    scopes: frozenset[str] | None = None
    refused: bool = False

    def may(self, method: str) -> bool:
        """Say whether the token's scopes cover a method on users and their jobs."""
        if self.scopes is None:
            return True
        needed = {"read", "users:read"} if method == "GET" else {"write", "users:write"}
        return bool(self.scopes & needed)


@dataclass(frozen=True, slots=True)
class _Token:
    login: Login
    scopes: frozenset[str]
    expires_at: float


@dataclass(slots=True)
class Logins:
    """The account's logins and the tokens that are out. Not thread-safe.

    Attributes:
        logins: by lower-case e-mail.
        clients: by client id.
    """

    logins: dict[str, Login]
    clients: dict[str, OAuthClient]
    _tokens: dict[str, _Token] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, logins: Iterable[Login], clients: Iterable[OAuthClient]) -> Logins:
        """Return the logins and clients of an account, with no token out."""
        return cls(
            {login.email.lower(): login for login in logins},
            {client.client_id: client for client in clients},
        )

    def identify(
        self, headers: Mapping[str, str], now: float, *, api_tokens_enabled: bool = True
    ) -> Caller:
        """Say who is asking.

        Args:
            headers: of the request, by lower-case name.
            now: epoch seconds, with the clock shift.
            api_tokens_enabled: False refuses every API token.
        """
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = self._tokens.get(value.strip())
            if token is None or token.expires_at <= now:
                return Caller(refused=True)
            return Caller(token.login, token.scopes)
        if scheme.lower() != "basic":
            return Caller()
        return self._basic(value.strip(), api_tokens_enabled=api_tokens_enabled)

    def _basic(self, value: str, *, api_tokens_enabled: bool) -> Caller:
        try:
            user, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Caller(refused=True)
        email, slash, kind = user.rpartition("/")
        if not slash or kind != "token":
            return Caller()
        login = self.logins.get(email.lower())
        good = login is not None and hmac.compare_digest(login.api_token.encode(), secret.encode())
        return Caller(login) if good and api_tokens_enabled else Caller(refused=True)

    def issue(self, request: Request, now: float, token_seconds: int) -> Response:
        """Answer `POST /oauth/tokens`.

        Args:
            request: with JSON or a form.
            now: epoch seconds, with the clock shift.
            token_seconds: life of a token that asks for no `expires_in`.
        """
        asked = _asked(request)
        if asked.get("grant_type") != "client_credentials":
            return error_response(400, "unsupported_grant_type")
        client = self.clients.get(str(asked.get("client_id")))
        secret = str(asked.get("client_secret", ""))
        if client is None or not hmac.compare_digest(
            client.client_secret.encode(), secret.encode()
        ):
            return json_response(
                {"error": "invalid_client", "error_description": "Client authentication failed"},
                401,
            )
        seconds = _seconds(asked.get("expires_in", token_seconds))
        bounded = asked.get("expires_in") is None
        if seconds is None or not (bounded or _SHORTEST_TOKEN < seconds < _LONGEST_TOKEN):
            return error_response(400, "invalid_request", "expires_in is out of range")
        return self._issue(client, str(asked.get("scope") or "read write"), seconds, now)

    def _issue(self, client: OAuthClient, scope: str, seconds: int, now: float) -> Response:
        login = self.logins.get(client.email.lower())
        if login is None:
            return error_response(400, "invalid_client", "the client's user is unknown")
        token = secrets.token_hex(32)
        self._tokens[token] = _Token(login, frozenset(scope.split()) & SCOPES, now + seconds)
        return json_response(
            {
                "access_token": token,
                "token_type": "bearer",
                "scope": scope,
                "expires_in": seconds,
                "refresh_token": None,
            }
        )

    def revoke_all(self) -> int:
        """Revoke every OAuth token that is out, and return how many there were."""
        count = len(self._tokens)
        self._tokens.clear()
        return count


def _asked(request: Request) -> dict[str, Any]:
    if isinstance(request.document, dict):
        return request.document
    form = parse_qs(request.body.decode("utf-8", "replace"))
    return {name: values[0] for name, values in form.items()}


def _seconds(value: Any) -> int | None:
    try:
        return int(value)
    except (OverflowError, TypeError, ValueError):
        return None
