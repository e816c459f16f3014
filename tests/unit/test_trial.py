"""Trying before sending: preview and dry run."""

from __future__ import annotations

import pytest
from world import TARGET, write_catalog

from orchestrations import trial
from orchestrations.loader import load_catalog
from orchestrations.mapping import mapper_for
from worker.errors import RunError
from worker.profile import Profile

ROWS = "id,name,mail\n1,Ada,ada@example.com\n2,,b@example.com\n3,Cy,\n1,Ada B,ada@example.com\n"


@pytest.fixture
def dry(tmp_path, ledger):
    """Return a function that runs dry over a catalog made from keywords."""

    def make(sample=None, unchanged=0, **kwargs):
        catalog = load_catalog(write_catalog(tmp_path / "catalog", **{"rows": ROWS, **kwargs}))
        chosen = catalog.orchestration("loyalty")
        return trial.dry_run(
            catalog,
            chosen,
            lambda columns: mapper_for(chosen, columns),
            tmp_path,
            count_unchanged=lambda _chunk: unchanged,
            sample=sample,
        )

    return make


def test_a_dry_run_counts_what_would_be_sent_and_what_not(dry):
    done = dry(unchanged=1)
    assert (done.read, done.to_send, done.changed, done.unchanged) == (4, 2, 1, 1)
    assert done.rejected == {("failed", "missing_name"): 1, ("skipped", "duplicate"): 1}
    assert (done.chunks, done.warnings, done.error) == (1, (), None)
    assert done.read == done.to_send + sum(done.rejected.values())


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
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name != "catalog"]


def test_what_zendesk_confirmed_counts_as_unchanged(ledger, sending):
    from worker.ledger.spool import digest

    profile = Profile(1, {"external_id": "A", "name": "Ada"})
    count = trial.unchanged_counter(ledger, TARGET.account, "loyalty")
    ledger.kept.digests = lambda *_: [digest(profile.user), None]
    assert count((profile, profile)) == 1


def test_a_preview_shows_profiles_and_refusals_in_order(tmp_path):
    catalog = load_catalog(write_catalog(tmp_path / "catalog", rows=ROWS))
    chosen = catalog.orchestration("loyalty")
    sql = {"loyalty": "SELECT id AS external_id, name, 1 AS shoe_size FROM people"}
    object.__setattr__(catalog, "queries", sql)
    found = trial.preview(catalog, chosen, 2, lambda columns: mapper_for(chosen, columns), tmp_path)
    first, second = map(trial.as_json, found.rows)
    assert (first["user"]["external_id"], first["code"]) == ("1", None)
    assert (second["user"], second["code"]) == (None, "missing_name")
    assert "'shoe_size'" in found.warnings[0]
