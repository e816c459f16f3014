"""`tags: add`: what people have is read before each POST, and sent together with what is new.

Zendesk's bulk upsert replaces all tags of a person. What the ledger holds, and the digest of what
was delivered, stay those of the row; only the request has the tags of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from worker.delivery.asker import Asker
from worker.delivery.context import Client, Context, reason_of
from worker.errors import DeskfeedError, LedgerError
from worker.hints import Done, Step
from worker.ledger.records import Claim
from worker.profile import OutcomeKind, Profile
from worker.zendesk.payload import readable_batches
from worker.zendesk.replies import UserRecord

log = structlog.get_logger(__name__)

MOST_READS = 5
"""So often the tags of a chunk are read without a usable answer; then its rows fail."""

Left = dict[int, list[str] | None]
"""Row -> tags that the person keeps; None: not known by external_id, still to be searched for."""


class TagAdder:
    """Adds the tags of rows to those that people have.

    What was read is kept in the ledger until the chunk is sent: a chunk of new people needs many
    permits, and must not begin anew when one of them is not to be had.

    Args:
        context: the parts to work with.
    """

    def __init__(self, context: Context) -> None:
        self._in = context
        self._asker = Asker(context, "tags")

    def added(self, claim: Claim, client: Client) -> tuple[Profile, ...] | Step:
        """Return the profiles to send, or what the chunk waits for, or that it has ended.

        Raises:
            Superseded: the claim was taken over, or the run does not send now.
        """
        if not claim.adds_tags:
            return claim.profiles
        left: Left = dict(claim.tags)
        try:
            self._read(claim, client, left)
        except LedgerError:
            raise
        except DeskfeedError as error:
            self._keep(claim, left)
            return self._asker.put_off(claim, error) or self._failed(claim, error)
        self._keep(claim, left)
        return tuple(_merged(profile, left.get(profile.row)) for profile in claim.profiles)

    def _keep(self, claim: Claim, left: Left) -> None:
        if left != claim.tags:
            self._in.ledger.chunks.keep_tags(claim, left)

    def _failed(self, claim: Claim, error: DeskfeedError) -> Step:
        """Zendesk gave no usable answer: try again, but not for ever."""
        log.warning("tags_not_read", run_id=claim.run_id, seq=claim.seq, **reason_of(error))
        if claim.read_backs + 1 < MOST_READS:
            pause = self._in.times.unreachable * 2**claim.read_backs
            pause = min(pause, self._in.times.longest_countdown)
            return self._asker.give_back(claim, pause, "tags", failed=True)
        kind = OutcomeKind.UNCONFIRMED if claim.spent else OutcomeKind.FAILED
        detail = "Zendesk gave no usable answer about the tags that people of this chunk have"
        self._in.ledger.outcomes.end_all(
            claim.run_id, claim.seq, claim.fence, kind, "tags_not_read", detail
        )
        return Done((*self._in.admit(claim.run_id), *self._in.close(claim.run_id)))

    def _read(self, claim: Claim, client: Client, left: Left) -> None:
        """Put into `left` what the people keep for whom rows with tags will be taken."""
        rows = [profile for profile in claim.profiles if profile.user.get("tags")]
        new = {(p.external_id or "").lower(): p for p in rows if p.row not in left}
        for batch in readable_batches([profile.external_id or "" for profile in new.values()]):
            users = self._asker.ask(claim, partial(client.users_show_many, batch)).users
            found = {(user.external_id or "").lower(): user for user in users}
            for external_id in map(str.lower, batch):
                profile = new[external_id]
                user = found.get(external_id)
                left[profile.row] = None if user is None else _kept_tags(profile, user)
        for profile in rows:
            if left.get(profile.row) is None:
                user = self._search(claim, client, profile)
                left[profile.row] = [] if user is None else _kept_tags(profile, user)

    def _search(self, claim: Claim, client: Client, profile: Profile) -> UserRecord | None:
        """Find a person whom Zendesk does not know by external_id, but perhaps by e-mail."""
        if "," in (profile.external_id or ""):  # a list of ids cannot hold it
            users = self._found(claim, client, external_id=profile.external_id or "")
            if users:
                return users[0]
        if profile.email is None:
            return None
        users = self._found(claim, client, email=profile.email)
        wanted = profile.email.strip().lower()
        shown = [user for user in users if _email_of(user) == wanted]
        # One who is found by this address and shows another has it as a secondary one.
        return shown[0] if shown else users[0] if len(users) == 1 else None

    def _found(self, claim: Claim, client: Client, **wanted: str) -> Sequence[UserRecord]:
        return self._asker.ask(claim, lambda: client.users_search(**wanted)).users


def _email_of(user: UserRecord) -> str:
    email = user.attributes.get("email")
    return email.strip().lower() if isinstance(email, str) else ""


def _kept_tags(profile: Profile, found: UserRecord) -> list[str]:
    return _without_fields(_texts(found.attributes.get("tags")), profile.user, found.attributes)


def _merged(profile: Profile, left: Sequence[str] | None) -> Profile:
    if profile.user.get("tags") == []:  # nothing is added; sent as it is it would take all away
        return Profile(profile.row, {k: v for k, v in profile.user.items() if k != "tags"})
    if not left:
        return profile
    tags = list(dict.fromkeys([*left, *map(str, profile.user["tags"])]))
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
