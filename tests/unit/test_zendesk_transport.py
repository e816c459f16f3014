"""Each blocking call gets what is left until the deadline, and nothing is sent after it."""

import itertools

import pytest

from worker.zendesk import transport
from worker.zendesk.transport import PIECE_BYTES, exchange


class SlowSocket:
    """Takes two seconds, by the clock it is given, for everything that it sends."""

    def __init__(self, clock):
        self._clock = clock
        self.timeouts, self.sent = [], b""

    def settimeout(self, seconds):
        self.timeouts.append(seconds)

    def sendall(self, data):
        self.sent += bytes(data)
        self._clock.now += 2.0


class Clock:
    """Stands still unless it is moved."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(transport, "time", made)
    return made


@pytest.fixture
def connection(clock):
    made = transport._PlainConnection("127.0.0.1", 1)
    made.sock = SlowSocket(clock)
    yield made
    made.sock = None


def test_each_piece_of_a_body_gets_only_the_time_that_is_left(connection):
    body = bytes(itertools.islice(itertools.cycle(range(256)), 3 * PIECE_BYTES + 1))

    with exchange(20.0) as current:
        assert not current.left
        connection.send(body)

    assert connection.sock.timeouts == [20.0, 18.0, 16.0, 14.0]
    assert connection.sock.sent == body
    assert current.left


def test_no_piece_is_sent_after_the_deadline(connection):
    with exchange(4.0), pytest.raises(TimeoutError):
        connection.send(bytes(3 * PIECE_BYTES))

    assert len(connection.sock.sent) == 2 * PIECE_BYTES


def test_nothing_has_left_when_the_deadline_passed_before_sending(connection, clock):
    with exchange(4.0) as current:
        clock.now += 4.0
        with pytest.raises(TimeoutError):
            connection.send(b"x")

    assert not current.left
    assert connection.sock.sent == b""
