"""A TCP proxy that misbehaves when told to: latency, hang, reset, slices, cuts, refusal.

It stands before Redis and before the sandbox, knows nothing of what passes, and changes its mind
while connections are open: `proxy.set(hang=True)` holds for the next bytes of every connection.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

PIECE = 65_536
RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST, not FIN


@dataclass(frozen=True)
class Weather:
    """What happens to bytes on their way, in both directions unless said otherwise.

    Attributes:
        latency: seconds before a piece is passed on.
        jitter: up to so many seconds more, by a seeded generator.
        slice: only so many bytes at a time; None for all at once.
        cut_after: a connection is closed after so many bytes towards the client; None for never.
        hang: nothing passes, connections stay open.
        refuse: nobody listens; connections that are open stay.
    """

    latency: float = 0.0
    jitter: float = 0.0
    slice: int | None = None
    cut_after: int | None = None
    hang: bool = False
    refuse: bool = False


CALM = Weather()


class Chaos:
    """A proxy on a port of its own, in a thread of its own; all methods return when it is done.

    Args:
        to: the port on the loopback that it passes everything on to.
        seed: of the jitter.
    """

    def __init__(self, to: int, seed: int = 0) -> None:
        self._to = to
        self._random = random.Random(seed)
        self._weather = CALM
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self.port = 0
        self.connections = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._listen())

    def set(self, **weather: Any) -> None:
        """Let this weather hold from now on; what is not named is calm."""
        self._run(self._change(Weather(**weather)))

    def calm(self) -> None:
        """Pass everything on as it comes."""
        self.set()

    def reset(self) -> int:
        """Reset every open connection; returns how many there were."""
        return self._run(self._reset())

    def close(self) -> None:
        """End every connection and the thread."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._changed = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _change(self, weather: Weather) -> None:
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if weather.refuse and self._server is not None:
            await _rounds()  # asyncio leaks a connection whose server closes while it is accepted
            self._server.close()
            self._server = None
        if not weather.refuse and self._server is None:
            await self._listen()

    async def _reset(self) -> int:
        count = len(self._open) // 2
        for writer in list(self._open):
            _abort(writer)
        return count

    async def _close(self) -> None:
        """End every task by ending its connection: asyncio leaks those of tasks cancelled early."""
        await self._change(Weather(refuse=True))
        self._weather = CALM  # whatever hung goes on, and meets its end
        self._changed.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        while others:
            await self._reset()
            _, others = await asyncio.wait(others, timeout=0.05)
        await _rounds()  # what was aborted closes its socket in the loop's next ones

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # nobody is there: so it looks from here, too
            _abort(writer)
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(
                self._pump(reader, back, to_client=False), self._pump(there, writer, to_client=True)
            )
        finally:
            self._open -= {writer, back}
            writer.close()
            back.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        passed = 0
        try:
            while data := await reader.read(PIECE):
                await self._wait()
                most = self._weather.cut_after
                if to_client and most is not None and passed + len(data) > most:
                    data = data[: max(0, most - passed)]
                    await self._write(writer, data)
                    break
                passed += len(data)
                await self._write(writer, data)
        except OSError:
            _abort(writer)
        writer.close()

    async def _wait(self) -> None:
        while self._weather.hang:
            await self._changed.wait()
        weather = self._weather
        if weather.latency or weather.jitter:
            await asyncio.sleep(weather.latency + self._random.uniform(0, weather.jitter))

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self._weather.slice or len(data) or 1
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            if size < len(data):
                await asyncio.sleep(0)


async def _rounds() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
