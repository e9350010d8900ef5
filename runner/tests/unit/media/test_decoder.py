from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from runner.errors import SourceError
from runner.live.trickle.decoder import AudioFormat, Decoder, Location
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.pattern import read_frame_number


def _decoder(path: Path, width: int = 256, height: int = 256, container_format: str | None = None) -> Decoder:
    return Decoder(Location(f"file:{path}", path.name, container_format), width, height)


def _split(decoder: Decoder) -> tuple[list[RawFrame], list[AudioFrame]]:
    items = list(decoder)
    return [i for i in items if isinstance(i, RawFrame)], [i for i in items if isinstance(i, AudioFrame)]


def _numbers(pictures: list[RawFrame]) -> list[int | None]:
    return [read_frame_number(picture.pixels) for picture in pictures]


def test_gives_every_picture_in_the_size_asked_for(clip: Path) -> None:
    pictures, _ = _split(_decoder(clip))
    assert _numbers(pictures) == list(range(60))
    assert {picture.pixels.shape for picture in pictures} == {(256, 256, 3)}
    assert {picture.pixels.dtype for picture in pictures} == {np.dtype(np.uint8)}


def test_says_what_the_file_is(clip: Path) -> None:
    decoder = _decoder(clip)
    assert (decoder.width, decoder.height, decoder.fps, decoder.pictures) == (640, 360, 30.0, 60)
    assert decoder.duration_s == pytest.approx(2.0, abs=0.1)
    assert (decoder.codec, decoder.audio) == ("h264", AudioFormat(44_100, "stereo"))
    decoder.close()


def test_timestamps_are_those_of_the_file(uneven: tuple[Path, list[int]]) -> None:
    path, pts = uneven
    pictures, _ = _split(_decoder(path))
    assert [picture.pts for picture in pictures] == pts
    assert {picture.time_base for picture in pictures} == {Fraction(1, 90_000)}
    assert _numbers(pictures) == list(range(len(pts)))


def test_sound_is_whole_and_has_its_timestamps(clip: Path) -> None:
    _, sounds = _split(_decoder(clip))
    assert [sound.timestamp for sound in sounds] == list(range(0, 1024 * len(sounds), 1024))
    assert sum(sound.nb_samples for sound in sounds) >= 2 * 44_100
    assert {(sound.rate, sound.layout, sound.samples.shape) for sound in sounds} == {(44_100, "stereo", (2, 1024))}
    assert max(np.abs(sound.samples).max() for sound in sounds) == pytest.approx(0.2, abs=0.05)


def test_a_picture_that_fits_is_only_converted(clip: Path) -> None:
    first = next(item for item in _decoder(clip, 640, 360) if isinstance(item, RawFrame))
    with av.open(str(clip)) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(first.pixels.astype(int) - expected.astype(int)).mean() < 2


@pytest.mark.parametrize("size", [(64, 512), (512, 64), (1920, 1080), (33, 47)])
def test_any_shape_is_covered_evenly(tmp_path: Path, size: tuple[int, int]) -> None:
    """A white disc in the middle stays in the middle and round, whatever is cropped."""
    y, x = np.mgrid[0:360, 0:640]
    disc = ((np.hypot(x - 319.5, y - 179.5) < 25) * 255).astype(np.uint8)
    path = tmp_path / "disc.mkv"
    container = av.open(str(path), "w")
    video: Any = container.add_stream("ffv1", rate=30)
    video.width, video.height, video.pix_fmt = 640, 360, "yuv444p"
    container.mux(video.encode(av.VideoFrame.from_ndarray(np.stack([disc] * 3, -1))))
    container.mux(video.encode(None))
    container.close()

    pictures, _ = _split(_decoder(path, *size))
    ys, xs = np.nonzero(pictures[0].pixels[..., 1] > 127)
    scale = max(size[0] / 640, size[1] / 360)
    assert ys.mean() == pytest.approx(size[1] / 2 - 0.5, abs=1 + scale)
    assert xs.mean() == pytest.approx(size[0] / 2 - 0.5, abs=1 + scale)
    assert np.ptp(ys) + 1 == pytest.approx(min(50 * scale, size[1]), abs=3)
    assert np.ptp(xs) + 1 == pytest.approx(min(50 * scale, size[0]), abs=3)


