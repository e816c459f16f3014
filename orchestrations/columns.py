"""Which column of a result is sent as what, and what is wrong with the columns as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from orchestrations.attributes import (
    ATTRIBUTES,
    FIELD_PREFIX,
    did_you_mean,
    is_known,
    quoted,
    refusal_of,
)
from orchestrations.rules import MappingRules
from worker.errors import RunError
from worker.zendesk.fields import UserField

Fields = Sequence[UserField] | None
"""The account's user fields; None when they are not known."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A column that is sent.

    Attributes:
        index: its place in a row.
        name: its name in the query.
        target: the attribute or `user_fields.<key>` it is sent as.
    """

    index: int
    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a result.

    Attributes:
        placed: those that are sent, in order; each target once.
        warnings: one sentence for each column that is not sent and not meant to stay out.
        withheld: what is marked as personal data and therefore not sent, by its target.
    """

    placed: tuple[Placed, ...]
    warnings: tuple[str, ...]
    withheld: tuple[str, ...] = ()


def targets(columns: Sequence[str], rules: MappingRules) -> list[str]:
    """Return everything that an orchestration writes, under the names it is sent as."""
    renamed = [rules.columns.get(name, name) for name in columns]
    known = [target for target in renamed if target is not None and is_known(target)]
    return sorted({*known, *rules.constants, *rules.defaults})


def lay_out(
    columns: Sequence[str], rules: MappingRules, fields: Fields = None, *, allow_pii: bool = False
) -> Layout:
    """Say what each column of a result is sent as.

    Args:
        columns: the result's column names, in order.
        rules: the orchestration's.
        fields: the account's user fields; None: not known, and no key is refused.
        allow_pii: what the orchestration marks as personal data is sent.

    Raises:
        RunError: `missing_required_field` when no row could be sent; `unknown_user_field` when the
            account has no such field, or an inactive one; `unresolved_column` when `columns:`
            names one that is not there; `invalid_columns` when a column must not be sent, is
            misspelt or stands twice.
    """
    targets = [rules.columns.get(name, name) for name in columns]
    meant = [
        Placed(index, name, target)
        for index, (name, target) in enumerate(zip(columns, targets, strict=True))
        if target is not None
    ]
    _refuse(columns, meant, rules)
    withheld = frozenset() if allow_pii else frozenset(rules.pii)
    _check_required(columns, {column.target for column in meant}, rules, withheld)
    known = [column for column in meant if is_known(column.target)]
    placed = tuple(column for column in known if column.target not in withheld)
    if fields is not None:
        _check_fields([*(column.target for column in placed), *_named(rules)], fields)
    warnings = tuple(
        _not_sent(column.target, fields) for column in meant if not is_known(column.target)
    )
    if warnings and rules.strict:
        hint = "; `strict: true` refuses that (columns: {NAME: null} leaves a column out)"
        raise RunError("; ".join(warnings) + hint, code="invalid_columns")
    marked = [column for column in known if column.target in withheld]
    given = {*rules.constants, *rules.defaults}
    left_out = sorted({*(column.target for column in marked), *(given & withheld)})
    return Layout(
        placed,
        (*warnings, *map(_withheld, left_out), *_unused_marks(known, rules)),
        tuple(left_out),
    )


def _withheld(target: str) -> str:
    return (
        f"{quoted(target)} is marked as personal data (`pii`) and is not sent: the destination "
        "does not say `allow_pii: true`"
    )


def _unused_marks(known: Sequence[Placed], rules: MappingRules) -> Iterator[str]:
    """Yield a sentence for each mark that marks nothing: a misspelt one would protect nobody."""
    sent = {*(column.target for column in known), *rules.constants, *rules.defaults}
    for target in rules.pii:
        if target not in sent:
            yield f"`pii` marks {quoted(target)}, which is not sent{did_you_mean(target, sent)}"


def _named(rules: MappingRules) -> Iterable[str]:
    return (*rules.constants, *rules.defaults, *rules.formats)


def _refuse(columns: Sequence[str], meant: Sequence[Placed], rules: MappingRules) -> None:
    """Raise `RunError` with everything that is wrong with the names themselves."""
    unresolved = [
        f"{quoted(name)} of `columns:` is no column of the query{did_you_mean(name, columns)}"
        for name in rules.columns
        if name not in columns
    ]
    problems = [why for column in meant if (why := refusal_of(column.target))]
    problems += [f"{quoted(name)} stands twice" for name in _repeated(columns)]
    problems += unresolved
    problems += [
        f"several columns are sent as {quoted(target)}"
        for target in _repeated([column.target for column in meant])
        if target not in _repeated(columns)
    ]
    problems += [
        f"{quoted(column.name)} is sent as {column.target}, for which `constants:` has a value"
        for column in meant
        if column.target in rules.constants
    ]
    if problems:
        only_names = len(problems) == len(unresolved)
        code = "unresolved_column" if only_names else "invalid_columns"
        raise RunError("columns: " + "; ".join(problems), code=code)


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _check_required(
    columns: Sequence[str], targets: set[str], rules: MappingRules, withheld: AbstractSet[str]
) -> None:
    """Raise `RunError` unless the columns can make a profile at all."""
    _refuse_lack(columns, targets, rules)
    try:
        _refuse_lack(columns, targets - withheld, rules, withheld)
    except RunError:
        raise RunError(
            f"the orchestration marks {', '.join(map(quoted, sorted(withheld)))} as personal data "
            "(`pii`), the destination does not say `allow_pii: true`, and nobody is named by what "
            "is left",
            code="missing_required_field",
            resolution="Send people by an external_id and a name that are not marked, or set "
            "`allow_pii: true` in the destination's file.",
        ) from None


def _refuse_lack(
    columns: Sequence[str],
    targets: AbstractSet[str],
    rules: MappingRules,
    withheld: AbstractSet[str] = frozenset(),
) -> None:
    has_name = {"name"} & ({*targets, *rules.constants, *rules.defaults} - withheld)
    missing = [] if has_name else ["`name`"]
    if "email" not in targets and "external_id" not in targets:
        missing.append("one of `email`, `external_id`")
    if missing:
        seen = ", ".join(quoted(name) for name in columns)
        raise RunError(
            f"the query has no column {' and no '.join(missing)}; its columns are: {seen}",
            code="missing_required_field",
        )


def _check_fields(targets: Iterable[str], fields: Sequence[UserField]) -> None:
    """Raise `RunError` unless the account has every user field that is named, and uses it."""
    active = {known.key: known.active for known in fields}
    problems = []
    for target in dict.fromkeys(targets):
        key = target.removeprefix(FIELD_PREFIX)
        if key == target or active.get(key):
            continue
        if key in active:
            problems.append(f"{quoted(target)} is an inactive user field of the account")
        else:
            usable = [key for key, is_active in active.items() if is_active]
            problems.append(
                f"the account has no user field {quoted(target)}{did_you_mean(key, usable)}"
            )
    if problems:
        raise RunError("; ".join(problems), code="unknown_user_field")


def _not_sent(name: str, fields: Fields) -> str:
    hint = did_you_mean(name, ATTRIBUTES)
    if any(known.key == name and known.active for known in fields or ()):
        hint = f' (for the user field of this key: AS "{FIELD_PREFIX}{name}")'
    return f"column {quoted(name)} is not an attribute of a Zendesk user and is not sent{hint}"
