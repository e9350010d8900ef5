from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

from runner.errors import SinkError
from runner.live.trickle.byte_pipe import BytePipe
from runner.live.trickle.codecs import choose_device, choose_encoder, hardware_setting
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.input_decoder import InputDecoder
from runner.live.trickle.pattern import TestPattern
from runner.live.trickle.segment_encoder import SegmentEncoder
from runner.live.trickle.sound_sync import MAX_WAITING, SoundSync
from runner.live.trickle.tracks import AudioFormat

from . import streams

pytestmark = pytest.mark.timeout(30)

STEREO = AudioFormat(44_100, "stereo")
CLOCK = Fraction(1, 90_000)
SECOND = 90_000
SIZE = (128, 96)


class Segments:
    """Keeps what an encoder writes, segment by segment.

    Attributes:
        open: numbers of those that were not closed.
        writes: how many bytes each write had.
    """

    def __init__(self, fail_at: int | None = None) -> None:
        self.data: list[bytes] = []
        self.open: set[int] = set()
        self.writes: list[int] = []
        self._fail_at = fail_at

    def __call__(self, number: int) -> Segment:
        assert number == len(self.data)
        self.data.append(b"")
        self.open.add(number)
        return Segment(self, number)

    def take(self, number: int, data: bytes) -> None:
        if len(self.writes) == self._fail_at:
            raise ConnectionResetError("peer has gone")
        self.data[number] += data
        self.writes.append(len(data))

    @property
    def whole(self) -> bytes:
        return b"".join(self.data)


class Segment:
    def __init__(self, segments: Segments, number: int) -> None:
        self._segments = segments
        self._number = number

    def write(self, data: bytes) -> None:
        assert self._number in self._segments.open
        self._segments.take(self._number, data)

    def close(self) -> None:
        self._segments.open.remove(self._number)


def _encoder(segments: Segments, audio: AudioFormat | None = None, **options: Any) -> SegmentEncoder:
    return SegmentEncoder(segments, audio, 30.0, **{"hardware": "software", **options})


def _frames(pts: Iterable[int], size: tuple[int, int] = SIZE, time_base: Fraction = CLOCK) -> list[RawFrame]:
    pattern = TestPattern(*size)
    return [RawFrame(pattern.picture(number), at, time_base) for number, at in enumerate(pts)]


def _sound(begin_s: float, rate: int = 44_100, samples: int = 1024) -> AudioFrame:
    first = round(begin_s * rate)
    wave = np.sin(np.arange(first, first + samples, dtype=np.float32) * 0.05) * 0.3
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
    frame.sample_rate, frame.time_base, frame.pts = rate, CLOCK, round(begin_s * SECOND)
    return AudioFrame(frame)


def _write(encoder: SegmentEncoder, frames: Iterable[RawFrame | AudioFrame]) -> list[bool]:
    written = [encoder.write(frame) for frame in frames]
    encoder.finish()
    return written


class Packet(NamedTuple):
    kind: str
    pts: int | None
    is_key: bool


def _packets(data: bytes) -> list[Packet]:
    """What FFmpeg reads, as a player would."""
    options = {"correct_ts_overflow": "0"}
    with av.open(io.BytesIO(data), format="mpegts", options=options) as container:
        return [Packet(p.stream.type, p.pts, p.is_keyframe) for p in container.demux() if p.size]


def _video(data: bytes) -> list[Packet]:
    return [packet for packet in _packets(data) if packet.kind == "video"]


