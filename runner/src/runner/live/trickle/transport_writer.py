"""TransportWriter: H.264 pictures and Opus sound as MPEG transport stream packets, each at once.

FFmpeg's own muxers (`mpegts`, and `segment` over it) were tried first. PyAV gives packets to them
interleaved, so with sound every picture is held until sound that is later than it has come, and no
option ends that. What is needed of the format is little: two tables, PES headers, a clock, stuffing.
"""

from __future__ import annotations

from itertools import chain

from .transport_stream import (
    HEADER_BYTES,
    PACKET_BYTES,
    PAT_PID,
    STREAM_TYPE_H264,
    STREAM_TYPE_PRIVATE,
    SYNC,
    WRAP,
    ElementaryStream,
    crc32,
    stamp_bytes,
)

MAP_PID, VIDEO_PID, SOUND_PID = 0x1000, 0x100, 0x101
_ROOM = PACKET_BYTES - HEADER_BYTES
_VIDEO_ID, _PRIVATE_ID = 0xE0, 0xBD  # stream ids of PES packets
# The clock that readers set theirs by lies this far behind what is shown, so that it is there in time.
_CLOCK_LEAD = 9_000
_RANDOM_ACCESS, _HAS_CLOCK = 0x40, 0x10
# ETSI TS 103 491, 5.2: how Opus is announced in a program map; one channel.
_OPUS_DESCRIPTORS = b"\x05\x04Opus\x7f\x02\x80\x01"


class TransportWriter:
    """Writes one continuous stream; counters go on from segment to segment.

    PES packets say their length wherever it can be said (up to 64 KiB), so that readers need not wait
    for the next one to know that a picture is whole.
    """

    def __init__(self, *, sound: bool) -> None:
        """`sound`: whether there is an audio track, Opus, mono."""
        streams = [ElementaryStream(STREAM_TYPE_H264, VIDEO_PID, b"")]
        if sound:
            streams.append(ElementaryStream(STREAM_TYPE_PRIVATE, SOUND_PID, _OPUS_DESCRIPTORS))
        self._pat = _section(0x00, (1).to_bytes(2, "big") + _pid(MAP_PID))
        self._map = _section(0x02, _pid(VIDEO_PID) + b"\xf0\0" + b"".join(map(_entry, streams)))
        self._counters = dict.fromkeys((PAT_PID, MAP_PID, VIDEO_PID, SOUND_PID), 0)

    def tables(self) -> bytes:
        """What a reader needs before anything else, at the beginning of each segment."""
        return self._section_packet(PAT_PID, self._pat) + self._section_packet(MAP_PID, self._map)

    def picture(self, data: bytes, pts: int, dts: int, is_key: bool) -> bytes:
        """One picture, whole; times in 1/90000 s."""
        clock = max(dts - _CLOCK_LEAD, 0) % WRAP
        # 33 bits in units of 1/90000 s, 6 reserved, 9 for what lies between two of them.
        field = bytes([_HAS_CLOCK | (_RANDOM_ACCESS if is_key else 0)]) + (clock << 15 | 0x7E00).to_bytes(6, "big")
        times = stamp_bytes(0x2, pts) if pts == dts else stamp_bytes(0x3, pts) + stamp_bytes(0x1, dts)
        return self._packets(VIDEO_PID, _pes(_VIDEO_ID, times, data), field)

    def sound(self, data: bytes, pts: int) -> bytes:
        """One Opus packet (ETSI TS 103 491, 5.1)."""
        control = b"\x7f\xe0" + b"\xff" * (len(data) // 255) + bytes([len(data) % 255])
        return self._packets(SOUND_PID, _pes(_PRIVATE_ID, stamp_bytes(0x2, pts), control + data))

    def _section_packet(self, pid: int, section: bytes) -> bytes:
        return self._header(pid, 0x10, starts=True) + (b"\0" + section).ljust(_ROOM, b"\xff")

    def _packets(self, pid: int, pes: bytes, field: bytes = b"") -> bytes:
        """A PES packet in packets of which the last one is stuffed; `field` is put into the first one."""
        first_bytes = _ROOM - (1 + len(field) if field else 0)
        if len(pes) < first_bytes:
            return self._stuffed(pid, pes, field, starts=True)
        field_bytes = bytes([len(field)]) + field if field else b""
        first = self._header(pid, 0x30 if field else 0x10, starts=True) + field_bytes + pes[:first_bytes]
        whole = (len(pes) - first_bytes) // _ROOM
        end = first_bytes + whole * _ROOM
        # In turn header and payload, without looking at each packet.
        headers = [self._header(pid, 0x10) for _ in range(whole)]
        payloads = [pes[at : at + _ROOM] for at in range(first_bytes, end, _ROOM)]
        last = self._stuffed(pid, pes[end:], b"") if end < len(pes) else b""
        return b"".join((first, *chain.from_iterable(zip(headers, payloads, strict=True)), last))

    def _stuffed(self, pid: int, payload: bytes, field: bytes, *, starts: bool = False) -> bytes:
        length = _ROOM - 1 - len(payload)
        if length and not field:
            field = b"\0"
        return self._header(pid, 0x30, starts=starts) + bytes([length]) + field.ljust(length, b"\xff") + payload

    def _header(self, pid: int, control: int, *, starts: bool = False) -> bytes:
        counter = self._counters[pid]
        self._counters[pid] = counter + 1 & 0x0F
        return bytes((SYNC, pid >> 8 | (0x40 if starts else 0), pid & 0xFF, control | counter))


def _pes(stream_id: int, times: bytes, data: bytes) -> bytes:
    length = 3 + len(times) + len(data)
    if length > 0xFFFF:  # only video may leave it out, and no sound is that long
        length = 0
    flags = 0x80 if len(times) == 5 else 0xC0
    return b"\0\0\1" + bytes((stream_id, length >> 8, length & 0xFF, 0x84, flags, len(times))) + times + data


def _section(table: int, body: bytes) -> bytes:
    head = bytes((table, 0xB0, 5 + len(body) + 4)) + b"\0\1\xc1\0\0"
    return head + body + crc32(head + body).to_bytes(4, "big")


def _entry(stream: ElementaryStream) -> bytes:
    length = len(stream.descriptors)
    return bytes([stream.kind]) + _pid(stream.pid) + bytes((0xF0 | length >> 8, length & 0xFF)) + stream.descriptors


def _pid(pid: int) -> bytes:
    return bytes((0xE0 | pid >> 8, pid & 0xFF))
