"""The demo's list of customers is the same everywhere and has the faults it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from orchestrations import demo_data
from orchestrations.loader import load_catalog
from orchestrations.mapping import mapper_for
from orchestrations.reading import QueryReader
from orchestrations.runs import Options
from orchestrations.sources import no_variable
from orchestrations.values import email_text
from worker.profile import CHUNK_SIZE

CATALOG = Path(demo_data.__file__).parent / "catalog"


def test_the_committed_file_is_what_the_generator_writes():
    written = subprocess.run(
        [sys.executable, "-m", "orchestrations.demo_data"],
        capture_output=True,
        check=True,
        cwd=CATALOG.parent.parent,
    )
    assert written.stdout == (CATALOG / "data" / "customers.csv").read_bytes()


def test_there_are_2500_customers_nobody_could_really_reach():
    rows = demo_data.customers()
    assert len(rows) == 2_500
    for row in rows:
        for host in re.findall(r"@([a-z.]+)", row["email"].lower()):
            assert host in ("example.com", "example.org")
        assert re.fullmatch(r"\+1\d{3}55501\d\d", row["phone"])


def test_the_demo_orchestration_accounts_for_every_row(tmp_path):
    catalog = load_catalog(CATALOG)
    orchestration = catalog.orchestration("loyalty")
    reader = QueryReader(catalog, no_variable, tmp_path)
    snapshot = reader.snapshot(orchestration, Options(), partial(mapper_for, orchestration))
    with snapshot.staged as staged:
        chunks = list(staged.chunks())
        rejected = list(staged.rejected())
        assert snapshot.warnings() == []

    assert Counter(row.code for row in rejected) == {
        "missing_name": len(demo_data.NO_NAME) + len(demo_data.BLANK_NAME),
        "missing_identifier": len(demo_data.NO_IDENTIFIER),
        "invalid_value": len(demo_data.BAD_EMAIL),
        "duplicate": len(demo_data.REPEATS_ID),
        "shared_email": 2 * len(demo_data.REPEATS_EMAIL),
    }
    customers = demo_data.customers()
    twice = {customers[row - 1]["customer_id"] for row in demo_data.REPEATS_ID}
    duplicates = [row.external_id for row in rejected if row.code == "duplicate"]
    assert sorted(map(str.lower, duplicates)) == sorted(twice)
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK_SIZE] * 24
    assert sum(map(len, chunks)) + len(rejected) == 2_500


def test_a_few_rows_have_an_address_that_only_zendesk_refuses():
    odd = [row["email"] for row in demo_data.customers() if ";@" in row["email"]]
    assert len(odd) == len(demo_data.ODD_EMAIL)
    assert all(email_text(email) == email for email in odd)
