"""`python -m tools.audit`: are there known vulnerabilities in what constraints.txt pins?

pip-audit asks a service. Where it cannot reach one it says of each package that it was not found,
and ends with 0, as if all were well. So this counts what was really audited.

Exit codes: 0 all audited and nothing found that is not explained in tools/known_findings.toml; 1 a
finding; 3 not (all) audited. `DESKFEED_AUDIT=offline-ok` makes 0 of a service out of reach, which
is said all the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
KNOWN = Path(__file__).with_name("known_findings.toml")

FOUND = 1
NOT_AUDITED = 3

FIRST_S = 25.0
"""So long one package may take; then no service is in reach."""

ALL_S = 600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A vulnerability that a service knows of.

    Attributes:
        package: its name.
        version: the pinned one.
        ids: what it is called, by all who gave it a name.
        fixed_in: versions without it.
    """

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = ", ".join(self.fixed_in) or "no version yet"
        return f"{self.package} {self.version}: {' = '.join(self.ids)}; fixed in {fixed}"


@dataclass(frozen=True, slots=True)
class Audited:
    """What pip-audit brought.

    Attributes:
        packages: names of those that a service knew.
        findings: all of them.
    """

    packages: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A finding that is explained.

    Attributes:
        id: one of its ids.
        package: its name.
        why: why it does not concern us.
        until: from the day after on it counts; None for always.
    """

    id: str
    package: str
    why: str
    until: date | None = None

    def covers(self, finding: Finding, today: date) -> bool:
        """Say whether this explains a finding, today."""
        same = plain(self.package) == plain(finding.package) and self.id in finding.ids
        return same and (self.until is None or today <= self.until)


Ask = Callable[[Sequence[str], float], Audited]
"""Audits pins (`name==version`) within some seconds."""


def plain(name: str) -> str:
    """Return a package's name as all its writings have it in common."""
    return name.strip().lower().replace("_", "-").replace(".", "-")


def pins(text: str) -> list[str]:
    """Return the `name==version` of a constraints file, without what stands behind them."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def known_findings(text: str) -> list[Known]:
    """Read the file of explained findings.

    Raises:
        ValueError: an entry has no id, package or reason.
    """
    found = [Known(**entry) for entry in tomllib.loads(text).get("known", ())]
    for entry in found:
        if not (entry.id.strip() and entry.package.strip() and entry.why.strip()):
            raise ValueError(f"{KNOWN.name}: each finding has an id, a package and a reason")
    return found


def read(report: str) -> Audited:
    """Return what a report of pip-audit (`--format json`) says; of anything else nothing."""
    try:
        entries: list[Any] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audited()
    checked = [entry for entry in entries if "vulns" in entry]
    return Audited(
        frozenset(plain(entry["name"]) for entry in checked),
        tuple(
            Finding(
                entry["name"],
                entry["version"],
                (vuln["id"], *vuln.get("aliases", ())),
                tuple(vuln.get("fix_versions", ())),
            )
            for entry in checked
            for vuln in entry["vulns"]
        ),
    )


def ask_pip_audit(wanted: Sequence[str], seconds: float) -> Audited:
    """Let pip-audit look at pins; what it does not answer within some seconds is not audited."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        command = [
            sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps",
            "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10",
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - our own command, no shell
                command, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return Audited()
    return read(done.stdout)


def audit(
    wanted: Sequence[str], known: Sequence[Known], ask: Ask, today: date, *, offline_ok: bool
) -> tuple[int, list[str]]:
    """Audit pins; returns the exit code and what to say.

    Args:
        wanted: what to audit.
        known: findings that are explained.
        ask: who knows.
        today: which explanations hold.
        offline_ok: a service out of reach is no failure.
    """
    # One first: without a service each of a hundred packages would wait for it.
    if not ask(wanted[:1], FIRST_S).packages:
        why = f"NOT AUDITED: no service is in reach; nobody looked at {len(wanted)} packages"
        return (0 if offline_ok else NOT_AUDITED), [why]
    found = ask(wanted, ALL_S)
    said, code = [], 0
    for finding in found.findings:
        reason = next((entry.why for entry in known if entry.covers(finding, today)), None)
        said.append(f"known: {finding}: {reason}" if reason else f"FOUND: {finding}")
        code = code if reason else FOUND
    names = [pin.partition("==")[0] for pin in wanted]
    missing = [name for name in names if plain(name) not in found.packages]
    if missing:
        said.append(f"NOT AUDITED: {len(missing)} of {len(names)}: {', '.join(missing)}")
        code = code or NOT_AUDITED
    said.append(f"audited: {len(names) - len(missing)} of {len(names)} packages")
    return code, said


def main() -> int:
    """Audit constraints.txt; returns the exit code."""
    code, said = audit(
        pins(PINS.read_text("utf-8")),
        known_findings(KNOWN.read_text("utf-8")),
        ask_pip_audit,
        datetime.now(UTC).date(),
        offline_ok=os.environ.get("DESKFEED_AUDIT") == "offline-ok",
    )
    print("\n".join(said), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
