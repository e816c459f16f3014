"""The words everybody speaks: Profile, RejectedRow, Chunk, Outcome. Frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CHUNK_SIZE = 100
"""Most profiles in a chunk: Zendesk takes at most 100 users in one create_or_update_many."""

MAX_BODY_BYTES = 4_000_000
"""A chunk is cut earlier when its request body would be larger than this."""


class OutcomeKind(StrEnum):
    """What became of a row; each row of a run ends with exactly one."""

    CREATED = "created"  #: Zendesk's finished job said that it made the user
    UPDATED = "updated"  #: Zendesk's finished job said that it changed the user
    FAILED = "failed"  #: somebody must act: refused by us or by Zendesk
    SKIPPED = "skipped"  #: rightly not sent: duplicate, unchanged, cancelled, forgotten
    UNCONFIRMED = "unconfirmed"  #: sent, and nobody can say


DELIVERED = frozenset({OutcomeKind.CREATED, OutcomeKind.UPDATED})
"""What Zendesk confirmed."""


def key_of(external_id: str | None, email: str | None) -> str | None:
    """Return what identifies a person to Zendesk within one account, or None if nothing does.

    external_id wins over e-mail. Zendesk compares both without regard to case, so the key is
    lower-case; the prefix keeps an external_id that looks like an e-mail apart from one.
    """
    if external_id:
        return "x:" + external_id.lower()
    if email:
        return "e:" + email.strip().lower()
    return None


@dataclass(frozen=True, slots=True)
class Profile:
    """One customer, valid to send.

    Attributes:
        row: 1-based position in the query's result.
        user: the Zendesk user object as it goes into the request; JSON values only.
    """

    row: int
    user: Mapping[str, Any]

    @property
    def external_id(self) -> str | None:
        """The customer's id in the source, or None."""
        return self.user.get("external_id")

    @property
    def email(self) -> str | None:
        """The customer's e-mail as it is sent, or None."""
        return self.user.get("email")

    @property
    def key(self) -> str:
        """What identifies the person; a profile without one is never made (guarantee G4)."""
        key = key_of(self.external_id, self.email)
        if key is None:
            raise ValueError(f"row {self.row}: a profile has external_id or email")
        return key


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is not sent, and why.

    Attributes:
        row: 1-based position in the query's result.
        kind: `FAILED` (somebody must act) or `SKIPPED` (rightly not sent).
        code: a key of `worker.explanations.EXPLANATIONS`.
        detail: what exactly, naming columns but never values.
        external_id: as far as the row has one; kept for a while so that `failures` can name it.
        email: likewise.
    """

    row: int
    kind: OutcomeKind
    code: str
    detail: str
    external_id: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A claimed chunk: the unit of work of a worker.

    Attributes:
        run_id: the run it belongs to.
        seq: its number within the run, from 1.
        fence: raised at each claim; every later write must name it.
        attempt: POSTs so far.
        profiles: what to send, in order; at most `CHUNK_SIZE`.
    """

    run_id: str
    seq: int
    fence: int
    attempt: int
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        row: 1-based position in the query's result.
        kind: see `OutcomeKind`.
        code: None for created and updated, else a key of `worker.explanations.EXPLANATIONS`.
        detail: Zendesk's or our words, without customer values.
        zendesk_id: the user's id at Zendesk when the job named it.
    """

    row: int
    kind: OutcomeKind
    code: str | None = None
    detail: str | None = None
    zendesk_id: int | None = None
