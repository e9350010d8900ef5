"""What do decoding, fitting and encoding cost, beside the libraries alone?

    python -m benchmarks.media [--pictures 150] [--rounds 5]

Decoding goes from a file to RGB pictures of 512x512, beside PyAV that only decodes (with threads as
it likes, and with one) and beside PyAV with its own scaling and a copy into an array. Encoding goes
from RGB pictures to an H.264 file, beside libx264 with the same settings that is given pictures
which are in its own format already. The trickle route is measured beside PyAV that does the same:
MPEG-TS to RGB pictures in a ring of shared memory, and RGB pictures to MPEG-TS in segments. Rounds take
turns; the medians count.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import publish

if TYPE_CHECKING:
    from runner.live.process.ring import FrameRing

FPS = 30
SIZE = 512

Pictures = list[NDArray[np.uint8]]

# The contract's settings for the output of the trickle route (2.2).
_TRICKLE_X264 = {"preset": "superfast", "tune": "zerolatency", "bf": "0", "forced-idr": "1"}


def make_clip(path: Path, pictures: int) -> Path:
    """A 720p H.264 file of the moving test pattern."""
    import av

    from runner.live.trickle.pattern import TestPattern

    pattern = TestPattern(1280, 720)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", FPS, {"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pattern.picture(number), "rgb24")))
        container.mux(stream.encode(None))
    return path


def by_decoder(path: Path) -> int:
    """This project's way."""
    from runner.live.trickle import RawFrame
    from runner.live.trickle.decoder import Decoder, Location

    decoder = Decoder(Location(str(path), path.name), SIZE, SIZE)
    count = sum(isinstance(item, RawFrame) for item in decoder)
    decoder.close()
    return count


def _av_frames(path: Path, threads: str | int) -> Iterator[Any]:
    import av

    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        if isinstance(threads, str):
            codec.thread_type = threads
        else:
            codec.thread_count = threads
        yield from container.decode(video=0)


def by_av_one_thread(path: Path) -> int:
    return sum(1 for _ in _av_frames(path, 1))


def by_av_threads(path: Path) -> int:
    return sum(1 for _ in _av_frames(path, "AUTO"))


def by_av_scaled(path: Path) -> int:
    """PyAV's own conversion: scaled to cover, copied into an array, cropped."""
    count = 0
    for frame in _av_frames(path, 1):
        scale = max(SIZE / frame.width, SIZE / frame.height)
        width, height = round(frame.width * scale), round(frame.height * scale)
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        top, left = (height - SIZE) // 2, (width - SIZE) // 2
        count += pixels[top : top + SIZE, left : left + SIZE].shape == (SIZE, SIZE, 3)
    return count


def encoded_by_encoder(pictures: Pictures, path: Path) -> int:
    """This project's way."""
    from runner.live.trickle import RawFrame
    from runner.live.trickle.encoder import Encoder

    encoder = Encoder(path, fps=FPS)
    for number, pixels in enumerate(pictures):
        encoder.write(RawFrame(pixels, number, Fraction(1, FPS)))
    encoder.finish()
    return len(pictures)


def encoded_by_x264(frames: list[Any], path: Path) -> int:
    """The encoder alone, of pictures in its own format, without a container."""
    import av
    from av.video.codeccontext import VideoCodecContext

    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.options = {"preset": "superfast", "crf": "20", "bf": "0"}
    codec.width, codec.height, codec.pix_fmt = SIZE, SIZE, "yuv420p"
    codec.time_base, codec.framerate, codec.thread_count = Fraction(1, FPS), Fraction(FPS), 1
    with path.open("wb") as file:
        for frame in [*frames, None]:
            for packet in codec.encode(frame):
                file.write(bytes(packet))
    return len(frames)


class _Transport:
    """A trickle input: gives what is there, as segments come over the network."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int) -> bytes:
        begin, self._at = self._at, self._at + min(size, 32 * 1024)
        return self._data[begin : self._at]


class _Segments:
    """A trickle output: takes every segment, keeps none."""

    def __init__(self) -> None:
        self.taken_bytes = 0

    def __call__(self, _: int) -> _Segments:
        return self

    def write(self, data: bytes, /) -> int:
        self.taken_bytes += len(data)
        return len(data)

    def close(self) -> None:
        """Nothing is open."""


def transport_stream(pictures: Pictures) -> bytes:
    """Pictures as a gateway sends them: H.264 in MPEG-TS."""
    taken: list[bytes] = []

    class Keep(_Segments):
        def write(self, data: bytes, /) -> int:
            taken.append(bytes(data))
            return len(data)

    muxed_by_av(pictures, Keep())
    return b"".join(taken)


def to_ring_by_input_decoder(data: bytes, ring: FrameRing) -> int:
    """This project's way."""
    from runner.live.trickle import RawFrame
    from runner.live.trickle.input_decoder import InputDecoder

    height, width = ring_shape(ring)
    count = 0
    for item in InputDecoder(_Transport(data), width, height, max_fps=None, hardware="software"):
        if isinstance(item, RawFrame):
            ring.write(count % ring.slots, item)
            count += 1
    return count


