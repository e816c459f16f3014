"""Sends an answer the way a fault rule wants it: whole, in drops, cut off, or not at all."""

from __future__ import annotations

import socket
import struct
from threading import Event

from worker.sandbox.faults import Delivery
from worker.sandbox.messages import Response

_LOOK_SECONDS = 0.05
"""How often a hanging or dripping answer looks whether the client or the sandbox has gone."""


def deliver(
    connection: socket.socket,
    response: Response | None,
    delivery: Delivery,
    stopping: Event,
    *,
    close: bool,
) -> bool:
    """Send an answer, or keep it back.

    Args:
        connection: to the client.
        response: what to send; None only if `delivery` sends nothing.
        delivery: how to send it.
        stopping: set when the sandbox ends; whatever takes its time ends then.
        close: whether the head says that the connection ends with this answer.

    Returns:
        Whether the connection can take another request.

    Raises:
        OSError: the client has gone.
    """
    if delivery.kind == "hang":
        _hang(connection, stopping)
    elif delivery.kind == "reset":
        make_abortive(connection)
    elif response is not None and delivery.kind != "close":
        return _send(connection, response, delivery, stopping, close=close)
    return False


def _send(
    connection: socket.socket,
    response: Response,
    delivery: Delivery,
    stopping: Event,
    *,
    close: bool,
) -> bool:
    head, content = response.head(close=close), response.content
    if delivery.kind == "truncate":
        connection.sendall(head + content[: delivery.octets])
        return False
    if delivery.kind == "drip":
        whole = delivery.part == "body"
        if whole:
            connection.sendall(head)
        return _drip(connection, content if whole else head + content, delivery, stopping)
    connection.sendall(head + content)
    return not close


def make_abortive(connection: socket.socket) -> None:
    """Make the closing of a connection a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_abortive(connection: socket.socket) -> bool:
    """Say whether `make_abortive` was called for a connection."""
    linger = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.calcsize("ii"))
    return bool(struct.unpack("ii", linger)[0])


def _hang(connection: socket.socket, stopping: Event) -> None:
    """Keep a connection open, silently, until the client closes it or the sandbox ends."""
    connection.settimeout(_LOOK_SECONDS)
    while not stopping.is_set():
        try:
            if not connection.recv(1, socket.MSG_PEEK):
                return
        except TimeoutError:
            continue
        stopping.wait(_LOOK_SECONDS)  # the client has sent something: it is still there


def _drip(connection: socket.socket, content: bytes, delivery: Delivery, stopping: Event) -> bool:
    for start in range(0, len(content), delivery.octets):
        if start and stopping.wait(delivery.seconds):
            return False
        connection.sendall(content[start : start + delivery.octets])
    return True
