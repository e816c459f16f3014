"""Ways to log in to Zendesk: each knows the value of the Authorization header, and hides it.

API tokens cannot be made since 2026-10-27 and end on 2027-04-30; OAuth client credentials
(`worker.zendesk.oauth`) are the way over
(developer.zendesk.com/documentation/api-basics/authentication/oauth-migration).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from worker.errors import UsageError


class Auth(Protocol):
    """A credential in use."""

    def header(self) -> str:
        """Return the value of the Authorization header for the next request."""
        ...

    def ready(self) -> None:
        """Do now what a `header` would otherwise have to do at a moment that is timed."""
        ...

    def renewed(self) -> bool:
        """Zendesk refused the last header: whether the next one is worth a try."""
        ...


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What the settings hold of a user with an API token."""

    email: str = field(repr=False)
    api_token: SecretStr


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """What the settings hold of an OAuth client."""

    client_id: str = field(repr=False)
    client_secret: SecretStr


Secrets = ApiToken | OAuthClient
"""A credential as it is kept: one of the two ways in."""


@dataclass(frozen=True, slots=True)
class BasicToken:
    """A user's e-mail and an API token.

    Zendesk takes `{email}/token:{api_token}` as Basic credentials
    (developer.zendesk.com/api-reference/introduction/security-and-auth). Blanks around the values
    are cut off: a secret file ends with a line break more often than not.

    Args:
        email: of the user in whose name Deskfeed works, without "/token".
        api_token: the API token.

    Raises:
        UsageError: a value is blank, or the e-mail is not just an e-mail.
    """

    email: str = field(repr=False)
    api_token: SecretStr

    def __post_init__(self) -> None:
        email = self.email.strip()
        if not email or not self.api_token.get_secret_value().strip():
            raise UsageError("e-mail or API token is blank", code="credential_missing")
        if email.lower().endswith("/token"):
            raise UsageError(
                "the e-mail ends in /token: give the plain e-mail, Deskfeed adds /token itself",
                code="credential_missing",
            )
        if ":" in email:
            # Basic ends the user's name at the first colon: the rest would count as the password.
            raise UsageError("the e-mail holds a colon", code="credential_missing")

    def header(self) -> str:
        """Return `Basic …` for the e-mail and the token."""
        plain = f"{self.email.strip()}/token:{self.api_token.get_secret_value().strip()}"
        return "Basic " + base64.b64encode(plain.encode()).decode("ascii")

    def ready(self) -> None:
        """There is nothing to prepare."""

    def renewed(self) -> bool:
        """Return False: the same token would be refused again."""
        return False
