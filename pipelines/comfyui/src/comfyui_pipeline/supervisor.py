"""Supervisor: keeps a connection to a working server, the user's or one of our own, as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from runner.time_limit import time_limit

from .client import ComfyClient
from .errors import ServerError, ServerLost, ServerStartError
from .server import ManagedServer
from .settings import ComfyFolder, ServerChoice

logger = logging.getLogger(__name__)

START_LIMIT_S = 150.0  # custom nodes import a lot; the runner waits 180 s for a pipeline
ANSWER_LIMIT_S = 20.0  # for a server of the user's, which may be starting beside us
NOTICED_S = 1.0  # its sockets close one after the other, and a little before its process is gone
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0


class Supervisor:
    """Gives out a client of a server that answers; brings the server, or the connection, back when it is lost.

    It tries for ever, in growing intervals: whether a pipeline without pictures is given up is the runner's decision.

    Attributes:
        restarts: how often the server or the connection had to be brought back.
    """

    def __init__(self, choice: ServerChoice) -> None:
        self.restarts = 0
        self._choice = choice
        self._server: ManagedServer | None = None
        self._client: ComfyClient | None = None
        self._ready = asyncio.Event()
        self._failures = 0
        self._reason = ""  # why there is no server, once `_explained` is set
        self._explained = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None

    @property
    def is_managed(self) -> bool:
        """Whether the server is one that we have started."""
        return self._choice.folder is not None

    async def start(self) -> None:
        """Bring the server up and connect, once.

        Raises:
            ServerError: it does not come up, or does not answer, with the way out.
        """
        address = self._choice.address
        if address is not None and not address.is_loopback:
            logger.warning("ComfyUI at %s is not on this machine: pictures and workflows leave it", address)
        try:
            await self._bring_up()
        except ServerStartError as error:
            if self.is_managed:
                raise
            raise ServerStartError(
                f"{error}. Start ComfyUI, or say where it is: COMFYUI_URL for a server, COMFYUI_FOLDER for a folder"
            ) from error
        self._watching = asyncio.create_task(self._watch())

    async def client(self) -> ComfyClient:
        """A connected client; waits while the server is brought back."""
        await self._ready.wait()
        return self.connected()

    def connected(self) -> ComfyClient:
        """The client, if it is connected.

        Raises:
            ServerLost: the server is being brought back.
        """
        assert self._client is not None
        if not self._ready.is_set():
            raise self._lost(self._reason)
        return self._client

    @asynccontextmanager
    async def watching(self, client: ComfyClient) -> AsyncIterator[None]:
        """Around what is asked of a client.

        Raises:
            ServerLost: with the reason why the server is gone, and what becomes of it.
        """
        try:
            yield
        except ServerLost as error:
            raise await self._loss(client, error) from error

    async def _loss(self, client: ComfyClient, error: ServerLost) -> ServerLost:
        await asyncio.wait([client.lost], timeout=NOTICED_S)
        if not client.lost.done():
            return error
        if client is not self._client:  # another one is connected already
            return self._lost(client.lost.result())
        self._ready.clear()
        await self._explained.wait()
        return self._lost(self._reason)

    def returning(self) -> asyncio.Task[None] | None:
        """A task until a lost server is back; None while there is one."""
        if self._ready.is_set():
            return None
        if self._returning is None or self._returning.done():
            self._returning = asyncio.create_task(self._wait_ready())
        return self._returning

    async def _wait_ready(self) -> None:
        await self._ready.wait()

    def _lost(self, reason: str) -> ServerLost:
        if self.is_managed:
            return ServerLost(reason, "It is being restarted.")
        return ServerLost(
            reason,
            "Start it again: the runner reconnects by itself. With COMFYUI_FOLDER it is started and restarted for you.",
        )

    def proven(self) -> None:
        """A picture came back: the next failure is the first of its row."""
        self._failures = 0

    async def restart(self, client: ComfyClient, reason: str) -> None:
        """A server that does not do its work is ended and started again; one of the user's is connected to anew."""
        if client is self._client and self._ready.is_set():
            self._ready.clear()
            await client.close(reason)  # the watch sees it lost, and brings it back

    async def stop(self) -> None:
        """Disconnect, and end the server if it is ours. Safe to call twice."""
        if self._watching is not None:
            tasks = [task for task in (self._watching, self._returning) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._take_down()

    async def _watch(self) -> None:
        while True:
            assert self._client is not None
            reason = await asyncio.shield(self._client.lost)
            self._ready.clear()
            self._reason = await self._explain(reason)
            self._explained.set()
            await self._take_down()
            await self._bring_back()

    async def _explain(self, reason: str) -> str:
        """Why the server is gone. Whoever waits for a picture raises it as an error; here it is for the log."""
        server, lines = self._server, ""
        if server is not None:
            with suppress(asyncio.TimeoutError):
                async with time_limit(NOTICED_S):
                    await server.exited.wait()
            if server.exited.is_set():
                reason, lines = f"ComfyUI {server.exit_reason}", f"; its last lines:\n{server.last_said}"
        logger.info("%s%s", reason, lines)
        return reason

    async def _bring_back(self) -> None:
        while not self._ready.is_set():
            await asyncio.sleep(self._backoff_s())
            try:
                await self._bring_up()
            except ServerError as error:
                logger.log(logging.ERROR if self.is_managed else logging.INFO, "%s", error)
            else:
                self.restarts += 1

    def _backoff_s(self) -> float:
        """Growing pauses for a server that we start. One of the user's is only asked whether it answers."""
        if not self.is_managed:
            return FIRST_BACKOFF_S
        self._failures = min(self._failures + 1, 10)
        return float(min(FIRST_BACKOFF_S * 2 ** (self._failures - 1), LONGEST_BACKOFF_S))

    async def _bring_up(self) -> None:
        if self._choice.folder is not None:
            self._client = await self._start_server(self._choice.folder)
        else:
            assert self._choice.address is not None
            self._client = await ComfyClient.connect(
                self._choice.address, token=self._choice.token, limit_s=ANSWER_LIMIT_S
            )
        self._explained.clear()
        self._ready.set()

    async def _start_server(self, folder: ComfyFolder) -> ComfyClient:
        server = self._server = await ManagedServer.start(folder)
        connecting = asyncio.create_task(ComfyClient.connect(server.address, limit_s=START_LIMIT_S))
        exiting = asyncio.create_task(server.exited.wait())
        try:
            await asyncio.wait([connecting, exiting], return_when=asyncio.FIRST_COMPLETED)
            if connecting.done() and not connecting.exception():
                return connecting.result()
            how = f"{server.exit_reason} before it answered" if server.exited.is_set() else "does not answer"
            await self._take_down()
            raise ServerStartError(f"ComfyUI in {folder.path} {how}; its last lines:\n{server.last_said}")
        finally:
            for task in (connecting, exiting):
                task.cancel()
            await asyncio.gather(connecting, exiting, return_exceptions=True)

    async def _take_down(self) -> None:
        if self._client is not None:
            await self._client.close()
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
