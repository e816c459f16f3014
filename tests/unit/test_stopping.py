"""Being asked to end wakes those who sleep."""

from __future__ import annotations

import threading

from worker import tasks
from worker.app import stopping as of_the_process
from worker.hints import Deliver, Poll
from worker.stopping import Stopping


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
