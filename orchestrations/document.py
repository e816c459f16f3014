"""A YAML file as plain values, with the line of every key.

Safe YAML only, and less than that: no aliases (a page of them can stand for gigabytes), no merge
keys, no tags, one document, no key twice. Nothing of a file's values is in the error texts, for
somebody may have pasted a secret.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 64 * 1024
"""A file of the catalog is a page; anything larger is not one."""

MAX_DEPTH = 8
"""Deeper than any key of the catalog; nesting without end would exhaust the interpreter's stack."""

Location = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top of the file."""

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_TAG + kind for kind in ("null", "bool", "int", "float", "str"))
_TEXT_TAGS = frozenset(_TAG + kind for kind in ("timestamp", "value", "merge"))


class DocumentError(Exception):
    """The file cannot be read any further.

    Args:
        line: 1-based line of the mistake.
        what: what is wrong, without values of the file.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


@dataclass(slots=True)
class Document:
    """The content of a file.

    Attributes:
        data: its values: dicts, lists, text, numbers, booleans, None.
        lines: the line of each key and list item.
        repeated: keys that stand twice, with the line of the second one; the first one counts.
    """

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Location, int] = field(default_factory=dict)
    repeated: list[tuple[Location, int]] = field(default_factory=list)

    def line(self, location: Location) -> int:
        """Return the line of a location, or of the nearest one around it that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


class _Composer(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and without endless nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise DocumentError(line, "aliases (*name) are not allowed; write the value out")
        if self.depth >= MAX_DEPTH:
            raise DocumentError(line, "the values are nested too deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        DocumentError: it is too large, not UTF-8, not YAML, or not a mapping of keys to values.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device has no end
        raise DocumentError(1, "is no file")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise DocumentError(1, f"the file is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DocumentError(line, "the file is not UTF-8 text") from None
    return _parse(text)


def _parse(text: str) -> Document:
    try:
        loader = _Composer(text)
        try:
            root = loader.get_single_node()
            return _Reader(loader).read(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        # PyYAML's `problem` names a syntax rule; its `context` and snippet would show the file.
        raise DocumentError(line, f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        line = text[: getattr(error, "position", 0)].count("\n") + 1
        raise DocumentError(line, "not valid YAML: a character that YAML does not allow") from None


class _Reader:
    """Turns nodes into values and remembers lines."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._loader = loader
        self._document = Document()

    def read(self, root: yaml.Node | None) -> Document:
        if root is None:
            raise DocumentError(1, "the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise DocumentError(_line(root), "the file must be a mapping of keys to values")
        self._document.data = self._mapping(root, ())
        return self._document

    def _value(self, node: yaml.Node, location: Location) -> Any:
        match node:
            case yaml.MappingNode(tag=tag) if tag == _TAG + "map":
                return self._mapping(node, location)
            case yaml.SequenceNode(tag=tag) if tag == _TAG + "seq":
                return [self._item(item, (*location, i)) for i, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node)
        raise DocumentError(_line(node), "tags (!name) are not allowed")

    def _item(self, node: yaml.Node, location: Location) -> Any:
        self._document.lines[location] = _line(node)
        return self._value(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                raise DocumentError(_line(key_node), "a key must be a plain word")
            key: str = key_node.value
            here = (*location, key)
            if key in values:
                self._document.repeated.append((here, _line(key_node)))
                continue
            self._document.lines[here] = _line(key_node)
            values[key] = self._value(value_node, here)
        return values

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag in _TEXT_TAGS:  # 2026-11-24, `=` and `<<` mean nothing to us but themselves
            return node.value
        if node.tag not in _PLAIN_TAGS:
            raise DocumentError(_line(node), "tags (!name) are not allowed")
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError):  # thousands of digits; `!!bool maybe`
            raise DocumentError(_line(node), "a value that cannot be read; quote it") from None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
