"""Supervisor: keeps a connection to a working server, the user's or one of our own, as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from runner.time_limit import time_limit

from .client import ComfyClient
from .errors import ServerError, ServerStartError
from .server import ManagedServer
from .settings import ComfyFolder, ServerChoice

logger = logging.getLogger(__name__)

START_LIMIT_S = 150.0  # custom nodes import a lot; the runner waits 180 s for a pipeline
ANSWER_LIMIT_S = 20.0  # for a server of the user's, which may be starting beside us
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
        self._watching: asyncio.Task[None] | None = None

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
        assert self._client is not None
        return self._client

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
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._take_down()

    async def _watch(self) -> None:
        while True:
            assert self._client is not None
            reason = await asyncio.shield(self._client.lost)
            self._ready.clear()
            await self._say_lost(reason)
            await self._take_down()
            await self._bring_back()

    async def _say_lost(self, reason: str) -> None:
        if self._server is not None:
            with suppress(asyncio.TimeoutError):  # its sockets close a little before it is gone
                async with time_limit(1.0):
                    await self._server.exited.wait()
            if self._server.exited.is_set():
                reason = f"ComfyUI {self._server.exit_reason}; its last lines:\n{self._server.last_said}"
        logger.error("%s", reason)

    async def _bring_back(self) -> None:
        while not self._ready.is_set():
            backoff_s = min(FIRST_BACKOFF_S * 2**self._failures, LONGEST_BACKOFF_S)
            self._failures = min(self._failures + 1, 10)
            await asyncio.sleep(backoff_s)
            try:
                await self._bring_up()
            except ServerError as error:
                logger.error("%s", error)
            else:
                self.restarts += 1

    async def _bring_up(self) -> None:
        if self._choice.folder is not None:
            self._client = await self._start_server(self._choice.folder)
        else:
            assert self._choice.address is not None
            self._client = await ComfyClient.connect(
                self._choice.address, token=self._choice.token, limit_s=ANSWER_LIMIT_S
            )
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
