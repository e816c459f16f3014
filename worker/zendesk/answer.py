"""An answer of Zendesk as it came: status, headers, body, and what headers alone can tell.

Everything here is total: whatever bytes a server sends, these functions return a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

import orjson

LONGEST_RETRY_AFTER_S = 900.0
"""A longer wait is cut to this: after a quarter of an hour it does no harm to ask again."""

LONGEST_RESET_S = 3600.0
"""A "reset" beyond this is no number of seconds left (perhaps a date in epoch seconds)."""

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)
_LEADING_NUMBER = re.compile(r"\s*(\d{1,9})(?![\d.])", re.ASCII)

_LIMIT = ("x-rate-limit", "ratelimit-limit", "rate-limit")
_REMAINING = ("x-rate-limit-remaining", "ratelimit-remaining", "rate-limit-remaining")
_RESET = ("ratelimit-reset", "rate-limit-reset")


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """The account's request budget as the headers of one answer tell it.

    Zendesk sends `X-Rate-Limit*` and, newer, `ratelimit-*` (recorded also as `rate-limit*`). Where
    they disagree the stricter number is taken. None: no header said so.

    Attributes:
        limit: requests per minute that the account may make, all clients together.
        remaining: how many are left in this minute.
        reset_s: seconds until the minute is over.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end and decoded.

    Attributes:
        status: the HTTP status.
        headers: names in lower case.
        body: may hold customer data, so it is in no repr.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def document(self) -> Mapping[str, Any] | None:
        """The body as a JSON object, or None if it is anything else (HTML, `[]`, NaN, cut off)."""
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return MappingProxyType(parsed) if isinstance(parsed, dict) else None

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 become replacement characters."""
        return self.body.decode("utf-8", "replace")

    @property
    def retry_after_s(self) -> float | None:
        """What `Retry-After` asks for, see `retry_after_seconds`."""
        return retry_after_seconds(self.headers.get("retry-after"), self.headers.get("date"))

    @property
    def rate(self) -> RateHeaders:
        """The request budget that the headers tell."""
        resets = [r for r in self._numbers(_RESET) if r <= LONGEST_RESET_S]
        return RateHeaders(
            limit=min(self._numbers(_LIMIT), default=None),
            remaining=min(self._numbers(_REMAINING), default=None),
            reset_s=float(max(resets)) if resets else None,
        )

    def _numbers(self, names: tuple[str, ...]) -> list[int]:
        found = (_LEADING_NUMBER.match(self.headers.get(name, "")) for name in names)
        return [int(match[1]) for match in found if match]


def retry_after_seconds(value: str | None, date: str | None = None) -> float | None:
    """Return how long `Retry-After` asks to wait, in seconds within [0, 900], or None.

    Args:
        value: the header: seconds or an HTTP date (RFC 9110, 10.2.3). Anything else (negative,
            empty, `1e9`, digits that are not ASCII) is None: the caller waits by its own measure.
        date: the answer's `Date` header. An HTTP date is compared with it, as the clock of this
            machine may be wrong; without it, with this machine's.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER_S)
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(date or "") or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)


def _http_date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None  # the parser raises whatever its parts raise, and it differs by version
