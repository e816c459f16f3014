"""The people of the account: how a row finds its user, and what becomes of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.clock import iso
from worker.sandbox.config import Login
from worker.sandbox.fields import RowRefused, UserField
from worker.sandbox.rows import UNSET, Row

_FIRST_USER_ID = 361_000_001  # far above any position in a request: the two are easily mixed up
_FIRST_ORGANIZATION_ID = 52_000_001
_PLAIN_DEFAULTS: dict[str, Any] = {
    "alias": "", "details": "", "notes": "", "signature": None, "locale": "en-US", "locale_id": 1,
    "time_zone": "Pacific Time (US & Canada)", "phone": None, "shared_phone_number": None,
    "suspended": False, "moderator": False, "only_private_comments": False,
    "restricted_agent": True, "ticket_restriction": "requested", "custom_role_id": None,
    "default_group_id": None,
}  # fmt: skip


@dataclass(slots=True)
class Identity:
    """An e-mail address of a user.

    Attributes:
        email: lower-cased.
        primary: a user has one primary address; later ones are secondary.
        verified: whether a row said so.
    """

    email: str = field(repr=False)
    primary: bool
    verified: bool


@dataclass(slots=True)
class User:
    """A person.

    Attributes:
        id: assigned by the account.
        name: of the person.
        role: `end-user`, `agent` or `admin`.
        external_id: in the case of letters that was sent last.
        identities: e-mail addresses, the primary one first.
        tags: in order, without repeats.
        user_fields: a value for every field of the account.
        organization_id: of the person's default organization.
        attributes: everything plain.
        created_at: epoch seconds.
        updated_at: epoch seconds.
        seeded: whether the person was there before the first request.
        created_by: the job that made the person; None for a seeded one.
        applied_by: the job that wrote the person last.
        digest: of the user object that this job wrote, as in the journal.
    """

    id: int
    name: str = field(repr=False)
    role: str
    created_at: float
    updated_at: float
    seeded: bool
    user_fields: dict[str, Any] = field(repr=False)
    external_id: str | None = field(default=None, repr=False)
    identities: list[Identity] = field(default_factory=list, repr=False)
    tags: list[str] = field(default_factory=list, repr=False)
    organization_id: int | None = None
    attributes: dict[str, Any] = field(default_factory=lambda: dict(_PLAIN_DEFAULTS), repr=False)

    created_by: str | None = None
    applied_by: str | None = None
    digest: str | None = None

    def note(self, job_id: str, digest: str, *, created: bool) -> None:
        """Remember which job wrote the person, and what."""
        self.created_by = job_id if created else self.created_by
        self.applied_by, self.digest = job_id, digest

    @property
    def email(self) -> str | None:
        """The primary address."""
        return self.identities[0].email if self.identities else None

    @property
    def is_staff(self) -> bool:
        """Whether the person is an agent or admin."""
        return self.role != "end-user"

    def document(self, base_url: str) -> dict[str, Any]:
        """Return the person as the API shows them (OpenAPI: UserForAdmin)."""
        return {
            "id": self.id,
            "url": f"{base_url}/api/v2/users/{self.id}.json",
            "name": self.name,
            "email": self.email,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
            "external_id": self.external_id,
            "role": self.role,
            "active": True,
            "verified": any(identity.verified for identity in self.identities),
            "shared": False,
            "shared_agent": False,
            "organization_id": self.organization_id,
            "tags": list(self.tags),
            "user_fields": dict(self.user_fields),
            **self.attributes,
        }


class People:
    """Every user of the account, found by id, external_id or e-mail. Not thread-safe.

    Args:
        fields: the account's user fields.
        organizations: names of those that there are.
    """

    def __init__(self, fields: Iterable[UserField], organizations: Iterable[str] = ()) -> None:
        self.fields = {user_field.key: user_field for user_field in fields}
        self.by_id: dict[int, User] = {}
        self.organizations: dict[str, int] = {}
        self.mails_sent = 0
        self._by_external_id: dict[str, User] = {}
        self._by_email: dict[str, User] = {}
        self._phones: Counter[str | None] = Counter()
        for name in organizations:
            self._add_organization(name)

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[User]:
        return iter(self.by_id.values())

    def with_external_id(self, external_id: str) -> User | None:
        """Return the user with this external_id, in any case of letters."""
        return self._by_external_id.get(external_id.lower())

    def with_email(self, email: str) -> User | None:
        """Return the user who has this address, primary or secondary."""
        return self._by_email.get(email.strip().lower())

    def add_login(self, login: Login, now: float, role_id: int | None = None) -> User:
        """Make a user of someone who can log in; `role_id` is that of a role of the account's."""
        user = self._new_user(login.name, login.role, now, seeded=True)
        user.attributes["suspended"] = login.suspended
        user.attributes["custom_role_id"] = role_id
        self._add_email(user, login.email.strip().lower(), verified=True)
        return user

    def upsert(
        self,
        row: Row,
        now: float,
        *,
        by_admin: bool = True,
        create_organizations: bool = True,
        seeded: bool = False,
    ) -> tuple[User, bool]:
        """Create the row's user, or update the one whom it matches.

        Looked up by external_id first, then by e-mail (that order is an inference from error
        reports). Nothing of the row is applied when it is refused.

        Args:
            row: what to apply.
            now: epoch seconds.
            by_admin: False for an agent, who may write end-users only.
            create_organizations: whether an unknown organization is made.
            seeded: marks a new user as there before the first request.

        Returns:
            The user, and whether they are new.

        Raises:
            RowRefused: the row conflicts with another user, or lacks what it needs.
        """
        user = self._match(row)
        self._check(row, user, by_admin=by_admin, create_organizations=create_organizations)
        created = user is None
        if user is None:
            user = self._new_user(row.name or "", "end-user", now, seeded=seeded)
        self._apply(user, row, created=created)
        user.updated_at = now
        return user, created

    def _match(self, row: Row) -> User | None:
        by_key = self.with_external_id(row.external_id) if row.external_id else None
        owner = self.with_email(row.email) if row.email else None
        if by_key is not None and owner is not None and owner is not by_key:
            raise RowRefused(f"Email: {row.email} is already being used by another user")
        return by_key or owner

    def _check(
        self, row: Row, user: User | None, *, by_admin: bool, create_organizations: bool
    ) -> None:
        if user is None and row.name is None:
            raise RowRefused("Name: cannot be blank")
        if not by_admin and ((user and user.is_staff) or row.role not in {None, "end-user"}):
            raise RowRefused("Role: agents can only update end users")
        for email in row.other_emails if user is None else ():
            if self.with_email(email) is not None:
                raise RowRefused(f"Email: {email} is already being used by another user")
        wanted = row.organization
        known = isinstance(wanted, str) and wanted.lower() in self.organizations
        if isinstance(wanted, str) and not known and not create_organizations:
            raise RowRefused("Organization: is not valid")
        if isinstance(wanted, int) and wanted not in self.organizations.values():
            raise RowRefused("Organization: is not valid")

    def _new_user(self, name: str, role: str, now: float, *, seeded: bool) -> User:
        user = User(
            id=_FIRST_USER_ID + len(self.by_id),
            name=name,
            role=role,
            created_at=now,
            updated_at=now,
            seeded=seeded,
            user_fields={key: known.default for key, known in self.fields.items()},
        )
        self.by_id[user.id] = user
        return user

    def _apply(self, user: User, row: Row, *, created: bool) -> None:
        self._apply_keys(user, row, created=created)
        user.name = row.name or user.name
        user.role = row.role or user.role
        self._apply_attributes(user, row)
        user.user_fields.update(row.user_fields)
        self._apply_tags(user, row)
        if row.organization is not UNSET:
            user.organization_id = self._organization_id(row.organization)

    def _apply_keys(self, user: User, row: Row, *, created: bool) -> None:
        if row.external_id is not None:
            if user.external_id is not None:
                del self._by_external_id[user.external_id.lower()]
            user.external_id = row.external_id
            self._by_external_id[row.external_id.lower()] = user
        addresses = [row.email, *(row.other_emails if created else ())]
        new = [email for email in addresses if email and email not in self._by_email]
        for email in dict.fromkeys(new):
            self._add_email(user, email, verified=row.verified)
        if new and not row.skip_verify_email and not row.verified:
            self.mails_sent += 1
        if row.verified and user.identities:
            named = [one for one in user.identities if one.email == row.email]
            (named or user.identities)[0].verified = True

    def _add_email(self, user: User, email: str, *, verified: bool) -> None:
        user.identities.append(Identity(email, primary=not user.identities, verified=verified))
        self._by_email[email] = user

    def _apply_tags(self, user: User, row: Row) -> None:
        if row.tags is None:
            # A value that is set takes the tag of the value before it along.
            replaced = {tag for key in row.user_fields for tag in self.fields[key].all_tags()}
            tags = [tag for tag in user.tags if tag not in replaced]
            touched: Iterable[str] = row.user_fields
        else:
            tags, touched = list(row.tags), user.user_fields
        own = [tag for key in touched for tag in self.fields[key].tags_of(user.user_fields[key])]
        user.tags = list(dict.fromkeys(tags + own))

    def _organization_id(self, wanted: Any) -> int | None:
        if not isinstance(wanted, str):
            return wanted if isinstance(wanted, int) else None
        return self.organizations.get(wanted.lower()) or self._add_organization(wanted)

    def _add_organization(self, name: str) -> int:
        number = _FIRST_ORGANIZATION_ID + len(self.organizations)
        self.organizations[name.lower()] = number
        return number

    def _apply_attributes(self, user: User, row: Row) -> None:
        before = user.attributes["phone"]
        user.attributes.update(row.attributes)
        phone = user.attributes["phone"]
        if before != phone:
            self._phones[before] -= 1
            self._phones[phone] += 1
        if row.attributes.get("phone") and "shared_phone_number" not in row.attributes:
            # Documented: a number that somebody else has is a shared one.
            user.attributes["shared_phone_number"] = self._phones[phone] > 1