class TestPictures:
    @pytest.mark.parametrize(
        ("pts", "time_base"),
        [
            (range(0, 90 * 3000, 3000), CLOCK),
            (range(7 * SECOND + 1, 7 * SECOND + 90 * 3003, 3003), CLOCK),
            ([90_000, 90_001, 90_003, 93_000, 200_000, 999_999], CLOCK),
            (range(60), Fraction(1, 30)),
            (range(0, 60_000, 1001), Fraction(1, 24_000)),
            (range(2**33 - 90_000, 2**33 + 90_000, 3000), CLOCK),
        ],
    )
    def test_come_back_with_exactly_their_times(self, pts: Iterable[int], time_base: Fraction) -> None:
        segments = Segments()
        encoder = _encoder(segments)
        assert all(_write(encoder, _frames(pts, time_base=time_base)))
        decoded = streams.decode(segments.whole)
        expected = [round(at * time_base * SECOND) for at in pts]
        assert decoded.pts == expected
        assert decoded.numbers == list(range(len(expected)))
        assert encoder.pictures == len(expected)
        assert [packet.pts for packet in _video(segments.whole)] == [at % 2**33 for at in expected]

    def test_each_segment_begins_two_seconds_after_the_last_and_decodes_by_itself(self) -> None:
        segments = Segments()
        encoder = _encoder(segments, STEREO)
        times = list(range(SECOND, SECOND + 180 * 3000, 3000))
        frames: list[RawFrame | AudioFrame] = []
        for frame in _frames(times):
            frames += [_sound(frame.time_s), frame]
        _write(encoder, frames)
        assert (encoder.segments, len(segments.data), segments.open) == (3, 3, set())
        for number, data in enumerate(segments.data):
            assert data[1:3] == b"\x40\x00"  # the program tables come first
            decoded = streams.decode(data)
            assert decoded.pts == times[number * 60 : number * 60 + 60]
            assert decoded.numbers == list(range(number * 60, number * 60 + 60))
            assert _video(data)[0].is_key
            assert decoded.decoder.audio == AudioFormat(48_000, "mono")

    def test_segments_are_one_continuous_stream(self) -> None:
        segments = Segments()
        _write(
            _encoder(segments, STEREO, segment_s=0.5),
            itertools.chain.from_iterable(
                (_sound(f.time_s), f) for f in _frames(range(0, 90 * 3000, 3000), (320, 240))
            ),
        )
        assert len(segments.data) == 6
        counters: dict[int, int] = {}
        whole = segments.whole
        assert len(whole) % 188 == 0
        for at in range(0, len(whole), 188):
            packet = whole[at : at + 188]
            assert packet[0] == 0x47
            pid = (packet[1] & 0x1F) << 8 | packet[2]
            counter = packet[3] & 0x0F
            assert counter == counters.get(pid, counter)
            counters[pid] = counter + 1 & 0x0F
        assert len(_video(whole)) == 90

    def test_key_frames_follow_presentation_time_not_numbers(self) -> None:
        segments = Segments()
        times = [0, 1000, 3 * SECOND, 4 * SECOND, 5 * SECOND - 1, 5 * SECOND, 60 * SECOND]
        _write(_encoder(segments), _frames(times))
        assert [_video(data)[0].pts for data in segments.data] == [0, 3 * SECOND, 5 * SECOND, 60 * SECOND]

    def test_all_of_a_picture_is_written_before_the_next_one_comes(self) -> None:
        segments = Segments()
        encoder = _encoder(segments, STEREO)
        for number, frame in enumerate(_frames(range(0, 40 * 3000, 3000))):
            encoder.write(_sound(frame.time_s))
            encoder.write(frame)
            assert streams.decode(segments.whole).numbers == list(range(number + 1))

    def test_a_large_picture_has_no_length_and_a_small_one_has(self) -> None:
        segments = Segments()
        noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
        frames = [RawFrame(noise, 0, CLOCK), *_frames([3000, 6000], (640, 480))]
        _write(_encoder(segments), frames)
        assert max(segments.writes) > 100_000
        assert [packet.pts for packet in _video(segments.whole)] == [0, 3000, 6000]

    def test_times_that_do_not_grow_are_left_out(self) -> None:
        segments = Segments()
        encoder = _encoder(segments)
        assert _write(encoder, _frames([0, 3000, 3000, 1000, 6000])) == [True, True, False, False, True]
        assert encoder.pictures == 3

    def test_another_size_begins_a_segment(self) -> None:
        segments = Segments()
        small, large = _frames(range(0, 30_000, 3000)), _frames(range(30_000, 60_000, 3000), (320, 240))
        encoder = _encoder(segments)
        assert all(_write(encoder, [*small, *large]))
        assert encoder.segments == 2
        decoded = streams.decode(segments.whole)
        assert decoded.pts == list(range(0, 60_000, 3000))
        assert (decoded.decoder.width, decoded.decoder.height) == (320, 240)

    def test_odd_sizes_lose_a_row_and_a_column(self) -> None:
        segments = Segments()
        _write(_encoder(segments), _frames(range(0, 9000, 3000), (129, 97)))
        assert streams.decode(segments.whole).decoder.width == 128

    def test_colours_are_kept(self) -> None:
        segments = Segments()
        colour = np.full((720, 1280, 3), (200, 30, 90), np.uint8)
        _write(_encoder(segments), [RawFrame(colour, number * 3000, CLOCK) for number in range(3)])
        assert np.abs(streams.decode(segments.whole).pictures[-1].pixels.astype(int) - colour[0, 0]).max() <= 4


