"""Who may do what: `access.yaml` in the catalog folder.

    default: viewer                   # everybody else; without it they may do nothing
    users:
      ada: admin
      grace: {role: user, restrict_pii: true}
    groups: {support: viewer, data: operator}
    scheduler: user                   # what schedules and messages on the broker may start

Without the file everybody has all rights. Where there is no catalog folder nobody can tell whether
there is such a file: runs can be stopped there, and nobody is an administrator or sees people.

It guards against mistakes of colleagues who share a machine; whoever holds the ledger's password or
may write this file can do as they like.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orchestrations.document import DocumentError, read_document
from orchestrations.loader import InvalidCatalog, Problem
from orchestrations.sentences import sentences
from orchestrations.spec import ACCESS_FILE, Destination
from worker.errors import UsageError

SCHEDULER = "scheduler"
"""The principal of what starts by itself, and of what a message on the broker asks for: nobody
knows who wrote it."""


class Role(IntEnum):
    """What somebody may do; each may do all that those before it may."""

    VIEWER = 1  #: look at runs and the catalog
    USER = 2  #: run, retry, preview, verify
    OPERATOR = 3  #: pause, resume, stop, prune; limits, destinations, audit
    ADMIN = 4  #: forget people; send to destinations that are `admin_only`


VERBS: Mapping[str, Role] = {
    "alerts list": Role.VIEWER,
    "alerts test": Role.OPERATOR,
    "audit": Role.OPERATOR,
    "check": Role.VIEWER,
    "credentials list": Role.VIEWER,
    "destinations add": Role.OPERATOR,
    "destinations list": Role.VIEWER,
    "destinations test": Role.OPERATOR,
    "doctor": Role.VIEWER,
    "explain": Role.VIEWER,
    "failures": Role.VIEWER,
    "forget": Role.ADMIN,
    "init": Role.VIEWER,
    "limits set": Role.OPERATOR,
    "limits show": Role.VIEWER,
    "pause": Role.OPERATOR,
    "preview": Role.USER,
    "prune": Role.OPERATOR,
    "report": Role.VIEWER,
    "resume": Role.OPERATOR,
    "retry": Role.USER,
    "run": Role.USER,
    "runs": Role.VIEWER,
    "schedule": Role.VIEWER,
    "show": Role.VIEWER,
    "stop": Role.OPERATOR,
    "up": Role.OPERATOR,
    "verify": Role.USER,
    "watch": Role.VIEWER,
}
"""The least role that each verb needs; a test holds the list to the command's verbs."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks for something.

    Attributes:
        name: as the operating system knows them, or `scheduler`.
        groups: the names of their groups.
    """

    name: str
    groups: frozenset[str] = frozenset()


NEEDS_RULES = frozenset({"forget", "prune"})
"""Verbs that take away what nobody can bring back. Where nobody knows what the rules say they are
refused; others, that look or stop something, are not."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may do.

    Attributes:
        role: None if they may do nothing.
        restrict_pii: they see no personal data and send none.
        because: why, where it is not what the rules say of them.
    """

    role: Role | None
    restrict_pii: bool = False
    because: str = field(default="", compare=False)


def _entry(value: Any) -> Any:
    """Let a role stand for an entry with nothing else."""
    return {"role": value} if isinstance(value, str) else value


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    role: Literal["viewer", "user", "operator", "admin"]
    restrict_pii: bool = False

    @property
    def rights(self) -> Rights:
        return Rights(Role[self.role.upper()], self.restrict_pii)


Entry = Annotated[_Entry, BeforeValidator(_entry)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    name: str = ""
    default: Entry | None = None
    users: dict[str, Entry] = Field(default_factory=dict)
    groups: dict[str, Entry] = Field(default_factory=dict)
    scheduler: Entry | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one catalog.

    Attributes:
        everybody: no rules at all: everybody has every right.
        unknown: why nobody can tell whether there are rules; empty where that is known. Everybody
            may stop things then; nobody is an administrator or sees personal data.
    """

    everybody: bool = True
    unknown: str = ""
    _file: _File = field(default_factory=_File, repr=False)

    def rights(self, principal: Principal) -> Rights:
        """Return what somebody may do.

        An entry of their own decides alone. Else their groups do: the highest role of these, and
        restricted if one of them is. Else the default does.
        """
        if self.unknown:
            return Rights(Role.OPERATOR, restrict_pii=True, because=self.unknown)
        if self.everybody:
            return Rights(Role.ADMIN)
        if principal.name == SCHEDULER:
            return _rights(self._file.scheduler)
        own = self._file.users.get(principal.name)
        if own is not None:
            return own.rights
        groups = [
            self._file.groups[name].rights for name in principal.groups & {*self._file.groups}
        ]
        if not groups:
            return _rights(self._file.default)
        roles = [rights.role for rights in groups if rights.role]
        return Rights(max(roles), any(rights.restrict_pii for rights in groups))

    def require(self, principal: Principal, verb: str) -> Rights:
        """Return somebody's rights if they may use a verb.

        Args:
            principal: who asks.
            verb: of the command, such as `limits set`.

        Raises:
            UsageError: `access_denied`.
        """
        rights = self.rights(principal)
        needed = VERBS[verb]
        if self.unknown and verb in NEEDS_RULES:
            raise UsageError(
                f"{principal.name} may not {verb}: {self.unknown}",
                code="access_denied",
                resolution="Set DESKFEED_CATALOG to the catalog's folder, the one that the workers "
                "have. (docs/access.md says how rules are taken away.)",
            )
        if rights.role is None or rights.role < needed:
            raise _denied(
                f"{principal.name} may not {verb}: it needs the role {needed.name.lower()}, "
                f"{principal.name} has {rights.role.name.lower() if rights.role else 'none'}"
            )
        return rights

    def require_destination(self, principal: Principal, destination: Destination) -> Rights:
        """Return somebody's rights if they may send to a destination.

        Args:
            principal: who asks.
            destination: where to.

        Raises:
            UsageError: `access_denied`.
        """
        rights = self.rights(principal)
        if destination.admin_only and rights.role != Role.ADMIN:
            raise _denied(f"the destination {destination.name!r} is for administrators only")
        if destination.restrict_pii and rights.restrict_pii:
            raise _denied(
                f"{principal.name} has restricted access to personal data and may not send to the "
                f"destination {destination.name!r}"
            )
        return rights


