"""Damaged and truncated files are noticed, with numbers; whole ones of every kind are not suspected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.live.input_damage import InputDamage
from runner.live.trickle.decoder import Decoder, Location
from runner.live.trickle.frame import RawFrame


def _read(path: Path) -> tuple[int, InputDamage]:
    decoder = Decoder(Location(f"file:{path}", path.name), 64, 64)
    frames = sum(isinstance(item, RawFrame) for item in decoder)
    decoder.close()
    return frames, decoder.damage


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])


def _zero(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for part in range(15, 85, 10):
        at = len(data) * part // 100
        data[at : at + 300] = bytes(300)
    path.write_bytes(data)


def _cut_a_little(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])


@pytest.fixture
def write(write_video: Any, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, **options: Any) -> Path:
        path: Path = write_video(tmp_path / name, **options)
        return path

    return write


INDEX_FIRST = {"movflags": "faststart"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"audio_s": 3.0}),
        ("a.mp4", {"pts": range(-12, 48), "container_options": {"avoid_negative_ts": "disabled"}}),
        ("a.mov", {"audio_s": 1.0}),
        ("a.mkv", {}),
        ("a.mkv", {"audio_s": 3.0}),
        ("a.mkv", {"audio_s": 1.0}),
        ("a.mkv", {"pts": [0, 1, 2, 3, 30, 31, 60, 90]}),
        ("a.mkv", {"pts": range(-12, 48), "container_options": {"avoid_negative_ts": "disabled"}}),
        ("a.ts", {"audio_s": 2.0}),
        ("a.ts", {"pts": [0, 1, 2, 3, 30, 31, 60, 90]}),
        ("a.flv", {"audio_s": 2.0}),
        ("a.m3u8", {"audio_s": 2.0, "container_options": {"hls_time": "1", "hls_list_size": "0"}}),
    ],
)
def test_a_whole_file_has_no_damage(write: Callable[..., Path], name: str, options: dict[str, Any]) -> None:
    _, damage = _read(write(name, **options))
    assert not damage, damage


@pytest.mark.parametrize("harm", [_cut, _cut_a_little, _zero])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"container_options": INDEX_FIRST}),
        ("a.mov", {"container_options": INDEX_FIRST, "audio_s": 2.0}),
        ("a.mkv", {}),
        ("a.ts", {"audio_s": 2.0}),
        ("a.flv", {}),
    ],
)
def test_damage_is_noticed(
    write: Callable[..., Path], harm: Callable[[Path], None], name: str, options: dict[str, Any]
) -> None:
    path = write(name, **options)
    harm(path)
    assert _read(path)[1]


def test_frames_that_an_index_promises_are_counted_one_by_one(write: Callable[..., Path]) -> None:
    path = write("a.mp4", container_options=INDEX_FIRST)
    _cut(path)
    frames, damage = _read(path)
    assert 0 < frames < 60
    assert (damage.missing, damage.expected) == (60 - frames, 60)
    assert str(damage).startswith(f"{60 - frames} of 60 frames are missing")


def test_a_missing_segment_of_a_playlist_is_noticed(write: Callable[..., Path]) -> None:
    path = write("a.m3u8", pts=range(120), container_options={"hls_time": "1", "hls_list_size": "0"})
    sorted(path.parent.glob("a*.ts"))[2].unlink()
    frames, damage = _read(path)
    assert (damage.missing, damage.expected) == (120 - frames, 120)
    assert frames < 100


def test_a_run_that_ends_early_reports_only_what_it_saw(write: Callable[..., Path]) -> None:
    path = write("a.mp4", container_options=INDEX_FIRST)
    _cut(path)
    decoder = Decoder(Location(f"file:{path}", path.name), 64, 64)
    next(iter(decoder))
    assert not decoder.damage
    decoder.close()


def test_each_pass_of_a_loop_reports_the_same(write: Callable[..., Path]) -> None:
    path = write("a.mkv")
    _cut(path)
    decoder = Decoder(Location(f"file:{path}", path.name), 64, 64)
    list(decoder)
    first = decoder.damage
    decoder.rewind()
    list(decoder)
    assert decoder.damage == first
    decoder.close()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (InputDamage(missing=1, expected=2), "1 of 2 frames is missing"),
        (InputDamage(decode_errors=1, corrupt=3), "1 packet could not be decoded, 3 packets or frames are corrupt"),
        (
            InputDamage(missing=4, expected=9, decode_errors=2, corrupt=1),
            "4 of 9 frames are missing, 2 packets could not be decoded, 1 packet or frame is corrupt",
        ),
    ],
)
def test_damage_in_words(damage: InputDamage, text: str) -> None:
    assert str(damage) == text
    assert damage
    assert not InputDamage(expected=9)
