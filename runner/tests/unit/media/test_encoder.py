from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from runner.errors import SinkError
from runner.live.trickle.decoder import AudioFormat, Decoder, Location
from runner.live.trickle.encoder import Encoder
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.pattern import TestPattern, read_frame_number

STEREO = AudioFormat(44_100, "stereo")


def _frames(pts: Iterable[int], time_base: Fraction, size: tuple[int, int] = (128, 128)) -> list[RawFrame]:
    pattern = TestPattern(*size)
    return [RawFrame(pattern.picture(number), at, time_base) for number, at in enumerate(pts)]


def _sound(number: int, rate: int = 44_100, time_base: Fraction | None = None, samples: int = 1024) -> AudioFrame:
    wave = np.sin(np.arange(number * samples, (number + 1) * samples, dtype=np.float32) * 0.05) * 0.3
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
    frame.sample_rate = rate
    frame.time_base = time_base or Fraction(1, rate)
    frame.pts = round(Fraction(number * samples, rate) / frame.time_base)
    return AudioFrame(frame)


def _read(path: Path, size: tuple[int, int] = (128, 128)) -> tuple[list[RawFrame], list[AudioFrame], Decoder]:
    decoder = Decoder(Location(f"file:{path}", path.name), *size)
    items = list(decoder)
    return [i for i in items if isinstance(i, RawFrame)], [i for i in items if isinstance(i, AudioFrame)], decoder


@pytest.mark.parametrize(
    ("pts", "time_base"),
    [
        (range(30), Fraction(1, 30)),
        (range(0, 30 * 512, 512), Fraction(1, 15_360)),
        (range(0, 30 * 1001, 1001), Fraction(1, 30_000)),
        ([0, 1, 9, 4000, 4001, 90_000, 90_010, 200_000], Fraction(1, 90_000)),
        ([0, 33_333, 70_001, 99_999], Fraction(1, 1_000_000)),
        ([5 * 90_000 + 7, 5 * 90_000 + 3000], Fraction(1, 90_000)),
        ([1, 2, 4], Fraction(1, 30)),
    ],
)
def test_timestamps_and_pictures_come_back_exactly(tmp_path: Path, pts: Iterable[int], time_base: Fraction) -> None:
    encoder = Encoder(tmp_path / "out.mp4")
    for frame in _frames(pts, time_base):
        assert encoder.write(frame)
    encoder.finish()
    pictures, _, _ = _read(tmp_path / "out.mp4")
    assert [picture.pts * picture.time_base for picture in pictures] == [at * time_base for at in pts]
    assert [read_frame_number(picture.pixels) for picture in pictures] == list(range(len(list(pts))))
    assert encoder.pictures == len(pictures)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".flv"])
