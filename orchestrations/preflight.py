"""Before anything is sent: does the destination let us write users, and what does it know?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from orchestrations.field_cache import FieldCache
from orchestrations.mapping import Mapper, mapper_for
from orchestrations.rules import MappingRules
from worker.errors import NotSent, RunError
from worker.zendesk.client import Permit
from worker.zendesk.fields import UserField
from worker.zendesk.replies import Identity
from worker.zendesk.roles import CustomRole, doubts_of, refusal_of

IMPORT_UNSEEN = (
    "Whether bulk user import is enabled for the account only a first run can show: "
    "deskfeed run ORCHESTRATION --sample 10 --wait"
)
"""What no question answers; it is off in an account until its owner asks Zendesk for it."""


class Probe(Protocol):
    """What pre-flight needs of Zendesk; `worker.zendesk.client.ZendeskClient` is one."""

    def whoami(self) -> Identity:
        """Return who the credential is."""
        ...

    def custom_role(self, role_id: int, permit: Permit) -> CustomRole | None:
        """Return a custom role, None if it may not be seen; `permit` is called before."""
        ...

    def user_fields(self, permit: Permit) -> tuple[UserField, ...]:
        """Return the account's user fields; `permit` is called before each request."""
        ...

    def staff(self, permit: Permit) -> frozenset[str]:
        """Return the keys of the account's agents and admins; `permit` as above."""
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """What pre-flight found.

    Attributes:
        role: the role of the credential's user.
        fields: the account's user fields.
        staff: keys of the account's agents and admins; empty where staff is allowed.
        doubts: what may still stand against writing, a sentence each.
    """

    role: str
    fields: tuple[UserField, ...]
    staff: frozenset[str] = field(default=frozenset(), repr=False)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreFlight:
    """Asks a destination what must be known before a run.

    Args:
        probe: the destination.
        permit: blocks until one more request may be sent; returns what its answer is told to.
        account: the Zendesk host, under which the cache keeps its fields.
        cache: keeps user fields for a short time; without one they are asked for each time.
        allow_pii: the destination takes what an orchestration marks as personal data.
    """

    probe: Probe
    permit: Permit
    account: str = ""
    cache: FieldCache | None = None
    allow_pii: bool = False

    def check(self, rules: MappingRules | None = None) -> Connection:
        """Ask the destination who we are, which user fields it has, and who its staff is.

        Args:
            rules: those of the run's orchestration; None: no row is mapped, so nobody is asked
                for staff.

        Raises:
            DestinationError: the credential is wrong, or its user may not write users.
            NotSent: the destination cannot be reached.
        """
        with _plainly():
            identity, doubts = self._login()
            fields = self.fields()
            staff = frozenset[str]() if rules is None else self.staff(rules)
        return Connection(role=identity.role, fields=fields, staff=staff, doubts=doubts)

    def _login(self) -> tuple[Identity, tuple[str, ...]]:
        """Return who we are there and what may stand against writing; raise what surely does."""
        report = self.permit()
        identity = self.probe.whoami()
        report(identity.rate)
        role = None
        refusal = refusal_of(identity)
        # Of an administrator there is nothing to ask; an end user may not ask.
        if refusal is None and identity.role == "agent" and identity.custom_role_id is not None:
            role = self.probe.custom_role(identity.custom_role_id, self.permit)
            refusal = refusal_of(identity, role)
        if refusal is not None:
            raise refusal
        return identity, doubts_of(identity, role)

    def staff(self, rules: MappingRules) -> frozenset[str]:
        """Return the keys of the account's agents and admins; none where they are allowed."""
        return frozenset() if rules.allow_staff else self.probe.staff(self.permit)

    def fields(self) -> tuple[UserField, ...]:
        """Return the account's user fields, as they are now or were a moment ago."""
        known = self.cache.get(self.account) if self.cache else None
        return self.asked_fields() if known is None else known

    def asked_fields(self) -> tuple[UserField, ...]:
        """Return the account's user fields as they are now."""
        fields = self.probe.user_fields(self.permit)
        if self.cache:
            self.cache.put(self.account, fields)
        return fields

    def mapper(self, rules: MappingRules, columns: Sequence[str], found: Connection) -> Mapper:
        """Return the mapper of a query; a field that is not known is asked for once more.

        Raises:
            RunError: as `Mapper`.
        """
        try:
            return self._mapper(rules, columns, found.fields, found.staff)
        except RunError as error:
            if error.code != "unknown_user_field" or self.cache is None:
                raise
        # It may have been made since the fields were kept.
        return self._mapper(rules, columns, self.asked_fields(), found.staff)

    def _mapper(
        self,
        rules: MappingRules,
        columns: Sequence[str],
        fields: tuple[UserField, ...],
        staff: frozenset[str],
    ) -> Mapper:
        return mapper_for(rules, columns, fields, staff, allow_pii=self.allow_pii)


@contextmanager
def _plainly() -> Iterator[None]:
    """Nothing was sent, so an answer without use means only that Zendesk is not to be had."""
    try:
        yield
    except NotSent as error:
        raise NotSent(error.message) from None


def check_connection(probe: Probe, permit: Permit) -> Connection:
    """Ask the destination who we are and which user fields it has.

    Args:
        probe: the destination.
        permit: as `PreFlight`.

    Raises:
        DestinationError, NotSent: as `PreFlight.check`.
    """
    return PreFlight(probe, permit).check()