def to_ring_by_av(data: bytes, ring: FrameRing) -> int:
    """PyAV's decoder and its conversion to RGB, one thread each, and the same copy."""
    import av
    from av.video.reformatter import VideoReformatter

    from runner.live.trickle import RawFrame
    from runner.live.trickle.fit import pixels_of

    height, width = ring_shape(ring)
    reformatter = VideoReformatter()
    count = 0
    with av.open(_Transport(data), format="mpegts") as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation="FAST_BILINEAR", threads=1)
            pixels = pixels_of(rgb)
            assert frame.pts is not None
            assert frame.time_base is not None
            ring.write(count % ring.slots, RawFrame(pixels, frame.pts, frame.time_base))
            count += 1
    return count


def ring_shape(ring: FrameRing) -> tuple[int, int]:
    height, width = ring.read(0).pixels.shape[:2]
    return height, width


def segments_by_encoder(pictures: Pictures) -> int:
    """This project's way."""
    from runner.live.trickle import RawFrame
    from runner.live.trickle.segment_encoder import SegmentEncoder

    encoder = SegmentEncoder(_Segments(), None, FPS, hardware="software")
    for number, pixels in enumerate(pictures):
        encoder.write(RawFrame(pixels, number, Fraction(1, FPS)))
    encoder.finish()
    return encoder.pictures


def muxed_by_av(pictures: Pictures, sink: _Segments | None = None) -> int:
    """PyAV from RGB arrays: its conversion in one thread, libx264 with the same settings, FFmpeg's MPEG-TS."""
    import av
    from av.video.reformatter import VideoReformatter

    height, width = pictures[0].shape[:2]
    reformatter = VideoReformatter()
    with av.open(sink or _Segments(), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", FPS, dict(_TRICKLE_X264))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, pixels in enumerate(pictures):
            rgb = av.VideoFrame.from_numpy_buffer(pixels, "rgb24")
            frame = reformatter.reformat(rgb, width, height, "yuv420p", threads=1)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            if number % (2 * FPS) == 0:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return len(pictures)


def encoded_alone(frames: list[Any]) -> int:
    """The same libx264 of pictures in its own format already, without a container."""
    import av
    from av.video.codeccontext import VideoCodecContext

    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.options = dict(_TRICKLE_X264)
    codec.width, codec.height, codec.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    codec.time_base, codec.framerate, codec.thread_count = Fraction(1, FPS), Fraction(FPS), 1
    return sum(len(codec.encode(frame)) for frame in [*frames, None])


def in_x264_format(pictures: Pictures) -> list[Any]:
    import av

    frames = []
    for number, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        frames.append(frame)
    return frames


def measure(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, tuple[float, float]]:
    """Way -> ms of wall time and of CPU time per picture, medians of the rounds, in which the ways take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # imports, page cache
    for name, way in itertools.chain.from_iterable(itertools.repeat(ways.items(), rounds)):
        began, cpu = time.perf_counter(), time.process_time()
        count = way()
        cpu = time.process_time() - cpu
        taken[name].append(((time.perf_counter() - began) * 1000 / count, cpu * 1000 / count))
    return {
        name: (statistics.median(wall for wall, _ in values), statistics.median(cpu for _, cpu in values))
        for name, values in taken.items()
    }


def rows_of(what: str, taken: dict[str, tuple[float, float]], base: str) -> list[dict[str, Any]]:
    return [
        {
            "what": what,
            "way": name,
            "wall ms/frame": round(wall, 2),
            "CPU ms/frame": round(cpu, 2),
            "beside": base,
            "wall ratio": round(wall / taken[base][0], 2),
            "CPU ratio": round(cpu / taken[base][1], 2),
        }
        for name, (wall, cpu) in taken.items()
    ]


def decoding(what: str, path: Path, rounds: int) -> list[dict[str, Any]]:
    ways: dict[str, Callable[[], int]] = {
        "alone": lambda: by_av_one_thread(path),
        "alone, threads": lambda: by_av_threads(path),
        "PyAV to array": lambda: by_av_scaled(path),
        "Decoder": lambda: by_decoder(path),
    }
    return rows_of(f"decode {what}", measure(ways, rounds), "alone")


def fitting(count: int, rounds: int) -> list[dict[str, Any]]:
    """From decoded frames of several pixel formats to RGB of SIZE x SIZE, next to the scaler's fastest way alone."""
    from runner.live.trickle.fit import PictureFitter

    rows = []
    for pixel_format in ("yuv420p", "nv12", "yuv420p10le", "rgb24"):
        frame = frame_of(pixel_format, 1280, 720)
        ways: dict[str, Callable[[], int]] = {
            "fast_bilinear": partial(scaled, frame, count),
            "PictureFitter": partial(fitted, PictureFitter(SIZE, SIZE), frame, count),
        }
        rows += rows_of(f"fit {pixel_format} {frame.width}x{frame.height}", measure(ways, rounds), "fast_bilinear")
    return rows


def frame_of(pixel_format: str, width: int, height: int) -> Any:
    import av

    from runner.live.trickle.pattern import TestPattern

    pixels = TestPattern(width, height).picture(0)
    return av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)


