"""Whatever bytes come in, an error of ours comes out, or a value: never anything else.

Zendesk's answers, Retry-After and messages are put to the same test beside their other tests.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from world import profiles, write_catalog

from orchestrations.loader import load_catalog
from orchestrations.sources import open_source
from orchestrations.spec import Source
from worker.errors import CatalogError, LedgerError, RunError, UsageError
from worker.ledger import spool
from worker.ledger.engines import make_engine
from worker.profile import Outcome, OutcomeKind
from worker.settings import Settings
from worker.zendesk.client import checked_base_url

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
PACKED = VALUES.map(lambda value: zlib.compress(json.dumps(value).encode()))
BLOBS = st.binary(max_size=60) | st.binary(max_size=60).map(zlib.compress) | PACKED
FILES = ("loyalty.yaml", "loyalty.sql", "destinations/socktown.yaml", "sources/people.yaml")
LINES = "description status source query destination send thresholds plugin base_url type tables"


@given(BLOBS)
@settings(deadline=None)
def test_a_payload_is_read_or_known_as_damaged(blob):
    with suppress(spool.Damaged):
        spool.decode_profiles(blob)
    spool.decode_intact(blob, spool.CODEC, None)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_turned_bit_never_makes_another_person(at, bit):
    sent = profiles(1, 3)
    blob = bytearray(spool.encode_profiles(sent))
    blob[at % len(blob)] ^= 1 << bit
    read = spool.decode_intact(bytes(blob), spool.CODEC, spool.payload_digest(sent))
    assert read is None or list(read) == sent


@given(BLOBS)
@settings(deadline=None)
def test_results_are_read_or_known_as_damaged(blob):
    with suppress(spool.Damaged):
        spool.decode_results(blob)


@given(BLOBS)
@settings(deadline=None)
def test_of_damaged_outcomes_nothing_is_known(blob):
    for outcome in spool.decode_outcomes(blob):
        assert isinstance(outcome.kind, OutcomeKind)


def test_outcomes_are_read_as_they_were_written():
    told = (Outcome(1, OutcomeKind.FAILED, "row_conflict", "busy"), Outcome(2, OutcomeKind.CREATED))
    assert spool.decode_outcomes(spool.encode_outcomes(told)) == told


@given(
    st.sampled_from(FILES),
    st.binary(max_size=80)
    | st.dictionaries(st.sampled_from(LINES.split()), VALUES, max_size=6).map(
        lambda value: yaml.safe_dump(value).encode()
    ),
)
@settings(deadline=None, max_examples=150)
@example("loyalty.yaml", b"a: &a [*a]")
@example("loyalty.yaml", b"? [1, 2]\n: 3")
@example("loyalty.yaml", b"[" * 3000)
def test_a_catalog_file_of_any_bytes_is_read_or_refused(name, content):
    with tempfile.TemporaryDirectory() as folder:
        written = write_catalog(Path(folder))
        (written / name).write_bytes(content)
        with suppress(CatalogError):
            load_catalog(written)


@given(st.binary(max_size=200) | st.text('",;|\n\rab1é\0', max_size=60).map(str.encode))
@settings(deadline=None, max_examples=60)
@example(b'a,b\n"1,2\n3,4\n')
@example(b"\xff\xfea\x00")
def test_a_csv_file_of_any_bytes_is_read_or_refused(content):
    source = Source.model_validate(
        {"name": "s", "type": "files", "tables": {"people": "people.csv"}}
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "people.csv").write_bytes(content)
        with suppress(RunError), open_source(source, Path(folder)) as opened:
            for _ in opened.query("SELECT * FROM people").batches:
                pass


ADDRESSES = st.text() | st.from_regex(r"[a-z+]{0,12}:/{0,3}[\w@:.\[\]%?#=-]{0,30}")


@given(ADDRESSES.filter(lambda text: not text.strip().lower().startswith("sqlite")))
@settings(deadline=None)
@example("postgresql+psycopg://host:port/x")
@example("postgresql+psycopg://[::1/x")
def test_any_address_of_a_ledger_is_one_or_refused(address):
    with suppress(UsageError, LedgerError):
        make_engine(address).dispose()


def test_a_password_that_stands_where_the_port_should_is_not_shown():
    with pytest.raises(UsageError) as caught:
        make_engine("postgresql+psycopg://user:hunter2/deskfeed")
    assert "hunter2" not in str(caught.value)


@given(ADDRESSES)
@settings(deadline=None)
@example("redis://[::1")
@example("redis://host:99999")
def test_any_address_of_redis_is_one_or_refused(address):
    with suppress(UsageError):
        Settings(redis_url=address, _env_file=None).redis()


@given(ADDRESSES)
@settings(deadline=None)
@example("https://[::1")
def test_any_base_url_is_one_or_refused(address):
    with suppress(UsageError):
        checked_base_url(address)


def test_a_value_that_is_no_payload_is_damaged_and_says_what_to_do():
    with pytest.raises(spool.Damaged) as caught:
        spool.decode_profiles(zlib.compress(b'[[1,{"name":"Ada"}],[2]]'))
    assert caught.value.code == "payload_changed"
    assert "Ada" not in str(caught.value)