def test_rewinding_lets_timestamps_go_on_growing(clip: Path, transport_stream: Path) -> None:
    for path in (clip, transport_stream):
        decoder = _decoder(path)
        pictures, sounds = _split(decoder)
        for _ in range(2):
            decoder.rewind()
            more_pictures, more_sounds = _split(decoder)
            pictures += more_pictures
            sounds += more_sounds
        assert _numbers(pictures) == list(range(60)) * 3
        assert np.diff([picture.pts for picture in pictures]).min() > 0
        ends = [float(s.timestamp * s.time_base) + s.nb_samples / s.rate for s in sounds]
        begins = [float(s.timestamp * s.time_base) for s in sounds]
        assert min(begin - end for begin, end in zip(begins[1:], ends, strict=False)) > -0.001
        # Sound and picture have moved by the same time.
        round_s = pictures[60].time_s - pictures[0].time_s
        assert begins[len(sounds) // 3] - begins[0] == pytest.approx(round_s, abs=0.001)
        assert 2.0 <= round_s < 2.2


def test_damage_is_counted_and_survived(transport_stream: Path, tmp_path: Path) -> None:
    data = bytearray(transport_stream.read_bytes())
    middle = len(data) // 2
    noise = np.random.default_rng(3).integers(0, 256, 6000, np.uint8).tobytes()
    data[middle : middle + len(noise)] = noise
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    decoder = _decoder(damaged)
    numbers = _numbers(_split(decoder)[0])
    assert numbers[:10] == list(range(10))
    assert numbers[-5:] == list(range(55, 60))


def test_undecodable_packets_are_counted(tmp_path: Path) -> None:
    """Every third packet is rubbish: each is counted, the rest is shown."""
    decoder = _decoder(_mjpeg(tmp_path / "rubbish.mkv", lambda number: number % 3 == 1))
    assert len(_split(decoder)[0]) == 20
    assert decoder.damage.decode_errors == 10


def test_too_many_undecodable_packets_end_it(tmp_path: Path) -> None:
    decoder = _decoder(_mjpeg(tmp_path / "rubbish.mkv", lambda number: number >= 5))
    with pytest.raises(SourceError, match="11 frames in a row could not be decoded"):
        list(decoder)
    assert decoder.damage.decode_errors == 11


def _mjpeg(path: Path, is_rubbish: Any) -> Path:
    container = av.open(str(path), "w")
    video: Any = container.add_stream("mjpeg", rate=30)
    video.width, video.height, video.pix_fmt = 64, 64, "yuvj420p"
    for number in range(30):
        for packet in video.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8))):
            if is_rubbish(number):
                rubbish = av.Packet(bytes(range(1, 200)))
                rubbish.stream, rubbish.pts, rubbish.dts = video, packet.pts, packet.dts
                rubbish.time_base = packet.time_base
                packet = rubbish
            container.mux(packet)
    container.close()
    return path


