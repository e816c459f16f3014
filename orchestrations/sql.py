"""What can be said of a query without a database: its statements, placeholders and order. Pure.

It reads SQL as far as all dialects agree: comments, quoted text and names, `$name` placeholders,
brackets, semicolons. What else stands there is the database's to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*(?:.*?\*/|.*))
  | (?P<quoted>[eE]'(?:\\.|[^'\\]|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)
      |`[^`]*(?:`|\Z)|(?P<tag>\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$).*?(?:(?P=tag)|\Z))
  | (?P<placeholder>\$[A-Za-z_][A-Za-z0-9_]*|\$[0-9]+|\?)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<semicolon>;)
  | (?P<space>\s+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NOTHING = frozenset({"comment", "space"})


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a query; joined, the pieces are the query."""

    kind: str
    text: str


def tokens(sql: str) -> Iterator[Token]:
    """Yield the pieces of a query."""
    for match in _TOKEN.finditer(sql):
        kind = "quoted" if match["quoted"] is not None else str(match.lastgroup)
        yield Token(kind, match[0])


def is_ordered(sql: str) -> bool:
    """Whether the query as a whole says in which order its rows come."""
    depth = 0
    words: list[str] = []
    for token in tokens(sql):
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0 and token.kind not in _NOTHING:
            words.append(token.text.upper() if token.kind == "word" else "")
    return any(pair == ("ORDER", "BY") for pair in pairwise(words))


def is_one_select(sql: str) -> bool:
    """Whether the text is one statement that begins as one that reads."""
    said = [token for token in tokens(sql) if token.kind not in _NOTHING]
    while said and said[-1].kind == "semicolon":
        said.pop()
    if any(token.kind == "semicolon" for token in said):
        return False
    return _first_word(sql) in ("SELECT", "WITH")


def describes(sql: str) -> bool:
    """Whether the text asks about tables: DuckDB takes that, too, for a statement that reads."""
    return _first_word(sql) in ("DESCRIBE", "DESC", "SHOW", "SUMMARIZE")


def _first_word(sql: str) -> str:
    passed = {*_NOTHING, "open"}
    return next((token.text.upper() for token in tokens(sql) if token.kind not in passed), "")


def placeholders(sql: str) -> list[str]:
    """Return the names of the placeholders `$name`, each once; a `?` or `$1` has its own text."""
    found = (token.text for token in tokens(sql) if token.kind == "placeholder")
    return list(dict.fromkeys(text.removeprefix("$") for text in found))


def with_colons(sql: str) -> str:
    """Return the query with `:name` for `$name`, as SQLAlchemy's `text` wants it.

    Every other colon is written so that SQLAlchemy takes it for what it is.
    """
    return "".join(
        ":" + token.text[1:] if token.kind == "placeholder" else token.text.replace(":", "\\:")
        for token in tokens(sql)
    )
