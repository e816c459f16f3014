"""`python -m worker.explanations docs`: write the pages that are made from the catalogue."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.explanations.pages import pages


def main(folder: Path) -> None:
    """Write each page into `folder`, and say so."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{folder / name}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
