"""What do decoding, fitting and encoding cost, beside the libraries alone?

    python -m benchmarks.media [--pictures 150] [--rounds 5]

Decoding goes from a file to RGB pictures of 512x512, beside PyAV that only decodes (with threads as
it likes, and with one) and beside PyAV with its own scaling and a copy into an array. Encoding goes
from RGB pictures to an H.264 file, beside libx264 with the same settings that is given pictures
which are in its own format already. Rounds take turns; the medians count.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import publish

FPS = 30
SIZE = 512

Pictures = list[NDArray[np.uint8]]


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
            f"CPU of '{base}'": round(cpu / taken[base][1], 2),
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


def main(pictures: int, rounds: int) -> None:
    import ai_runner_samples

    shapes = Path(ai_runner_samples.__file__).with_name("videos") / "shapes.mp4"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder / "clip.mp4", pictures)
        rows = decoding("1280x720", clip, rounds) + decoding("shapes", shapes, rounds)
        rows += encoding(folder, pictures, rounds)
    publish("media", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=150, help="of the clips made here (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    main(options.pictures, options.rounds)
