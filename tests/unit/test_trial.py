"""Trying before sending: preview and dry run."""

from __future__ import annotations

from functools import partial

import pytest
from world import write_catalog

from orchestrations import trial
from orchestrations.loader import load_catalog
from orchestrations.mapping import mapper_for
from orchestrations.reading import QueryReader
from orchestrations.runs import Options
from orchestrations.sources import Result, no_variable
from orchestrations.sources.result import first_rows
from worker.digests import digest, key_hash, mark
from worker.errors import RunError
from worker.profile import Profile

ROWS = "id,name,mail\n1,Ada,ada@example.com\n2,,b@example.com\n3,Cy,\n1,Ada B,ada@example.com\n"


KEY = b"k" * 32


@pytest.fixture
def dry(tmp_path):
    """Return a function that runs dry over a catalog made from keywords."""

    def make(confirmed=(), **kwargs):
        asked = {name: kwargs.pop(name) for name in ("sample", "full") if name in kwargs}
        catalog = load_catalog(write_catalog(tmp_path / "catalog", **{"rows": ROWS, **kwargs}))
        chosen = catalog.orchestration("loyalty")
        marks = [mark(key_hash(p.key, KEY), digest(p.user)) for p in confirmed]
        return trial.dry_run(
            QueryReader(catalog, no_variable, tmp_path / "scratch"),
            chosen,
            Options(**asked),
            partial(mapper_for, chosen),
            trial.Known(KEY, marks),
        )

    return make


def as_sent(row, **user):
    return Profile(row, {"verified": True, "skip_verify_email": True, **user})


CY = as_sent(3, external_id="3", name="Cy")


def test_a_dry_run_counts_what_would_be_sent_and_what_not(dry):
    done = dry([CY])
    assert (done.read, done.to_send, done.changed, done.unchanged) == (4, 2, 1, 1)
    assert done.rejected == {("failed", "missing_name"): 1, ("skipped", "duplicate"): 1}
    assert (done.chunks, done.warnings, done.error) == (1, (), None)
    assert done.read == done.to_send + sum(done.rejected.values())


def test_what_is_unchanged_would_not_be_sent_where_only_changes_are(dry):
    assert dry([CY], send="changed").to_send == 1
    assert dry([CY], send="changed", full=True).to_send == 2


def test_a_dry_run_tells_the_threshold_that_would_fail_it_beside_the_counts(dry):
    done = dry(thresholds="{fail_above: 3}")
    assert done.error.code == "threshold_exceeded"
    assert done.read == 4


def test_a_dry_run_of_a_sample_knows_no_thresholds(dry):
    done = dry(sample=1, thresholds="{fail_below: 3}")
    assert (done.read, done.error) == (1, None)


def test_a_dry_run_fails_with_its_query(dry):
    with pytest.raises(RunError):
        dry(sql="SELECT nothing FROM people")


def test_a_dry_run_leaves_no_rows_behind(dry, tmp_path):
    dry()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_dry_run_counts_the_requests_as_a_run_cuts_them(dry):
    rows = "id,name,mail\n" + "".join(f"{n},{'x' * 60_000},\n" for n in range(1, 101))
    assert dry(rows=rows).chunks == 2  # a hundred people, six million bytes
    first = as_sent(1, external_id="1", name="x" * 60_000)
    assert dry([first], rows=rows).chunks == 2
    many = "id,name,mail\n" + "".join(f"{n},Ada,\n" for n in range(1, 102))
    known = [as_sent(n, external_id=str(n), name="Ada") for n in range(1, 3)]
    assert (dry(rows=many).chunks, dry(known, rows=many).chunks) == (2, 2)
    assert dry(known, rows=many, send="changed").chunks == 1


def test_the_first_rows_are_given_without_a_batch_more_than_they_need():
    taken = []

    def batches():
        for number in range(3):
            taken.append(number)
            yield [(number,)] * 2

    assert list(first_rows(Result(("n",), batches()), 2).batches) == [[(0,), (0,)]]
    assert taken == [0]


def test_a_preview_shows_profiles_and_refusals_in_order(tmp_path):
    sql = "SELECT id AS external_id, name, 1 AS shoe_size FROM people"
    catalog = load_catalog(write_catalog(tmp_path / "catalog", rows=ROWS, sql=sql))
    chosen = catalog.orchestration("loyalty")
    reader = QueryReader(catalog, no_variable, tmp_path)
    found = trial.preview(reader, chosen, Options(sample=2), partial(mapper_for, chosen))
    first, second = map(trial.as_json, found.rows)
    assert (first["user"]["external_id"], first["code"]) == ("1", None)
    assert (second["user"], second["code"]) == (None, "missing_name")
    assert "'shoe_size'" in found.warnings[0]
