"""Which orchestrations start which: `after`, as plain names."""

from __future__ import annotations

from collections.abc import Mapping


def circle_of(after: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the circle that a name stands in, from it to itself; empty if it stands in none.

    Args:
        after: name -> the one that it comes after.
        name: where to begin.
    """
    way = [name]
    while way[-1] in after:
        way.append(after[way[-1]])
        if way[-1] == name:
            return tuple(way)
        if way[-1] in way[:-1]:
            return ()  # it leads into a circle of others, who are told
    return ()


def followers(after: Mapping[str, str], name: str) -> list[str]:
    """Return the names that come directly after one, in order."""
    return sorted(one for one, earlier in after.items() if earlier == name)
