"""RouteProtocol: the complete production route on one machine: gateway, relay, runner, relay, gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...events import Route
from ...input_damage import InputDamage
from ...trickle.frame import AudioFrame, RawFrame
from .gateway import Gateway
from .hops import Hops
from .protocol import SourceInfo, StreamRequest
from .trickle import TrickleOptions, TrickleProtocol
from .trickle_output import MEDIA_TYPE

if TYPE_CHECKING:
    import aiohttp

    from ...trickle.relay import TrickleRelay

IN, OUT = "studio", "studio-out"


class RouteProtocol(TrickleProtocol):
    """The network's protocol, with its other end in this process too.

    What the pipeline gets has been encoded, published, subscribed to and decoded, as in production; so has what
    the studio shows. Always at the speed of the timestamps: a relay keeps a few segments and waits for nobody.
    """

    returns = True

    def __init__(self, request: StreamRequest, options: TrickleOptions) -> None:
        super().__init__(replace(request, policy="newest"), options)
        self._hops = Hops()
        self._show: Callable[[RawFrame], None] = lambda _frame: None
        self._gateway = Gateway(request, options, self._hops, self._returned)
        self._relay: TrickleRelay | None = None
        self._far_session: aiohttp.ClientSession | None = None

    def on_return(self, show: Callable[[RawFrame], None]) -> None:
        self._show = show

    async def open(self, width: int, height: int) -> SourceInfo:
        from ...trickle.relay import TrickleRelay
        from ...trickle.session import trickle_session

        try:
            info = await self._gateway.open(width, height)
            self._relay = relay = TrickleRelay()
            await relay.start()
            for channel in (IN, OUT):
                relay.create(channel, MEDIA_TYPE)
            to_runner, from_runner = relay.url + IN, relay.url + OUT
            self.request = replace(self.request, source=to_runner, sink=from_runner)
            await super().open(width, height)
            self._far_session = trickle_session(self.options.addresses)
            self._gateway.start(self._far_session, to_runner, from_runner, (width, height))
        except BaseException:
            await self.close()
            raise
        return replace(info, live=True)

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        async for frame in super().frames():
            if isinstance(frame, RawFrame):
                self._hops.note("arrived", frame, frame.stamps["captured"])
            yield frame

    def pause(self, paused: bool) -> None:
        self._gateway.pause(paused)

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        if isinstance(frame, RawFrame):
            self._hops.note("done", frame)
        await super().put(frame)

    @property
    def silent_s(self) -> float:
        return self._gateway.silent_s

    @property
    def damage(self) -> InputDamage:
        return self._gateway.damage

    @property
    def route(self) -> Route:
        sent, returned, unsent = self._gateway.sent, self._gateway.returned, self._gateway.source_drops
        return Route(
            hops_ms=self._hops.medians_ms(),
            total_ms=self._hops.percentiles_ms(),
            sent=sent.frames_in + unsent,
            returned=returned.frames_in,
            dropped=dict(Counter(sent.dropped) + Counter(returned.dropped) + Counter(source=unsent)),
        )

    async def finish(self) -> None:
        try:
            await self._end_output()
            await self._gateway.finish()
        finally:
            await self.close()

    async def close(self) -> None:
        await super().close()
        await self._gateway.close()
        session, self._far_session = self._far_session, None
        relay, self._relay = self._relay, None
        if session is not None:
            await session.close()
        if relay is not None:
            await relay.close()

    def _encoded(self, frame: RawFrame) -> None:
        self._hops.note("answered", frame)

    def _returned(self, frame: RawFrame) -> None:
        self._show(frame)
