"""A hunt through every byte of the ledger after a run with delivered and failed rows.

Values of delivered rows are nowhere; values of failed rows are in the kept rows only, and nobody
reads those without the key.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from worker.digests import key_hash
from worker.ledger import open_ledger
from worker.ledger.ledger import Secrets
from worker.profile import Outcome, OutcomeKind, Profile, RejectedRow
from worker.sealing import SpoolKeys, name_of, place_of

KEYS = SpoolKeys({"k1": bytes(range(32))})

DELIVERED = (
    "canary-id-delivered",
    "canary.delivered@example.com",
    "Canary Delivered",
    "deliveredtag",
)
FAILED = ("canary-id-failed", "canary.failed@example.com", "Canary Failed", "failedtag")
REFUSED = ("canary-id-refused", "canary.refused@example.com")


def profile(row, values):
    external_id, email, name, tag = values
    user = {"external_id": external_id, "email": email, "name": name, "tags": [tag]}
    return Profile(row, user | {"user_fields": {"note": f"{name}'s note " * 40}})


@pytest.fixture(params=[SpoolKeys(), KEYS], ids=["in clear", "sealed"])
def keys(request):
    return request.param


@pytest.fixture
def ledger(sqlite_url, times, clock, keys):
    opened = open_ledger(sqlite_url, times, clock, secrets=Secrets(keys))
    opened.secrecy.begin()
    yield opened
    opened.close()


@pytest.fixture
def ended(ledger, new_run, clock):
    """A run of which one row arrived, one was lost on the way and failed, one was refused."""
    ledger.runs.start(new_run(options={"params": {"email": DELIVERED[1]}}))
    run = ledger.runs.claim_plan("df-1")
    why = "column 'name' is empty"
    refused = RejectedRow(1, OutcomeKind.FAILED, "missing_name", why, *REFUSED)
    ledger.planning.add_rejected(run, 1, [refused])
    ledger.planning.add_chunks(run, 1, [[profile(2, DELIVERED), profile(3, FAILED)]])
    ledger.planning.complete(run)
    ledger.chunks.admit("df-1", 8)
    claim = ledger.chunks.claim("df-1", 1, "w")
    ledger.chunks.keep_tags(claim, {2: [DELIVERED[3]], 3: [FAILED[3]]})
    for seconds in (1.0, 60.0):
        ledger.chunks.submitting(claim)
        ledger.chunks.accepted(claim, "V3-1", 0.0, 0.0)
        (due,) = ledger.polling.take_due(claim.target.account)
        told = [Outcome(3, OutcomeKind.FAILED, "rejected_by_zendesk", "not accepted", 7)]
        if seconds < 2:
            ledger.polling.lost(due, 0.0, "job_lost", message=False, known=told)
            clock.advance(seconds)
            claim = ledger.chunks.claim("df-1", 1, "w")
    found = [Outcome(2, OutcomeKind.CREATED, zendesk_id=5), told[0]]
    ledger.outcomes.finish("df-1", 1, claim.fence, found)
    ledger.runs.close("df-1")
    ledger.database.wipe()
    return ledger


def bytes_of(url):
    """Every byte of the ledger's files."""
    file = Path(make_url(url).database)
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob(file.name + "*")))


def cells(url):
    """Yield (table, column, value) of every cell, read without the ledger's code."""
    with closing(sqlite3.connect(make_url(url).database)) as connection:
        tables = [
            n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for table in tables:
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in cursor.description]
            for row in cursor:
                found = dict(zip(names, row, strict=True))
                for column, value in found.items():
                    yield table, column, value, found


def in_clear(place, value, row, keys):
    """Return the text of a cell, of a blob as far as it can be opened."""
    if not isinstance(value, bytes):
        return str(value)
    if name_of(value) and keys:
        value = keys.open(value, place_of(place, row["run_id"], row["seq"]))
    try:
        plain = zlib.decompress(value)
    except zlib.error:  # a key or a hash; such bytes may begin as what is compressed does
        plain = value
    return plain.decode("utf-8", "replace")


def opened_cells(url, keys):
    for table, column, value, row in cells(url):
        place = f"{table}.{column}"
        yield place, in_clear(place, value, row, keys)


def places(url, keys, values):
    return {
        place for place, text in opened_cells(url, keys) if any(value in text for value in values)
    }


def test_the_hunt_finds_what_is_there(ended, sqlite_url, keys):
    assert places(sqlite_url, keys, ["rejected_by_zendesk"]) >= {"outcomes.code"}
    assert places(sqlite_url, keys, FAILED) == {"payloads.blob"}


def test_values_of_delivered_rows_are_nowhere(ended, sqlite_url, keys):
    assert places(sqlite_url, keys, DELIVERED) == set()
    raw = bytes_of(sqlite_url)
    for value in DELIVERED:
        assert value.encode() not in raw


def test_values_of_other_rows_are_in_kept_rows_only_and_sealed_with_a_key(ended, sqlite_url, keys):
    assert places(sqlite_url, keys, FAILED + REFUSED) == {"payloads.blob"}
    if keys:
        assert places(sqlite_url, SpoolKeys(), FAILED + REFUSED) == set()


def test_removed_rows_do_not_linger_in_free_pages_or_the_log(ended, sqlite_url, keys, clock):
    """In clear a payload is compressed; what its bytes were is known, so they are looked for."""
    with closing(sqlite3.connect(make_url(sqlite_url).database)) as connection:
        blobs = [bytes(blob) for (blob,) in connection.execute("SELECT blob FROM payloads")]
    assert all(blob[8:] in bytes_of(sqlite_url) for blob in blobs)

    clock.advance(1e6)
    assert ended.retention.expire() == len(blobs) == 2
    raw = bytes_of(sqlite_url)
    assert not any(blob[-24:] in raw for blob in blobs)


def test_people_are_known_by_keyed_hashes_only(ended, sqlite_url):
    hashes = {
        bytes(value)
        for table, column, value, _ in cells(sqlite_url)
        if (table, column) in {("delivered", "key_hash"), ("delivered", "email_hash")}
    }
    key = ended.kept.hash_key
    assert hashes == {key_hash(f"x:{DELIVERED[0]}", key), key_hash(f"e:{DELIVERED[1]}", key)}
    assert not any(key_hash(f"x:{DELIVERED[0]}", other) in hashes for other in (b"", b"deskfeed"))
