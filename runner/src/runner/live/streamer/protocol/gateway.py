"""Gateway: the far end of a trickle route; it publishes a source and takes the answer, as the network's gateways do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...input_damage import InputDamage
from ...trickle.frame import RawFrame
from .hops import Hops
from .local import LocalProtocol
from .protocol import ProtocolStatistics, SourceInfo, StreamRequest
from .source import can_open_twice
from .trickle_input import TrickleInput
from .trickle_output import MEDIA_TYPE, TrickleOutput

if TYPE_CHECKING:
    import aiohttp

    from .trickle import TrickleOptions

ANSWER_LIMIT_S = 10.0  # for the last pictures to come back, once everything was sent


class Gateway:
    """Sends a local source into one channel, and what comes out of another one to a local sink.

    Attributes:
        sent, returned: statistics of the two directions.
    """

    def __init__(
        self, request: StreamRequest, options: TrickleOptions, hops: Hops, returned: Callable[[RawFrame], None]
    ) -> None:
        """`returned`: gets every picture that comes back; its pixels are the receiver's to copy."""
        self.sent, self.returned = ProtocolStatistics(), ProtocolStatistics()
        self._options = options
        self._hops = hops
        self._show = returned
        self._local = LocalProtocol(replace(request, protocol="local", policy="newest", paced=True))
        self._output: TrickleOutput | None = None
        self._input: TrickleInput | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def source_drops(self) -> int:
        """Pictures of the source that gave way before they could be sent."""
        return self._local.statistics.dropped.get("source", 0)

    @property
    def silent_s(self) -> float:
        """As `StreamProtocol.silent_s`, of the source."""
        return self._local.silent_s

    @property
    def damage(self) -> InputDamage:
        """As `StreamProtocol.damage`, of the source."""
        return self._local.damage

    async def open(self, width: int, height: int) -> SourceInfo:
        """Open source and sink. The source's pictures keep their own size: scaling is the runner's.

        Raises:
            SourceError, SinkError: as `LocalProtocol.open`.
        """
        info = await self._local.open(width, height)
        own = (info.width - info.width % 2, info.height - info.height % 2)
        if own != (width, height) and min(own) > 0 and can_open_twice(self._local.request.source):
            await self._local.close()
            info = await self._local.open(*own)
        return info

    def start(self, session: aiohttp.ClientSession, to_runner: str, from_runner: str, size: tuple[int, int]) -> None:
        """Begin to send and to receive, by these two channels; `size`: of the pictures that come back."""
        from ...trickle.publisher import TricklePublisher
        from ...trickle.subscriber import TrickleSubscriber

        hardware = self._options.hardware
        self._output = TrickleOutput(
            TricklePublisher(to_runner, MEDIA_TYPE, session=session),
            self.sent,
            hardware=hardware,
            encoded=lambda frame: self._hops.note("sent", frame),
        )
        self._input = TrickleInput(
            TrickleSubscriber(from_runner, session=session), *size, self.returned, hardware=hardware
        )
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    def pause(self, paused: bool) -> None:
        """Hold the source, or let it go on."""
        self._local.pause(paused)

    async def finish(self) -> None:
        """Wait for what still comes back, and close the sink so that it is whole.

        Raises:
            SourceError, SinkError: what went wrong at this end.
        """
        _, late = await asyncio.wait(self._tasks, timeout=ANSWER_LIMIT_S)
        for task in self._tasks:
            if task not in late:
                task.result()
        await self._local.finish()
        await self.close()

    async def close(self) -> None:
        """Stop at once. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        source, output = self._input, self._output
        self._input = self._output = None
        if output is not None:
            await output.close()
        if source is not None:
            await source.close()
        await self._local.close()

    async def _send(self) -> None:
        """To the end of the source; then the channel is closed, which tells the runner."""
        output, fps, audio = self._output, self._local.info.fps, self._local.audio
        assert output is not None
        try:
            async for frame in self._local.frames():
                if isinstance(frame, RawFrame):
                    self.sent.frames_in += 1
                    self._hops.note("source", frame, frame.stamps["captured"])
                await output.put(frame, audio, fps)
        finally:
            await output.finish()

    async def _receive(self) -> None:
        source = self._input
        assert source is not None
        while (frame := await source.get()) is not None:
            if isinstance(frame, RawFrame):
                self._hops.note("returned", frame, frame.stamps["captured"])
                self._show(frame)
            # It counts as returned, so that it has to be in the file; what waits longer is dropped before it counts.
            await self._local.put(frame)
