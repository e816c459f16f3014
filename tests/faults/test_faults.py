"""Some of the faults, in minutes less than `make faults`: the checker is green after each."""

from __future__ import annotations

import pytest
from faults.matrix import FAST
from faults.play import play
from faults.scene import make_scene

pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with make_scene(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("fault", FAST, ids=lambda fault: fault.name)
def test_nothing_is_lost_and_nothing_invented_after(fault, scene):
    told = play(scene, fault)

    assert told.findings == ()
    assert told.injected > 0
