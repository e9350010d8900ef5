"""RingSource: pictures that another process writes into a shared-memory ring."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator

from ....errors import SourceError
from ...trickle.frame import AudioFrame, RawFrame
from .protocol import SourceInfo
from .source import Source

_POLL_S = 0.002
_OWNER_CHECK_S = 0.5


class RingSource(Source):
    """The newest picture of a ring, whenever there is a new one; ends when the ring's owner lets it go.

    Raises:
        SourceError: there is no such ring.
    """

    label = "shared memory"
    patience_s = math.inf

    def __init__(self, ring_name: str, width: int, height: int, stop: threading.Event) -> None:
        from ...process.ring import FrameRing

        self._ring_name = ring_name
        self._size = (width, height)
        self._stop = stop
        try:
            self._identity = _identity(ring_name)
            self._ring = FrameRing.attach(ring_name)
        except PermissionError as error:
            raise SourceError(f"shm:{ring_name} cannot be read: it belongs to another user") from error
        except ValueError as error:
            raise SourceError(f"shm:{ring_name} is not a ring of pictures") from error
        except OSError as error:
            raise SourceError(f"shm:{ring_name} does not exist; has the program that fills it ended?") from error
        first = self._ring.tap()
        own_height, own_width = first[1].pixels.shape[:2] if first else (height, width)
        self.info = SourceInfo(name="shared memory", width=own_width, height=own_height, live=True, codec="rgb24")

    def frames(self) -> Iterator[RawFrame | AudioFrame]:
        from ...trickle.fit import PixelFitter

        fitter = PixelFitter(*self._size)
        number = 0
        next_check_s = 0.0
        while not self._stop.is_set():
            tapped = self._ring.tap(number)
            if tapped is not None:
                number, frame = tapped
                frame.pixels = fitter.fit(frame.pixels)
                # Seen from this stream the picture begins here; who wrote it had its own way with it.
                frame.stamps = {name: at for name, at in frame.stamps.items() if name == "captured"}
                frame.is_loading_frame = False
                yield frame
                continue
            if time.monotonic() >= next_check_s:
                if not self._is_owned():
                    return
                next_check_s = time.monotonic() + _OWNER_CHECK_S
            self._stop.wait(_POLL_S)

    def close(self) -> None:
        self._ring.close()

    def _is_owned(self) -> bool:
        try:
            return _identity(self._ring_name) == self._identity
        except OSError:
            return False


def _identity(ring_name: str) -> tuple[int, int]:
    """What tells this ring from another thing that may get the same name later."""
    status = os.stat(ring_name)
    return status.st_dev, status.st_ino
