"""Pages of a list, by cursor or by number, in the two forms that Zendesk's lists have."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from worker.sandbox.messages import Request, Response, json_response

PAGE_SIZE = 100
"""Most records in a page, and as many as there are when nothing is asked for (documented)."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list that is answered in pages.

    Attributes:
        name: its key in the answer.
        records: all of them, in order.
        show: makes a JSON object of one record; called for those of the page only.
    """

    name: str
    records: Sequence[T]
    show: Callable[[T], dict[str, Any]]

    def shown(self, start: int, end: int) -> list[dict[str, Any]]:
        """Return a part of the list as JSON objects."""
        return [self.show(record) for record in self.records[start:end]]


def page_response(listing: Listing[Any], request: Request) -> Response:
    """Answer with the page that the request asks for.

    With `page[size]`, `page[after]` or `page[before]` the pages go by cursor, else by number.
    """
    asked = {key: values[0] for key, values in request.parameters.items()}
    try:
        if any(key.startswith("page[") for key in asked):
            return _by_cursor(listing, request, asked)
        return _by_number(listing, request, asked)
    except ValueError:
        error = {"code": "InvalidPaginationParameter", "title": "Invalid pagination parameter"}
        return json_response({"errors": [error]}, 400)


def _by_cursor(listing: Listing[Any], request: Request, asked: dict[str, str]) -> Response:
    size, total = _size(asked.get("page[size]")), len(listing.records)
    if asked.get("page[before]"):
        end = min(_place(asked["page[before]"]), total)
        start = max(0, end - size)
    else:
        start = min(_place(asked["page[after]"]), total) if asked.get("page[after]") else 0
        end = min(start + size, total)
    after, before = _cursor(end), _cursor(start)
    size_asked = {"page[size]": str(size)}
    following = _link(request, {**size_asked, "page[after]": after})
    preceding = _link(request, {**size_asked, "page[before]": before})
    more, some = end < total, end > start
    return json_response(
        {
            listing.name: listing.shown(start, end),
            "meta": {
                "has_more": more,
                "after_cursor": after if some else None,
                "before_cursor": before if some else None,
            },
            "links": {
                "next": following if more else None,
                "prev": preceding if start > 0 else None,
            },
        }
    )


def _by_number(listing: Listing[Any], request: Request, asked: dict[str, str]) -> Response:
    number, size = max(1, int(asked.get("page") or 1)), _size(asked.get("per_page"))
    start, end, total = (number - 1) * size, number * size, len(listing.records)
    return json_response(
        {
            listing.name: listing.shown(start, end),
            "next_page": _link(request, {"page": str(number + 1)}) if end < total else None,
            "previous_page": _link(request, {"page": str(number - 1)}) if number > 1 else None,
            "count": total,
        }
    )


def _link(request: Request, page: dict[str, str]) -> str:
    kept = {key: values for key, values in request.parameters.items() if key[:4] != "page"}
    host = request.headers.get("host", "127.0.0.1")
    query = urlencode({**kept, **page}, doseq=True)
    return f"http://{host}{request.path}.json?{query}"


def _size(asked: str | None) -> int:
    size = int(asked) if asked else PAGE_SIZE
    if size < 1:
        raise ValueError("a page has at least one record")
    return min(size, PAGE_SIZE)


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(f"place:{place}".encode()).decode()


def _place(cursor: str) -> int:
    try:
        word, _, number = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("not a cursor") from error
    if word != "place" or not number.isascii() or not number.isdigit():
        raise ValueError("not a cursor")
    return int(number)
