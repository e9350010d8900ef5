"""TransportReader: an MPEG transport stream as FFmpeg should get it, so that it gives pictures out at once.

FFmpeg knows that a picture is whole when the next one begins, which costs one frame interval in its
demuxer (a video PES packet mostly has no length) and one more in its parser. But a transport
stream shows the end: the last packet of a PES packet is filled up with stuffing. Behind it this
reader puts two packets: the empty beginning of a PES packet, at which the demuxer lets go of the picture,
and an access unit delimiter, at which the parser does.

So the next picture begins with that delimiter for FFmpeg, and gets the time that stands there, before
the picture's own is known. What stands there is a token; `PictureTimes` knows later what it means.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from .transport_stream import (
    CLOCK_HZ,
    DELIMITERS,
    HEADER_BYTES,
    PACKET_BYTES,
    PAT_PID,
    STREAM_TYPE_H264,
    SYNC,
    WRAP,
    ElementaryStream,
    is_stuffed,
    map_pids_of,
    payload_of,
    section_of,
    stamp_bytes,
    stamp_of,
    streams_of,
)

_READ_BYTES = 32 * 1024
_SYNCS_TO_LOCK = 3  # sync bytes at the right distance before garbage is believed to be over
LONGEST_DELIMITER_BYTES = max(map(len, DELIMITERS.values()))
_KNOWN_TIMES = 1000
# A token is told from a time by its decoding time, which lies half of all times (13 hours) later.
_TOKENS = WRAP // 2
_TOKEN_STEP = CLOCK_HZ // 30
_DOUBTFUL_PICTURES = 50  # how many pictures must look right before ends are marked again


class Readable(Protocol):
    """What bytes are read from: see `BytePipe.read`."""

    def read(self, size: int, /) -> bytes: ...


class PictureTimes:
    """Tokens that stand for presentation times that are not known yet."""

    def __init__(self) -> None:
        self._count = 0
        self._known: OrderedDict[int, int] = OrderedDict()

    def token(self) -> tuple[int, bytes]:
        """A new token, and how it is written into the header of a PES packet."""
        # FFmpeg measures by them how long it has looked at a stream, so they grow like times.
        self._count += 1
        token = self._count * _TOKEN_STEP % _TOKENS
        return token, stamp_bytes(0x3, token) + stamp_bytes(0x1, token + _TOKENS)

    def note(self, token: int, pts: int) -> None:
        """The picture of this token has been found to have that time."""
        self._known[token] = pts
        if len(self._known) > _KNOWN_TIMES:
            self._known.popitem(last=False)

    def pts(self, pts: int | None, dts: int | None) -> int | None:
        """The presentation time of a packet of FFmpeg's, by its own two times."""
        if pts is not None and dts is not None and dts - pts == _TOKENS:
            return self._known.get(pts)
        return pts


