"""What a mutant is, and how it is applied to a copy of the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class OutOfDate(Exception):
    """The list does not fit the code any more."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one file.

    Attributes:
        file: its path in the tree.
        old: text that is found in it exactly once.
        new: what stands there instead.
    """

    file: str
    old: str
    new: str

    def changed(self, text: str) -> str:
        """Return the file's text with the change in it.

        Raises:
            OutOfDate: the old text is not found exactly once.
        """
        found = text.count(self.old)
        if found != 1:
            raise OutOfDate(f"{self.file}: found {found} times instead of once: {self.old!r}")
        if self.old == self.new:
            raise OutOfDate(f"{self.file}: changes nothing: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A promise that is broken.

    Attributes:
        name: a fact, which the tests must refute.
        edits: what makes it one.
        tests: arguments of pytest; one of these tests must fail.
    """

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def changed(self, tree: Path) -> dict[str, str]:
        """Return what its files become, which are those of this tree.

        Raises:
            OutOfDate: an old text is not found exactly once.
        """
        files: dict[str, str] = {}
        for edit in self.edits:
            before = files.get(edit.file) or (tree / edit.file).read_text("utf-8")
            try:
                files[edit.file] = edit.changed(before)
            except OutOfDate as error:
                raise OutOfDate(f"mutant {self.name!r}: {error}") from None
        return files

    def apply(self, tree: Path) -> None:
        """Change the files of this tree; raises as `changed` does."""
        for name, text in self.changed(tree).items():
            (tree / name).write_text(text, "utf-8")


def mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a mutant with one edit, as most are."""
    return Mutant(name, (Edit(file, old, new),), tests)
