"""The reader of fault rules: a flat JSON object becomes a selection and a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from worker.sandbox.faults import Delivery, Fault, Selection
from worker.sandbox.jobs import JobFault
from worker.sandbox.messages import BULK_UPSERT_PATH, Response, text_response
from worker.sandbox.settings import Misconfigured

_LARGEST_BODY = 256_000_000
_HTML = "<!DOCTYPE html><html><body><h1>Sandbox: a page, not JSON</h1></body></html>"
_THROTTLED = (
    "You have exceeded the rate limit for updating a single unique user. "
    "user email:  id:  external_id: "
)
"""The recorded body of a real 429, text/plain."""


class _Spec:
    """A rule's JSON object, read key by key; what is left at the end is unknown."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._left = dict(spec)

    def text(self, key: str, default: str) -> str:
        found = self.optional_text(key)
        return default if found is None else found

    def optional_text(self, key: str) -> str | None:
        value = self._left.pop(key, None)
        if value is not None and not isinstance(value, str):
            raise Misconfigured(f"`{key}` must be a text")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._left.pop(key, default)
        if not isinstance(value, bool):
            raise Misconfigured(f"`{key}` must be true or false")
        return value

    def seconds(self, key: str, default: float = 0.0) -> float:
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Misconfigured(f"`{key}` must be a number of seconds")
        if not math.isfinite(value) or value < 0:
            raise Misconfigured(f"`{key}` must not be negative or endless")
        return float(value)

    def whole(self, key: str, default: int, least: int = 0) -> int:
        found = self.optional_whole(key, least)
        return default if found is None else found

    def optional_whole(self, key: str, least: int = 0) -> int | None:
        value = self._left.pop(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Misconfigured(f"`{key}` must be a whole number, at least {least}")
        return value

    def any(self, key: str) -> Any:
        return self._left.pop(key, None)

    def has(self, key: str) -> bool:
        return key in self._left

    def finish(self, action: str) -> None:
        if self._left:
            unknown = ", ".join(f"`{key}`" for key in sorted(self._left))
            raise Misconfigured(f"action {action!r} knows no {unknown}")


def parse_rule(spec: Mapping[str, Any]) -> tuple[Selection, Fault]:
    """Read a rule; `docs/sandbox.md` has the table of actions and their keys.

    Raises:
        Misconfigured: a key is unknown or its value of the wrong kind.
    """
    if not isinstance(spec, Mapping):
        raise Misconfigured("a rule must be a JSON object")
    left = _Spec(spec)
    action = left.text("action", "")
    if action not in _ACTIONS:
        raise Misconfigured(f"`action` must be one of {', '.join(_ACTIONS)}")
    selection = _selection(left, bulk=action == "job")
    build, applied = _ACTIONS[action]
    apply = left.flag("apply", default=applied)
    before, after = left.seconds("seconds_before"), left.seconds("seconds_after")
    parts = build(left)
    left.finish(action)
    return selection, Fault(action, apply, before, after, **parts)


def _selection(left: _Spec, *, bulk: bool) -> Selection:
    method = left.optional_text("method") or ("POST" if bulk else None)
    path = left.optional_text("path") or (BULK_UPSERT_PATH if bulk else "/")
    return Selection(
        method=method.upper() if method else None,
        path=path.removesuffix(".json"),
        holding=left.optional_text("holding"),
        after=left.whole("after", 0),
        nth=_positions(left.any("nth")),
        every=left.whole("every", 1, least=1),
        count=left.optional_whole("count"),
    )


def _positions(value: Any) -> frozenset[int]:
    wanted = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in wanted):
        raise Misconfigured("`nth` must be a position from 1, or a list of them")
    return frozenset(wanted)


