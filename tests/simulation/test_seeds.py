"""Many workers under seeded faults: no row is lost and none is invented. See docs/simulation.md."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.__main__ import play_batch, told
from tests.simulation.judge import Violation
from tests.simulation.report import BRANCHES, faults, missing, table
from tests.simulation.scenario import play


@pytest.mark.parametrize("first", range(0, 150, 25))
def test_every_guarantee_holds_under_seeded_faults(first):
    _, failed = play_batch(range(first, first + 25))
    assert not failed, "\n".join(failed)


def test_a_seed_plays_the_same_twice():
    first, second = [], []
    play(7, first.append)
    play(7, second.append)
    assert len(first) > 50
    assert first == second


def test_a_failing_seed_prints_one_line_that_reproduces_it():
    line = told(1234, Violation("G2: twice\nand more"))
    assert line == (
        "FAILED Violation: G2: twice  reproduce: python -m tests.simulation --seed 1234 --trace"
    )


def test_what_was_never_reached_is_named():
    counts = Counter(dict.fromkeys([*faults(), *BRANCHES], 1))
    assert missing(counts) == []
    counts["fenced write"] = 0
    assert missing(counts) == ["fenced write"]
    assert "poisoned chunk" in table(counts)
