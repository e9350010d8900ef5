"""SoundResampler: samples of any format as an audio encoder takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext

    from .frame import AudioFrame


class SoundResampler:
    """Resamples for one encoder; a source may change its own format (HE-AAC does after its first packets)."""

    def __init__(self, codec: AudioCodecContext) -> None:
        self._codec = codec
        self._resampler: av.AudioResampler | None = None
        self._input: tuple[str, str, int] | None = None

    def resample(self, sound: AudioFrame, pts: int) -> list[av.AudioFrame]:
        """What can be given out now; `pts` is when the sound begins, in units of its own time base."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.samples), sound.format, sound.layout)
        frame.sample_rate = sound.rate
        frame.time_base = sound.time_base
        frame.pts = pts
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        flushed: list[av.AudioFrame] = []
        if self._resampler is None or kind != self._input:
            if self._resampler is not None:
                flushed = self._resampler.resample(None)
            codec = self._codec
            self._resampler = av.AudioResampler(codec.format, codec.layout, codec.sample_rate)
            self._input = kind
        return flushed + self._resampler.resample(frame)
