"""The ledger decides that rows are encrypted, the keys serve; without one nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select, update
from world import profiles

from worker.delivery import Context, Delivery
from worker.errors import RunError, UsageError
from worker.hints import Done
from worker.ledger import open_ledger, spool
from worker.ledger.ledger import Secrets
from worker.ledger.schema import chunks, meta, payloads
from worker.ledger.states import ChunkState, RunState
from worker.profile import Outcome, OutcomeKind, RejectedRow
from worker.sealing import KeyMissing, SpoolKeys, name_of
from worker.times import Times

OLD, NEW = SpoolKeys({"old": bytes(32)}), SpoolKeys({"new": b"n" * 32, "old": bytes(32)})
OTHER = SpoolKeys({"other": b"o" * 32})
NONE = SpoolKeys()


@pytest.fixture
def opened(sqlite_url, clock, times):
    """Return a function that opens the ledger of this test with some keys, as a worker does."""
    made = []

    def open_with(keys=NONE, *, hash_key=None, begin=True):
        ledger = open_ledger(sqlite_url, times, clock, secrets=Secrets(keys, hash_key))
        made.append(ledger)
        if begin:
            ledger.secrecy.begin()
        return ledger

    yield open_with
    for ledger in made:
        ledger.close()


def run_of(ledger, new_run, *sizes):
    """A run that sends, its first chunks let in."""
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    first = 1
    for seq, size in enumerate(sizes, start=1):
        ledger.planning.add_chunks(run, seq, [profiles(first, size)])
        first += size
    ledger.planning.complete(run)
    ledger.chunks.admit("df-1", 8)


def blobs(ledger):
    with ledger.database.read() as connection:
        return {row.seq: row for row in connection.execute(select(payloads))}


def chunk(ledger, seq=1):
    with ledger.database.read() as connection:
        return connection.execute(select(chunks).where(chunks.c.seq == seq)).one()


def sent(ledger, seq=1):
    claim = ledger.chunks.claim("df-1", seq, "w")
    ledger.chunks.submitting(claim)
    ledger.chunks.accepted(claim, f"V3-{seq}", 0.0, 0.0)
    return claim


def test_rows_are_in_clear_without_a_key_and_sealed_with_one(opened, new_run):
    plain = opened()
    run_of(plain, new_run, 1)
    assert name_of(blobs(plain)[1].blob) is None

    keyed = opened(OLD)
    claim = keyed.chunks.claim("df-1", 1, "w")  # what was written before stays readable
    assert [p.row for p in claim.profiles] == [1]
    keyed.chunks.keep_tags(claim, {1: ["vip"]})
    assert name_of(chunk(keyed).tags) == "old"
    keyed.chunks.wait(claim, 0.0, "users")
    assert keyed.chunks.claim("df-1", 1, "w").tags == {1: ["vip"]}


def test_every_blob_with_values_is_sealed(opened, new_run):
    ledger = opened(OLD)
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    row = RejectedRow(1, OutcomeKind.FAILED, "missing_name", "no name", "C-1", "a@example.com")
    ledger.planning.add_rejected(run, 1, [row])
    ledger.planning.add_chunks(run, 1, [profiles(2, 2)])
    ledger.planning.complete(run)
    assert {(b.codec, b.key_id, name_of(b.blob)) for b in blobs(ledger).values()} == {
        ("sealed-1", "old", "old")
    }
    ledger.chunks.admit("df-1", 8)
    claim = sent(ledger)
    (due,) = ledger.polling.take_due(claim.target.account)
    told = [Outcome(2, OutcomeKind.FAILED, "rejected_by_zendesk", "no")]
    ledger.polling.lost(due, 0.0, "job_lost", message=False, known=told)
    assert name_of(chunk(ledger).known) == "old"
    assert ledger.chunks.claim("df-1", 1, "w").known == tuple(told)


def test_kept_rows_are_sealed_and_read_with_the_key(opened, new_run):
    ledger = opened(OLD)
    run_of(ledger, new_run, 2)
    claim = sent(ledger)
    ledger.outcomes.finish(
        "df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED), Outcome(2, OutcomeKind.FAILED)]
    )

    assert name_of(blobs(ledger)[1].blob) == "old"
    assert [row.external_id for row in ledger.views.not_delivered("df-1")] == ["C-2"]
    assert [row.external_id for row in opened(NEW).views.not_delivered("df-1")] == ["C-2"]
    with pytest.raises(KeyMissing, match="'old'"):
        list(opened(OTHER).views.not_delivered("df-1"))


def test_after_rotation_rows_are_sealed_with_the_new_key_and_doctor_counts_both(opened, new_run):
    run_of(opened(OLD), new_run, 2, 2)
    ledger = opened(NEW)
    claim = sent(ledger)
    found = [Outcome(1, OutcomeKind.FAILED), Outcome(2, OutcomeKind.FAILED)]
    ledger.outcomes.finish("df-1", 1, claim.fence, found)

    look = ledger.secrecy.look()
    assert (look.first, look.batches, look.lacking) == ("new", {"new": 1, "old": 1}, ())
    assert opened(SpoolKeys({"new": b"n" * 32}), begin=False).secrecy.look().lacking == ("old",)


@pytest.mark.parametrize("keys", [NONE, OTHER], ids=["none", "another"])
def test_a_worker_without_the_key_of_rows_to_send_does_not_begin(opened, new_run, keys):
    run_of(opened(OLD), new_run, 1)

    with pytest.raises(UsageError) as caught:
        opened(keys)
    assert caught.value.code == "spool_key_missing"
    assert keys is NONE or "'old'" in caught.value.message


@pytest.mark.parametrize("keys", [NONE, OTHER], ids=["none", "another"])
def test_a_chunk_whose_key_is_not_here_waits_and_loses_nothing(
    opened, new_run, limiter, zendesk, times, clock, keys
):
    holder = opened(OLD)
    run_of(holder, new_run, 1)
    late = opened(keys, begin=False)
    delivery = Delivery(
        Context(ledger=late, limiter=limiter, clients=lambda _: zendesk, times=times, owner="w")
    )

    for _ in range(8):  # more often than five claims that end badly
        assert delivery.submit("df-1", 1) == Done()
        clock.advance(Times().longest_countdown)
        late.recovery.release_expired()
    row = chunk(late)
    assert (row.state, row.why, row.expiries, row.attempt) == (
        ChunkState.WAITING,
        "spool_key",
        0,
        0,
    )
    assert zendesk.posts == []
    assert ("df-1", 1) in late.recovery.find_lost().deliver
    assert [p.row for p in holder.chunks.claim("df-1", 1, "w").profiles] == [1]


def test_results_that_cannot_be_written_here_are_written_by_who_has_the_key(
    opened, new_run, limiter, zendesk, times, clock
):
    holder = opened(OLD)
    run_of(holder, new_run, 2)

    def deliver(ledger):
        return Delivery(
            Context(
                ledger=ledger, limiter=limiter, clients=lambda _: zendesk, times=times, owner="w"
            )
        )

    deliver(holder).submit("df-1", 1)
    clock.advance(60.0)
    deliver(opened(OTHER, begin=False)).poll("df-1", 1)
    assert chunk(holder).state == ChunkState.POLLING

    clock.advance(60.0)
    deliver(holder).poll("df-1", 1)
    assert chunk(holder).state == ChunkState.DONE


def test_nobody_writes_in_clear_into_an_encrypted_ledger(opened, new_run):
    early = opened()  # begins before there is a key
    run_of(early, new_run, 2)
    claim = sent(early)
    opened(OLD)

    with pytest.raises(KeyMissing):
        early.outcomes.finish(
            "df-1", 1, claim.fence, [Outcome(n, OutcomeKind.FAILED) for n in (1, 2)]
        )
    assert chunk(early).state == ChunkState.POLLING
    early.runs.start(new_run("df-2", "other"))
    run = early.runs.claim_plan("df-2")
    with pytest.raises(KeyMissing):
        early.planning.add_chunks(run, 1, [profiles(1, 1)])


def test_a_command_with_a_key_does_not_switch_encryption_on(opened, new_run):
    run_of(opened(OLD, begin=False), new_run, 1)
    assert blobs(opened())[1].key_id is None


def test_another_key_under_a_known_name_is_refused_before_it_can_damage_anything(opened, new_run):
    run_of(opened(OLD), new_run, 1)

    with pytest.raises(UsageError, match="'old'") as caught:
        opened(SpoolKeys({"old": b"x" * 32}))
    assert caught.value.code == "spool_key_wrong"


def test_rows_of_a_lost_key_can_be_given_up(opened, new_run):
    run_of(opened(OLD), new_run, 2)
    ledger = opened(SpoolKeys({"new": b"n" * 32, "old": None}))

    assert not ledger.chunks.claim("df-1", 1, "w").intact
    ledger.runs.stop("df-1")
    ledger.recovery.release_expired()


def test_resume_and_stop_wait_for_the_key_too(opened, new_run):
    holder = opened(OLD)
    run_of(holder, new_run, 1)
    holder.runs.pause("df-1")
    other = opened(OTHER, begin=False)

    with pytest.raises(KeyMissing):
        other.runs.resume("df-1")
    other.runs.stop("df-1")
    with pytest.raises(KeyMissing):
        other.outcomes.cancel_some("df-1")
    assert holder.outcomes.cancel_some("df-1") == 1
    assert holder.runs.close("df-1") == RunState.STOPPED


def test_a_blob_that_was_swapped_for_another_is_not_sent(opened, new_run):
    ledger = opened(OLD)
    run_of(ledger, new_run, 1, 1)
    with ledger.database.write() as connection:
        blob = connection.scalar(select(payloads.c.blob).where(payloads.c.seq == 2))
        connection.execute(update(payloads).where(payloads.c.seq == 1).values(blob=blob))
        # Not even if the digest was changed with it.
        digest = spool.payload_digest(profiles(2, 1))
        connection.execute(update(chunks).where(chunks.c.seq == 1).values(digest=digest))

    assert not ledger.chunks.claim("df-1", 1, "w").intact
    assert ledger.chunks.claim("df-1", 2, "w").intact


# --- the key of the hashes ------------------------------------------------------------------------

KEY, CHANGED = b"k" * 44, b"c" * 44


def names(ledger):
    with ledger.database.read() as connection:
        rows = connection.execute(select(meta.c.name, meta.c.value))
        return {row.name: bytes(row.value) for row in rows if row.name.startswith("hash_key")}


def deliver_one(ledger, new_run):
    run_of(ledger, new_run, 1)
    claim = sent(ledger)
    ledger.outcomes.finish("df-1", 1, claim.fence, [Outcome(1, OutcomeKind.CREATED)])


def test_of_a_hash_key_from_the_settings_the_ledger_keeps_a_check_value_only(opened, new_run):
    ledger = opened(hash_key=KEY)
    assert ledger.kept.hash_key == KEY
    assert list(names(ledger)) == ["hash_key_check"]
    assert KEY not in names(ledger)["hash_key_check"]
    assert opened(hash_key=KEY).kept.hash_key == KEY


def test_a_hash_key_takes_the_place_of_the_ledgers_own_while_nobody_is_known(opened, new_run):
    opened()
    assert list(names(opened(hash_key=KEY))) == ["hash_key_check"]


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (None, KEY, "hash_key_changed"),
        (KEY, CHANGED, "hash_key_changed"),
        (KEY, None, "hash_key_missing"),
    ],
)
def test_a_changed_hash_key_is_refused(opened, new_run, before, after, code):
    deliver_one(opened(hash_key=before), new_run)

    with pytest.raises(UsageError) as caught:
        opened(hash_key=after)
    assert caught.value.code == code
    assert "k" * 8 not in caught.value.message
    assert "c" * 8 not in caught.value.message


def test_the_hash_key_is_not_changed_under_a_living_worker(opened):
    opened().recovery.heartbeat("w", "here")
    with pytest.raises(UsageError, match="no worker lives"):
        opened(hash_key=KEY)


def test_the_way_over_to_another_hash_key_forgets_what_was_known(opened, new_run, clock):
    from worker.ledger.hashing import forget_everybody

    ledger = opened(hash_key=KEY)
    deliver_one(ledger, new_run)
    assert forget_everybody(ledger.database, "eve") == 1
    assert opened(hash_key=CHANGED).kept.digests("x", "y", profiles(1, 1)) == [None]
    line = ledger.audit.newest(1)[0]
    assert (line.principal, line.action, line.subject) == ("eve", "prune", "digests")


def test_a_missing_key_is_neither_damage_nor_the_fault_of_a_run():
    assert not issubclass(KeyMissing, spool.Damaged)
    assert not issubclass(KeyMissing, RunError)


@pytest.mark.parametrize("turn", range(3))
def test_workers_that_begin_a_new_ledger_together_all_get_on(ledger_url, clock, times, turn):
    together = Barrier(6)

    def begin(_number):
        together.wait()
        ledger = open_ledger(ledger_url, times, clock, secrets=Secrets(NEW, b"h" * 32))
        ledger.secrecy.begin()
        ledger.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(begin, range(6)))
