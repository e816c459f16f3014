"""A catalog with invented people, for a destination that is the sandbox."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

_FIRST = ("Ada", "Bruno", "Chidi", "Dana", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas")
_LAST = ("Adeyemi", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito")

_DESTINATION = """\
description: The sandbox
plugin: zendesk
credential: socktown
base_url: {url}
limits: {{users_per_second: 100, requests_per_minute: 400, jobs_in_flight: 20}}
"""

_ORCHESTRATION = """\
description: Invented people, for a benchmark
status: active
source: {name}
query: {name}.sql
destination: socktown
send: all
thresholds: {{fail_below: 1, fail_above: 5000000, max_failed_percent: 100}}
"""

_SOURCE = "description: Invented people\ntype: files\ntables: {{people: data/{name}.csv}}\n"

_SQL = """\
SELECT id AS external_id, email, name, notes FROM people ORDER BY id
"""


def write_catalog(folder: Path, url: str, sizes: Mapping[str, int]) -> None:
    """Write an orchestration, its source and its people for each name.

    Args:
        folder: where; made if it is missing.
        url: of the sandbox.
        sizes: how many people each orchestration sends.
    """
    for name in ("destinations", "sources", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write(folder / "destinations" / "socktown.yaml", _DESTINATION.format(url=url))
    for name, people in sizes.items():
        _write(folder / f"{name}.yaml", _ORCHESTRATION.format(name=name))
        _write(folder / f"{name}.sql", _SQL)
        _write(folder / "sources" / f"{name}.yaml", _SOURCE.format(name=name))
        _write(folder / "data" / f"{name}.csv", _people(name, people))


def _people(prefix: str, count: int) -> str:
    """Nobody of one orchestration is in another: their rows never meet."""
    dice = random.Random(prefix)
    lines = ["id,email,name,notes"]
    for number in range(1, count + 1):
        first, last = dice.choice(_FIRST), dice.choice(_LAST)
        email = f"{first}.{last}.{prefix}{number}@example.com".lower()
        lines.append(
            f"{prefix}-{number},{email},{first} {last},{dice.randint(0, 99)} orders so far"
        )
    return "\n".join(lines) + "\n"


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
