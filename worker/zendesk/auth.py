"""Ways to log in to Zendesk: each knows the value of the Authorization header, and hides it."""

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
