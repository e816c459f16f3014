"""The second half of the seeds that `make test` plays; a file of tests stays in one process."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import play_batch


@pytest.mark.parametrize("first", range(150, 300, 25))
def test_every_guarantee_holds_under_seeded_faults(first):
    _, failed = play_batch(range(first, first + 25))
    assert not failed, "\n".join(failed)