def _headers(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Misconfigured("`headers` must be an object")
    for name, text in value.items():
        if not isinstance(text, str) or not (name + text).isprintable():
            raise Misconfigured("`headers` must have printable texts as values")
    return value


def _status(left: _Spec, default: int) -> int:
    status = left.whole("status", default, least=200)
    if status > 599:
        raise Misconfigured("`status` must be from 200 to 599")
    return status


def _answer(left: _Spec) -> dict[str, Any]:
    status, headers, body = _status(left, 503), _headers(left.any("headers")), left.any("body")
    if isinstance(body, str):
        content, kind = body.encode(), left.text("content_type", "text/plain; charset=utf-8")
    else:
        content = b"" if body is None else orjson.dumps(body)
        kind = left.text("content_type", "application/json; charset=utf-8")
    if not kind.isprintable():
        raise Misconfigured("`content_type` must be printable")
    return {"answer": Response(status, content, kind, headers)}


def _throttle(left: _Spec) -> dict[str, Any]:
    answer = text_response(left.text("body", _THROTTLED), 429)
    value = left.any("retry_after") if left.has("retry_after") else 27
    headers = {} if value is None else _headers({"Retry-After": str(value)})
    return {"answer": answer.with_headers(headers)}


def _delay(_: _Spec) -> dict[str, Any]:
    return {}  # `seconds_before` and `seconds_after`, which every action knows, say it all


def _hang(_: _Spec) -> dict[str, Any]:
    return {"delivery": Delivery("hang")}


def _close(_: _Spec) -> dict[str, Any]:
    return {"delivery": Delivery("close")}


def _reset(_: _Spec) -> dict[str, Any]:
    return {"delivery": Delivery("reset")}


def _truncate(left: _Spec) -> dict[str, Any]:
    return {"delivery": Delivery("truncate", octets=left.whole("bytes", 10))}


def _drip(left: _Spec) -> dict[str, Any]:
    part = left.text("part", "body")
    if part not in {"head", "body"}:
        raise Misconfigured("`part` must be head or body")
    octets, seconds = left.whole("bytes", 1, least=1), left.seconds("seconds", 1.0)
    return {"delivery": Delivery("drip", octets, seconds, part)}


def _html(left: _Spec) -> dict[str, Any]:
    return {"answer": text_response(left.text("body", _HTML), _status(left, 200), "text/html")}


def _huge(left: _Spec) -> dict[str, Any]:
    size = left.whole("bytes", 64_000_000)
    if size > _LARGEST_BODY:
        raise Misconfigured(f"`bytes` must be at most {_LARGEST_BODY}")
    return {"answer": Response(_status(left, 200), b'{"padding":"' + b"x" * size + b'"}')}


def _redirect(left: _Spec) -> dict[str, Any]:
    url = left.text("url", "")
    if not url or not url.isprintable():
        raise Misconfigured("`url` must say where the redirect leads")
    status = _status(left, 302)
    return {"answer": Response(status, b"", "text/html", {"Location": url})}


def _job(left: _Spec) -> dict[str, Any]:
    rows, results = left.any("fail_rows") or [], left.any("results")
    if results is not None and not isinstance(results, str | list):
        raise Misconfigured("`results` must be a word or a list")
    if not isinstance(rows, list) or not all(isinstance(row, int | str) for row in rows):
        raise Misconfigured("`fail_rows` must be a list of positions or keys")
    seconds = left.seconds("seconds") if left.has("seconds") else None
    usual = JobFault()
    fault = JobFault(
        state=left.optional_text("state"),
        results=tuple(results) if isinstance(results, list) else results,
        drop=left.whole("drop", usual.drop),
        fail_rows=tuple(rows),
        error=left.text("error", usual.error),
        details=left.text("details", usual.details),
        seconds=seconds,
        applied=left.optional_whole("applied"),
    )
    return {"job": fault}


_ACTIONS: Mapping[str, tuple[Callable[[_Spec], dict[str, Any]], bool]] = {
    "answer": (_answer, False),
    "throttle": (_throttle, False),
    "html": (_html, False),
    "huge": (_huge, False),
    "redirect": (_redirect, False),
    "delay": (_delay, True),
    "hang": (_hang, True),
    "close": (_close, False),
    "reset": (_reset, False),
    "truncate": (_truncate, True),
    "drip": (_drip, True),
    "job": (_job, True),
}
"""Each action: what reads its own keys, and whether the account works on the request first."""
