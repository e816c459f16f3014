"""What goes to Zendesk: profiles as a request body, ids as the lists that queries take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import orjson

from worker.errors import Refused
from worker.profile import CHUNK_SIZE, MAX_BODY_BYTES, Profile

SHOW_MANY_LIMIT = 100
"""Most ids in one `show_many`: documented for users; assumed for jobs, where nothing is said."""

MAX_QUERY_CHARS = 6000
"""Most characters of ids in one URL: servers and proxies commonly take 8 KB for the whole line."""


def encode_users(profiles: Sequence[Profile]) -> bytes:
    """Return the body `{"users": […]}` of one create_or_update_many, in the profiles' order.

    Raises:
        ValueError: no profile, or more than `CHUNK_SIZE`: such a chunk is never made.
        Refused: the body would be larger than `MAX_BODY_BYTES`, or a value has no JSON form. The
            chunk is split, as if Zendesk had refused it, until only the row at fault is left.
    """
    if not 1 <= len(profiles) <= CHUNK_SIZE:
        raise ValueError(f"a chunk has 1 to {CHUNK_SIZE} profiles, not {len(profiles)}")
    body = _encode(profiles)
    if body is None:
        raise Refused("a value cannot be written as JSON")
    if len(body) > MAX_BODY_BYTES:
        raise Refused(f"the request would have {len(body)} bytes, more than {MAX_BODY_BYTES}")
    return body


def _encode(profiles: Sequence[Profile]) -> bytes | None:
    try:
        return orjson.dumps({"users": [dict(profile.user) for profile in profiles]})
    except TypeError:  # orjson's JSONEncodeError is one; its context may show the value
        return None


def readable_batches(external_ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Cut external_ids into lists that each fit one `users/show_many`: one request, one permit.

    An id with a comma cannot be asked for, as the comma parts the list even when it is escaped. It
    and blank ones are left out, and so are never found.
    """
    batch: list[str] = []
    chars = 0
    for external_id in external_ids:
        if not is_readable(external_id):
            continue
        length = len(quote_id(external_id)) + 1
        if batch and (len(batch) == SHOW_MANY_LIMIT or chars + length > MAX_QUERY_CHARS):
            yield tuple(batch)
            batch, chars = [], 0
        batch.append(external_id)
        chars += length
    if batch:
        yield tuple(batch)


def is_readable(external_id: str) -> bool:
    """Say whether `users/show_many` can be asked for this external_id."""
    blank = not external_id.strip()
    return not blank and "," not in external_id and len(quote_id(external_id)) < MAX_QUERY_CHARS


def quote_id(external_id: str) -> str:
    """Return the id as it stands in a URL; nothing in it can end the query or the path."""
    return quote(external_id, safe="", errors="replace")
