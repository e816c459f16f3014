"""A new catalog folder: an example that works as it is, and says what else may be written."""

from __future__ import annotations

from pathlib import Path

from worker.errors import UsageError

FILES = {
    "loyalty.yaml": """\
# An orchestration: a query, where its rows come from, where they go. Its name is the file's.
# Every key: docs/catalog.md. Try it without sending anything: deskfeed preview loyalty
description: Loyalty status for support agents
status: active            # a draft can be previewed and cannot run
source: customers         # sources/customers.yaml
query: loyalty.sql        # the SQL file beside this one
destination: socktown     # destinations/socktown.yaml
send: all                 # every row of each result
thresholds:
  fail_below: 1           # an empty result is a mistake somewhere: nothing is sent
  # fail_above: 5000000
  # max_failed_percent: 5
""",
    "loyalty.sql": """\
-- One row per customer. A column is sent under its own name: external_id, email, name, phone,
-- tags, notes, details, organization, ... ; a user field of your account as "user_fields.<key>".
-- `name` and one of `external_id`, `email` must be there.
SELECT
    customer_id       AS external_id,
    name,
    email,
    loyalty_tier      AS "user_fields.loyalty_tier"
FROM customers
ORDER BY customer_id
""",
    "sources/customers.yaml": """\
# Where rows come from: CSV, Parquet or JSON files under this catalog folder.
description: An export of the customer database
type: files
tables:
  customers: data/customers.csv
  # orders: data/orders/*.parquet
""",
    "destinations/socktown.yaml": """\
# A Zendesk account. Secrets never stand in these files: `credential` is a name, and the settings
# DESKFEED_CREDENTIALS__SOCKTOWN__... hold what is behind it (docs/settings.md).
# `deskfeed destinations add` makes such a file for your own account, and tests it first.
description: The sandbox that `deskfeed up --sandbox` starts
plugin: zendesk
credential: socktown
base_url: http://127.0.0.1:8900
# subdomain: yourcompany      # in place of base_url: yourcompany.zendesk.com
# limits: {users_per_second: 100, requests_per_minute: 400, jobs_in_flight: 20}
""",
    "data/customers.csv": """\
customer_id,name,email,loyalty_tier
C-1,Ada Lovelace,ada@example.com,gold
C-2,Grace Hopper,grace@example.com,silver
C-3,Alan Turing,alan@example.com,bronze
""",
}
"""Path in the folder -> text. A test holds the example to what it says."""


def make_catalog(folder: Path) -> list[Path]:
    """Make a catalog folder with an example; returns the files.

    Raises:
        UsageError: the folder is there and not empty, or cannot be made.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} is there and not empty; nothing was changed",
                resolution="Name another folder: deskfeed init FOLDER",
            )
        made = []
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            made.append(path)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from None
    return made
