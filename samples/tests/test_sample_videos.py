from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest

pytestmark = pytest.mark.quick

NAMES = ["astronaut", "bunny", "shapes"]


def credits_table(videos: Path) -> dict[str, tuple[str, str]]:
    """Clip -> what CREDITS.md says of its picture and its sound."""
    text = (videos / "CREDITS.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    return {name: (picture.strip(), sound.strip()) for name, picture, sound in rows}


def test_every_clip_is_credited_and_every_credit_has_a_clip(videos: Path) -> None:
    assert sorted(path.stem for path in videos.glob("*.mp4")) == sorted(credits_table(videos)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_what_its_credit_says(videos: Path, name: str) -> None:
    path = videos / f"{name}.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        picture = f"{stream.width}x{stream.height}, {stream.average_rate} fps"
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        sounds = [f"{s.codec_context.name.upper()} {s.codec_context.layout.name}" for s in container.streams.audio]
    assert credits_table(videos)[name] == (picture, "".join(sounds) or "none")
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_there_is_motion_all_through(videos: Path, name: str) -> None:
    with av.open(str(videos / f"{name}.mp4")) as container:
        frames = [f.to_ndarray(format="gray").astype(np.int16) for f in container.decode(video=0)]
    changes = [np.abs(later - earlier).mean() for earlier, later in zip(frames[:-10:10], frames[10::10], strict=False)]
    assert min(changes) > 1.0  # of 255, within ten frames


@pytest.mark.parametrize("name", ["bunny", "shapes"])
def test_the_sound_can_be_heard_and_is_as_long_as_the_picture(videos: Path, name: str) -> None:
    with av.open(str(videos / f"{name}.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.duration is not None
        assert audio.duration is not None
        assert video.time_base is not None
        assert audio.time_base is not None
        apart_s = abs(float(video.duration * video.time_base - audio.duration * audio.time_base))
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert apart_s < 0.1
    assert 0.1 < np.abs(samples).max() <= 1.0
