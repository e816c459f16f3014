"""The matrix names each fault once, and recovery is measured as docs/faults.md says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from faults.injections import SIGNALS
from faults.matrix import DEFAULT_TIMES, FAST, FAULTS
from faults.play import Told, late
from faults.scene import recovery
from faults.table import DOCS
from history import Sample

from worker.failpoints import NAMES
from worker.times import Times


def seen(at, state, fence=1, looks=0, seq=1, not_before=None):
    return Sample(at, seq, state, fence, looks, not_before, None)


def test_every_fault_has_a_name_of_its_own():
    names = [fault.name for fault in FAULTS]

    assert len(names) == len(set(names))
    assert {*FAST, *DEFAULT_TIMES} <= {*FAULTS}


def test_every_failpoint_meets_every_signal():
    names = {fault.name for fault in FAULTS}

    assert {f"{words} at {name}" for name in NAMES for words in SIGNALS.values()} <= names


def test_the_page_has_a_place_for_both_tables():
    page = DOCS.read_text(encoding="utf-8")

    for name in ("scaled times", "default times"):
        assert page.index(f"<!-- {name} -->") < page.index(f"<!-- end of {name} -->")


def test_a_chunk_goes_on_when_it_is_claimed_not_when_its_lease_is_taken():
    samples = [seen(9.9, "queued", 0), seen(10.1, "claimed"), seen(14, "queued", 2)]

    assert recovery(samples, 10.0) is None
    assert recovery([*samples, seen(15, "claimed", 3)], 10.0) == 5.0


def test_settling_is_not_counted():
    samples = [
        seen(10, "submitting"), seen(13, "submitting"), seen(14, "ambiguous", 2, not_before=16),
        seen(15, "ambiguous", 2, not_before=16), seen(17, "claimed", 3),
    ]  # fmt: skip

    assert recovery(samples, 10.0) == 5.0  # 7 s without the 2 s in which it was seen to settle


def test_a_look_at_the_job_is_progress_and_the_last_chunk_counts():
    samples = [
        seen(10, "polling"), seen(10, "polling", seq=2), seen(10, "done", seq=3),
        seen(11, "polling", looks=1), seen(12, "polling", looks=1, seq=2),
    ]  # fmt: skip

    assert recovery(samples, 10.0) == 2.0


def test_a_planner_has_gone_on_when_another_one_claims():
    samples = [seen(10, "planning", seq=0), seen(14, "planning", fence=2, seq=0)]

    assert recovery(samples, 10.0) == 4.0


def test_when_all_has_ended_nothing_is_measured():
    assert recovery([seen(10, "done"), seen(10, "succeeded", seq=0)], 10.0) is None


def test_a_recovery_that_nobody_saw_is_no_good_verdict():
    fault = next(iter(FAST))
    unseen = Told(fault.name, 1, 0, None, ())

    assert "nobody saw" in late(unseen, fault, SimpleNamespace(times=Times()), 60.0)
    assert (
        late(replace(unseen, recovery_s=60.0), fault, SimpleNamespace(times=Times()), 60.0) is None
    )
    assert "61.0 s" in late(
        replace(unseen, recovery_s=61.0), fault, SimpleNamespace(times=Times()), 60.0
    )


def test_only_what_a_fault_keeps_befalling_has_no_bound():
    assert [fault.name for fault in FAULTS if not fault.recovers] == [
        "every child that claims dies"
    ]
