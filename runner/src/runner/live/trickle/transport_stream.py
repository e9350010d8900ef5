"""What decoder and encoder share about MPEG transport streams (ISO/IEC 13818-1): numbers, checksum, program tables."""

from __future__ import annotations

from typing import NamedTuple

PACKET_BYTES = 188
SYNC = 0x47
HEADER_BYTES = 4
PAT_PID = 0
CLOCK_HZ = 90_000
WRAP = 1 << 33  # timestamps begin again here, after 26.5 hours

STREAM_TYPE_H264, STREAM_TYPE_HEVC, STREAM_TYPE_PRIVATE = 0x1B, 0x24, 0x06
# An access unit delimiter begins a picture, and so says that the one before it is whole.
DELIMITERS = {STREAM_TYPE_H264: b"\0\0\0\1\x09\xf0", STREAM_TYPE_HEVC: b"\0\0\0\1\x46\x01\x50"}


class ElementaryStream(NamedTuple):
    """One track as a program map names it."""

    kind: int
    pid: int
    descriptors: bytes


def crc32(data: bytes) -> int:
    """The checksum of a section; 0 over a section with its checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def section_of(packet: bytes) -> bytes | None:
    """The section that begins in a packet, checked; None if it is damaged or goes on in the next packet."""
    payload = payload_of(packet)
    if not payload:
        return None
    begin = 1 + payload[0]
    if len(payload) < begin + 3:
        return None
    length = 3 + ((payload[begin + 1] & 0x0F) << 8 | payload[begin + 2])
    section = payload[begin : begin + length]
    return section if len(section) == length and crc32(section) == 0 else None


def payload_of(packet: bytes) -> bytes:
    """The payload of a packet, empty if it has none."""
    if not packet[3] & 0x10:
        return b""
    return packet[HEADER_BYTES + (1 + packet[4] if packet[3] & 0x20 else 0) :]


def is_stuffed(packet: bytes) -> bool:
    """Whether a packet with payload was filled up, as the last one of a PES packet is."""
    if packet[3] & 0x30 != 0x30:
        return False
    length = packet[4]
    if length == 0:
        return True
    flags = packet[5]
    needed = 1 + (6 if flags & 0x10 else 0) + (6 if flags & 0x08 else 0) + (1 if flags & 0x04 else 0)
    for flag in (0x02, 0x01):  # private data, extension: each begins with its length
        if flags & flag and 5 + needed < PACKET_BYTES:
            needed += 1 + packet[5 + needed]
    return length > needed


def map_pids_of(section: bytes) -> list[int]:
    """Where a program association table says that the maps of the programs are."""
    return [
        (section[at + 2] & 0x1F) << 8 | section[at + 3]
        for at in range(8, len(section) - 7, 4)
        if section[at] or section[at + 1]  # program 0 is not one
    ]


def streams_of(section: bytes) -> tuple[ElementaryStream, ...]:
    """The tracks that a program map names."""
    streams = []
    at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
    while at + 5 <= len(section) - 4:
        length = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        streams.append(ElementaryStream(section[at], pid, section[at + 5 : at + 5 + length]))
        at += 5 + length
    return tuple(streams)


def stamp_bytes(prefix: int, stamp: int) -> bytes:
    """A timestamp of 33 bits as a PES header has it; the prefix says which of the two it is."""
    return bytes(
        (
            prefix << 4 | stamp >> 29 & 0x0E | 1,
            stamp >> 22 & 0xFF,
            stamp >> 14 & 0xFE | 1,
            stamp >> 7 & 0xFF,
            stamp << 1 & 0xFE | 1,
        )
    )


def stamp_of(data: bytes) -> int:
    """The timestamp in five bytes of a PES header."""
    return (data[0] & 0x0E) << 29 | data[1] << 22 | (data[2] & 0xFE) << 14 | data[3] << 7 | data[4] >> 1
