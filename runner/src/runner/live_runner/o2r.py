"""OrchestratorMessages: what an orchestrator tells a runner by the trickle channel of its registration."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import RunnerError
from ..live.trickle.address import shown
from ..time_limit import time_limit

if TYPE_CHECKING:
    import aiohttp

    from ..live.trickle.subscriber import TrickleSubscriber

logger = logging.getLogger(__name__)

SILENCE_S = 35.0  # a keepalive comes about every 10: after three missing ones the connection is dead
MESSAGE_LIMIT_BYTES = 64 * 1024
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_EVENTS = ("reserved", "released")


class OrchestratorMessages:
    """Reads one channel, again and again if it breaks. What is missed is made good by the next heartbeat."""

    def __init__(
        self,
        url: str,
        http: aiohttp.ClientSession,
        on_event: Callable[[str, str], None],
        on_close: Callable[[], None],
    ) -> None:
        """`on_event`: called with ``reserved`` or ``released``, and the session's id. `on_close`: called when the
        orchestrator has closed the channel, as it does when it removes the runner.
        """
        self._url = url
        self._http = http
        self._on_event = on_event
        self._on_close = on_close

    async def run(self) -> None:
        """Until it is cancelled."""
        from ..live.trickle.subscriber import EndReason, TrickleSubscriber

        closed_by_it = (EndReason.ENDED, EndReason.GONE, EndReason.NOT_FOUND)
        pause = _FIRST_PAUSE_S
        while True:
            subscriber = TrickleSubscriber(self._url, session=self._http)
            try:
                if await self._read(subscriber):
                    pause = _FIRST_PAUSE_S
            except (RunnerError, asyncio.TimeoutError, OSError) as error:
                logger.debug("messages by %s break off: %s", shown(self._url), error or "silence")
            finally:
                closed = subscriber.end_reason in closed_by_it
                await subscriber.close()
            if closed:
                self._on_close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _read(self, subscriber: TrickleSubscriber) -> bool:
        """To the end of the channel; whether anything came."""
        came = False
        while True:
            async with time_limit(SILENCE_S):
                message = await self._next(subscriber)
            if message is None:
                return came
            came = True
            self._take(message)

    async def _next(self, subscriber: TrickleSubscriber) -> bytes | None:
        segment = await subscriber.next()
        if segment is None:
            return None
        data = bytearray()
        while part := await segment.read(MESSAGE_LIMIT_BYTES):
            data += part
            if len(data) > MESSAGE_LIMIT_BYTES:
                logger.warning("a message of the orchestrator is too long, and left out")
                return b""
        return bytes(data)

    def _take(self, message: bytes) -> None:
        try:
            content = json.loads(message) if message else {}
        except ValueError:
            logger.warning("a message of the orchestrator is not JSON")
            return
        if not isinstance(content, dict):
            return
        event, session_id = content.get("event"), content.get("session")
        if event in _EVENTS and isinstance(session_id, str):
            self._on_event(event, session_id)
