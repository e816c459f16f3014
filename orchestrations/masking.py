"""What somebody with restricted access to personal data is shown in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.ledger.records import RowOutcome

if TYPE_CHECKING:
    from orchestrations.access import Rights

MASK = "•••"
"""Of every length: how long a name is tells who it may be."""

RESTRICTED = "access.yaml restricts your access to it"

_OPEN = frozenset({"verified", "skip_verify_email"})
"""What Deskfeed itself sets, the same for everybody."""


def notice(rights: Rights) -> str:
    """Return the sentence that tells somebody that they see masks, and why."""
    return f"Personal data is masked: {rights.because or RESTRICTED}."


def masked_row(row: RowOutcome) -> RowOutcome:
    """Return a row without saying whose it is; that it had an identity is still seen."""
    return replace(
        row,
        external_id=None if row.external_id is None else MASK,
        email=None if row.email is None else MASK,
    )


def masked_user(user: dict[str, Any]) -> dict[str, Any]:
    """Return a payload with its keys and without its values."""
    return {key: value if key in _OPEN else _masked(value) for key, value in user.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return None if value is None else MASK
