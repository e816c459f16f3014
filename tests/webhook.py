"""A webhook on loopback: remembers what it is sent, and answers as it is told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook:
    """A service that alerts are sent to.

    Attributes:
        taken: the messages that it took, in order.
        asked: how many it was offered.
        status: what it answers with.
        hold: while this is not set it answers nothing.
        on_message: is called with each message before it is answered.
    """

    def __init__(self) -> None:
        self.taken: list[dict] = []
        self.asked = 0
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self.on_message = lambda _message: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked += 1
                outer.on_message(message)
                outer.hold.wait(30)
                if outer.status < 300:
                    outer.taken.append(message)
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                if outer.status in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, _request, _address):
                pass  # whoever asked has gone away

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        self.address = f"json://127.0.0.1:{self._server.server_port}/hush-hush-path"

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
