"""What is said of a code: the shape, and how placeholders in it are filled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """Who has to do something. The value is for machines, `words` for people."""

    CONFIGURATION = "configuration"
    DATA = "data"
    ZENDESK = "zendesk"
    DESKFEED = "deskfeed"
    NOBODY = "nobody"

    @property
    def words(self) -> str:
        """Whose fault it is, as an answer to that question."""
        return _WORDS[self]


_WORDS = {
    Fault.CONFIGURATION: "yours to set right: the command, catalog, settings or Zendesk account",
    Fault.DATA: "the source's data",
    Fault.ZENDESK: "Zendesk's, or that of the way to it",
    Fault.DESKFEED: "Deskfeed's, or that of the machines it runs on",
    Fault.NOBODY: "nobody's: nothing is wrong",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a code means to the person who meets it.

    In texts RUN, ORCHESTRATION, NAME (of a destination) and CODE stand for what `filled` is told.

    Attributes:
        title: a few words, the same wherever the code is shown.
        fault: who has to do something.
        resolution: what to do now, in a sentence or two.
        causes: what it may come from, the most frequent first; one to four.
        steps: what to do, in order.
        command: what to type: what shows more, or what comes after the steps.
    """

    title: str
    fault: Fault
    resolution: str
    causes: tuple[str, ...]
    steps: tuple[str, ...]
    command: str

    def filled(self, known: Mapping[str, str | None]) -> Explanation:
        """Return the explanation with names in place of the placeholders that are known.

        Args:
            known: as `fill` takes it.
        """
        return replace(
            self,
            resolution=fill(self.resolution, known),
            steps=tuple(fill(step, known) for step in self.steps),
            command=fill(self.command, known),
        )


def fill(text: str, known: Mapping[str, str | None]) -> str:
    """Return a text with placeholders replaced; those without a value stay.

    Args:
        text: perhaps with placeholders, words of their own in capitals.
        known: RUN, ORCHESTRATION, NAME, CODE -> what stands there instead.
    """
    return _PLACEHOLDER.sub(lambda found: known.get(found[0]) or found[0], text)


_PLACEHOLDER = re.compile(r"\b(?:RUN|ORCHESTRATION|NAME|CODE)\b")