def test_size_may_change_on_the_way(write_video: Any, tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", range(20), size=(320, 180))
    large = write_video(tmp_path / "large.ts", range(20, 40), size=(640, 480), first_number=20)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    pictures, _ = _split(_decoder(both))
    numbers = _numbers(pictures)
    assert numbers[:15] == list(range(15))
    assert numbers[-15:] == list(range(25, 40))
    assert {picture.pixels.shape for picture in pictures} == {(256, 256, 3)}


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this av cannot write rotated video")
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_video_is_turned_upright(write_video: Any, tmp_path: Path, rotation: int) -> None:
    path = write_video(tmp_path / "turned.mp4", range(3), rotation=rotation)
    decoder = _decoder(path, 360, 360)
    pictures, _ = _split(decoder)
    upright = _numbers([RawFrame(np.rot90(p.pixels, -rotation // 90), 0, Fraction(1)) for p in pictures])
    assert upright == [0, 1, 2]
    assert (decoder.width, decoder.height) == ((640, 360) if rotation == 180 else (360, 640))


def test_a_file_without_timestamps_is_refused_with_a_way_out(write_video: Any, tmp_path: Path) -> None:
    bare = write_video(tmp_path / "bare.h264", range(10), container_format="h264")
    with pytest.raises(SourceError, match="does not say when to show its pictures"):
        _decoder(bare)


def test_packets_without_decoding_time_are_used(write_video: Any, tmp_path: Path) -> None:
    """As Matroska has them at the beginning of video with B-frames."""
    path = write_video(tmp_path / "clip.mkv", range(20))
    with av.open(str(path)) as container:
        assert any(packet.dts is None and packet.pts is not None for packet in container.demux(video=0))
    decoder = _decoder(path)
    assert _numbers(_split(decoder)[0]) == list(range(20))
    assert decoder.without_timestamp == 0


@pytest.mark.parametrize("start", [-1, -15, -59])
def test_frames_before_zero_are_decoded_and_have_their_times(write_video: Any, tmp_path: Path, start: int) -> None:
    """Matroska reports no timestamp below 0, and B-frames arrive after those that they precede."""
    path = write_video(
        tmp_path / "early.mkv", range(start, start + 60), container_options={"avoid_negative_ts": "disabled"}
    )
    decoder = _decoder(path)
    pictures, _ = _split(decoder)
    assert _numbers(pictures) == list(range(60))
    times_s = [float(picture.pts * picture.time_base) for picture in pictures]
    assert times_s == pytest.approx([number / 30 for number in range(start, start + 60)], abs=0.04)
    assert times_s == sorted(set(times_s))
    assert decoder.without_timestamp == 0


DEFAULT, NO_FLAG, COVER = Disposition.default, Disposition(0), Disposition.attached_pic
Track = tuple[str, int, Disposition, int]  # codec, side, flags, frames


@pytest.mark.parametrize(
    ("suffix", "tracks", "chosen"),
    [
        ("mkv", [("libx264", 320, NO_FLAG, 9), ("libx264", 160, DEFAULT, 9)], 160),
        ("mp4", [("libx264", 160, DEFAULT, 9), ("libx264", 320, NO_FLAG, 9)], 160),
        ("mkv", [("libx264", 160, DEFAULT, 9), ("libx264", 320, DEFAULT, 9)], 320),
        ("mp4", [("libx264", 160, DEFAULT, 9), ("mjpeg", 640, NO_FLAG, 1)], 160),
        ("mp4", [("mjpeg", 640, DEFAULT, 1), ("libx264", 160, DEFAULT, 9)], 160),
        ("mp4", [("libx264", 160, DEFAULT, 9), ("mjpeg", 640, COVER, 1)], 160),
    ],
    ids=["default, smaller", "default, first", "both default", "larger still", "first a still", "cover"],
)
def test_the_track_is_the_one_that_players_show(tmp_path: Path, suffix: str, tracks: list[Track], chosen: int) -> None:
    path = tmp_path / f"tracks.{suffix}"
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for codec, side, flags, _ in tracks:
            stream: Any = container.add_stream(codec, rate=30)
            stream.width = stream.height = side
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = flags
            streams.append(stream)
        for stream, (_, side, _, count) in zip(streams, tracks, strict=True):
            for number in range(count):
                frame = av.VideoFrame(side, side, stream.pix_fmt)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    decoder = _decoder(path)
    assert (decoder.width, len(_split(decoder)[0])) == (chosen, 9)


def test_sound_alone_is_no_source(sound_only: Path) -> None:
    with pytest.raises(SourceError, match=r"sound\.m4a has no video track \(only audio\)"):
        _decoder(sound_only)


def test_text_is_not_video(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello\n" * 200)
    with pytest.raises((SourceError, av.error.FFmpegError)):
        _decoder(text)


def test_what_a_device_gives_is_read_the_same_way() -> None:
    """`lavfi` stands in for a camera: a libavdevice input without end or file."""
    decoder = Decoder(Location("testsrc=size=320x240:rate=25", "lavfi", "lavfi", live=True), 128, 128)
    pictures = [item for item, _ in zip(decoder, range(5), strict=False) if isinstance(item, RawFrame)]
    decoder.close()
    assert [picture.pts for picture in pictures] == list(range(5))
    assert (decoder.width, decoder.height, decoder.fps, decoder.duration_s) == (320, 240, 25.0, None)
