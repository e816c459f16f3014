"""Connections that end on time: one deadline over name look-up, connect, TLS, sending, reading.

The timeouts of requests and urllib3 bound each single read, so a server that sends a byte now and
then holds a caller for hours. Here every blocking call on the socket gets only what is left until
the deadline, the reading of the status line and headers included. That needs no second thread and
leaves nothing behind: the timeout is a property of the call that blocks.

Only the system's name look-up cannot be cut short. It counts all the same: when it took too long,
no connection is made and nothing is sent.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

PIECE_BYTES = 16_384
"""A body is sent in pieces of this size, one TLS record each: TLS grants each record its own
timeout, so a receiver that takes a record now and then must meet the deadline between them."""


class Exchange:
    """One request and its answer, while they are under way.

    Args:
        seconds: until the deadline.

    Attributes:
        left: whether a byte of the request may have left this machine. Until then Zendesk surely
            did nothing; from then on nobody knows.
        named: whether the host's name was found, where a connection had to be made.
    """

    __slots__ = ("_ends_at", "left", "named")

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self.left = False
        self.named = True

    def remaining(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: it has passed.
        """
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the deadline has passed")
        return seconds


_current: ContextVar[Exchange] = ContextVar("exchange")


@contextmanager
def exchange(seconds: float) -> Iterator[Exchange]:
    """Put a deadline on every connection that this thread uses inside the block."""
    made = Exchange(seconds)
    token = _current.set(made)
    try:
        yield made
    finally:
        _current.reset(token)


class _Reader(io.RawIOBase):
    """Reads a socket, each time for no longer than is left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, current: Exchange) -> None:
        self._raw = raw
        self._sock = sock
        self._current = current

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(self._current.remaining())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock, _current.get()))


class _Deadline(HTTPConnection):
    """What both kinds of connection do differently from urllib3's."""

    response_class = _Response

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; each gets its share of the time left."""
        current = _current.get()
        host = self._dns_host.strip("[]")
        current.named = False
        addresses = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        current.named = True
        failed: OSError = OSError("the name has no address")
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(current.remaining() / (len(addresses) - index))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                sock.settimeout(current.remaining())
            except OSError as error:
                sock.close()
                failed = error
            else:
                return sock
        raise failed

    def send(self, data: Any) -> None:
        """Send bytes in pieces, each within the time left; connect first where need be."""
        if self.sock is None:
            self.connect()
        current = _current.get()
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            self.sock.settimeout(current.remaining())
            current.left = True
            self.sock.sendall(view[start : start + PIECE_BYTES])


class _PlainConnection(_Deadline):
    pass


class _TlsConnection(_Deadline, HTTPSConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # The other side hung up during the handshake: a connection lost, not a certificate
            # that a person would have to look at.
            raise ConnectionResetError("closed during the TLS handshake") from None


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class DeadlineAdapter(HTTPAdapter):
    """requests' adapter over connections that keep the deadline; it never retries.

    An adapter alone, without a Session, is safe for threads and knows no cookies, no .netrc, no
    proxies of the environment and no redirects: what Deskfeed must not do is not there to do.

    Args:
        pool_size: connections kept open for reuse.
    """

    def __init__(self, pool_size: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of our own kind."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class _Nothing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the base's name
        return False


_NOTHING = _Nothing()


def silence_urllib3() -> None:
    """Keep urllib3 from logging URLs: ours name external_ids (G7). Calling it again is harmless."""
    for name in ("urllib3.connection", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_NOTHING)
