"""TrickleInput: the frames of one trickle channel that carries video."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ....errors import SourceError
from ...input_damage import InputDamage
from ...trickle.byte_pipe import BytePipe
from ...trickle.frame import AudioFrame, RawFrame
from .burst import LEEWAY_S, Burst
from .handoff import Handoff
from .protocol import Policy, ProtocolStatistics

if TYPE_CHECKING:
    from ...trickle.codecs import Hardware
    from ...trickle.decoder import AudioFormat
    from ...trickle.input_decoder import InputDecoder
    from ...trickle.subscriber import Segment, TrickleSubscriber

_READ_BYTES = 32 * 1024
_JOIN_LIMIT_S = 1.0


class TrickleInput:
    """Subscribes, decodes in a thread of its own, and gives frames out on the event loop.

    Attributes:
        audio: format of the sound, None without, or while nothing is known yet.
    """

    def __init__(
        self,
        subscriber: TrickleSubscriber,
        width: int,
        height: int,
        statistics: ProtocolStatistics,
        *,
        policy: Policy = "newest",
        max_fps: float | None = None,
        hardware: Hardware = "auto",
        first_segment_read: Callable[[], None] = lambda: None,
    ) -> None:
        """`first_segment_read`: called once, when the first segment was read to its end."""
        self.audio: AudioFormat | None = None
        self._subscriber = subscriber
        self._size = (width, height)
        self._statistics = statistics
        self._max_fps, self._hardware = max_fps, hardware
        self._first_segment_read = first_segment_read
        self._pipe = BytePipe()
        self._handoff = Handoff(asyncio.get_running_loop(), policy)
        self._decoder: InputDecoder | None = None
        self._failure: SourceError | None = None
        self._thread = threading.Thread(target=self._decode, name="trickle decoder", daemon=True)
        self._thread.start()
        self._task = asyncio.create_task(self._subscribe())

    async def get(self) -> RawFrame | AudioFrame | None:
        """The next frame; None at the end of the stream.

        Raises:
            SourceError: it broke off.
        """
        frame = await self._handoff.get()
        if isinstance(frame, RawFrame):
            self._statistics.frames_in += 1
        return frame

    def resize(self, width: int, height: int) -> None:
        """Pictures have this size from now on."""
        self._size = (width, height)
        if self._decoder is not None:
            self._decoder.resize(width, height)

    async def close(self) -> None:
        """Stop reading at once. Safe to call twice."""
        self._pipe.close()
        self._handoff.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._subscriber.close()
        await asyncio.to_thread(self._thread.join, _JOIN_LIMIT_S)

    # ---- the event loop's side ---------------------------------------------------------------

    async def _subscribe(self) -> None:
        try:
            while (segment := await self._subscriber.next()) is not None:
                await self._read(segment)
            if self._subscriber.error is not None:
                self._failure = SourceError(str(self._subscriber.error))
        finally:
            self._pipe.end()  # what has come is still decoded

    async def _read(self, segment: Segment) -> None:
        while data := await segment.read(_READ_BYTES):
            await self._pipe.write(data)
        self._first_segment_read()
        self._first_segment_read = _nothing

    # ---- the thread's side -------------------------------------------------------------------

    def _decode(self) -> None:
        try:
            self._give_out()
        except SourceError as error:
            self._failure = error
        except Exception as error:  # the edge of the thread: whoever reads the frames gets it
            self._failure = SourceError(f"the input cannot be decoded: {type(error).__name__}: {error}")
        self._handoff.end(self._failure)

    def _give_out(self) -> None:
        from ...trickle.input_decoder import InputDecoder

        self._decoder = decoder = InputDecoder(
            self._pipe, *self._size, max_fps=self._max_fps, hardware=self._hardware, on_open=self._opened
        )
        seq, burst = 0, Burst()
        for frame in decoder:
            wait_s = 0.0
            if isinstance(frame, RawFrame):
                frame.seq = seq
                seq += 1
                frame.stamps.setdefault("captured", time.monotonic_ns())
                self._count(decoder)
                wait_s = math.inf if burst.lasts(frame) else LEEWAY_S
            if self._handoff.put(frame, wait_s=wait_s) is not None:
                self._statistics.drop("source")
        self._count(decoder)

    def _opened(self, decoder: InputDecoder) -> None:
        self.audio = decoder.audio
        self._statistics.decoder = decoder.decoder or ""

    def _count(self, decoder: InputDecoder) -> None:
        self._statistics.damage = InputDamage(decode_errors=decoder.decode_errors)
        self._statistics.dropped.update(decoder.dropped)


def _nothing() -> None:
    """Told once is enough."""
