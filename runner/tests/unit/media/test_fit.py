"""Colors and orientation of frames, checked against the colors and corners that went in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from runner.errors import SourceError
from runner.live.trickle.decoder import Decoder, Location
from runner.live.trickle.fit import PictureFitter, UnconvertibleFrame, filter_chain
from runner.live.trickle.frame import RawFrame

ORANGE = (200, 120, 40)
FORMATS = [
    *("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "nv12", "yuyv422", "yuva420p"),
    *("yuv420p10le", "yuv422p10le", "yuv444p12le", "p010le", "yuva444p10le", "yuv420p16le"),
    *("rgb24", "bgra", "gbrp", "gbrp10le", "rgb48be", "rgba64le", "gbrpf32le"),
]
ONE = 1 << 16
RED, GREEN, BLUE, WHITE = 0, 1, 2, 3
# a b c d of the display matrix, and the corners (top left, top right, bottom left, bottom right) as players show them.
ORIENTATIONS = {
    "as it is": ((ONE, 0, 0, ONE), (RED, GREEN, BLUE, WHITE)),
    "mirrored": ((-ONE, 0, 0, ONE), (GREEN, RED, WHITE, BLUE)),
    "upside down": ((ONE, 0, 0, -ONE), (BLUE, WHITE, RED, GREEN)),
    "turned by 180": ((-ONE, 0, 0, -ONE), (WHITE, BLUE, GREEN, RED)),
    "turned clockwise": ((0, ONE, -ONE, 0), (BLUE, RED, WHITE, GREEN)),
    "turned counterclockwise": ((0, -ONE, ONE, 0), (GREEN, WHITE, RED, BLUE)),
    "transposed": ((0, ONE, ONE, 0), (RED, BLUE, GREEN, WHITE)),
    "transposed the other way": ((0, -ONE, -ONE, 0), (WHITE, GREEN, BLUE, RED)),
    "mirrored, three degrees off": ((-65446, 3430, 3430, 65446), (GREEN, RED, WHITE, BLUE)),
    "twice as large": ((2 * ONE, 0, 0, 2 * ONE), (RED, GREEN, BLUE, WHITE)),
    "zeros": ((0, 0, 0, 0), (RED, GREEN, BLUE, WHITE)),
    "a line": ((ONE, 0, ONE, 0), (RED, GREEN, BLUE, WHITE)),
}


def _flat(pixel_format: str = "yuv420p", width: int = 192, height: int = 128) -> av.VideoFrame:
    pixels = np.full((height, width, 3), ORANGE, np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
    exact = filter_chain(
        f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/90000:pixel_aspect=1/1",
        ["scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp", f"format={pixel_format}"],
    )
    exact.vpush(frame)
    return exact.vpull()


@pytest.mark.parametrize("size", [(192, 128), (96, 80), (320, 320)], ids=["unscaled", "smaller", "larger"])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_color_is_kept(pixel_format: str, size: tuple[int, int]) -> None:
    pixels = PictureFitter(*size).fit(_flat(pixel_format)).astype(int)
    assert np.abs(pixels - ORANGE).max() <= 3


@pytest.mark.parametrize("tag", range(19))
def test_tags_of_transfer_and_primaries_do_not_matter(tag: int) -> None:
    frame = _flat()
    untagged = PictureFitter(96, 80).fit(_flat())
    frame.color_trc = frame.color_primaries = tag
    assert np.array_equal(PictureFitter(96, 80).fit(frame), untagged)


@pytest.mark.parametrize("matrix", [8, 10, 11, 12, 13, 14, 15, 16, 17])
def test_a_color_matrix_without_conversion_is_named(matrix: int) -> None:
    frame, fitter = _flat(), PictureFitter(96, 80)
    frame.colorspace = matrix
    with pytest.raises(UnconvertibleFrame, match=rf"^color matrix .+ \({matrix}\): FFmpeg cannot convert it to RGB$"):
        fitter.fit(frame)
    assert fitter.fit(_flat()).shape == (80, 96, 3), "the next frame is converted again"


@pytest.mark.parametrize("matrix", [0, 2, 3])
def test_a_reserved_color_matrix_is_taken_for_none(matrix: int) -> None:
    frame = _flat()
    frame.colorspace = matrix
    assert PictureFitter(96, 80).fit(frame).shape == (80, 96, 3)


def test_a_file_with_such_a_matrix_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "ictcp.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        stream.codec_context.colorspace = 14
        for number in range(4):
            frame = _flat()
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match=r"no frame in it could be decoded: color matrix ICtCp \(14\)"):
        Decoder(Location(f"file:{path}", path.name), 96, 80)


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[int, ...]], Path]:
    """Return a function that writes a video of four colored corners with a display matrix."""
    path = tmp_path_factory.mktemp("corners") / "corners.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        frame = av.VideoFrame.from_ndarray(_four_colors(192, 320), "rgb24")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44

    def turn(linear: tuple[int, ...]) -> Path:
        a, b, c, d = linear
        matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data[:at] + matrix + data[at + len(matrix) :])
        return path

    return turn


def _four_colors(height: int, width: int) -> NDArray[np.uint8]:
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = (250, 10, 10), (10, 250, 10)
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = (10, 10, 250), (245, 245, 245)
    return pixels


def _corners_of(pixels: NDArray[np.uint8]) -> tuple[int, ...]:
    height, width = pixels.shape[:2]
    colors = [pixels[y, x] for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return tuple(WHITE if color.min() > 128 else int(color.argmax()) for color in colors)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_are_shown_as_their_display_matrix_says(
    corners: Callable[[tuple[int, ...]], Path], orientation: str
) -> None:
    linear, shown = ORIENTATIONS[orientation]
    path = corners(linear)
    decoder = Decoder(Location(f"file:{path}", path.name), 96, 96)
    (frame,) = [item for item in decoder if isinstance(item, RawFrame)]
    assert _corners_of(frame.pixels) == shown
    sideways = abs(linear[0]) < abs(linear[1])
    assert (decoder.width, decoder.height) == ((192, 320) if sideways else (320, 192))


def test_another_opening_has_its_own_orientation(corners: Callable[[tuple[int, ...]], Path]) -> None:
    path = corners((ONE, 0, 0, ONE))
    decoder = Decoder(Location(f"file:{path}", path.name), 96, 96)
    list(decoder)
    corners((ONE, 0, 0, -ONE))  # its rotation is 0 too
    decoder.rewind()
    (frame,) = [item for item in decoder if isinstance(item, RawFrame)]
    assert _corners_of(frame.pixels) == ORIENTATIONS["upside down"][1]
