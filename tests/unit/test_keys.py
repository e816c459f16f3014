"""Which keys belong to runs that start by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrations.keys import is_reserved, key_of, new_run_id


def test_what_schedules_and_after_give_is_reserved():
    assert is_reserved(key_of(datetime(2026, 11, 24, 8, 30, tzinfo=timezone(timedelta(hours=-8)))))
    assert is_reserved(key_of(datetime.max.replace(tzinfo=UTC)))
    assert is_reserved(new_run_id())


@pytest.mark.parametrize(
    "key", ["2026-11-24T08:30", "2026-11-24", "2026-11-24T16:30:00Z", "df-1", "k", "scheduled__1"]
)
def test_what_other_schedulers_give_is_not(key):
    assert not is_reserved(key)
