"""What travels: a request that has arrived whole, and the answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

BULK_UPSERT_PATH: Final = "/api/v2/users/create_or_update_many"


class _Unreadable:
    """Stands for a body that is not JSON; `None` is JSON's null."""

    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE: Final = _Unreadable()


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has arrived whole.

    Attributes:
        method: `GET`, `POST`, …
        path: without the query, without `.json` at the end.
        query: the raw query, undecoded.
        headers: values by lower-case name.
        body: the raw body; in no repr, as it holds customers' values.
        at: epoch seconds at which the head arrived.
        document: the body as JSON; `UNREADABLE` if it is not JSON.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    at: float = 0.0
    document: Any = field(default=UNREADABLE, repr=False)

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The decoded query: values by name, blank ones too."""
        return parse_qs(self.query, keep_blank_values=True)

    @property
    def digests(self) -> tuple[str, ...]:
        """What each user of a bulk upsert was sent as, one word for each."""
        return tuple(row_digest(row) for row in self.rows or ())

    @property
    def rows(self) -> list[dict[str, Any]] | None:
        """The users of a bulk upsert; None if the body has no list of objects under `users`."""
        if not isinstance(self.document, dict):
            return None
        users = self.document.get("users")
        if not isinstance(users, list) or not all(isinstance(user, dict) for user in users):
            return None
        return users


def row_digest(row: Mapping[str, Any]) -> str:
    """Return a word that is equal for two user objects exactly when their values are."""
    return sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()


def make_request(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    at: float = 0.0,
) -> Request:
    """Build a request from what stood in its head, and read its body as JSON once.

    Args:
        method: `GET`, `POST`, …
        target: the path with its query.
        headers: in any case of letters.
        body: the raw body.
        at: epoch seconds at which the head arrived.
    """
    path, _, query = target.partition("?")
    return Request(
        method=method,
        path=path.removesuffix(".json"),
        query=query,
        headers={name.lower(): value for name, value in (headers or {}).items()},
        body=body,
        at=at,
        document=_document(body),
    )


def _document(body: bytes) -> Any:
    if not body:
        return UNREADABLE
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return UNREADABLE


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, before it is written to the wire.

    Attributes:
        status: the HTTP status.
        content: the body.
        content_type: of the body; absent from the head when blank.
        headers: further headers, in the order in which they are written.
    """

    status: int
    content: bytes = field(default=b"", repr=False)
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, headers: Mapping[str, str]) -> Response:
        """Return the same answer with `headers`; those that it has already win."""
        return Response(self.status, self.content, self.content_type, {**headers, **self.headers})

    def head(self, *, close: bool = False) -> bytes:
        """Return the status line and the headers, ready for the wire."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}", "Server: deskfeed-sandbox (not Zendesk)"]
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines.append(f"Content-Length: {len(self.content)}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if close:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def json_response(document: Any, status: int = 200, **headers: str) -> Response:
    """Return `document` as a JSON answer; header names are given with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, orjson.dumps(document), headers=named)


def text_response(text: str, status: int = 200, content_type: str = "text/plain") -> Response:
    """Return plain text, or text of another type, as an answer."""
    return Response(status, text.encode(), f"{content_type}; charset=utf-8")


def error_response(status: int, error: str, description: str | None = None) -> Response:
    """Return Zendesk's commonest error envelope: `{"error": …, "description": …}`."""
    document = {"error": error}
    if description is not None:
        document["description"] = description
    return json_response(document, status)


def forbidden(message: str) -> Response:
    """Return Zendesk's 403, which has an envelope of its own: an object under `error`."""
    return json_response({"error": {"title": "Forbidden", "message": message}}, 403)
