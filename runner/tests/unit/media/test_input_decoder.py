from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import SourceError
from runner.live.trickle.byte_pipe import BytePipe
from runner.live.trickle.frame import RawFrame
from runner.live.trickle.input_decoder import MAX_RESTARTS, InputDecoder
from runner.live.trickle.tracks import AudioFormat
from runner.live.trickle.transport_stream import crc32

from . import streams

pytestmark = pytest.mark.timeout(30)

WRAP = 1 << 33
SECOND = 90_000


def _times(count: int, first: int = SECOND, step: int = 3000) -> list[int]:
    return list(range(first, first + count * step, step))


def _join(*parts: Sequence[bytes]) -> bytes:
    return b"".join(itertools.chain.from_iterable(parts))


def _noise(size: int, seed: int = 3) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


def _grows(pts: Sequence[int]) -> bool:
    return all(later > earlier for earlier, later in itertools.pairwise(pts))


class TestWhole:
    @pytest.mark.parametrize("audio", [None, "aac", "libopus"])
    def test_every_picture_and_sound_comes_out_with_its_time(self, audio: str | None) -> None:
        decoded = streams.decode(_join(streams.make_stream(_times(60), audio=audio)))
        assert decoded.numbers == list(range(60))
        assert decoded.pts == _times(60)
        assert {picture.pixels.shape for picture in decoded.pictures} == {(96, 96, 3)}
        decoder = decoded.decoder
        assert (decoder.codec, decoder.decoder, decoder.width, decoder.height) == ("h264", "h264", 128, 96)
        assert (decoder.decode_errors, decoder.restarts, decoder.dropped, decoder.skipped_bytes) == (0, 0, {}, 0)
        assert decoder.audio == (AudioFormat(48_000, "stereo") if audio else None)
        if audio:
            sounds = decoded.sounds
            assert _grows([sound.timestamp for sound in sounds])
            assert sum(sound.nb_samples for sound in sounds) == pytest.approx(2 * 48_000, rel=0.05)
            assert sounds[0].timestamp == pytest.approx(SECOND, abs=3000)

    @pytest.mark.parametrize("audio", ["aac", "libopus"])
    def test_many_pieces_of_sound_in_one_packet_all_come_out(self, audio: str) -> None:
        """As muxers pack it by default: only the first piece of a packet says its time."""
        parts = streams.make_stream(_times(60), audio=audio, muxer={"pes_payload_size": "2930"})
        sounds = streams.decode(_join(parts)).sounds
        assert sum(sound.nb_samples for sound in sounds) == pytest.approx(2 * 48_000, rel=0.05)
        ends = [sound.timestamp + sound.nb_samples * SECOND // sound.rate for sound in sounds]
        assert [sound.timestamp for sound in sounds[1:]] == pytest.approx(ends[:-1], abs=2)

    @pytest.mark.parametrize("audio", ["aac", "libopus"])
    def test_sound_alone(self, audio: str) -> None:
        decoded = streams.decode(_join(streams.make_stream(_times(60), video=None, audio=audio)))
        assert not decoded.pictures
        assert len(decoded.sounds) > 60
        assert (decoded.decoder.codec, decoded.decoder.audio) == (None, AudioFormat(48_000, "stereo"))

    def test_b_frames_come_out_in_order(self) -> None:
        decoded = streams.decode(_join(streams.make_stream(_times(60, step=3003), b_frames=2)))
        assert decoded.numbers == list(range(60))
        assert decoded.pts == _times(60, step=3003)

    def test_hevc(self) -> None:
        decoded = streams.decode(_join(streams.make_stream(_times(40), video="libx265", audio="libopus")))
        assert decoded.numbers == list(range(40))
        assert decoded.decoder.codec == "hevc"

    def test_24_of_30_are_given_evenly(self) -> None:
        decoded = streams.decode(_join(streams.make_stream(_times(150))), max_fps=24.0)
        assert len(decoded.pictures) == 120
        assert decoded.decoder.dropped == {"rate": 30}
        assert set(np.diff(decoded.numbers).tolist()) == {1, 2}

    def test_who_opens_is_told_before_the_first_item(self) -> None:
        told: list[tuple[Any, ...]] = []
        data = _join(streams.make_stream(_times(5), audio="aac"))
        decoder = InputDecoder(
            streams.Source(data), 64, 64, hardware="software",
            on_open=lambda opened: told.append((opened.codec, opened.audio, opened.width, opened.height)),
        )  # fmt: skip
        next(iter(decoder))
        assert told == [("h264", AudioFormat(48_000, "stereo"), 128, 96)]

    def test_nothing_at_all_simply_ends(self) -> None:
        assert streams.decode(b"").items == []

    def test_what_is_no_transport_stream_is_said(self) -> None:
        for data in (_noise(100_000), b"GET / HTTP/1.1\r\n" * 500):
            with pytest.raises(SourceError, match=r"MPEG-TS|damaged"):
                streams.decode(data)


class TestAtOnce:
    """A picture comes out when its last byte was sent; the next one is sent only after that."""

    @pytest.mark.parametrize(
        "options",
        [
            {"muxer": {"omit_video_pes_length": "0"}},
            {"muxer": {"omit_video_pes_length": "0"}, "codec_options": {"slices": "3"}},
            {"muxer": {"omit_video_pes_length": "0"}, "video": "libx265"},
        ],
    )
    async def test_every_picture_where_lengths_are_said(self, options: dict[str, Any]) -> None:
        live = streams.Live()
        parts = streams.make_stream(_times(45), **options)
        await live.feed(parts, lambda sent: min(sent, 45))
        assert live.pts == _times(45)
        assert sum(live.held) == 0

    async def test_nearly_every_picture_where_they_are_not(self) -> None:
        """One in 184 fills its last packet by chance; nothing shows its end but the next one."""
        live = streams.Live()
        await live.feed(streams.make_stream(_times(45)), lambda sent: min(sent, 45))
        assert live.pts == _times(45)
        assert max(live.held) <= 1
        assert sum(live.held) <= 3

    async def test_the_last_picture_does_not_wait_for_the_end(self) -> None:
        live = streams.Live()
        parts = streams.make_stream(_times(20), muxer={"omit_video_pes_length": "0"})
        await live.feed(parts[:20], lambda sent: sent)  # nothing but the pictures themselves
        assert live.pts == _times(20)
        assert live.held[-1] == 0

    async def test_pictures_in_several_pes_packets_are_still_whole(self) -> None:
        """Ends of PES packets are no ends of pictures there: nothing is to be marked."""
        data = _join(streams.make_stream(_times(30), size=(320, 240)))
        decoded = streams.decode(_split_pes(data))
        assert decoded.pts[-10:] == _times(30)[-10:]
        assert decoded.numbers[-10:] == list(range(20, 30))
        assert len(decoded.pictures) >= 28

    async def test_stuffing_within_pictures_is_no_end(self) -> None:
        """It is taken for one once, in the first picture; those that refer to it are lost with it."""
        data = _join(streams.make_stream(_times(60), size=(320, 240)))
        decoded = streams.decode(_stuff_within(data))
        assert decoded.numbers == list(range(15, 60))
        assert decoded.decoder.restarts == 0


class TestDamage:
    def test_garbage_before_the_first_sync_byte(self) -> None:
        data = _join(streams.make_stream(_times(30)))
        for garbage in (b"x", b"\x47" * 5, _noise(5000), b"\0" * 188 * 3 + b"G"):
            decoded = streams.decode(garbage + data)
            assert decoded.numbers[-15:] == list(range(15, 30))

    def test_overwritten_bytes(self) -> None:
        data = bytearray(_join(streams.make_stream(_times(90), audio="aac", size=(320, 240))))
        middle = len(data) // 2
        data[middle : middle + 4000] = _noise(4000)
        decoded = streams.decode(bytes(data))
        assert decoded.numbers[:20] == list(range(20))
        assert decoded.numbers[-15:] == list(range(75, 90))
        assert _grows(decoded.pts)
        assert decoded.decoder.restarts <= MAX_RESTARTS

    def test_bytes_lost_in_mid_packet(self) -> None:
        first, second = (
            _join(streams.make_stream(_times(45))),
            _join(streams.make_stream(_times(45, first=SECOND + 45 * 3000), first_number=45)),
        )
        decoded = streams.decode(first[: len(first) - 1000] + second)
        assert decoded.numbers[:30] == list(range(30))
        assert decoded.numbers[-44:] == list(range(46, 90))
        assert decoded.decoder.skipped_bytes < 400

    def test_a_stream_cut_in_mid_packet_ends(self) -> None:
        data = _join(streams.make_stream(_times(30)))
        decoded = streams.decode(data[: len(data) // 2 + 77])
        assert decoded.numbers[:10] == list(range(10))

    def test_a_stream_joined_within_a_group_of_pictures_begins_at_the_next_key_frame(self) -> None:
        parts = streams.make_stream(_times(60), muxer={"pat_pmt_at_frames": "1", "mpegts_flags": "+pat_pmt_at_frames"})
        decoded = streams.decode(_join(parts[20:]))
        assert decoded.numbers == list(range(30, 60))
        assert decoded.decoder.restarts == 0

    @pytest.mark.parametrize("missing", [[0], [20], list(range(20, 30)), [44]])
    def test_frames_without_a_time_are_dropped_and_counted(self, missing: list[int]) -> None:
        parts = streams.make_stream(_times(45), muxer={"omit_video_pes_length": "0"}, key_every=1)
        for number in missing:
            parts[number] = streams.without_time(parts[number])
        decoded = streams.decode(_join(parts))
        assert decoded.decoder.dropped == {"no_timestamp": len(missing)}
        left = [number for number in range(45) if number not in missing]
        assert decoded.numbers == left
        assert decoded.pts == [_times(45)[number] for number in left]

    @pytest.mark.parametrize("flags", [0x00, 0x40, 0x80, 0xC0])
    @pytest.mark.parametrize("pid", [0x0011, 0x0101, 0x0A00, 0x1FFF])
    def test_a_packet_under_another_pid_costs_only_what_it_held(self, flags: int, pid: int) -> None:
        """The demuxer took it for a track that begins, and broke off at the stream's end, or before."""
        parts = streams.make_stream(_times(60), audio="libopus")
        damaged = bytearray(parts[20])
        damaged[1], damaged[2] = flags | pid >> 8, pid & 0xFF
        parts[20] = bytes(damaged)
        decoded = streams.decode(_join(parts))
        assert decoded.numbers[:19] == list(range(19))
        assert decoded.numbers[-30:] == list(range(30, 60))
        assert decoded.decoder.restarts == 0

    @pytest.mark.parametrize("seed", range(4))
    def test_headers_of_packets_damaged_everywhere(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        data = bytearray(_join(streams.make_stream(_times(90), audio="aac")))
        for _ in range(20):
            packet = 188 * int(random.integers(0, len(data) // 188))
            data[packet + int(random.integers(1, 5))] = int(random.integers(0, 256))
        decoded = streams.decode(bytes(data))
        assert len(decoded.pictures) > 45
        assert _grows(decoded.pts)

    def test_whatever_the_demuxer_raises_is_counted_as_damage(self) -> None:
        """Where the map takes two packets nobody here knows the tracks; a new one makes PyAV raise an IndexError."""
        parts = streams.make_stream(_times(60))
        parts[10] += bytes((0x47, 0x4A, 0x00, 0x10)) + b"\0\0\1\xe0\0\0\x80\0\0".ljust(184, b"\xff")
        decoded = streams.decode(_with_long_map(_join(parts)))
        assert decoded.numbers == list(range(60))
        assert decoded.decoder.decode_errors > 0

    def test_errors_beyond_the_budget_open_it_again(self) -> None:
        decoded = streams.decode(_join(*_with_bad_parts(1)))
        assert decoded.decoder.restarts == 1
        assert decoded.decoder.decode_errors >= 11
        assert decoded.numbers[:10] == list(range(10))
        assert decoded.numbers[-10:] == list(range(10))
        assert _grows(decoded.pts)

    def test_but_not_for_ever(self) -> None:
        with pytest.raises(SourceError, match=f"opened again {MAX_RESTARTS} times"):
            streams.decode(_join(*_with_bad_parts(MAX_RESTARTS + 1)))

    @pytest.mark.parametrize("seed", range(6))
    def test_bits_flipped_and_bytes_lost_everywhere(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        data = bytearray(_join(streams.make_stream(_times(90), audio="libopus")))
        for _ in range(40):
            at = int(random.integers(0, len(data)))
            if seed % 2:
                data[at] ^= 1 << int(random.integers(0, 8))
            else:
                del data[at : at + int(random.integers(1, 400))]
        decoded = streams.decode(bytes(data))
        assert len(decoded.pictures) > 20
        assert _grows(decoded.pts)
        assert _grows([sound.timestamp for sound in decoded.sounds])


class TestChanges:
    def test_size(self) -> None:
        sizes: list[tuple[int, int]] = []
        data = _join(
            streams.make_stream(_times(30), size=(128, 96)),
            streams.make_stream(_times(30, first=SECOND * 2), size=(320, 240), first_number=30),
        )
        decoded = streams.decode(data, on_open=lambda decoder: sizes.append((decoder.width, decoder.height)))
        assert decoded.numbers == list(range(60))
        assert decoded.pts == _times(60)
        assert sizes == [(128, 96), (320, 240)]
        assert {picture.pixels.shape for picture in decoded.pictures} == {(96, 96, 3)}

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({"audio": "libopus"}, {"audio": "aac"}),
            ({"audio": "aac"}, {"audio": "libopus"}),
            ({"audio": "aac"}, {}),
            ({}, {"audio": "libopus"}),
            ({}, {"video": "libx265"}),
            ({"video": "libx265", "audio": "aac"}, {"audio": "libopus"}),
        ],
    )
    def test_codec_or_tracks(self, before: dict[str, str], after: dict[str, str]) -> None:
        opened: list[tuple[str | None, bool]] = []
        data = _join(
            streams.make_stream(_times(30), **before),
            streams.make_stream(_times(30, first=SECOND * 2), first_number=30, **after),
        )
        decoded = streams.decode(data, on_open=lambda d: opened.append((d.codec, d.audio is not None)))
        assert decoded.numbers == list(range(60))
        assert decoded.pts == _times(60)
        assert [sound for _, sound in opened] == ["audio" in before, "audio" in after]
        assert [codec for codec, _ in opened] == ["hevc" if "video" in part else "h264" for part in (before, after)]
        assert decoded.decoder.restarts == 0
        if "audio" in before and "audio" in after:
            times = [sound.timestamp for sound in decoded.sounds]
            assert _grows(times)
            assert max(np.diff(times)) < 9000

    @pytest.mark.parametrize("audio", ["aac", "libopus"])
    def test_a_segment_that_the_server_gives_again_changes_nothing(self, audio: str) -> None:
        parts = streams.make_stream(_times(90), audio=audio)
        decoded = streams.decode(_join(parts[:60], parts[30:60], parts[60:]))
        assert decoded.numbers == list(range(90))
        assert decoded.pts == _times(90)
        assert decoded.decoder.dropped == {"timestamp": 30}
        assert _grows([sound.timestamp for sound in decoded.sounds])
        assert decoded.sounds[-1].timestamp == pytest.approx(_times(90)[-1], abs=9000)

    def test_another_program_beside_it_is_no_change(self) -> None:
        """Its map says other tracks, again and again."""
        tables = _table(0, 0x00, b"\0\1\xf0\0" + b"\0\2\xf0\1") + _table(0x1001, 0x02, b"\xe2\0\xf0\0\x1b\xe2\0\xf0\0")
        parts = streams.make_stream(_times(45))
        for part in range(0, 45, 5):
            parts[part] += tables
        opened: list[str | None] = []
        decoded = streams.decode(_join(parts), on_open=lambda decoder: opened.append(decoder.codec))
        assert decoded.numbers == list(range(45))
        assert opened == ["h264"]

    def test_a_wrap_of_the_timestamps(self) -> None:
        decoded = streams.decode(_join(streams.make_stream(_times(60, first=WRAP - 90_000), audio="aac")))
        assert decoded.numbers == list(range(60))
        assert decoded.pts == _times(60, first=WRAP - 90_000)
        times = [sound.timestamp for sound in decoded.sounds]
        assert times[-1] == pytest.approx(WRAP + 90_000, abs=6000)
        assert _grows(times)

    @pytest.mark.parametrize("first", [0, SECOND, 5000 * SECOND, WRAP - SECOND])
    def test_another_clock_goes_on_behind_the_old_one(self, first: int) -> None:
        old = streams.make_stream(_times(30, first=100 * SECOND), audio="aac")
        new = streams.make_stream(_times(60, first=first), first_number=30, audio="aac")
        decoded = streams.decode(_join(old, new))
        assert decoded.numbers == list(range(90))
        assert decoded.pts[:30] == _times(30, first=100 * SECOND)
        assert set(np.diff(decoded.pts[30:])) == {3000}
        assert 0 < decoded.pts[30] - decoded.pts[29] < 9000
        sounds = decoded.sounds
        assert _grows([sound.timestamp for sound in sounds])
        assert sounds[-1].timestamp == pytest.approx(decoded.pts[-1], abs=9000)


class TestEnds:
    def test_closing_the_pipe_ends_a_decoder_that_waits(self) -> None:
        pipe = BytePipe()
        items: list[Any] = []
        thread = threading.Thread(target=lambda: items.extend(InputDecoder(pipe, 64, 64, hardware="software")))
        thread.start()
        pipe.close()
        thread.join(60)
        assert not thread.is_alive()
        assert items == []

    def test_who_stops_iterating_leaves_nothing_open(self) -> None:
        if not Path("/proc/self/fd").exists():
            pytest.skip("open files are counted in /proc")
        data = _join(streams.make_stream(_times(20), audio="aac"))
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            items = iter(InputDecoder(streams.Source(data), 64, 64, hardware="software"))
            assert any(isinstance(item, RawFrame) for item in items)
            items.close()  # type: ignore[attr-defined]
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


def _table(pid: int, table: int, body: bytes) -> bytes:
    """A packet with one section."""
    section = bytes((table, 0xB0, 5 + len(body) + 4)) + b"\0\1\xc1\0\0" + body
    section += crc32(section).to_bytes(4, "big")
    return bytes((0x47, 0x40 | pid >> 8, pid & 0xFF, 0x10)) + (b"\0" + section).ljust(184, b"\xff")


def _with_long_map(data: bytes) -> bytes:
    """Each program map with so many descriptors that it goes on in a second packet."""
    out: list[bytes] = []
    for packet in _packets(data):
        if packet[1:3] != b"\x50\x00":
            out.append(packet)
            continue
        section = packet[5 : 8 + packet[7]]
        descriptors = bytes((0xFF, 200)) + bytes(200)
        length = len(descriptors)
        body = section[8:10] + bytes((0xF0 | length >> 8, length & 0xFF)) + descriptors + section[12:-4]
        whole = section[:2] + bytes((len(body) + 9,)) + section[3:8] + body
        whole = b"\0" + whole + crc32(whole).to_bytes(4, "big")
        out.append(bytes((0x47, 0x50, 0x00, 0x10)) + whole[:184])
        out.append(bytes((0x47, 0x10, 0x00, 0x10)) + whole[184:].ljust(184, b"\xff"))
    return _count_again(out)


def _with_bad_parts(count: int) -> list[list[bytes]]:
    """Good pictures, then so many times key frames whose inside is rubbish and good pictures again."""
    parts = [streams.make_stream(_times(10))]
    for number in range(count):
        first = SECOND * (2 + 2 * number)
        bad = streams.make_stream(_times(15, first=first), key_every=1)
        parts += [[_spoil(part) for part in bad], streams.make_stream(_times(10, first=first + SECOND), key_every=1)]
    return parts


def _spoil(part: bytes) -> bytes:
    """The slices of a picture made into units that no decoder knows what to do with; its packets stay whole."""
    spoilt = bytearray(part)
    at = -1
    while (at := spoilt.find(b"\0\0\1", at + 1)) >= 0:
        unit = spoilt[at + 3] & 0x1F
        if unit == 5:  # a slice of a key frame becomes one that refers to tables that there are not
            spoilt[at + 4 : at + 10] = b"\x80\x00\x01\x01\xff\xff"
    return bytes(spoilt)


def _packets(data: bytes) -> list[bytes]:
    return [data[at : at + 188] for at in range(0, len(data), 188)]


def _video_packet(packet: bytes) -> bool:
    return (packet[1] & 0x1F) << 8 | packet[2] == 0x100


def _split_pes(data: bytes) -> bytes:
    """Each picture in two PES packets, the second one without a time; counters put right."""
    out: list[bytes] = []
    since = 0
    for packet in _packets(data):
        if _video_packet(packet):
            since = 0 if packet[1] & 0x40 else since + 1
            if since == 2 and not packet[3] & 0x20:
                payload = packet[4:]
                for piece, head in ((payload[:90], b"\0\0\1\xe0\0\0\x80\0\0"), (payload[90:], b"")):
                    length = 183 - len(head + piece)
                    flag = 0x40 if head else 0
                    out.append(
                        bytes([0x47, packet[1] | flag, packet[2], 0x30, length, 0])
                        + b"\xff" * (length - 1)
                        + head
                        + piece
                    )
                continue
        out.append(packet)
    return _count_again(out)


def _stuff_within(data: bytes) -> bytes:
    """Stuffing in the middle of every long picture."""
    out: list[bytes] = []
    for packet in _packets(data):
        if _video_packet(packet) and not packet[1] & 0x40 and not packet[3] & 0x20:
            for piece in (packet[4:100], packet[100:]):
                length = 183 - len(piece)
                out.append(bytes([0x47, packet[1], packet[2], 0x30, length, 0]) + b"\xff" * (length - 1) + piece)
        else:
            out.append(packet)
    return _count_again(out)


def _count_again(packets: list[bytes]) -> bytes:
    counters: dict[int, int] = {}
    out = []
    for packet in packets:
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        counters[pid] = counters.get(pid, -1) + 1
        out.append(packet[:3] + bytes([packet[3] & 0xF0 | counters[pid] & 0x0F]) + packet[4:])
    return b"".join(out)
