"""One client per destination, kept: connections to Zendesk stay open between chunks.

The settings are read anew each time (below a millisecond, for some requests a second), so that a
credential that was changed in `.env` or a secret file is used from the next request on, without a
restart. One that Zendesk refuses while it is being changed costs a second request and no pause.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from worker.errors import DestinationError, Renewed, UsageError
from worker.ledger.records import Target
from worker.profile import Profile
from worker.settings import Settings
from worker.times import Times
from worker.zendesk.auth import Secrets
from worker.zendesk.client import ZendeskClient
from worker.zendesk.replies import Identity, JobAccepted, JobStatuses, UsersFound

log = structlog.get_logger(__name__)

LOGIN_CODES = frozenset(
    {
        "anonymous_login",
        "invalid_credentials",
        "login_not_allowed",
        "login_suspended",
        "missing_scope",
        "role_may_not_write",
    }
)
"""What another credential may mend."""

_T = TypeVar("_T")


class Clients:
    """Gives the client of a destination.

    Args:
        config: the settings of this process.
        times: the deadline of requests.
        reload: reads the settings anew.
    """

    def __init__(self, config: Settings, times: Times, reload: Callable[[], Settings]) -> None:
        self._config = config
        self._times = times
        self._reload = reload
        self._made: dict[Target, KeptClient] = {}
        self._lock = threading.Lock()

    def __call__(self, target: Target) -> KeptClient:
        """Return the client of a destination.

        Raises:
            DestinationError: its credential is not set, or gets no OAuth token.
            Throttled, NotSent: there is no OAuth token now.
        """
        credential = self.credential(target)
        with self._lock:
            kept = self._made.get(target)
            if kept is None or kept.credential != credential:
                kept = self._made[target] = KeptClient(self, target, credential)
        # Before anybody takes a permit: a token that is fetched after it would make the send late.
        kept.ready()
        return kept

    def credential(self, target: Target) -> Secrets:
        """Read the credential of a destination now.

        Raises:
            DestinationError: they are not set; for a worker that is the destination's to mend.
        """
        try:
            self._config = self._reload()
        except UsageError as error:  # somebody is in the middle of editing
            log.warning("settings_not_read", reason=error.message)
        try:
            return self._config.credential(target.credential)
        except UsageError as error:
            raise DestinationError(error.message, code=error.code) from None

    def connect(self, target: Target, secrets: Secrets) -> ZendeskClient:
        """Make a client with this credential."""
        return ZendeskClient(target.url, secrets, deadline_s=self._times.post_deadline)


class KeptClient:
    """A client that looks whether its credential is still the one to use when it is refused.

    Args:
        owner: who made it.
        target: the destination.
        credential: what it logs in with.
    """

    def __init__(self, owner: Clients, target: Target, credential: Secrets) -> None:
        self.target = target
        self._owner = owner
        self.credential = credential
        self._client = owner.connect(target, credential)

    def ready(self) -> None:
        """Have a token that lasts; raises as `ZendeskClient` does."""
        self._client.auth.ready()

    def whoami(self) -> Identity:
        """Ask who we are; raises what `ZendeskClient` raises, and `Renewed`."""
        return self._heeding(self._client.whoami)

    def create_or_update_many(self, profiles: Sequence[Profile]) -> JobAccepted:
        """POST the users; raises what `ZendeskClient` raises, and `Renewed`."""
        return self._heeding(lambda: self._client.create_or_update_many(profiles))

    def job_statuses(self, job_ids: Sequence[str]) -> JobStatuses:
        """Ask for jobs; raises what `ZendeskClient` raises, and `Renewed`."""
        return self._heeding(lambda: self._client.job_statuses(job_ids))

    def users_show_many(self, external_ids: Sequence[str]) -> UsersFound:
        """Ask for users; raises what `ZendeskClient` raises, and `Renewed`."""
        return self._heeding(lambda: self._client.users_show_many(external_ids))

    def users_search(
        self, *, external_id: str | None = None, email: str | None = None
    ) -> UsersFound:
        """Search users; raises what `ZendeskClient` raises, and `Renewed`."""
        return self._heeding(
            lambda: self._client.users_search(external_id=external_id, email=email)
        )

    def _heeding(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except DestinationError as error:
            login = error.code in LOGIN_CODES
            if login and self._owner.credential(self.target) != self.credential:
                log.info("credential_renewed", credential=self.target.credential)
                raise Renewed(
                    f"the credential {self.target.credential!r} was changed meanwhile"
                ) from None
            if error.code == "invalid_credentials" and self._client.auth.renewed():
                log.info("oauth_token_renewed", credential=self.target.credential)
                raise Renewed("the OAuth token was taken back, a new one is fetched") from None
            raise
