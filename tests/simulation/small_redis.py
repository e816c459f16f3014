"""As much of Redis as the limiter's scripts need, in virtual time: the scripts are the real ones.

fakeredis does the same more completely and thirty times slower: it starts a Lua for each call.
`test_small_redis.py` holds this one to the limiter's model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import redis
from lupa import lua51

_LUA = lua51.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")


@cache
def _compiled(text: str) -> Any:
    return _LUA.eval("function(KEYS, ARGV, redis) " + text + "\nend")


def _number(score: float) -> str:
    return f"{score:.17g}"


class SmallRedis:
    """What `Limiter` takes for a client.

    Args:
        clock: seconds since the epoch, by this server.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._data: dict[str, dict[str, Any]] = {}
        self._run_id = 1
        self.away = False
        self._redis = _LUA.table_from({"call": self._call, "pcall": self._call})

    def register_script(self, text: str) -> Callable[..., Any]:
        """Return the script as something to call."""
        compiled = _compiled(text)

        def run(keys: Sequence[str], args: Sequence[Any]) -> Any:
            if self.away:
                raise redis.ConnectionError("the server is away")
            argv = [str(arg) for arg in args]
            return _reply(compiled(_LUA.table_from(keys), _LUA.table_from(argv), self._redis))

        return run

    def flushall(self) -> None:
        """Lose all data."""
        self._data.clear()

    def restart(self) -> None:
        """Become another process, with the same data."""
        self._run_id += 1

    def hset(self, key: str, field: str, value: str) -> None:
        """For tests that prepare or disturb the server."""
        self._data.setdefault(key, {})[field] = value

    def info(self, _section: str) -> dict[str, str]:
        """The one line of INFO that matters."""
        return {"run_id": f"{self._run_id:x}"}

    def zrange(self, key: str, _first: int, _last: int, *, withscores: bool) -> list[Any]:
        """All of a sorted set, for tests that look."""
        return [(member.encode(), score) for member, score in self._sorted(key)]

    # --- commands ---------------------------------------------------------------------------

    def _call(self, name: str, *args: Any) -> Any:
        words = [_number(a) if isinstance(a, float) else str(a) for a in args]
        found = getattr(self, "_" + name.lower())(*words)
        return _LUA.table_from(found) if isinstance(found, list) else found

    def _sorted(self, key: str) -> list[tuple[str, float]]:
        return sorted(self._data.get(key, {}).items(), key=lambda item: (item[1], item[0]))

    def _time(self) -> list[str]:
        us = round(self._clock() * 1e6)
        return [str(us // 1_000_000), str(us % 1_000_000)]

    def _info(self, _section: str) -> str:
        return f"# Server\r\nrun_id:{self._run_id:x}\r\n"

    def _pexpire(self, _key: str, _ms: str) -> int:
        return 1  # everything the limiter keeps is also cut by score; runs here are short

    def _del(self, *keys: str) -> int:
        return sum(self._data.pop(key, None) is not None for key in keys)

    def _hget(self, key: str, field: str) -> Any:
        return self._data.get(key, {}).get(field, False)

    def _hgetall(self, key: str) -> list[str]:
        return [word for item in self._data.get(key, {}).items() for word in item]

    def _hset(self, key: str, *words: str) -> int:
        self._data.setdefault(key, {}).update(zip(words[::2], words[1::2], strict=True))
        return 1

    def _hdel(self, key: str, *fields: str) -> int:
        values = self._data.get(key, {})
        return sum(values.pop(field, None) is not None for field in fields)

    def _zadd(self, key: str, *args: str) -> int:
        *flags, score, member = args
        values = self._data.setdefault(key, {})
        if "XX" not in flags or member in values:
            values[member] = float(score)
        return 0

    def _zrem(self, key: str, member: str) -> int:
        return int(self._data.get(key, {}).pop(member, None) is not None)

    def _zscore(self, key: str, member: str) -> Any:
        score = self._data.get(key, {}).get(member)
        return False if score is None else _number(score)

    def _zrevrank(self, key: str, member: str) -> Any:
        names = [name for name, _ in reversed(self._sorted(key))]
        return names.index(member) if member in names else False

    def _zcard(self, key: str) -> int:
        return len(self._data.get(key, {}))

    def _zcount(self, key: str, low: str, high: str) -> int:
        return len(self._between(key, low, high))

    def _zremrangebyscore(self, key: str, low: str, high: str) -> int:
        doomed = self._between(key, low, high)
        for member, _ in doomed:
            del self._data[key][member]
        return len(doomed)

    def _zrange(self, key: str, first: str, last: str, *options: str) -> list[str]:
        return _shown(_slice(self._sorted(key), first, last), options)

    def _zrevrange(self, key: str, first: str, last: str, *options: str) -> list[str]:
        return _shown(_slice(self._sorted(key)[::-1], first, last), options)

    def _zrangebyscore(self, key: str, low: str, high: str, *options: str) -> list[str]:
        return _shown(self._between(key, low, high), options)

    def _zrevrangebyscore(self, key: str, high: str, low: str, *options: str) -> list[str]:
        return _shown(self._between(key, low, high)[::-1], options)

    def _between(self, key: str, low: str, high: str) -> list[tuple[str, float]]:
        least, most = float(low.lstrip("(")), float(high.lstrip("("))
        return [
            (member, score)
            for member, score in self._sorted(key)
            if (score > least if low[0] == "(" else score >= least)
            and (score < most if high[0] == "(" else score <= most)
        ]


def _slice(items: list[Any], first: str, last: str) -> list[Any]:
    begin, end = int(first), int(last)
    return items[begin:] if end == -1 else items[begin : end + 1]


def _shown(items: list[tuple[str, float]], options: Sequence[str]) -> list[str]:
    if "LIMIT" in options:
        at = options.index("LIMIT")
        offset, count = int(options[at + 1]), int(options[at + 2])
        items = items[offset : offset + count]
    if "WITHSCORES" in options:
        return [word for member, score in items for word in (member, _number(score))]
    return [member for member, _ in items]


def _reply(value: Any) -> Any:
    """What Redis makes of a script's result."""
    if lua51.lua_type(value) == "table":
        return [_reply(value[i]) for i in range(1, len(value) + 1)]
    if isinstance(value, str):
        return value.encode("latin-1")
    return int(value) if isinstance(value, (int, float)) else None
