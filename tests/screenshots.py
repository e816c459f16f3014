"""`make screenshots`: plays the demo's data and takes the pictures that the docs show.

Everything is real but Zendesk. The pictures go to docs/images/; each must stay small.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import browser

from orchestrations.cli.up import Options, Running, everything_up
from worker.sandbox.server import Sandbox

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000
BULK = {"method": "POST", "path": "/api/v2/users/create_or_update_many"}

BROKEN = """\
description: A query with a column that is not there, to show a failure
status: active
source: customers
query: broken.sql
destination: socktown
"""


def main() -> int:
    """Take all pictures; returns 0 when all are small enough."""
    if browser.find() is None:
        print(f"There is no Chromium: {browser.offer()}")
        return 1
    IMAGES.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="deskfeed-pictures-"))
    try:
        with Sandbox(port=0, seconds_per_user=0.05) as sandbox:
            play(folder, sandbox)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sizes = {path.name: path.stat().st_size for path in sorted(IMAGES.glob("*.png"))}
    for name, size in sizes.items():
        print(f"{name:<24}{size:>10,} bytes{'  TOO LARGE' if size > MOST_BYTES else ''}")
    return int(max(sizes.values()) > MOST_BYTES)


def play(folder: Path, sandbox: Sandbox) -> None:
    """Run the demo's orchestration with a 429 in it, and one that fails; take the pictures."""
    catalog = write_catalog(folder / "catalog", sandbox.url)
    options = Options(
        flower_port=0,
        state_dir=folder / "state",
        environment={
            "DESKFEED_CATALOG": str(catalog),
            "DESKFEED_LEDGER_URL": f"sqlite:///{folder / 'state' / 'ledger.db'}",
            "DESKFEED_CREDENTIALS__SOCKTOWN__EMAIL": "admin@socktown.example",
            "DESKFEED_CREDENTIALS__SOCKTOWN__API_TOKEN": "sandbox-token",
        },
    )
    with everything_up(options, lambda name, line: None) as running:
        sandbox.add_fault({"action": "throttle", "retry_after": 8, "after": 12, "count": 1, **BULK})
        deskfeed(running, "run", "loyalty", "--wait")
        deskfeed(running, "report", "last", "-o", str(folder / "run.html"))
        deskfeed(running, "run", "broken", "--wait")
        with browser.launched() as chromium:
            take_report(chromium, folder / "run.html")
            take_flower(chromium, running)


def write_catalog(folder: Path, url: str) -> Path:
    """The shipped catalog on this sandbox, with an orchestration that fails."""
    shutil.copytree(ROOT / "orchestrations" / "catalog", folder)
    file = folder / "destinations" / "socktown.yaml"
    file.write_text(file.read_text().replace("http://127.0.0.1:8900", url))
    (folder / "broken.yaml").write_text(BROKEN)
    (folder / "broken.sql").write_text("SELECT shoe_size AS external_id, name FROM customers\n")
    return folder


def deskfeed(running: Running, *words: str) -> None:
    """Use the command as a person does."""
    print("$ deskfeed", *words)
    environment = {**os.environ, **running.environment, "NO_COLOR": "1"}
    subprocess.run([sys.executable, "-m", "orchestrations", *words], env=environment)


def take_report(chromium, file: Path) -> None:
    """Take the report light and dark, and on a phone: its upper part, to the end of something."""
    first_reason, numbers = "article.reason", ".beside table"  # dark text makes larger files
    for name, width, scheme, last in (
        ("report-light", 1000, "light", first_reason),
        ("report-dark", 1000, "dark", numbers),
        ("report-phone", 360, "light", numbers),
    ):
        page = chromium.new_page(
            viewport={"width": width, "height": 1000},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        page.goto(file.as_uri())
        box = page.locator(last).first.bounding_box()
        clip = {"x": 0, "y": 0, "width": width, "height": round(box["y"] + box["height"] + 6)}
        page.screenshot(path=IMAGES / f"{name}.png", full_page=True, clip=clip)
        page.close()


def take_flower(chromium, running: Running) -> None:
    """Take Flower's list of a run's tasks, and the task of a planning that failed."""
    user, _, password = (running.flower_auth or "").partition(":")
    page = chromium.new_page(
        http_credentials={"username": user, "password": password},
        viewport={"width": 1500, "height": 760},
    )
    page.set_default_timeout(browser.PATIENCE_MS)
    for name, words in (("flower-run", "deliver"), ("flower-failure", "state:FAILURE")):
        page.goto(f"{running.flower_url}/tasks")
        page.get_by_placeholder("state:FAILURE").fill(words)
        wanted = "FAILURE" if "FAILURE" in words else words
        page.wait_for_function(
            """words => { const rows = [...document.querySelectorAll('#tasks-table tbody tr')];
            return rows.length && rows.every(row => row.textContent.includes(words)); }""",
            arg=wanted,
        )
        if name == "flower-failure":
            page.locator("#tasks-table tbody tr a").first.click()
            page.wait_for_selector("#task-page")
        page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
