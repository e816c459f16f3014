"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest
from limiter_bench import Bench


@pytest.fixture
def bench(monkeypatch):
    """A limiter with its memory in order, on a clock that stands still."""
    made = Bench()
    made.set_clock(monkeypatch)
    made.warm()
    return made
