"""PipeSource: a media stream that another program writes into a named pipe, or into one of the shell's (``<(...)``)."""

from __future__ import annotations

import math
import os
import re
import select
import threading
import time

from ....errors import SourceError
from ...trickle.decoder import Decoder, Location
from .media_source import MediaSource

_FOREIGN = re.compile(r"^/proc/\d+/fd/")  # how the studio names what it was started with
_WRITER_LIMIT_S = 12.0  # leaves some of the time for opening to look what is in the stream
_LOOK_S = 0.2  # how long a stop may take


class PipeSource(MediaSource):
    """Read once, as it comes: there is no way back in a pipe, and no second opening."""

    def __init__(self, path: str, width: int, height: int, stop: threading.Event) -> None:
        """Wait for the first bytes.

        Raises:
            SourceError: nothing is written to it, or not a stream that can be read from a pipe.
        """
        import av.error

        name = _FOREIGN.sub("/dev/fd/", path)
        self._pipe = _open(path, name, stop)
        try:
            # The number, not the path: to open a pipe again loses what its only writer has closed meanwhile.
            decoder = Decoder(Location(f"pipe:{self._pipe}", name), width, height)
        except (av.error.FFmpegError, SourceError) as error:
            os.close(self._pipe)
            if isinstance(error, SourceError):
                raise
            reason = (
                "not a media stream, or one that needs seeking; MPEG-TS, Matroska and fragmented MP4 work in a pipe"
            )
            raise SourceError(f"{name}: {reason}") from error
        super().__init__(decoder, name, live=False, patience_s=math.inf)

    def resize(self, width: int, height: int) -> bool:
        self._decoder.resize(width, height)
        return True

    def close(self) -> None:
        super().close()
        os.close(self._pipe)


def _open(path: str, name: str, stop: threading.Event) -> int:
    """The descriptor of a pipe in which there are bytes, or whose writers have all closed it."""
    try:
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else it waits for a writer, and nothing could stop it
    except OSError as error:
        raise SourceError(f"{name} cannot be opened: {error.strerror}") from error
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    deadline = time.monotonic() + _WRITER_LIMIT_S
    while not poll.poll(_LOOK_S * 1000):
        if stop.is_set() or time.monotonic() > deadline:
            os.close(pipe)
            raise SourceError(f"{name}: nothing was written to this pipe for {_WRITER_LIMIT_S:g} s")
    os.set_blocking(pipe, True)
    return pipe