class TestSound:
    def _both(self, seconds: float, *, sound_from: float = 0.0, rate: int = 44_100) -> list[RawFrame | AudioFrame]:
        frames: list[RawFrame | AudioFrame] = list(_frames(range(SECOND, SECOND + int(seconds * 30) * 3000, 3000)))
        frames += [_sound(1 + sound_from + n * 1024 / rate, rate) for n in range(int(seconds * rate / 1024))]
        return sorted(frames, key=lambda f: f.time_s if isinstance(f, RawFrame) else float(f.timestamp * f.time_base))

    @pytest.mark.parametrize("rate", [44_100, 48_000, 22_050])
    def test_stays_in_step(self, rate: int) -> None:
        segments = Segments()
        _write(_encoder(segments, STEREO), self._both(3, rate=rate))
        decoded = streams.decode(segments.whole)
        sounds = decoded.sounds
        assert sum(sound.nb_samples for sound in sounds) == pytest.approx(3 * 48_000, rel=0.03)
        assert sounds[0].timestamp == pytest.approx(SECOND, abs=700)
        gaps = np.diff([sound.timestamp for sound in sounds])
        assert gaps.min() > 0
        assert gaps.max() < 2000
        wave = np.concatenate([np.asarray(sound.samples, float).mean(axis=0) for sound in sounds])
        crossings = np.count_nonzero(np.diff(np.signbit(wave[4800:-4800])))
        assert crossings == pytest.approx(0.05 * rate / np.pi * (len(wave) - 9600) / 48_000, rel=0.02)

    def test_keeps_its_place_over_a_gap(self) -> None:
        segments = Segments()
        frames = [f for f in self._both(4) if isinstance(f, RawFrame) or not 2 < float(f.timestamp * f.time_base) < 3.5]
        _write(_encoder(segments, STEREO), frames)
        times = [sound.timestamp / SECOND for sound in streams.decode(segments.whole).sounds]
        assert max(np.diff(times)) == pytest.approx(1.5, abs=0.06)
        assert times[-1] == pytest.approx(5, abs=0.1)

    def test_no_segment_begins_before_the_first_picture(self) -> None:
        segments = Segments()
        encoder = _encoder(segments, STEREO)
        for number in range(20):
            assert encoder.write(_sound(1 + number * 1024 / 44_100))
        assert segments.data == []
        encoder.write(_frames([SECOND])[0])
        encoder.finish()
        assert segments.data[0][2 * 188 + 1 : 2 * 188 + 3] == b"\x41\x00"  # behind the tables, the picture
        assert sum(packet.kind == "audio" for packet in _packets(segments.whole)) > 15

    def test_far_off_sound_stops_no_picture(self) -> None:
        for offset in (-30.0, 30.0):
            segments = Segments()
            encoder = _encoder(segments, STEREO)
            frames = self._both(4, sound_from=offset)
            _write(encoder, frames)
            assert streams.decode(segments.whole).numbers == list(range(120))
            assert sum(encoder.dropped.values()) > 50

    def test_without_a_track_it_is_left_out(self) -> None:
        segments = Segments()
        encoder = _encoder(segments)
        assert not encoder.write(_sound(0))
        _write(encoder, _frames([0, 3000]))
        assert {packet.kind for packet in _packets(segments.whole)} == {"video"}

    def test_held_sound_is_bounded(self) -> None:
        sync = SoundSync()
        for number in range(MAX_WAITING + 50):
            assert sync.put(_sound(number * 0.02)) == []
        assert sync.dropped == {"sound_early": 50}
        released = sync.picture(4.0)
        assert [float(s.timestamp * s.time_base) for s in released] == pytest.approx([2 + n * 0.02 for n in range(50)])
        assert sync.dropped == {"sound_early": 50, "sound_late": 50}

    def test_sound_ahead_waits_for_its_picture(self) -> None:
        sync = SoundSync()
        sync.picture(1.0)
        assert len(sync.put(_sound(3.0))) == 1
        assert sync.put(_sound(3.1)) == []
        assert len(sync.picture(1.2)) == 1
        assert sync.dropped == {}


