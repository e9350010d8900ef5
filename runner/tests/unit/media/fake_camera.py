"""FakeCamera: /dev/video0 for programs that are started with it; see ``fake_camera.c``."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

SIZES = ((640, 480), (1280, 720), (1920, 1080))


class FakeCamera:
    """Settings take effect at once, also in a program that has the camera open.

    Attributes:
        environment: variables for a program that is to see the camera.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: an empty one. Skips the test where no C compiler is installed."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        library, self._file, self._jpegs = folder / "fake_camera.so", folder / "settings.txt", folder / "jpegs"
        source = Path(__file__).with_suffix(".c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "FAKE_CAMERA": str(self._file)}
        self._jpegs.mkdir()
        for width, height in SIZES:
            (self._jpegs / f"{width}x{height}.jpg").write_bytes(_ramp(width, height))
        self.set()

    def set(self, *, mjpeg: bool = False, **settings: str | int) -> None:
        """Set what is named; all else becomes what it is in the beginning."""
        if mjpeg:
            settings["jpegs"] = str(self._jpegs)
        ready = self._file.with_suffix(".new")
        ready.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        ready.replace(self._file)


def is_ramp(pixels: np.ndarray) -> bool:
    """Whether a frame is what the camera shows: grey, brighter to the right, all rows alike."""
    values = pixels.astype(np.int16)
    columns = values.mean(axis=(0, 2))
    alike = np.abs(values - values[:1]).max() <= 12 and np.abs(values - values[..., :1]).max() <= 12
    return bool(alike and columns[-1] - columns[0] > 100 and (np.diff(columns) >= -2).all())


def _ramp(width: int, height: int) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj422p", Fraction(1, 30)
    row = np.linspace(0, 255, width).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.tile(row, (height, 1)), "gray").reformat(format="yuvj422p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
