"""What Zendesk confirmed last of each person: written with an outcome, gone before the next POST.

A person is known here by a keyed hash of their key, and beside it of their e-mail: Zendesk takes a
row for the person who has its external_id, or else its e-mail. So a row that is sent under another
key with the same e-mail changes what Zendesk has of the person whom the ledger knows by the first.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert

from worker.digests import key_hash, sent_digest
from worker.ledger.schema import delivered
from worker.profile import Profile, key_of


class Confirmed:
    """The digests of an orchestration's people in one account.

    Args:
        connection: a transaction.
        account: where the people are.
        orchestration: who sends them.
        hash_key: keys the hashes.
    """

    def __init__(
        self, connection: Connection, account: str, orchestration: str, hash_key: bytes
    ) -> None:
        self._connection = connection
        self._account = account
        self._orchestration = orchestration
        self._hash_key = hash_key

    def forget(self, profiles: Iterable[Profile]) -> None:
        """Forget everybody whom Zendesk may take one of these for, by external_id or by e-mail."""
        hashes = {
            hashed
            for profile in profiles
            for hashed in (key_hash(profile.key, self._hash_key), self._of_email(profile))
            if hashed is not None
        }
        # One after the other: each finds its index, which either of two conditions would not.
        for column in (delivered.c.key_hash, delivered.c.email_hash):
            self._connection.execute(
                delete(delivered).where(
                    delivered.c.account == self._account,
                    delivered.c.orchestration == self._orchestration,
                    column.in_(hashes),
                )
            )

    def remember(self, profiles: Iterable[Profile], *, adds_tags: bool = False) -> None:
        """Zendesk confirmed these, and has nothing else of them; tags were added, or replaced."""
        people = list(profiles)
        if not people:
            return
        self.forget(people)
        rows = [
            {
                "account": self._account,
                "orchestration": self._orchestration,
                "key_hash": key_hash(profile.key, self._hash_key),
                "email_hash": self._of_email(profile),
                "digest": sent_digest(profile.user, adds_tags=adds_tags),
            }
            for profile in people
        ]
        self._connection.execute(insert(delivered), rows)

    def _of_email(self, profile: Profile) -> bytes | None:
        key = key_of(None, profile.email)
        return None if key is None else key_hash(key, self._hash_key)