class TransportReader:
    """Reads packets, finds their beginning again after damage, marks ends of pictures, and stops where tracks change.

    Once the tracks are known, it passes on only packets of the program tables and of the PIDs that these name. A
    demuxer would take a packet whose header was damaged for a track that begins.

    Attributes:
        ended: nothing follows any more.
        stopped: the tracks change here; `resume` goes on.
        bytes_read: of the source, so far.
        skipped_bytes: that belonged to no packet.
        times: of pictures whose packets have a token instead.
    """

    def __init__(self, source: Readable) -> None:
        self.ended = False
        self.stopped = False
        self.bytes_read = 0
        self.skipped_bytes = 0
        self.times = PictureTimes()
        self._source = source
        self._raw = b""  # read, not looked at
        self._locked = False
        self._ready = b""  # looked at, not given out
        self._pat = self._map = b""  # the newest packet of each
        self._map_pid: int | None = None  # of the first program, which is the one that is decoded
        self._programs: dict[int, tuple[ElementaryStream, ...]] = {}  # by the PIDs of their maps
        self._named: frozenset[int] = frozenset()  # PIDs of the tracks of all programs
        self._streams: tuple[ElementaryStream, ...] = ()
        self._video: dict[int, _PictureEnds] = {}

    def read(self, size: int) -> bytes:
        """At most `size` bytes; waits only for the first one. Empty at the end and where the tracks change."""
        while not self._ready and not self.stopped and not self.ended:
            data = self._source.read(_READ_BYTES)
            self.ended = not data
            self.bytes_read += len(data)
            self._raw += data
            self._ready = self._work()
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def resume(self) -> bool:
        """Go on for another demuxer, which first gets the program tables again. False at the end."""
        self.stopped = False
        for ends in self._video.values():
            ends.forget()
        # The rest may hold the change already for which the last demuxer was ended.
        rest = self._ready + self._work()
        self._ready = self._pat + self._map + rest
        return not self.ended or bool(rest)

    def _work(self) -> bytes:
        """Take whole packets out of what was read."""
        done: list[bytes] = []
        while not self.stopped and len(self._raw) >= PACKET_BYTES:
            count = len(self._raw) // PACKET_BYTES
            if not self._locked:
                begin = self._find_sync()
                if begin is None:
                    break
                self._skip(begin)
                self._locked = True
                continue
            syncs = self._raw[: count * PACKET_BYTES : PACKET_BYTES]
            good = len(syncs) - len(syncs.lstrip(b"\x47"))
            if good < count:
                self._locked = False
            taken = self._packets(self._raw[: good * PACKET_BYTES], done)
            self._raw = self._raw[taken:]
        return b"".join(done)

    def _find_sync(self) -> int | None:
        last = len(self._raw) - (_SYNCS_TO_LOCK - 1) * PACKET_BYTES
        if self.ended:
            last = len(self._raw)
        begin = -1
        while (begin := self._raw.find(SYNC, begin + 1, max(last, 0))) >= 0:
            if all(self._raw[at] == SYNC for at in range(begin, len(self._raw), PACKET_BYTES)[:_SYNCS_TO_LOCK]):
                return begin
        self._skip(max(last, 0))
        return None

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        self._raw = self._raw[count:]

    def _packets(self, data: bytes, done: list[bytes]) -> int:
        """Look at whole packets, append what to give out; returns how many bytes were used."""
        begin = 0
        video = self._video
        for at in range(0, len(data), PACKET_BYTES):
            pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
            ends = video.get(pid)
            if ends is not None:
                marks = ends.marks_after(data[at : at + PACKET_BYTES])
                if marks:
                    done += (data[begin : at + PACKET_BYTES], marks)
                    begin = at + PACKET_BYTES
            elif pid == PAT_PID or pid in self._programs:
                if data[at + 1] & 0x40 and self._table(pid, data[at : at + PACKET_BYTES]):
                    done.append(data[begin:at])
                    return at
                video = self._video
            elif self._named and pid not in self._named:
                done.append(data[begin:at])
                begin = at + PACKET_BYTES
        done.append(data[begin:])
        return len(data)

    def _table(self, pid: int, packet: bytes) -> bool:
        """Note a program table. True when it names other tracks than before: there the demuxer has to end."""
        if pid == PAT_PID:
            if packet[HEADER_BYTES:] != self._pat[HEADER_BYTES:]:
                section = section_of(packet)
                if section is not None:
                    pids = map_pids_of(section)
                    self._pat, self._map_pid = packet, pids[0] if pids else None
                    self._programs = {pid: self._programs.get(pid, ()) for pid in pids}
            return False
        if packet[HEADER_BYTES:] == self._map[HEADER_BYTES:]:
            return False
        section = section_of(packet)
        if section is None:
            return False
        streams = self._programs[pid] = streams_of(section)
        self._named = frozenset(stream.pid for program in self._programs.values() for stream in program)
        if pid != self._map_pid:
            return False
        changed = bool(self._streams) and streams != self._streams
        self._map = packet
        if streams != self._streams:
            self._streams = streams
            self._video = {s.pid: _PictureEnds(s.pid, s.kind, self.times) for s in streams if s.kind in DELIMITERS}
        self.stopped = changed
        return changed


