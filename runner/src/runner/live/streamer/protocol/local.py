"""LocalProtocol: frames from a file, a test pattern, a camera, a URL or shared memory; out to a file or nowhere."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ....errors import SourceError
from ....time_limit import time_limit
from ...trickle.frame import AudioFrame, RawFrame
from .protocol import ProtocolStatistics, SourceInfo, StreamProtocol, StreamRequest
from .reader import SourceReader
from .recorder import Recorder
from .source import can_open_twice

if TYPE_CHECKING:
    from ...trickle.decoder import AudioFormat
    from ...trickle.encoder import Encoder
    from .handoff import Handoff
    from .source import Source

_CHECK_SIZE = (64, 64)
# Longer than the time limits inside of a source, which say better what is wrong.
_OPEN_LIMIT_S = 18.0
# How long `close` waits for the reading thread. A read that cannot be interrupted (a network
# stream that is silent, a camera that hangs) goes on for a while in a daemon thread, alone.
_JOIN_LIMIT_S = 1.0


class LocalProtocol(StreamProtocol):
    """One stream between this machine's files, devices and addresses.

    Attributes:
        info: what is known of the source, once `open` has returned.
        audio: format of its sound, None without.
        statistics: reasons in ``dropped``: ``source`` (a newer picture came before this one was taken),
            ``timestamp`` (a picture for the sink that was not later than the one before it), ``no_timestamp`` (the
            source did not say when to show it).
    """

    info: SourceInfo

    def __init__(self, request: StreamRequest) -> None:
        self.request = request
        self.statistics = ProtocolStatistics()
        self._reader: SourceReader | None = None
        self._recorder: Recorder | None = None
        self._source: Source | None = None
        self._silent_since: float | None = None  # None while there are frames
        self._paused = False
        self.audio: AudioFormat | None = None

    async def open(self, width: int, height: int) -> SourceInfo:
        loop = asyncio.get_running_loop()
        self._reader = SourceReader(self.request, width, height, self.statistics, loop)
        self._reader.start()
        try:
            source = await self._opened_source(self._reader)
            self._source, self.audio = source, source.audio
            if self.request.sink is not None:
                await self._open_sink(self.request.sink, source)
        except BaseException:
            await self.close()
            raise
        self.info = replace(source.info, frames=_expected_frames(source.info, self.request))
        return self.info

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        assert self._reader is not None, "open() comes first"
        handoff = self._reader.handoff
        self._reader.begin()
        while (frame := await self._next(handoff)) is not None:
            if isinstance(frame, RawFrame):
                self._silent_since = None
                self.statistics.frames_in += 1
            yield frame

    @property
    def silent_s(self) -> float:
        patience_s = self._source.patience_s if self._source is not None else None
        if patience_s is None or self._silent_since is None or self._paused:
            return 0.0
        return time.monotonic() - self._silent_since

    async def _next(self, handoff: Handoff) -> RawFrame | AudioFrame | None:
        """Wait for a frame as long as the source may be silent."""
        assert self._source is not None
        self._silent_since = self._silent_since or time.monotonic()
        patience_s = self._source.patience_s
        if patience_s is None or patience_s == math.inf:
            return await handoff.get()
        try:
            async with time_limit(patience_s - self.silent_s):
                return await handoff.get()
        except asyncio.TimeoutError:
            # A camera that hangs in its driver reports no error, and nothing can interrupt the thread that reads it.
            message = f"{self._source.label}: no frame for {patience_s:g} s; check that it is connected and sends"
            raise SourceError(message) from None

    def pause(self, paused: bool) -> None:
        self._paused = paused
        if self._silent_since is not None:
            self._silent_since = time.monotonic()
        if self._reader is not None:
            self._reader.pause(paused)

    def superseded(self, count: int) -> None:
        if self._reader is not None:
            self._reader.superseded(count)

    def resize(self, width: int, height: int) -> bool:
        return self._source is not None and self._source.resize(width, height)

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        if self._reader is None:  # closed meanwhile
            return
        if self._recorder is not None:
            await self._recorder.put(frame)
        elif isinstance(frame, RawFrame):
            self.statistics.frames_out += 1

    async def finish(self) -> None:
        try:
            if self._recorder is not None:
                await self._recorder.finish()
        finally:
            await self.close()

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        recorder, self._recorder = self._recorder, None
        try:
            if reader is not None:
                reader.stop()
                await asyncio.to_thread(reader.join, _JOIN_LIMIT_S)
        finally:
            if recorder is not None:
                await recorder.close()

    async def _opened_source(self, reader: SourceReader) -> Source:
        try:
            async with time_limit(_OPEN_LIMIT_S):
                return await asyncio.wrap_future(reader.opened)
        except asyncio.TimeoutError:
            name = _shown(self.request.source)
            message = f"{name}: no frame within {_OPEN_LIMIT_S:g} s; check that it is connected and sends"
            raise SourceError(message) from None

    async def _open_sink(self, path: str, source: Source) -> None:
        audio, fps = source.audio, source.info.fps

        def open_encoder() -> Encoder:
            from ...trickle.encoder import Encoder

            return Encoder(path, audio, fps)

        self._recorder = Recorder(open_encoder, self.request.policy, self.statistics)
        await self._recorder.open()


async def check_source(source: str) -> None:
    """Open a source and close it again, unless that would take something away from the stream that follows.

    Raises:
        SourceError: it cannot be opened.
    """
    if can_open_twice(source):
        protocol = LocalProtocol(StreamRequest(source))
        try:
            await protocol.open(*_CHECK_SIZE)
        finally:
            await protocol.close()


def _expected_frames(info: SourceInfo, request: StreamRequest) -> int | None:
    """How many pictures there will be, as far as source and limits tell."""
    counts = [info.frames, request.max_frames]
    if request.max_seconds is not None and info.fps:
        counts.append(math.ceil(request.max_seconds * info.fps - 1e-6))
    known = [count for count in counts if count is not None]
    return min(known) if known else None


def _shown(source: str) -> str:
    from .media_source import without_credentials

    kind, _, rest = source.partition(":")
    if kind == "device":
        return f"camera {rest or 0}"
    return without_credentials(source) if "://" in source else source
