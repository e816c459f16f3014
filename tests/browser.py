"""A headless Chromium for the tests: the system's, or none.

DESKFEED_TEST_CHROMIUM   the path of one; `required`: without one the tests fail; `off`: without
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

WANTED = "DESKFEED_TEST_CHROMIUM"

NAMES = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
HOMES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""It speaks to nobody but the page's own server."""

PATIENCE_MS = 60_000


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    wanted = os.environ.get(WANTED, "")
    if wanted == "off":
        return None
    if wanted not in ("", "required"):
        return wanted
    named = filter(None, map(shutil.which, NAMES))
    return next(named, None) or next((home for home in HOMES if Path(home).exists()), None)


def offer() -> str:
    """Return what to tell of it; ends the tests where there must be one and is none."""
    found = find()
    if found:
        return found
    wanted = os.environ.get(WANTED, "")
    if wanted == "required":
        pytest.exit(f"{WANTED}=required, and no Chromium was found", returncode=1)
    if wanted == "off":
        return f"left out, because {WANTED}=off"
    return "left out: Chromium is not installed (Debian: apt-get install chromium)"


@contextmanager
def launched():
    """A Chromium with nothing in it, ended in the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()