def load_access(folder: Path) -> Access:
    """Read the rules of a catalog; without a file everybody has every right.

    Where there is no folder the rules are `unknown`: whoever mistypes its name, or stands in
    another folder, must be able to stop a run and must not become an administrator by it.

    Raises:
        CatalogError: the file is wrong. Nobody may do anything then.
    """
    path = folder / ACCESS_FILE
    try:
        if not folder.is_dir():
            return _unknown(f"DESKFEED_CATALOG names no folder ({folder}); access.yaml lies there")
        document = read_document(path)
    except FileNotFoundError:
        if path.is_symlink():
            problem = Problem(ACCESS_FILE, 1, "", "is a link to a file that is not there")
            raise InvalidCatalog([problem]) from None
        return Access()
    except DocumentError as error:
        raise InvalidCatalog([Problem(ACCESS_FILE, error.line, "", error.what)]) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise InvalidCatalog([Problem(ACCESS_FILE, 1, "", what)]) from None
    try:
        file = _File.model_validate(document.data)
    except ValidationError as error:
        problems = [
            Problem(ACCESS_FILE, document.line(location), ".".join(map(str, location)), what)
            for location, what in sentences(_File, error)
        ]
        raise InvalidCatalog(problems) from None
    return Access(everybody=False, _file=file)


def missing_rules(folder: Path) -> Access:
    """Return what holds where the ledger knows of rules that the catalog here does not have."""
    return _unknown(
        f"the workers' catalog has an access.yaml, and DESKFEED_CATALOG here ({folder}) has none"
    )


def _unknown(why: str) -> Access:
    return Access(everybody=False, unknown=f"{why}, so without it nobody is an administrator")


def myself() -> Principal:
    """Return who runs this process, as the operating system knows them; `uid-N` without a name.

    Variables such as LOGNAME are not asked: whoever starts a process chooses them. And nobody is
    `scheduler` by their name, because that is what schedules and messages are.
    """
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without an entry
        name = SCHEDULER
    if name == SCHEDULER:
        name = f"uid-{uid}"
    return Principal(
        name, frozenset(filter(None, map(_group_name, {os.getgid(), *os.getgroups()})))
    )


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""


def _rights(entry: _Entry | None) -> Rights:
    return entry.rights if entry else Rights(None)


def _denied(why: str) -> UsageError:
    return UsageError(why, code="access_denied")