class TestEnds:
    def test_without_a_picture_there_is_nothing(self) -> None:
        segments = Segments()
        encoder = _encoder(segments, STEREO)
        encoder.write(_sound(0))
        encoder.finish()
        encoder.finish()
        assert (segments.data, encoder.segments) == ([], 0)

    def test_aborting_closes_the_segment(self) -> None:
        segments = Segments()
        encoder = _encoder(segments)
        encoder.write(_frames([0])[0])
        assert segments.open == {0}
        encoder.abort()
        encoder.abort()
        encoder.finish()
        assert segments.open == set()
        assert not encoder.write(_frames([0, 3000])[1])

    def test_a_sink_that_fails_is_told_in_words(self) -> None:
        segments = Segments(fail_at=3)
        encoder = _encoder(segments)
        with pytest.raises(SinkError, match="cannot be written: peer has gone"):
            _write(encoder, _frames(range(0, 90_000, 3000)))
        encoder.abort()
        assert segments.open == set()

    def test_pictures_of_nothing_are_refused(self) -> None:
        with pytest.raises(SinkError, match="at least 2x2"):
            _encoder(Segments()).write(RawFrame(np.zeros((1, 40, 3), np.uint8), 0, CLOCK))


class TestRoundTrip:
    async def test_each_picture_is_decoded_when_it_is_encoded(self) -> None:
        """Encoder to decoder, one picture in flight: nothing may wait for the next one, with sound or without."""
        parts: list[bytes] = []
        segments = Segments()
        encoder = _encoder(segments, STEREO)
        done = 0
        for frame in _frames(range(SECOND, SECOND + 75 * 3000, 3000)):
            encoder.write(_sound(frame.time_s))
            encoder.write(frame)
            parts.append(segments.whole[done:])
            done = len(segments.whole)
        encoder.abort()
        live = streams.Live()
        await live.feed(parts, lambda sent: sent)
        assert live.pts == list(range(SECOND, SECOND + 75 * 3000, 3000))
        assert sum(live.held) == 0


class TestHardware:
    def test_the_environment_says_what_is_wanted(self) -> None:
        assert hardware_setting({}) == "auto"
        assert hardware_setting({"TRICKLE_HARDWARE": " Software "}) == "software"
        with pytest.raises(Exception, match="TRICKLE_HARDWARE is 'yes'; it can be auto, hardware, software"):
            hardware_setting({"TRICKLE_HARDWARE": "yes"})

    def test_software_can_be_forced(self) -> None:
        assert choose_encoder("software") == "libx264"
        assert choose_device("software") is None

    def test_what_there_is_not_falls_back_or_is_said(self) -> None:
        if choose_encoder("auto") == "h264_nvenc":
            pytest.skip("this machine has a GPU that encodes")
        assert _encoder(Segments(), hardware="auto").encoder == "libx264"
        with pytest.raises(SinkError, match=r"h264_nvenc\) does not work here: .+ TRICKLE_HARDWARE=auto"):
            _encoder(Segments(), hardware="hardware")
        pipe = BytePipe()
        pipe.end()
        with pytest.raises(Exception, match=r"cuda\) does not work here: .+ TRICKLE_HARDWARE=auto"):
            list(InputDecoder(pipe, 64, 64, hardware="hardware"))

    @pytest.mark.skipif(choose_encoder("auto") != "h264_nvenc", reason="needs a GPU that encodes")
    def test_in_hardware_it_is_the_same_stream(self) -> None:
        segments = Segments()
        encoder = SegmentEncoder(segments, None, 30.0, hardware="hardware")
        _write(encoder, _frames(range(0, 150 * 3000, 3000), (256, 256)))
        decoded = streams.decode(segments.whole, hardware="hardware")
        assert decoded.decoder.decoder == "h264 (cuda)"
        assert decoded.numbers == list(range(150))
        assert encoder.segments == 3
