"""Zendesk's words without customer values, fit for the ledger, the logs and people (G7).

Zendesk quotes what it refuses ("Email: jo@example is not properly formatted"), with no mark where a
value begins or ends, and a value may be anything: a name, a city, a note. So this does not hunt for
what looks like a value; it keeps what is known to be Zendesk's: the words of its messages, in lower
case or at the start of a sentence, labels before a colon, and numbers in "maximum is 255". Every
other token becomes "…". A message in another language keeps little; the error's class still tells.
"""

from __future__ import annotations

import re
from collections.abc import Collection

MAX_CHARS = 300
"""A detail is cut to this."""

MASK = "…"
"""Stands for one or more tokens that were taken out."""

_MAX_READ_CHARS = 4000


def _words(text: str) -> list[str]:
    return text.split()


_LABELS = frozenset(
    _words("""
    address agent alias base custom default description details email error errors external
    external_id field fields group id identities identity locale name notes number organization
    organization_id organization_ids organizations parameter phone phone_number photo role
    shared signature subject suspended tag tags time time_zone timezone url user user_fields
    users value verified zone
""")
)

_WORDS = _LABELS | frozenset(
    _words("""
    a about access account active admin after again agents already an and another any api are
    array as at authenticate authenticated authorized available bad be because been before being
    blank boolean both bulk but by call can can't cannot changed characters contact contain
    contains could couldn't create created data date decimal delete deleted deleting denied did
    do does doesn't domain duplicate duplicated each empty enabled end-user end-users entity
    equal exceed exceeded exceeds exist existing exists expected failed fewer for forbidden
    format formatted found from further greater has have help if import imports in included
    inclusion input integer internal invalid is isn't it item items job jobs key later less
    limit limited limits list locked long longer malformed many match maximum may merged minimum
    missing more must need needs no not null number numeric object of omitted on one only
    operation option options or other our owner page particular payload per permission
    permissions permitted please primary problem processed properly provided queued range read
    recognized record records removed request requested required reserved same saved secondary
    see server short should single size so specified specify status string support supported
    taken text than that the their there this to too try type unable undefined unexpected unique
    unknown unprocessable unrecognized unsupported until update updated updating use used using
    valid validation values verify was were what when which while who with within without work
    working wrong you your
""")
)

_NUMBER_WORDS = frozenset({"maximum", "minimum", "than", "least", "most"})

_UPPER = frozenset({"API", "ID", "JSON", "URL"})

_OPENING = "([\"'\u201c\u2018"
_CLOSING = ")]\"'\u201d\u2019.,:;!?"

_NUMBER = re.compile(r"\d{1,7}", re.ASCII)
_ERROR_CLASS = re.compile(r"[A-Z][A-Za-z]{2,59}", re.ASCII)


def redact(text: str, keep: Collection[str] = ()) -> str:
    """Return Zendesk's words with every value masked, at most 300 characters, in one line.

    Args:
        text: what Zendesk said.
        keep: further words that may stay, in lower case: keys of user fields, which name columns.
    """
    pieces: list[str] = []
    before: list[str] = []  # the two words before, to know "maximum is 255" and sentence starts
    for token in text[:_MAX_READ_CHARS].split():
        piece = _keep(token, before, keep)
        if piece != MASK or pieces[-1:] != [MASK]:
            pieces.append(piece)
        before = [*before[-1:], piece.lower()]
    kept = " ".join(pieces)
    return kept if len(kept) <= MAX_CHARS else kept[: MAX_CHARS - 1] + MASK


def error_class(value: object) -> str | None:
    """Return the class of an error (`UserUpdateError`), or None for anything not shaped like one.

    One capitalised word could be a name, so at least two humps are asked for, or one that is
    known.
    """
    if not isinstance(value, str) or not _ERROR_CLASS.fullmatch(value):
        return None
    humps = sum(letter.isupper() for letter in value)
    return value if humps >= 2 or value in {"Forbidden", "Unauthorized", "Conflict"} else None


def _keep(token: str, before: list[str], keep: Collection[str]) -> str:
    opened = token.lstrip(_OPENING)
    core = opened.rstrip(_CLOSING)
    after = opened[len(core) :]
    if not _is_known(core, after, before, keep):
        return MASK
    # Quotation marks stay out: within them stood a value, or nothing worth marking.
    opening = "(" if "(" in token[: len(token) - len(opened)] else ""
    return opening + core + "".join(c for c in after if c in ").,:;!?")


def _is_known(core: str, after: str, before: list[str], keep: Collection[str]) -> bool:
    if _NUMBER.fullmatch(core):
        return _is_limit([word.strip("(") for word in before])
    low = core.lower()
    if low in keep or core in _UPPER or (core == low and core in _WORDS):
        return True
    if after.startswith(":") and low in _LABELS:
        return True
    starts = not before or before[-1].endswith((".", "!", "?"))
    return starts and core == core.capitalize() and low in _WORDS


def _is_limit(before: list[str]) -> bool:
    """A number is Zendesk's own in "maximum is 255" and "less than 10"; else it may be a value."""
    if not before:
        return False
    return before[-1] in _NUMBER_WORDS or (before[-1] == "is" and before[0] in _NUMBER_WORDS)
