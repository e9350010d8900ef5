"""The socket between host and pipeline process: length-prefixed pickles, in order.

The host never blocks on it (`HostChannel`, an asyncio protocol). The child may write from any
thread (`ChildChannel`): while user code holds its event loop, logs and heartbeats still get out.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from .messages import Message

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")


def pack(message: Message) -> bytes:
    """One message as it goes over the socket."""
    payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(payload)) + payload


class Unpacker:
    """Turns received bytes, cut anywhere, back into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole after `data` has come."""
        self._pending += data
        while len(self._pending) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._pending)[0]
            if len(self._pending) < end:
                return
            payload = bytes(self._pending[_LENGTH.size : end])
            del self._pending[:end]
            yield pickle.loads(payload)


class HostChannel(asyncio.Protocol):
    """The host's end: never blocks; `on_message` is called on the event loop."""

    def __init__(self, on_message: Callable[[Message], None]) -> None:
        self._on_message = on_message
        self._unpacker = Unpacker()
        self._transport: asyncio.Transport | None = None

    async def connect(self, end: socket.socket) -> None:
        """Take over the socket."""
        await asyncio.get_running_loop().create_connection(lambda: self, sock=end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        messages = self._unpacker.feed(data)
        while True:
            try:
                for message in messages:
                    self._on_message(message)
                return
            except Exception:  # asyncio would close the socket, and the process would never be heard again
                logger.exception("ignoring a message of a pipeline process")
                messages = self._unpacker.feed(b"")

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None

    def send(self, message: Message) -> None:
        """Send it, or drop it if the other end is gone (its exit is reported elsewhere)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(message))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


class ChildChannel:
    """The pipeline process' end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(True)
        self._lock = threading.Lock()
        self._unpacker = Unpacker()

    def send(self, message: Message) -> None:
        """Send from any thread. Silently does nothing once the host is gone: then this process ends too."""
        data = pack(message)
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            pass

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Iterator[Message]:
        """The messages that are there now, without waiting for more (for the event loop's reader)."""
        try:
            data = self._socket.recv(65536, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return iter(())
        except ConnectionError:
            data = b""
        return self._unpacker.feed(data)

    def wait_hangup(self, timeout_s: float, wake: int) -> bool:
        """Wait up to that long, or until `wake` is readable, for the host to go away; True when it has."""
        poller = select.poll()
        poller.register(self._socket, 0)  # no events asked for: only a hang-up ends the wait
        poller.register(wake, select.POLLIN)
        return any(descriptor == self._socket.fileno() for descriptor, _ in poller.poll(timeout_s * 1000))
