"""The end of a chunk whose attempts are spent: what Zendesk has of its rows decides.

It is not sent again. Rows with an external_id are looked up; one is delivered only if Zendesk shows
every field as it was sent. Of all others nobody can say what became of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import structlog

from worker.delivery.asker import Asker
from worker.delivery.context import Context, reason_of, worth_again
from worker.errors import DeskfeedError, LedgerError
from worker.hints import Done, Step
from worker.ledger.records import Claim
from worker.ledger.recovery import MOST_READ_BACKS
from worker.ledger.states import ChunkState
from worker.profile import Outcome, OutcomeKind, Profile
from worker.zendesk.compare import differences, unseen
from worker.zendesk.payload import readable_batches
from worker.zendesk.replies import UserRecord

log = structlog.get_logger(__name__)


class ReadBack:
    """Reads chunks back.

    Args:
        context: the parts to work with.
    """

    def __init__(self, context: Context) -> None:
        self._in = context
        self._asker = Asker(context, "read_back")

    def end(self, claim: Claim) -> Step:
        """End a claimed chunk by what Zendesk has of it, or say what that waits for.

        Raises:
            Superseded: the claim was taken over, or the run was stopped.
        """
        try:
            found = self._look_up(claim)
        except LedgerError:
            raise
        except DeskfeedError as error:
            return self._asker.put_off(claim, error) or self._failed(claim, error)
        return self._finish(claim, [judge(claim, profile, found) for profile in claim.profiles])

    def _look_up(self, claim: Claim) -> dict[str, UserRecord]:
        """Return the users of the chunk by external_id, which Zendesk compares without case."""
        told = {outcome.row for outcome in claim.known}
        wanted = [p.external_id for p in claim.profiles if p.external_id and p.row not in told]
        found: dict[str, UserRecord] = {}
        for batch in readable_batches(wanted):
            client = self._in.clients(claim.target)
            for user in self._asker.ask(claim, partial(client.users_show_many, batch)).users:
                if user.external_id is not None:
                    found[user.external_id.lower()] = user
        return found

    def _failed(self, claim: Claim, error: DeskfeedError) -> Step:
        """Zendesk gave no usable answer: try again, but not for ever."""
        log.warning("read_back_failed", run_id=claim.run_id, seq=claim.seq, **reason_of(error))
        if claim.read_backs + 1 >= MOST_READ_BACKS:
            return self._finish(claim, [judge(claim, profile, None) for profile in claim.profiles])
        pause = min(
            self._in.times.unreachable * 2**claim.read_backs, self._in.times.longest_countdown
        )
        return self._asker.give_back(claim, pause, "read_back", failed=True)

    def _finish(self, claim: Claim, outcomes: Sequence[Outcome]) -> Step:
        self._in.ledger.outcomes.finish(
            claim.run_id,
            claim.seq,
            claim.fence,
            outcomes,
            leaves=(ChunkState.CLAIMED,),
            again=worth_again(outcomes),
        )
        proven = sum(o.kind in (OutcomeKind.CREATED, OutcomeKind.UPDATED) for o in outcomes)
        log.info("chunk_read_back", run_id=claim.run_id, seq=claim.seq, delivered=proven)
        return Done((*self._in.admit(claim.run_id), *self._in.close(claim.run_id)))


def judge(claim: Claim, profile: Profile, found: dict[str, UserRecord] | None) -> Outcome:
    """Return what became of a row, as far as it can be proven.

    Args:
        claim: its chunk.
        profile: the row.
        found: users by external_id in lower case; None if Zendesk could not be asked.
    """
    told = next((outcome for outcome in claim.known if outcome.row == profile.row), None)
    if told is not None:
        return told
    if profile.external_id is None:
        return _unconfirmed(profile, "only rows with an external_id can be looked up at Zendesk")
    if found is None:
        return _unconfirmed(profile, "Zendesk could not be asked what it has")
    user = found.get(profile.external_id.lower())
    if user is None:
        return _unconfirmed(profile, "Zendesk shows no user with this external_id")
    how = {"adds_tags": claim.adds_tags}
    other = (
        *differences(profile.user, user.attributes, **how),
        *unseen(profile.user, user.attributes, **how),
    )
    if other:
        names = ", ".join(other[:10])
        return _unconfirmed(profile, f"Zendesk does not show what was sent in: {names}")
    kind = OutcomeKind.CREATED if _is_ours(claim, user) else OutcomeKind.UPDATED
    return Outcome(profile.row, kind, zendesk_id=user.user_id)


def _is_ours(claim: Claim, user: UserRecord) -> bool:
    """Whether the user was made after the chunk was first sent; Zendesk tells whole seconds."""
    if user.created_at is None or claim.first_submitted_at is None:
        return False
    return user.created_at.timestamp() >= math.floor(claim.first_submitted_at)


def _unconfirmed(profile: Profile, detail: str) -> Outcome:
    return Outcome(profile.row, OutcomeKind.UNCONFIRMED, "unconfirmed", detail)
