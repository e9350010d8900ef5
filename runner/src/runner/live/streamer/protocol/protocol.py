"""StreamProtocol: the face of everything that brings frames in and takes them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ...events import Route
from ...input_damage import InputDamage
from ...trickle.frame import AudioFrame, RawFrame

Policy = Literal["newest", "lossless"]
ProtocolName = Literal["local", "trickle", "route"]


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What to stream: where from, where to, how.

    Attributes:
        protocol: ``local``; ``trickle``: source and sink are the URLs of trickle channels; ``route``: as local, but by
            way of two trickle channels of a relay of our own, there and back.
        source: path of a media file or a pipe, ``pattern:`` or ``pattern:WxH@FPS``, ``device:NAME`` (``device:0`` is
            the first camera), ``shm:RING`` (a `FrameRing`'s name), or any URL that PyAV opens.
        sink: a path ending in ``.mp4`` (or another container that FFmpeg knows), or None for nowhere.
        policy: ``newest``: a frame that comes while one waits replaces it and the older one is
            counted as dropped. ``lossless``: the source waits for the pipeline, nothing is dropped.
        paced: give the frames of a file out at the speed of their timestamps; live sources always are.
        loop: begin a file again at its end, with timestamps that go on growing.
        max_frames: end after that many video frames, not counting those that newer ones have replaced.
        max_seconds: end after that many seconds of presentation time.
        request_id: name of the stream; outputs of another one are dropped.
        manifest_id, stream_id: what else the network calls it; told in logs.
        control_url, events_url: trickle channels for params and for what happens; "" for none.
    """

    source: str
    sink: str | None = None
    policy: Policy = "newest"
    paced: bool = True
    loop: bool = False
    max_frames: int | None = None
    max_seconds: float | None = None
    request_id: str = "local"
    protocol: ProtocolName = "local"
    manifest_id: str = ""
    stream_id: str = ""
    control_url: str = ""
    events_url: str = ""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source once it is open.

    Attributes:
        name: for people: a file's name, a camera's, a URL without its credentials.
        width, height: of the source's own pictures, in pixels, before they are scaled.
        fps: nominal frames per second, None where the source does not say.
        duration_s: None for a live source.
        frames: how many video frames are expected, None where that cannot be told.
        audio: whether there is an audio track.
        live: paced by the outside world; waiting does not hold it up.
        codec: e.g. ``h264``.
    """

    name: str
    width: int
    height: int
    fps: float | None = None
    duration_s: float | None = None
    frames: int | None = None
    audio: bool = False
    live: bool = False
    codec: str = ""


@dataclass(slots=True)
class ProtocolStatistics:
    """What a protocol has seen so far; counts of video frames.

    Attributes:
        frames_in: decoded and handed on. dropped: reason -> frames that never were handed on.
        frames_out: taken by the sink. damage: what of the input could not be read.
        decoder, encoder: what does the work, e.g. ``h264`` and ``libx264``; "" where there is none (yet).
        max_fps: pictures per second of presentation time that are let in, None for all.
    """

    frames_in: int = 0
    frames_out: int = 0
    damage: InputDamage = field(default_factory=InputDamage)
    dropped: dict[str, int] = field(default_factory=dict)
    decoder: str = ""
    encoder: str = ""
    max_fps: float | None = None

    def drop(self, reason: str) -> None:
        """One frame has come to nothing."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class StreamProtocol(ABC):
    """Brings frames in and takes them out, for one stream.

    Life: `open`, then `frames` to its end while `put` is called with what the pipeline makes of
    them, then `finish` (everything written, files whole) or `close` alone (give up at once).
    All methods are called on one event loop; none may block it.

    Attributes:
        statistics: of the stream so far.
        returns: what was put comes back to this machine, and is shown when it does (see `on_return`).
        networked: frames come over a network, late and then several at once, which is no reason to drop them; status
            says what decodes and encodes.
    """

    statistics: ProtocolStatistics
    networked: bool = False
    returns: bool = False

    @abstractmethod
    async def open(self, width: int, height: int) -> SourceInfo:
        """Open source and sink; frames will be scaled to cover `width` x `height` and centre-cropped.

        Raises:
            SourceError, SinkError: with a message in user terms.
        """

    @abstractmethod
    def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        """Frames as they come. Video frames carry `seq` from 0 and the stamp ``captured``.

        Raises:
            SourceError: the source broke off.
        """

    @abstractmethod
    def pause(self, paused: bool) -> None:
        """Hold the source where it can be held (a file), or let it go on; a live one goes on either way."""

    @abstractmethod
    async def put(self, frame: RawFrame | AudioFrame) -> None:
        """Take an output. Pixels are only borrowed: they are not kept beyond this call.

        Raises:
            SinkError: it cannot be written (disk full, for example).
        """

    async def control(self) -> AsyncIterator[dict[str, Any]]:
        """Params that somebody sends along with the stream, each complete; of several waiting only the newest."""
        return
        yield  # makes it a generator

    def tell(self, event: dict[str, Any], kind: str) -> None:
        """Tell the other side what happens; never waits.

        Args:
            event: a JSON object. kind: its queue's name there (contract 5.2).
        """

    def superseded(self, count: int) -> None:
        """So many frames were replaced by newer ones in front of the pipeline; they do not count for `max_frames`."""

    def resize(self, width: int, height: int) -> bool:  # noqa: ARG002  # what others may do
        """Give pictures of another size from now on. False where only a new stream can."""
        return False

    def on_return(self, show: Callable[[RawFrame], None]) -> None:
        """Have `show` called with every picture that comes back; before `open`."""

    @property
    def silent_s(self) -> float:
        """Seconds since the newest frame of a source that is paced from outside; 0 while frames come."""
        return 0.0

    @property
    def damage(self) -> InputDamage:
        """What of the source could not be read; see `Decoder.damage`."""
        return self.statistics.damage

    @property
    def route(self) -> Route | None:
        """Figures of the way there and back, None where there is none."""
        return None

    @abstractmethod
    async def finish(self) -> None:
        """Write out what is pending and close the sink, so that what was put is whole. Then `close`."""

    @abstractmethod
    async def close(self) -> None:
        """Stop reading and writing at once and free everything; an unfinished file is removed. Safe to call twice."""