def test_every_kind_of_file_keeps_pictures_and_sound(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    encoder = Encoder(path, STEREO, 30.0)
    for number in range(8):
        encoder.write(_sound(number))  # sound comes first: the pipeline holds pictures up
    for number, frame in enumerate(_frames(range(20), Fraction(1, 30))):
        encoder.write(frame)
        encoder.write(_sound(8 + number))
    encoder.finish()
    pictures, sounds, decoder = _read(path)
    assert [read_frame_number(picture.pixels) for picture in pictures] == list(range(20))
    # Some containers count in milliseconds; those without negative times move all tracks together,
    # so that AAC's priming samples can come first.
    moved_s = pictures[0].time_s
    assert moved_s == pytest.approx(0.023 if suffix in (".ts", ".flv") else 0, abs=0.001)
    assert [p.time_s - moved_s for p in pictures] == pytest.approx([n / 30 for n in range(20)], abs=0.0011)
    assert decoder.audio is not None
    assert sum(s.nb_samples / s.rate for s in sounds) == pytest.approx(28 * 1024 / 44_100, abs=0.05)
    assert sounds[0].timestamp * float(sounds[0].time_base) == pytest.approx(0, abs=0.03)
    assert max(np.abs(s.samples.astype(float)).max() for s in sounds) == pytest.approx(0.3, abs=0.1)


def test_sound_keeps_its_place(tmp_path: Path) -> None:
    """A second of silence in the source (no packets at all) is a second in the file."""
    encoder = Encoder(tmp_path / "out.mp4", STEREO)
    frames = _frames(range(90), Fraction(1, 30))
    for frame in frames:
        encoder.write(frame)
    for number in [*range(40), *range(83, 120)]:
        encoder.write(_sound(number, time_base=Fraction(1, 90_000)))
    encoder.finish()
    _, sounds, _ = _read(tmp_path / "out.mp4")
    times = [float(s.timestamp * s.time_base) for s in sounds]
    assert times[0] == pytest.approx(0, abs=0.001)
    longest = max(np.diff(times))
    assert longest == pytest.approx(44 * 1024 / 44_100, abs=0.05)


def test_sound_may_change_its_format(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "out.mp4", AudioFormat(22_050, "stereo"))
    for frame in _frames(range(30), Fraction(1, 30)):
        encoder.write(frame)
    for number in range(11):
        encoder.write(_sound(number, 22_050))
    for number in range(22, 43):
        encoder.write(_sound(number, 44_100))
    encoder.finish()
    _, sounds, decoder = _read(tmp_path / "out.mp4")
    assert decoder.audio == AudioFormat(22_050, "stereo")
    assert sum(s.nb_samples / s.rate for s in sounds) == pytest.approx(1.0, abs=0.1)


def test_colours_are_kept(tmp_path: Path) -> None:
    for side in (128, 720):
        encoder = Encoder(tmp_path / "out.mp4")
        colours = np.zeros((side, side, 3), np.uint8)
        colours[:, : side // 2], colours[:, side // 2 :] = (200, 40, 60), (30, 90, 210)
        encoder.write(RawFrame(colours, 0, Fraction(1, 30)))
        encoder.finish()
        pictures, _, _ = _read(tmp_path / "out.mp4", (side, side))
        for x in (side // 4, side * 3 // 4):
            assert np.abs(pictures[0].pixels[side // 2, x].astype(int) - colours[side // 2, x]).max() <= 6


def test_sizes_are_made_even_and_later_ones_fitted(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "out.mp4")
    frames = _frames(range(3), Fraction(1, 30), (129, 131)) + _frames(range(6), Fraction(1, 30), (64, 64))[3:]
    for frame in frames:
        encoder.write(frame)
    encoder.finish()
    pictures, _, decoder = _read(tmp_path / "out.mp4")
    assert (decoder.width, decoder.height, len(pictures)) == (128, 130, 6)


def test_padded_and_turned_pixels_are_taken(tmp_path: Path) -> None:
    pattern = TestPattern(128, 128)
    padded = np.zeros((128, 160, 3), np.uint8)
    padded[:, :128] = pattern.picture(0)
    turned = np.rot90(np.ascontiguousarray(np.rot90(pattern.picture(1))), -1)
    encoder = Encoder(tmp_path / "out.mp4")
    encoder.write(RawFrame(padded[:, :128], 0, Fraction(1, 30)))
    encoder.write(RawFrame(turned, 1, Fraction(1, 30)))
    encoder.finish()
    assert [read_frame_number(picture.pixels) for picture in _read(tmp_path / "out.mp4")[0]] == [0, 1]


def test_pictures_that_are_not_later_are_left_out(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "out.mp4")
    taken = [encoder.write(frame) for frame in _frames([0, 1, 1, 0, 2], Fraction(1, 30))]
    encoder.finish()
    assert taken == [True, True, False, False, True]
    assert [read_frame_number(picture.pixels) for picture in _read(tmp_path / "out.mp4")[0]] == [0, 1, 4]


def test_a_clock_that_was_running_before_begins_at_zero(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "out.mp4", STEREO)
    late = 90_000 * 90_000
    for frame in _frames(range(late, late + 30 * 3000, 3000), Fraction(1, 90_000)):
        encoder.write(frame)
    first = round(90_000 / (1024 / 44_100)) + 1
    for number in range(first, first + 40):
        encoder.write(_sound(number))
    encoder.finish()
    pictures, sounds, decoder = _read(tmp_path / "out.mp4")
    assert [picture.time_s for picture in pictures] == pytest.approx([n / 30 for n in range(30)])
    assert 0 <= float(sounds[0].timestamp * sounds[0].time_base) < 0.05
    assert decoder.duration_s is not None
    assert decoder.duration_s < 2


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("an older file")
    encoder = Encoder(path)
    for frame in _frames(range(5), Fraction(1, 30)):
        encoder.write(frame)
    assert path.read_text() == "an older file"
    encoder.finish()
    assert len(_read(path)[0]) == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_an_aborted_file_leaves_nothing(tmp_path: Path) -> None:
    for count in (0, 5):
        encoder = Encoder(tmp_path / "out.mp4", STEREO)
        for frame in _frames(range(count), Fraction(1, 30)):
            encoder.write(frame)
        encoder.abort()
        encoder.abort()
        assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_picture_is_an_error(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "out.mp4", STEREO)
    encoder.write(_sound(0))
    with pytest.raises(SinkError, match="there was no picture"):
        encoder.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("out.xyz", r"Files ending in '.xyz' cannot be written; choose one of .mp4"),
        ("out", "Files without a suffix cannot be written"),
        ("missing/out.mp4", "create the folder .*missing first"),
        ("file/out.mp4", "file is not a folder"),
        ("folder.mp4", "is a folder; name a file in it"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SinkError, match=message):
        Encoder(tmp_path / path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.mp4"]


def test_a_folder_without_permission_is_named(tmp_path: Path, as_nobody: Any) -> None:
    with as_nobody(tmp_path), pytest.raises(SinkError, match="no permission to write in"):
        Encoder(tmp_path / "out.mp4")


_FULL = """
import resource, sys
from fractions import Fraction
import numpy as np
from runner.errors import SinkError
from runner.live.trickle.encoder import Encoder
from runner.live.trickle.frame import RawFrame

encoder = Encoder(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
noise = np.random.default_rng(0)
try:
    for number in range(200):
        encoder.write(RawFrame(noise.integers(0, 256, (128, 128, 3), np.uint8), number, Fraction(1, 30)))
    encoder.finish()
except SinkError as error:
    print(error)
encoder.abort()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits on Windows")
def test_no_room_is_said_in_plain_words(tmp_path: Path) -> None:
    """A limit on file sizes stands in for a full disk; it needs a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "out.mp4")], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == f"{tmp_path / 'out.mp4'}: the file has become larger than is allowed here"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
