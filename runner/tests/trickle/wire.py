"""The far ends of trickle requests by hand: a raw client connection, and a server that does what a script says."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

from runner.live.trickle.relay import TrickleRelay

LIMIT_S = 60.0  # ends a test that hangs


@dataclass
class Answer:
    """What came back: status line, headers by lower-case name."""

    status: int
    headers: dict[str, str]

    def trickle(self) -> dict[str, str]:
        """Its headers about the channel, and the connection if it is closed."""
        names = {"lp-trickle-seq": "seq", "lp-trickle-latest": "latest", "lp-trickle-closed": "closed"}
        told = {names[name]: value for name, value in self.headers.items() if name in names}
        return {**told, **({"connection": "close"} if self.headers.get("connection") == "close" else {})}


class RawClient:
    """One connection to a trickle server, byte by byte."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path

    async def __aenter__(self) -> RawClient:
        self.reader, self.writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.writer.close()

    def send(self, method: str, **headers: str) -> None:
        """The head of a request; with a body, `chunk` and `end` follow."""
        lines = [f"{method} {self._path} HTTP/1.1", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    def post(self, **headers: str) -> None:
        self.send("POST", Transfer_Encoding="chunked", **headers)

    def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")

    async def head(self) -> Answer:
        """Status and headers of the answer, provisional answers included."""
        text = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), LIMIT_S)).decode()
        lines = text.split("\r\n")
        pairs = [line.split(": ", 1) for line in lines[1:] if line]
        return Answer(int(lines[0].split(" ")[1]), {name.lower(): value for name, value in pairs})

    async def next_chunk(self) -> bytes:
        """A chunk of the answer's body; ``b""`` is its end."""
        size = int(await asyncio.wait_for(self.reader.readline(), LIMIT_S), 16)
        data = await asyncio.wait_for(self.reader.readexactly(size + 2), LIMIT_S)
        return data[:-2]

    async def body(self) -> bytes:
        data = b""
        while chunk := await self.next_chunk():
            data += chunk
        return data

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await asyncio.wait_for(self.reader.read(), LIMIT_S)

    async def silent(self, moment_s: float = 0.05) -> bool:
        """Return True if nothing arrives for a moment. Wait first until the relay has the request: see `known`."""
        try:
            await asyncio.wait_for(self.reader.readexactly(1), moment_s)
        except asyncio.TimeoutError:
            return True
        return False


async def exchange(url: str, method: str, **headers: str) -> tuple[Answer, str]:
    """One whole request without a body, and the text that it is answered with."""
    async with RawClient(url) as client:
        client.send(method, Connection="close", **headers)
        answer = await client.head()
        length = int(answer.headers.get("content-length", "0"))
        text = await asyncio.wait_for(client.reader.readexactly(length), LIMIT_S)
        return answer, text.decode().strip()


async def put(url: str, *chunks: bytes, **headers: str) -> Answer:
    """POST a whole segment."""
    async with RawClient(url) as client:
        client.post(**headers)
        for chunk in chunks:
            client.chunk(chunk)
        client.end()
        return await client.head()


async def get(url: str) -> tuple[Answer, bytes]:
    """GET a whole segment that has data."""
    async with RawClient(url) as client:
        client.send("GET")
        answer = await client.head()
        return answer, await client.body()


@dataclass
class Exchange:
    """One request as the scripted server sees it."""

    method: str
    part: str  # the last part of the path: a sequence number, `next`, or the channel
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer with its length."""
        self.begin(status, Content_Length=str(len(body)), **headers)
        self.writer.write(body)

    def begin(self, status: int, **headers: str) -> None:
        """The head of an answer."""
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())

    def segment(self, seq: int, data: bytes) -> None:
        self.answer(200, data, Lp_Trickle_Seq=str(seq), Content_Type="video/mp2t")

    async def drain_body(self) -> bytes:
        """The whole chunked body of a POST."""
        data = b""
        while True:
            size = int(await self.reader.readline(), 16)
            chunk = await self.reader.readexactly(size + 2)
            if not size:
                return data
            data += chunk[:-2]

    def reset(self) -> None:
        """Cut the connection hard."""
        self.writer.transport.abort()

    async def hold(self) -> None:
        """Say nothing until the peer has gone."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Answers each request as `script` does, and remembers what was asked.

    Attributes:
        asked: "METHOD part" of every request, in order.
        open: how many requests are being answered, and the most at a time.
    """

    script: Script
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ai/trickle/chan"

    async def __aenter__(self) -> ScriptedServer:
        self._tasks: set[asyncio.Task[None]] = set()
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.vanish()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Stop listening and drop every connection."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            match = re.match(r"(\S+) \S*/([^/\s?]+)\S* HTTP", head)
            assert match is not None
            pairs = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, value in pairs}
            self.asked.append(f"{match[1]} {match[2]}")
            self.headers.append(headers)
            await self.script(Exchange(match[1], match[2], headers, reader, writer, len(self.asked)))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, ValueError):
            pass
        finally:
            self.open -= 1
            writer.close()


def known(relay: TrickleRelay, seq: int, channel: str = "chan") -> bool:
    """Return True once a request of a writer, or of a reader who waits for it, has made this segment."""
    return channel in relay._channels and relay._channels[channel].find(seq) is not None


def readers(relay: TrickleRelay, channel: str = "chan") -> int:
    """Return the number of requests that read a segment of the channel, or wait for one."""
    return next(found.readers for found in relay.channels() if found.name == channel)


def requests(relay: TrickleRelay) -> int:
    """Return the number of requests that the relay has accepted so far."""
    assert relay._runner is not None
    assert relay._runner.server is not None
    return relay._runner.server.requests_count


async def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)