class _PictureEnds:
    """Marks the ends of pictures on one video track, as long as every PES packet is one picture there.

    Where that does not hold, or stuffing lies within a picture, marking stops until it has held for a while;
    FFmpeg then finds the ends by itself, later. So it does for one picture in 184, which fills its last packet
    by chance and has no length.
    """

    def __init__(self, pid: int, kind: int, times: PictureTimes) -> None:
        self._kind = kind
        self._times = times
        self._head = bytes([SYNC, pid >> 8 | 0x40, pid & 0xFF])
        self._flush = _filled(b"\0")
        self._doubts = 0
        self._ended = False  # the newest PES packet seems to be whole
        self._missing_bytes: int | None = None  # of the newest PES packet, where it says its length
        self._token: int | None = None  # what the next picture is called

    def forget(self) -> None:
        """Another demuxer goes on: it knows of no mark."""
        self._ended = False
        self._token = None

    def marks_after(self, packet: bytes) -> bytes:
        """What to put behind a packet of this track: nothing, or the marks of an end."""
        payload = payload_of(packet)
        if packet[1] & 0x40:
            self._begin(payload)
        elif self._ended and payload:
            self._doubts = _DOUBTFUL_PICTURES  # it was no end
        if self._missing_bytes is None:
            self._ended = is_stuffed(packet)
        else:
            self._missing_bytes -= len(payload)
            self._ended = self._missing_bytes == 0
        return self._marks(packet[3] & 0x0F) if self._ended and not self._doubts else b""

    def _marks(self, counter: int) -> bytes:
        # The counter repeats, and a discontinuity is announced: the track's next packet then follows on.
        head = self._head + bytes([0x30 | counter])
        self._token, stamps = self._times.token()
        delimiter = DELIMITERS[self._kind]
        length = 3 + len(stamps) + len(delimiter)
        begin = b"\0\0\1\xe0" + bytes([length >> 8, length & 0xFF, 0x80, 0xC0, len(stamps)])
        return head + self._flush + head + _filled(begin + stamps + delimiter)

    def _begin(self, payload: bytes) -> None:
        token, self._token = self._token, None
        self._missing_bytes = None
        if len(payload) < 14 or payload[:3] != b"\0\0\1":
            self._doubts = _DOUBTFUL_PICTURES
            return
        length = payload[4] << 8 | payload[5]
        if length:
            self._missing_bytes = 6 + length
        if token is not None and payload[7] & 0x80:
            self._times.note(token, stamp_of(payload[9:14]))
        if not _begins_picture(payload[9 + payload[8] :], self._kind):
            self._doubts = _DOUBTFUL_PICTURES
        elif self._doubts:
            self._doubts -= 1


def _filled(payload: bytes) -> bytes:
    """What follows the header of a packet with this payload alone: an adaptation field, stuffing, the payload."""
    length = PACKET_BYTES - HEADER_BYTES - 1 - len(payload)
    return bytes([length, 0x80]) + b"\xff" * (length - 1) + payload


def _begins_picture(data: bytes, kind: int) -> bool:
    """Whether elementary data begin with a new picture, rather than in the middle of one."""
    begin = data.find(b"\0\0\1", 0, 8)
    if begin < 0 or len(data) < begin + 6:
        return False
    head = data[begin + 3]
    if kind == STREAM_TYPE_H264:
        unit = head & 0x1F
        return unit in (6, 7, 8, 9) or (unit in (1, 2, 5) and data[begin + 4] & 0x80 != 0)
    unit = head >> 1 & 0x3F
    return 32 <= unit <= 35 or unit == 39 or (unit < 32 and data[begin + 5] & 0x80 != 0)
