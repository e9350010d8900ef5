"""MediaSource: a file, a network stream or a camera, read by the decoder; and what to say when it can't be opened."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ....errors import SourceError
from ...input_damage import InputDamage
from ...trickle.frame import AudioFrame, RawFrame
from .protocol import SourceInfo
from .source import Source

if TYPE_CHECKING:
    import av.error

    from ...trickle.decoder import Decoder

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
_URL_PATIENCE_S = 20.0  # of a server that sends, but no video
_LIVE_SCHEMES = {"rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp"}


class MediaSource(Source):
    """What a decoder reads; once, or again and again."""

    def __init__(
        self,
        decoder: Decoder,
        name: str,
        *,
        live: bool,
        loop: bool = False,
        label: str = "",
        patience_s: float | None = None,
    ) -> None:
        self._decoder = decoder
        self.label = label or name
        self.patience_s = patience_s
        self._loop = loop and not live
        self.audio = decoder.audio
        fps, duration_s = decoder.fps, decoder.duration_s
        expected = decoder.pictures
        if expected is None and fps and duration_s:
            expected = round(fps * duration_s)
        self.info = SourceInfo(
            name=name,
            width=decoder.width,
            height=decoder.height,
            fps=fps,
            duration_s=None if live else duration_s,
            frames=None if live or self._loop else expected,
            audio=decoder.audio is not None,
            live=live,
            codec=decoder.codec,
        )

    @property
    def damage(self) -> InputDamage:
        return self._decoder.damage

    @property
    def without_timestamp(self) -> int:
        return self._decoder.without_timestamp

    def frames(self) -> Iterator[RawFrame | AudioFrame]:
        yield from self._decoder
        while self._loop:
            self._decoder.rewind()
            yield from self._decoder

    def close(self) -> None:
        self._decoder.close()


def open_file(path: str, width: int, height: int, *, loop: bool) -> MediaSource:
    """Open a media file.

    Raises:
        SourceError: missing, a folder, not readable, empty, not a media file, without video.
    """
    import av.error

    from ...trickle.decoder import Decoder, Location

    file = Path(path).expanduser()
    _check_file(file)
    try:
        # With the protocol named, a colon in a file's name is only a colon.
        decoder = Decoder(Location(f"file:{file}", str(file)), width, height)
    except av.error.FFmpegError as error:
        if isinstance(error, av.error.InvalidDataError):
            raise SourceError(f"{file} is not a media file that can be read (or it is damaged)") from error
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    return MediaSource(decoder, file.name, live=False, loop=loop)


def _check_file(file: Path) -> None:
    try:
        if file.is_dir():
            raise SourceError(f"{file} is a folder; name a video file in it")
        if file.is_file() and file.stat().st_size == 0:
            raise SourceError(f"{file} is empty")
        if not file.exists():
            raise SourceError(f"{file} does not exist (looked in {file.parent.resolve()})")
    except PermissionError as error:
        raise SourceError(f"{file} cannot be read: no permission for the folder {file.parent}") from error
    if not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise SourceError(f"{file} cannot be read: no permission for this file")


def open_url(url: str, width: int, height: int, *, loop: bool) -> MediaSource:
    """Open anything with a protocol that FFmpeg knows.

    Raises:
        SourceError: never with the credentials that the URL may hold.
    """
    import av.error

    from ...trickle.decoder import Decoder, Location

    name = without_credentials(url)
    scheme = urlsplit(url).scheme.lower()
    # Over UDP, cameras behind a router send nothing and busy ones send broken pictures.
    options = (("rtsp_transport", "tcp"),) if scheme.startswith("rtsp") else ()
    live = scheme in _LIVE_SCHEMES
    location = Location(url, name, None, options, OPEN_TIMEOUT_S, READ_TIMEOUT_S, live)
    try:
        decoder = Decoder(location, width, height)
    except av.error.FFmpegError as error:
        # Without the cause: it holds the URL as it was given.
        raise SourceError(_network_message(name, scheme, error)) from None
    live = live or decoder.duration_s is None
    return MediaSource(decoder, name, live=live, loop=loop, patience_s=_URL_PATIENCE_S if live else None)


def without_credentials(url: str) -> str:
    """The URL as it may be shown: no user, no password, and no query, which often holds a token."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else ""))


def _network_message(name: str, scheme: str, error: av.error.FFmpegError) -> str:
    import av.error

    reasons: tuple[tuple[type[Exception], str], ...] = (
        (av.error.ExitError, f"no answer within {OPEN_TIMEOUT_S:g} s; are address and port right?"),
        (av.error.TimeoutError, "no answer; are address and port right?"),
        (av.error.ConnectionRefusedError, "the connection was refused; is the server running?"),
        (av.error.HTTPNotFoundError, "the server has nothing at this address (404)"),
        (av.error.HTTPUnauthorizedError, "the server wants a user name and password, or other ones (401)"),
        (av.error.HTTPForbiddenError, "the server does not allow it (403)"),
        (av.error.HTTPError, "the server refused with an HTTP error"),
        (av.error.ProtocolNotFoundError, f"{scheme}:// is not a protocol that can be read here"),
        (av.error.InvalidDataError, "what the server sends is no video that can be read"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return f"{name}: {reason}"
    # FFmpeg has only this for a host name that does not resolve.
    hint = "; is the host name right, and can it be reached?" if error.errno == errno.EIO else ""
    return f"{name} cannot be opened: {error.strerror}{hint}"
