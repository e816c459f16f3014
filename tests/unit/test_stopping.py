"""Being asked to end wakes those who sleep."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from world import TARGET

from worker import tasks
from worker.app import stopping as of_the_process
from worker.delivery import Context, Delivery
from worker.hints import Deliver, Done, Poll, Wait
from worker.ledger.schema import chunks
from worker.stopping import Stopping
from worker.zendesk.replies import JobAccepted, RateHeaders


def test_who_sleeps_is_woken():
    stopping = Stopping()
    sleeper = threading.Thread(target=stopping.sleep, args=(10_000,), daemon=True)
    sleeper.start()
    stopping.ask()
    sleeper.join(timeout=60)
    assert not sleeper.is_alive()
    assert stopping.asked


def test_nobody_asked_means_sleeping_to_the_end():
    assert not Stopping().asked_within(0.001)


def test_a_worker_that_is_to_end_hands_messages_back_untouched(monkeypatch):
    sent = []
    stopping = Stopping()
    stopping.ask()
    assert not of_the_process.asked
    monkeypatch.setattr(tasks, "stopping", stopping)
    monkeypatch.setattr(tasks, "parts", lambda: None)
    monkeypatch.setattr(tasks, "send_all", sent.extend)

    assert tasks.deliver_chunk(v=1, run_id="df-1", seq=7) == tasks.HANDED_BACK
    assert tasks.poll_job(v=1, run_id="df-1", seq=8) == tasks.HANDED_BACK
    assert sent == [Deliver("df-1", 7), Poll("df-1", 8)]


@pytest.mark.parametrize(
    ("step", "handed_back"),
    [
        (Done(), [Deliver("df-1", 7)]),
        (Done(job_id="V3-1"), []),  # it was sent, and others look at the job
        (Done((Poll("df-1", 7),)), [Poll("df-1", 7)]),
    ],
)
def test_who_is_woken_before_the_chunk_is_due_hands_its_message_back(
    monkeypatch, step, handed_back
):
    sent = []
    stopping = Stopping()

    def submit(_run_id, _seq):
        stopping.ask()
        return step

    monkeypatch.setattr(tasks, "stopping", stopping)
    monkeypatch.setattr(
        tasks, "parts", lambda: SimpleNamespace(delivery=SimpleNamespace(submit=submit))
    )
    monkeypatch.setattr(tasks, "send_all", sent.extend)

    tasks.deliver_chunk(v=1, run_id="df-1", seq=7)
    assert sent == handed_back


def test_who_waits_for_a_slot_gives_slot_and_chunk_back_and_posts_nothing(
    sending, ledger, times, limiter
):
    stopping = Stopping()
    posts = []

    class Zendesk:
        def create_or_update_many(self, profiles):
            posts.append(len(profiles))
            return JobAccepted("V3-1", RateHeaders())

    context = Context(
        ledger=ledger,
        limiter=limiter,
        clients=lambda _target: Zendesk(),
        times=times,
        owner="w",
        sleep=stopping.sleep,
    )
    delivery = Delivery(context)
    sending(100, 100)
    delivery.admit("df-1")
    delivery.submit("df-1", 1)
    stopping.ask()

    step = delivery.submit("df-1", 2)  # its slot is a second away

    assert isinstance(step, Wait)
    assert step.message
    assert posts == [100]
    assert limiter.state(TARGET.account).booked_users == 0
    with ledger.database.read() as connection:
        row = connection.execute(select(chunks).where(chunks.c.seq == 2)).one()
    assert (row.state, row.attempt, row.spent, row.expiries) == ("waiting", 0, 0, 0)
