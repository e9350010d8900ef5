"""TrickleOutput: frames, encoded and published into one trickle channel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ....errors import SinkError
from ....time_limit import time_limit
from ...trickle.frame import AudioFrame, RawFrame
from .outlet import Outlet
from .protocol import Policy, ProtocolStatistics
from .recorder import Recorder

if TYPE_CHECKING:
    from ...trickle.codecs import Hardware
    from ...trickle.decoder import AudioFormat
    from ...trickle.publisher import TricklePublisher
    from ...trickle.segment_encoder import SegmentEncoder

MEDIA_TYPE = "video/mp2t"
# For what is encoded and not published yet, at the stream's own end and when it is stopped: an orchestrator
# gives a container 8 s in all.
FINISH_LIMIT_S = 3.0
END_LIMIT_S = 1.0


class TrickleOutput:
    """Encodes in a thread of its own and publishes what comes out, as it comes."""

    def __init__(
        self,
        publisher: TricklePublisher,
        statistics: ProtocolStatistics,
        *,
        policy: Policy = "newest",
        hardware: Hardware = "auto",
        first_bytes: Callable[[], None] = lambda: None,
        encoded: Callable[[RawFrame], None] = lambda _frame: None,
    ) -> None:
        """Its two calls out.

        Args:
            first_bytes: once, when the first of them are on their way.
            encoded: by the encoder's thread, with every picture that it has taken.
        """
        self._publisher = publisher
        self._statistics = statistics
        self._policy: Policy = policy
        self._hardware = hardware
        self._encoded = encoded
        self._outlet = Outlet(publisher, statistics, first_bytes)
        self._recorder: Recorder | None = None

    async def put(self, frame: RawFrame | AudioFrame, audio: AudioFormat | None, fps: float | None = None) -> None:
        """Encode a frame; pixels are not kept beyond this call.

        Args:
            audio, fps: of the stream; what is known at the first frame counts.

        Raises:
            SinkError: the channel is gone, or nothing can be encoded.
        """
        if self._outlet.error is not None:
            raise SinkError(f"the output cannot be published: {self._outlet.error}") from self._outlet.error
        if self._recorder is None:
            self._recorder = Recorder(
                lambda: self._open_encoder(audio, fps), self._policy, self._statistics, self._encoded
            )
            await self._recorder.open()
        await self._recorder.put(frame)

    async def finish(self) -> None:
        """Publish what is pending, close the channel, and let go of everything."""
        await self._end(FINISH_LIMIT_S)

    async def close(self) -> None:
        """The same, in a moment; what cannot be published in it is lost. Safe to call twice."""
        await self._end(END_LIMIT_S)

    async def _end(self, limit_s: float) -> None:
        recorder, self._recorder = self._recorder, None
        deadline_s = time.monotonic() + limit_s
        try:
            if recorder is not None:
                await _finish(recorder, limit_s)
            await self._outlet.finish(max(0.0, deadline_s - time.monotonic()))
        finally:  # each also if the one before was cut short
            await self._outlet.close()
            await self._publisher.close()

    def _open_encoder(self, audio: AudioFormat | None, fps: float | None) -> SegmentEncoder:
        from ...trickle.segment_encoder import SegmentEncoder

        encoder = SegmentEncoder(self._outlet.open_segment, audio, fps, hardware=self._hardware)
        self._statistics.encoder = encoder.encoder
        return encoder


async def _finish(recorder: Recorder, limit_s: float) -> None:
    try:
        with contextlib.suppress(SinkError, asyncio.TimeoutError):  # no picture at all, or not in time
            async with time_limit(limit_s):
                await recorder.finish()
    finally:
        await recorder.close()