def fitted(fitter: Any, frame: Any, count: int) -> int:
    """This project's way."""
    return sum(fitter.fit(frame) is not None for _ in range(count))


def scaled(frame: Any, count: int) -> int:
    """FFmpeg's fastest way, whatever the colors become."""
    from runner.live.trickle.fit import filter_chain

    chain = filter_chain(
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/{FPS}:pixel_aspect=1/1:"
        f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        [f"crop={frame.height}:{frame.height}", f"scale={SIZE}:{SIZE}:flags=fast_bilinear", "format=rgb24"],
    )
    for _ in range(count):
        chain.vpush(frame)
        chain.vpull()
    return count


def encoding(folder: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    from runner.live.trickle.pattern import TestPattern

    pattern = TestPattern(SIZE, SIZE)
    pictures = [pattern.picture(number) for number in range(count)]
    frames = in_x264_format(pictures)
    ways: dict[str, Callable[[], int]] = {
        "alone": lambda: encoded_by_x264(frames, folder / "alone.h264"),
        "Encoder": lambda: encoded_by_encoder(pictures, folder / "encoder.mp4"),
    }
    return rows_of(f"encode {SIZE}x{SIZE}", measure(ways, rounds), "alone")


def pictures_of(path: Path, width: int, height: int, count: int) -> Pictures:
    """The first pictures of a clip, or fewer, in that size."""
    from runner.live.trickle import RawFrame
    from runner.live.trickle.decoder import Decoder, Location

    decoder = Decoder(Location(str(path), path.name), width, height)
    found = (np.ascontiguousarray(item.pixels) for item in decoder if isinstance(item, RawFrame))
    pictures = list(itertools.islice(found, count))
    decoder.close()
    return pictures


def trickling(clip: Path, width: int, height: int, count: int, rounds: int) -> list[dict[str, Any]]:
    """Both ends of the trickle route, at one size."""
    from runner.live.process.ring import FrameRing
    from runner.live.trickle import RawFrame

    pictures = pictures_of(clip, width, height, count)
    data, frames = transport_stream(pictures), in_x264_format(pictures)
    ring = FrameRing.create(3, width, height)
    for slot in range(ring.slots):
        ring.write(slot, RawFrame(pictures[0], 0, Fraction(1, FPS)))
    decoders: dict[str, Callable[[], int]] = {
        "PyAV": lambda: to_ring_by_av(data, ring),
        "InputDecoder": lambda: to_ring_by_input_decoder(data, ring),
    }
    encoders: dict[str, Callable[[], int]] = {
        "PyAV": lambda: muxed_by_av(pictures),
        "libx264 alone": lambda: encoded_alone(frames),
        "SegmentEncoder": lambda: segments_by_encoder(pictures),
    }
    rows = rows_of(f"{clip.stem} {width}x{height}: TS to ring", measure(decoders, rounds), "PyAV")
    rows += rows_of(f"{clip.stem} {width}x{height}: RGB to TS", measure(encoders, rounds), "PyAV")
    ring.close()
    return rows


def main(pictures: int, rounds: int) -> None:
    import ai_runner_samples

    videos = Path(ai_runner_samples.__file__).with_name("videos")
    shapes = videos / "shapes.mp4"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder / "clip.mp4", pictures)
        rows = decoding("1280x720", clip, rounds) + decoding("shapes", shapes, rounds)
        rows += fitting(pictures, rounds)
        rows += encoding(folder, pictures, rounds)
        for width, height in ((512, 512), (1280, 720)):
            rows += trickling(videos / "bunny.mp4", width, height, pictures, rounds)
    publish("media", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=150, help="of the clips made here (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    main(options.pictures, options.rounds)
