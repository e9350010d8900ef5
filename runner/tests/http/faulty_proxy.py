"""A proxy between a runner and its relay that does what servers and networks do when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.testing.network import Network

from ..trickle.clock import kept_port

_READ_BYTES = 16 * 1024


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of what should.

    Attributes:
        status: answered by the proxy, with these `headers`.
        silent: taken, and never answered.
        cut_after: that many bytes of the answer's body come, then the connection breaks off.
        damage: every byte at a multiple of this place in the answer's body is another one.
    """

    status: int = 0
    headers: str = ""
    silent: bool = False
    cut_after: int | None = None
    damage: int = 0


@dataclass(frozen=True)
class Asked:
    """One request: the channel is ``in``, ``out``, ``control`` or ``events``; `part` what follows it, or ""."""

    method: str
    channel: str
    part: str


Rule = Callable[[Asked], Fault | None]


class FaultyProxy:
    """Listens at one address, before and after an outage.

    Attributes:
        rule: asked about each request; None: it goes its way.
        asked: the requests so far.
    """

    def __init__(self, session: Network, port: int, certificate: Path | None = None) -> None:
        self.rule: Rule = lambda _asked: None
        self.asked: list[Asked] = []
        self._name = session.name
        self._relay_port = session.port
        self._tls = _tls(certificate) if certificate else None
        self._urls = session.urls
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def urls(self) -> dict[str, str]:
        """Of the session's channels, by this proxy."""
        own = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"
        return {name: url.replace(f"http://127.0.0.1:{self._relay_port}", own) for name, url in self._urls.items()}

    async def up(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, ssl=self._tls)

    async def down(self) -> None:
        """Be gone: every connection breaks off, and new ones are refused."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                asked = self._parse(head)
                self.asked.append(asked)
                await self._do(self.rule(asked) or Fault(), head, reader, writer)
        finally:
            writer.transport.abort()

    def _parse(self, head: bytes) -> Asked:
        method, path, _ = head.decode("ascii").split(" ", 2)
        names = path.removeprefix("/ai/trickle/").split("/")
        channel = names[0].removeprefix(self._name).removeprefix("-") or "in"
        return Asked(method, channel, names[1] if len(names) > 1 else "")

    async def _do(self, fault: Fault, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if fault.silent:
            await asyncio.Event().wait()
        if fault.status:
            writer.write(f"HTTP/1.1 {fault.status} No\r\n{fault.headers}Content-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._relay_port)
        try:
            server_writer.write(head)
            await _either(_copy(reader, server_writer), _answer(server_reader, writer, fault))
        finally:
            server_writer.transport.abort()


async def _either(asking: Coroutine[Any, Any, None], answering: Coroutine[Any, Any, None]) -> None:
    """Until the answer is over, or whoever has asked is gone."""
    tasks = [asyncio.create_task(asking), asyncio.create_task(answering)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done() and tasks[0].exception() is not None:  # the server has answered before it was told all
            await asyncio.wait([tasks[1]])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
    writer.write(await reader.readuntil(b"\r\n\r\n"))
    passed = 0
    while data := await reader.read(_READ_BYTES):
        if fault.damage and passed:  # not the first piece: its length stands there
            data = _damaged(data, fault.damage)
        if fault.cut_after is not None:
            data = data[: fault.cut_after - passed]
        writer.write(data)
        await writer.drain()
        passed += len(data)
        if fault.cut_after is not None and passed >= fault.cut_after:
            return
    await writer.drain()


def _damaged(data: bytes, every: int) -> bytes:
    """Only where no line of a chunked body can be: between two bytes that are no digits."""
    changed = bytearray(data)
    for place in range(every, len(data) - 16, every):
        if b"\r\n" not in data[place - 16 : place + 16]:
            changed[place] ^= 0xFF
    return bytes(changed)


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@asynccontextmanager
async def between(session: Network, certificate: Path | None = None) -> AsyncIterator[FaultyProxy]:
    """A proxy before the session's relay, listening."""
    with kept_port() as port:
        proxy = FaultyProxy(session, port, certificate)
        await proxy.up()
        try:
            yield proxy
        finally:
            await proxy.down()
