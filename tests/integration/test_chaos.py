"""The proxy does to connections what it was told, also to those that are open."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress

import pytest
from chaos import Chaos


@pytest.fixture
def echo():
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=quiet, args=(serve, connection), daemon=True).start()

    def quiet(act, *args):
        with suppress(OSError):
            act(*args)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def proxy(echo):
    with closing(Chaos(echo)) as made:
        yield made


@pytest.fixture
def link(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as made:
        yield made


def receive(link, count):
    found = b""
    while len(found) < count and (data := link.recv(65536)):
        found += data
    return found


def test_calm_it_passes_everything_on(link):
    words = bytes(range(256)) * 4096
    threading.Thread(target=link.sendall, args=(words,)).start()

    assert receive(link, len(words)) == words


def test_slices_arrive_whole_and_late_ones_too(proxy, link):
    proxy.set(slice=3, latency=0.01, jitter=0.01)
    link.sendall(b"a sentence in pieces")

    assert receive(link, 20) == b"a sentence in pieces"


def test_what_hangs_comes_when_it_is_calm_again(proxy, link):
    proxy.set(hang=True)
    link.sendall(b"held")
    link.settimeout(0.1)
    with pytest.raises(TimeoutError):
        link.recv(10)
    link.settimeout(20)
    proxy.calm()

    assert receive(link, 4) == b"held"


def test_it_cuts_after_so_many_bytes(proxy, link):
    proxy.set(cut_after=5)
    link.sendall(b"too long a sentence")

    assert receive(link, 100) == b"too l"


def test_it_resets_what_is_open(proxy, link):
    link.sendall(b"x")
    assert receive(link, 1) == b"x"

    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        link.recv(1)


def test_it_refuses_and_takes_the_same_port_again(proxy):
    proxy.set(refuse=True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))

    proxy.calm()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as later:
        later.sendall(b"back")
        assert receive(later, 4) == b"back"
