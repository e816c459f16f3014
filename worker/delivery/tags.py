"""`tags: add`: what people have is read before each POST, and sent together with what is new.

Zendesk's bulk upsert replaces all tags of a person. What the ledger holds, and the digest of what
was delivered, stay those of the row; only the request has the tags of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from worker.delivery.asker import Asker
from worker.delivery.context import Client, Context, reason_of
from worker.errors import DeskfeedError, LedgerError
from worker.hints import Step
from worker.ledger.records import Claim
from worker.profile import Profile
from worker.zendesk.payload import readable_batches
from worker.zendesk.replies import UserRecord

log = structlog.get_logger(__name__)

SEARCHED_KEPT_S = 30.0
"""So long the answer of a search is kept: a chunk of new people needs many permits, and must not
begin anew when one of them is not to be had."""

MOST_SEARCHED = 5_000


class TagAdder:
    """Adds the tags of rows to those that people have.

    Args:
        context: the parts to work with.
        now: a clock that only goes forward; tests pass their own.
    """

    def __init__(self, context: Context, now: Callable[[], float] = time.monotonic) -> None:
        self._in = context
        self._asker = Asker(context, "tags")
        self._now = now
        self._searched: dict[tuple[str, str], tuple[float, tuple[UserRecord, ...]]] = {}

    def added(self, claim: Claim, client: Client) -> tuple[Profile, ...] | Step:
        """Return the profiles to send, or what the chunk waits for.

        Raises:
            Superseded: the claim was taken over, or the run was stopped.
        """
        if not claim.adds_tags:
            return claim.profiles
        try:
            found = self._found(claim, client)
        except LedgerError:
            raise
        except DeskfeedError as error:
            log.warning("tags_not_read", run_id=claim.run_id, seq=claim.seq, **reason_of(error))
            waits = self._asker.put_off(claim, error)
            return waits or self._asker.give_back(claim, self._in.times.unreachable, "tags")
        return tuple(_merged(profile, found.get(profile.row)) for profile in claim.profiles)

    def _found(self, claim: Claim, client: Client) -> dict[int, UserRecord]:
        """Return the users that rows with tags will be taken for, by row."""
        rows = [profile for profile in claim.profiles if profile.user.get("tags")]
        by_id: dict[str, UserRecord] = {}
        for batch in readable_batches([profile.external_id or "" for profile in rows]):
            users = self._asker.ask(claim, partial(client.users_show_many, batch))
            by_id |= {(user.external_id or "").lower(): user for user in users}
        found = {}
        for profile in rows:
            user = by_id.get((profile.external_id or "").lower())
            user = user or self._search(claim, client, profile)
            if user is not None:
                found[profile.row] = user
        return found

    def _search(self, claim: Claim, client: Client, profile: Profile) -> UserRecord | None:
        """Find a person whom Zendesk does not know by external_id, but perhaps by e-mail."""
        if "," in (profile.external_id or ""):  # a list of ids cannot hold it
            users = self._kept(claim, client, "external_id", profile.external_id or "")
            if users:
                return users[0]
        if profile.email is None:
            return None
        users = self._kept(claim, client, "email", profile.email)
        wanted = profile.email.strip().lower()
        shown = [user for user in users if _email_of(user) == wanted]
        # One who is found by this address and shows another has it as a secondary one.
        return shown[0] if shown else users[0] if len(users) == 1 else None

    def _kept(self, claim: Claim, client: Client, what: str, value: str) -> tuple[UserRecord, ...]:
        key = (f"{claim.target.account} {what}", value)
        kept = self._searched.get(key)
        if kept is not None and self._now() - kept[0] <= SEARCHED_KEPT_S:
            return kept[1]
        users = tuple(self._asker.ask(claim, lambda: client.users_search(**{what: value})))
        if len(self._searched) >= MOST_SEARCHED:
            self._searched.clear()
        self._searched[key] = (self._now(), users)
        return users


def _email_of(user: UserRecord) -> str:
    email = user.attributes.get("email")
    return email.strip().lower() if isinstance(email, str) else ""


def _merged(profile: Profile, found: UserRecord | None) -> Profile:
    if found is None:
        return profile
    new = [str(tag) for tag in profile.user["tags"]]
    left = _without_fields(_texts(found.attributes.get("tags")), profile.user, found.attributes)
    tags = list(dict.fromkeys([*left, *new]))
    return Profile(profile.row, {**profile.user, "tags": tags})


def _without_fields(
    tags: Sequence[str], sent: Mapping[str, Any], shown: Mapping[str, Any]
) -> list[str]:
    """Leave out the tags that a dropdown or multiselect put there which is sent anew.

    Zendesk puts the tag of the new value there itself; the one of the old would stay for ever.
    """
    fields = shown.get("user_fields")
    values = fields if isinstance(fields, dict) else {}
    old: set[str] = set()
    for key in sent.get("user_fields") or {}:
        old.update(_texts(values.get(key)))
    return [tag for tag in tags if tag not in old]


def _texts(value: Any) -> list[str]:
    items: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str)]
