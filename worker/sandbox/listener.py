"""The listening socket: connections, threads, and HTTP/1.1 over them."""

from __future__ import annotations

import socket
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from threading import Event, Lock, Thread, current_thread
from typing import Any, ClassVar, Protocol

from worker.sandbox.control import is_control
from worker.sandbox.faults import Delivery, Rule
from worker.sandbox.messages import Request, Response, error_response, make_request
from worker.sandbox.wire import deliver, is_abortive

LOOPBACK = "127.0.0.1"

_WHOLE = Delivery()
_PIECE = 65_536
_MOST_DRAINED = 512_000_000
_JOIN_SECONDS = 10.0


class Answerer(Protocol):
    """What stands behind the socket; every method may be called from any thread."""

    def now(self) -> float:
        """Return epoch seconds."""
        ...

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is taken."""
        ...

    def pick_fault(self, request: Request) -> Rule | None:
        """Return the fault rule that acts on a request."""
        ...

    def answer(self, request: Request, rule: Rule | None) -> Response | None:
        """Answer an API request; None if `rule` wants silence."""
        ...

    def refuse(self, request: Request, refusal: Response) -> Response:
        """Take note of a request whose body cannot be taken; return its answer."""
        ...

    def control(self, request: Request) -> Response:
        """Answer a request for the sandbox itself."""
        ...

    def note(self, method: str, target: str, response: Response | None) -> None:
        """Log an answered request."""
        ...


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, and sends what the sandbox says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm: ClassVar[bool] = True
    server: Listener

    def parse_request(self) -> bool:
        """Stamp the arrival of the head before anything else takes time."""
        self.arrived_at = self.server.answerer.now()
        return super().parse_request()

    def serve(self) -> None:
        """Read one request whole and have it answered."""
        answerer = self.server.answerer
        try:
            body, refusal = self._body(answerer.max_body_bytes)
            request = make_request(
                self.command, self.path, dict(self.headers.items()), body, self.arrived_at
            )
            if refusal is not None:
                self._send(answerer.refuse(request, refusal), _WHOLE, close=True)
            else:
                self._answer(answerer, request)
        except OSError:
            self.close_connection = True  # the client has gone; there is nobody to tell

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = serve  # noqa: N815 - the base class's names

    def _answer(self, answerer: Answerer, request: Request) -> None:
        if is_control(request):
            self._send(answerer.control(request), _WHOLE, close=self.close_connection)
            return
        rule = answerer.pick_fault(request)
        if rule is None:
            self._send(answerer.answer(request, None), _WHOLE, close=self.close_connection)
            return
        stopping = self.server.stopping
        stopping.wait(rule.fault.seconds_before)
        response = answerer.answer(request, rule)
        stopping.wait(rule.fault.seconds_after)
        self._send(response, rule.fault.delivery, close=self.close_connection)

    def _send(self, response: Response | None, delivery: Delivery, *, close: bool) -> None:
        stopping = self.server.stopping
        if not deliver(self.connection, response, delivery, stopping, close=close):
            self.close_connection = True
        self.server.answerer.note(self.command, self.path, response)

    def _body(self, most: int) -> tuple[bytes, Response | None]:
        """Return the body, or the refusal of a body that cannot be taken."""
        if "transfer-encoding" in self.headers:
            return b"", error_response(411, "LengthRequired", "send a Content-Length")
        text = self.headers.get("content-length", "0")
        if not text.isascii() or not text.isdigit():
            return b"", error_response(400, "BadRequest", "Content-Length is not a number")
        length = int(text)
        if length <= most:
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionAbortedError("the client left in the middle of its body")
            return body, None
        # An answer while the client still sends would be lost in a TCP reset.
        for _ in range(min(length, _MOST_DRAINED) // _PIECE + 1):
            if len(self.rfile.read(min(_PIECE, length))) == 0:
                break
            length -= min(_PIECE, length)
        return b"", error_response(413, "RequestEntityTooLarge", f"at most {most} bytes")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: `Answerer.note` logs, and without customers' values."""


class Listener(socketserver.ThreadingTCPServer):
    """The listening socket, and the connections and threads that came of it."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, answerer: Answerer) -> None:
        self.answerer = answerer
        self.stopping = Event()
        self._open: set[Any] = set()
        self._threads_of_connections: set[Thread] = set()
        self._lock = Lock()
        super().__init__((LOOPBACK, port), _Handler)
        self._loop = Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def begin(self) -> None:
        """Start to accept connections."""
        self._loop.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, which `end` can wait for."""
        thread = Thread(target=self._serve_connection, args=(request, client_address), daemon=True)
        with self._lock:
            self._open.add(request)
            self._threads_of_connections.add(thread)
        thread.start()

    def _serve_connection(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._threads_of_connections.discard(current_thread())

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; with a reset and nothing before it, if a fault wanted that."""
        with self._lock:
            self._open.discard(request)
        if is_abortive(request):
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about a client that went away, and loud about anything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Stop listening, close every connection, and wait for every thread."""
        self.stopping.set()
        self.shutdown()
        self._loop.join(_JOIN_SECONDS)
        self.server_close()
        with self._lock:
            connections, threads = list(self._open), list(self._threads_of_connections)
        for connection in connections:
            _wake(connection)
        for thread in threads:
            thread.join(_JOIN_SECONDS)


def _wake(connection: Any) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it closed by itself
