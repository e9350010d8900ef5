"""Small media files, made on the spot; every picture is a test picture that carries its number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from runner.live.trickle.pattern import TestPattern

WriteVideo = Callable[..., Path]


def _write_video(
    path: Path,
    pts: Sequence[int] = range(60),
    time_base: Fraction = Fraction(1, 30),
    *,
    size: tuple[int, int] = (640, 360),
    audio_s: float = 0.0,
    rotation: int = 0,
    container_format: str | None = None,
    first_number: int = 0,
    container_options: dict[str, str] | None = None,
) -> Path:
    """H.264 with B-frames and key frames every ten pictures, AAC at 44.1 kHz, written by FFmpeg alone."""
    pattern = TestPattern(*size)
    container = av.open(str(path), "w", format=container_format, container_options=container_options)
    video: Any = container.add_stream("libx264", rate=30)
    video.width, video.height = size
    video.pix_fmt = "yuv420p"
    video.options = {"preset": "ultrafast", "bf": "2", "g": "10"}
    video.codec_context.time_base = time_base
    if rotation:
        video.set_display_rotation(rotation)
    audio: Any = container.add_stream("aac", rate=44_100, layout="stereo") if audio_s else None
    for number, timestamp in enumerate(pts):
        picture = av.VideoFrame.from_ndarray(pattern.picture(first_number + number))
        picture.pts, picture.time_base = timestamp, time_base
        container.mux(video.encode(picture))
    container.mux(video.encode(None))
    for begin in range(0, int(audio_s * 44_100) if audio_s else 0, 1024):
        wave = np.sin(np.arange(begin, begin + 1024, dtype=np.float32) * 0.06) * 0.2
        sound = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
        sound.sample_rate, sound.pts, sound.time_base = 44_100, begin, Fraction(1, 44_100)
        container.mux(audio.encode(sound))
    if audio is not None:
        container.mux(audio.encode(None))
    container.close()
    return path


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    return _write_video


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def clip(media: Path) -> Path:
    """Two seconds, 640x360 at 30 fps, with sound."""
    return _write_video(media / "clip.mp4", audio_s=2.0)


@pytest.fixture(scope="session")
def transport_stream(media: Path) -> Path:
    """The same as MPEG-TS: timestamps begin at 1.4 s."""
    return _write_video(media / "clip.ts", audio_s=2.0)


@pytest.fixture(scope="session")
def uneven(media: Path) -> tuple[Path, list[int]]:
    """A clip of variable frame rate, and its timestamps in units of 1/90000 s."""
    pts = np.cumsum([0, 3000, 1500, 9000, 3003, 45_000, 10, 2993] + [3000, 4500] * 6).tolist()
    return _write_video(media / "uneven.mp4", pts, Fraction(1, 90_000)), pts


@pytest.fixture(scope="session")
def sound_only(media: Path) -> Path:
    path = media / "sound.m4a"
    container = av.open(str(path), "w", format="mp4")
    audio: Any = container.add_stream("aac", rate=44_100, layout="mono")
    sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
    sound.sample_rate, sound.pts = 44_100, 0
    container.mux(audio.encode(sound))
    container.mux(audio.encode(None))
    container.close()
    return path


@pytest.fixture
def as_nobody() -> Callable[[Path], AbstractContextManager[None]]:
    """Take all permissions from a file or folder, also from root, for as long as the block lasts."""

    @contextmanager
    def without_permission(path: Path) -> Iterator[None]:
        mode = path.stat().st_mode
        path.chmod(0)
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        opened = [parent for parent in path.parents if is_root and not parent.stat().st_mode & 0o001]
        modes = [parent.stat().st_mode for parent in opened]
        try:
            for parent, parent_mode in zip(opened, modes, strict=True):
                parent.chmod(parent_mode | 0o011)
            if is_root:
                os.seteuid(65_534)
            yield
        finally:
            if is_root:
                os.seteuid(0)
            for parent, parent_mode in zip(opened, modes, strict=True):
                parent.chmod(parent_mode)
            path.chmod(mode)

    return without_permission
