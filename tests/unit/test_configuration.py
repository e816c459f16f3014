"""The digests of a configuration: equal for equal files, and of each part by itself."""

from __future__ import annotations

import pytest
from world import write_catalog

from orchestrations.configuration import digests
from orchestrations.loader import load_catalog


def digests_of(folder, **kwargs):
    catalog = load_catalog(write_catalog(folder, **kwargs))
    return digests(catalog, catalog.orchestration("loyalty"))


def test_equal_files_have_equal_digests_wherever_they_lie(tmp_path):
    one, other = digests_of(tmp_path / "one"), digests_of(tmp_path / "other")

    assert one == other
    assert set(one) == {"orchestration", "query", "source", "destination", "whole"}
    assert {len(digest) for digest in one.values()} == {16}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("orchestration", {"thresholds": "{fail_below: 2}"}),
        ("query", {"sql": "SELECT id AS external_id, name FROM people"}),
        ("destination", {"limits": "{users_per_second: 200}"}),
    ],
)
def test_a_change_shows_in_its_part_and_in_the_whole(tmp_path, part, change):
    before, after = digests_of(tmp_path / "one"), digests_of(tmp_path / "other", **change)

    assert {name for name in before if before[name] != after[name]} == {part, "whole"}
