from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import SinkError, SourceError, StreamError
from runner.live.process.ring import FrameRing
from runner.live.streamer.protocol import camera, media_source, pipe_source
from runner.live.streamer.protocol.local import LocalProtocol
from runner.live.streamer.protocol.protocol import StreamRequest
from runner.live.trickle.decoder import Decoder, Location
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.pattern import TestPattern, read_frame_number

from . import streams


@asynccontextmanager
async def _stream(
    source: str | Path, size: tuple[int, int] = (256, 256), **fields: Any
) -> AsyncIterator[LocalProtocol]:
    protocol = LocalProtocol(StreamRequest(str(source), **fields))
    await protocol.open(*size)
    try:
        yield protocol
    finally:
        await protocol.close()


async def _run(source: str | Path, **fields: Any) -> tuple[list[RawFrame], list[AudioFrame], LocalProtocol]:
    """A whole stream: every frame goes straight to the sink."""
    pictures: list[RawFrame] = []
    sounds: list[AudioFrame] = []
    async with _stream(source, **fields) as protocol:
        async for frame in protocol.frames():
            if isinstance(frame, RawFrame):
                pictures.append(frame)
            else:
                sounds.append(frame)
            await protocol.put(frame)
        await protocol.finish()
    return pictures, sounds, protocol


def _read(path: Path) -> tuple[list[RawFrame], list[AudioFrame]]:
    items = list(Decoder(Location(f"file:{path}", path.name), 256, 256))
    return [i for i in items if isinstance(i, RawFrame)], [i for i in items if isinstance(i, AudioFrame)]


def _numbers(pictures: list[RawFrame]) -> list[int | None]:
    return [read_frame_number(picture.pixels) for picture in pictures]


async def _threads_end() -> None:
    """Fails when a thread of a stream is still there after a generous time."""
    for _ in range(500):
        names = [t.name for t in threading.enumerate() if t.name.startswith(("source reader", "encoder"))]
        if not names:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"still running: {names}")


OFFLINE = {"policy": "lossless", "paced": False}


class TestFiles:
    async def test_a_file_to_a_file_loses_nothing(self, clip: Path, tmp_path: Path) -> None:
        out = tmp_path / "out.mp4"
        _, sounds, protocol = await _run(clip, sink=str(out), **OFFLINE)
        before, after = _read(clip), _read(out)
        assert _numbers(after[0]) == list(range(60))
        assert [p.pts * p.time_base for p in after[0]] == [p.pts * p.time_base for p in before[0]]
        assert [s.timestamp * s.time_base for s in after[1]][: len(sounds)] == [
            s.timestamp * s.time_base for s in sounds
        ]
        statistics = protocol.statistics
        assert (statistics.frames_in, statistics.frames_out) == (60, 60)
        assert (statistics.damage.decode_errors, statistics.dropped) == (0, {})

    async def test_uneven_timestamps_go_through(self, uneven: tuple[Path, list[int]], tmp_path: Path) -> None:
        path, pts = uneven
        await _run(path, sink=str(tmp_path / "out.mp4"), **OFFLINE)
        pictures, _ = _read(tmp_path / "out.mp4")
        assert [p.pts * p.time_base for p in pictures] == [Fraction(at, 90_000) for at in pts]

    async def test_frames_without_a_timestamp_get_one_from_their_neighbours(self, tmp_path: Path) -> None:
        parts = streams.make_stream(range(0, 135_000, 3000), key_every=1)
        parts[20:30] = map(streams.without_time, parts[20:30])
        path = tmp_path / "clip.ts"
        path.write_bytes(b"".join(parts))
        pictures, _, protocol = await _run(path, **OFFLINE)
        assert _numbers(pictures) == list(range(45))
        times = [picture.pts for picture in pictures]
        assert {after - before for before, after in itertools.pairwise(times)} == {3000}
        statistics = protocol.statistics
        assert (statistics.frames_in, statistics.dropped) == (45, {})

    async def test_says_what_the_source_is(self, clip: Path) -> None:
        async with _stream(clip, max_seconds=1.0) as protocol:
            info = protocol.info
        assert (info.name, info.width, info.height, info.fps) == ("clip.mp4", 640, 360, 30.0)
        assert (info.frames, info.audio, info.live, info.codec) == (30, True, False, "h264")
        assert info.duration_s == pytest.approx(2.0, abs=0.1)

    async def test_frames_are_numbered_and_stamped(self, clip: Path) -> None:
        pictures, _, _ = await _run(clip, **OFFLINE)
        assert [picture.seq for picture in pictures] == list(range(60))
        stamps = [picture.stamps["captured"] for picture in pictures]
        assert stamps == sorted(stamps)

    async def test_paced_and_newest_shows_every_picture_to_who_keeps_up(self, transport_stream: Path) -> None:
        pictures, sounds, protocol = await _run(transport_stream, max_seconds=1.0)
        dropped = protocol.statistics.dropped.get("source", 0)
        assert len(pictures) + dropped == 30
        assert len(sounds) == pytest.approx(43, abs=2)

    async def test_who_is_slow_gets_the_newest(self, clip: Path) -> None:
        seen = []
        async with _stream(clip, policy="newest", paced=False) as protocol:
            async for frame in protocol.frames():
                if isinstance(frame, RawFrame):
                    seen.append(frame.seq)
                    await asyncio.sleep(0.03)
            statistics = protocol.statistics
        assert seen == sorted(set(seen))
        assert seen[-1] == 59
        assert statistics.frames_in == len(seen)
        assert statistics.frames_in + statistics.dropped["source"] == 60

    @pytest.mark.parametrize("policy", ["newest", "lossless"])
    async def test_max_frames_counts_what_is_handed_on(self, clip: Path, policy: str) -> None:
        pictures, _, protocol = await _run(clip, policy=policy, paced=False, loop=True, max_frames=100)
        assert len(pictures) == protocol.statistics.frames_in == 100

    async def test_max_frames_does_not_count_what_was_superseded_in_front_of_the_pipeline(self, clip: Path) -> None:
        pictures = []
        async with _stream(clip, paced=False, loop=True, max_frames=20) as protocol:
            async for frame in protocol.frames():
                if isinstance(frame, RawFrame):
                    pictures.append(frame)
                    protocol.superseded(len(pictures) in (3, 19, 20, 23))  # the last ones too
        assert len(pictures) == 24

    async def test_sound_ends_with_the_last_picture(self, clip: Path) -> None:
        pictures, sounds, _ = await _run(clip, max_frames=20, **OFFLINE)
        assert len(pictures) == 20
        last = sounds[-1]
        assert float(last.timestamp * last.time_base) + 1024 / 44_100 == pytest.approx(20 / 30, abs=0.03)

    async def test_a_loop_goes_on_growing(self, clip: Path, tmp_path: Path) -> None:
        out = tmp_path / "out.mp4"
        await _run(clip, sink=str(out), loop=True, max_frames=150, **OFFLINE)
        pictures, _ = _read(out)
        assert _numbers(pictures) == [*range(60), *range(60), *range(30)]
        assert np.diff([p.pts for p in pictures]).min() > 0

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("missing.mp4", None, "missing.mp4 does not exist"),
            ("folder", "", "folder is a folder"),
            ("empty.mp4", b"", "empty.mp4 is empty"),
            ("text.mp4", b"just words\n" * 100, "text.mp4 is not a media file"),
            ("text.txt", b"just words\n" * 100, "text.txt (is not a media file|has no video track)"),
            ("short.mp4", b"\0\0\0\x18ftypisom", "short.mp4 is not a media file"),
        ],
    )
    async def test_what_is_no_video_is_said(self, tmp_path: Path, name: str, content: Any, message: str) -> None:
        path = tmp_path / name
        if content == "":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(SourceError, match=message):
            await _run(path)
        await _threads_end()

    async def test_sound_alone_is_refused(self, sound_only: Path) -> None:
        with pytest.raises(SourceError, match="has no video track"):
            await _run(sound_only)

    async def test_no_permission_is_said(self, clip: Path, as_nobody: Any) -> None:
        with as_nobody(clip), pytest.raises(SourceError, match="no permission for this file"):
            await _run(clip)

    async def test_a_name_with_a_colon_is_a_file(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "take: 2.mp4"
        path.write_bytes(clip.read_bytes())
        pictures, _, _ = await _run(path, max_frames=3, **OFFLINE)
        assert len(pictures) == 3

    async def test_a_damaged_file_ends_with_its_message_after_the_good_part(self, clip: Path, tmp_path: Path) -> None:
        data = bytearray(clip.read_bytes())
        noise = np.random.default_rng(5).integers(0, 256, len(data), np.uint8).tobytes()
        begin, end = len(data) // 3, data.rindex(b"moov") - 8
        data[begin:end] = noise[begin:end]
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(data)
        async with _stream(damaged, **OFFLINE) as protocol:
            with pytest.raises(SourceError, match=r"damaged\.mp4: 11 frames in a row could not be decoded"):
                await _consume(protocol)
            assert protocol.statistics.frames_in >= 5
            assert protocol.statistics.damage.decode_errors >= 11


class TestPatterns:
    async def test_every_picture_has_its_number(self) -> None:
        pictures, _, protocol = await _run("pattern:512x512@30", max_frames=40, **OFFLINE)
        assert _numbers(pictures) == list(range(40))
        assert [p.pts * p.time_base for p in pictures] == [Fraction(n, 30) for n in range(40)]
        assert (protocol.info.frames, protocol.info.fps, protocol.info.live) == (40, 30.0, False)

    async def test_without_a_size_it_is_the_streams(self) -> None:
        pictures, _, protocol = await _run("pattern:@25", size=(320, 240), max_seconds=0.4, **OFFLINE)
        assert (protocol.info.width, protocol.info.height, len(pictures)) == (320, 240, 10)
        assert pictures[0].pixels.shape == (240, 320, 3)

    @pytest.mark.parametrize(
        "text", ["pattern:big", "pattern:0x0", "pattern:512x512@0", "pattern:9000x9000", "pattern:@999"]
    )
    async def test_a_wrong_text_is_explained(self, text: str) -> None:
        with pytest.raises(SourceError, match=f"{text}.*(not understood|is possible)"):
            await _run(text)


class TestUrls:
    @pytest.fixture
    def server(self, clip: Path) -> Iterator[str]:
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(clip.parent)))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
        thread.join()

    async def test_http_is_read_and_its_credentials_are_not_shown(
        self, server: str, media: Path, write_video: Any
    ) -> None:
        write_video(media / "web.mp4", container_options={"movflags": "faststart"})
        url = f"http://user:secret@{server}/web.mp4?token=hidden"
        pictures, _, protocol = await _run(url, **OFFLINE)
        assert _numbers(pictures) == list(range(60))
        assert protocol.info.name == f"http://{server}/web.mp4?…"
        assert not protocol.info.live

    async def test_a_wrong_address_is_said_without_credentials(self, server: str) -> None:
        with pytest.raises(SourceError) as caught:
            await _run(f"http://user:secret@{server}/missing.mp4")
        assert str(caught.value) == f"http://{server}/missing.mp4: the server has nothing at this address (404)"
        assert caught.value.__cause__ is None

    async def test_no_server_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for scheme in ("http", "rtsp"):
            with pytest.raises(SourceError, match="refused; is the server running"):
                await _run(f"{scheme}://user:secret@127.0.0.1:{port}/x")

    async def test_an_unknown_protocol_is_said(self) -> None:
        with pytest.raises(SourceError, match="gopherx:// is not a protocol"):
            await _run("gopherx://somewhere/x")

    async def test_a_server_without_an_answer_is_not_waited_for_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(media_source, "OPEN_TIMEOUT_S", 0.2)
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            pytest.raises(SourceError, match=r"no answer within 0\.2 s"),
        ):
            await _run(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        await _threads_end()

    async def test_a_stream_that_stalls_breaks_off(
        self, transport_stream: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(media_source, "READ_TIMEOUT_S", 1.0)
        async with _half_server(transport_stream) as url, _stream(url, policy="lossless") as protocol:
            assert protocol.info.live
            with pytest.raises(SourceError, match=r"has sent nothing for 1 s"):
                await _consume(protocol)
            assert 0 < protocol.statistics.frames_in < 60

    async def test_closing_does_not_wait_for_a_stalled_read(self, transport_stream: Path) -> None:
        async with _half_server(transport_stream) as url, _stream(url, policy="lossless") as protocol:
            reading = asyncio.create_task(_consume(protocol))
            while protocol.statistics.frames_in < 5:
                await asyncio.sleep(0.01)
            await asyncio.wait_for(protocol.close(), 60)
            await asyncio.wait_for(reading, 60)
        # The server is gone now, so the read ends too, and with it the thread.
        await _threads_end()


async def _consume(protocol: LocalProtocol) -> None:
    async for _ in protocol.frames():
        pass


async def _put_all(protocol: LocalProtocol, pictures: list[RawFrame]) -> None:
    for picture in pictures:
        await protocol.put(picture)
    await protocol.finish()


@asynccontextmanager
async def _half_server(path: Path) -> AsyncIterator[str]:
    """An HTTP server that sends three quarters of a file as an endless stream, and then nothing."""
    data = path.read_bytes()
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + data[: len(data) * 3 // 4])
        await writer.drain()
        await done.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/live.ts"
    finally:
        done.set()
        server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="device nodes of Linux")
class TestPipes:
    async def test_every_frame_is_read_once(self, transport_stream: Path, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_bytes(transport_stream.read_bytes()))
        writer.start()
        pictures, _, protocol = await _run(pipe, loop=True, **OFFLINE)
        writer.join()
        assert _numbers(pictures) == _numbers(_read(transport_stream)[0])
        assert (protocol.info.frames, protocol.info.name) == (None, str(pipe))
        await _threads_end()

    async def test_a_pipe_without_a_path_of_its_own(self, transport_stream: Path) -> None:
        with subprocess.Popen(["cat", transport_stream], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            path = f"/proc/{os.getpid()}/fd/{writer.stdout.fileno()}"
            pictures, _, protocol = await _run(path, **OFFLINE)
        assert len(pictures) == len(_read(transport_stream)[0])
        assert protocol.info.name == f"/dev/fd/{path.rpartition('/')[2]}"

    async def test_a_writer_that_pauses_is_waited_for_and_the_silence_is_known(
        self, transport_stream: Path, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        data, silent = transport_stream.read_bytes(), threading.Event()

        def write() -> None:
            with pipe.open("wb", buffering=0) as writer:
                writer.write(data[: len(data) // 2])
                assert silent.wait(60)
                writer.write(data[len(data) // 2 :])

        writer = threading.Thread(target=write)
        writer.start()
        async with _stream(pipe, **OFFLINE) as protocol:

            async def watch() -> None:
                while protocol.silent_s < 0.05:
                    await asyncio.sleep(0.01)
                silent.set()

            watching = asyncio.create_task(watch())
            pictures = [frame async for frame in protocol.frames() if isinstance(frame, RawFrame)]
            await watching
        writer.join()
        assert _numbers(pictures) == _numbers(_read(transport_stream)[0])

    async def test_a_pipe_that_nobody_writes_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pipe_source, "_WRITER_LIMIT_S", 0.1)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with pytest.raises(SourceError, match=r"pipe: nothing was written to this pipe for 0.1 s"):
            await _run(pipe)
        await _threads_end()

    @pytest.mark.parametrize("content", [b"", b"no video in here" * 1000])
    async def test_what_is_no_stream(self, content: bytes, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        threading.Thread(target=lambda: pipe.write_bytes(content)).start()
        with pytest.raises(SourceError, match="pipe: not a media stream, or one that needs seeking"):
            await _run(pipe)

    async def test_it_changes_its_size_without_being_opened_again(self, transport_stream: Path, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_bytes(transport_stream.read_bytes()))
        writer.start()
        async with _stream(pipe, **OFFLINE) as protocol:
            assert protocol.resize(128, 64)
            shapes = [frame.pixels.shape async for frame in protocol.frames() if isinstance(frame, RawFrame)]
        writer.join()
        assert set(shapes[1:]) == {(64, 128, 3)}  # the first one was decoded when it was opened


class TestCameras:
    @pytest.mark.parametrize("text", ["device:/dev/video97", "device:97"])
    async def test_no_such_camera_says_which_there_are(self, text: str) -> None:
        there_is = "There is: /dev/video" if camera.list_cameras() else "No camera is connected"
        with pytest.raises(SourceError, match=f"There is no camera /dev/video97. {there_is}"):
            await _run(text)

    async def test_no_camera_of_that_name(self) -> None:
        with pytest.raises(SourceError, match="There is no camera named 'Obscura 3000'"):
            await _run("device:Obscura 3000")

    @pytest.mark.parametrize("node", ["/dev/null", "/dev/zero"])
    async def test_a_node_that_is_no_camera(self, node: str) -> None:
        with pytest.raises(SourceError, match=f"{node} is not a camera"):
            await _run(f"device:{node}")

    async def test_no_permission_names_the_way_out(self, tmp_path: Path, as_nobody: Any) -> None:
        node = tmp_path / "video0"
        node.touch()
        with as_nobody(node), pytest.raises(SourceError, match=r"No permission to use camera .*usermod -aG video"):
            await _run(f"device:{node}")

    async def test_a_real_camera_gives_pictures(self) -> None:
        if not camera.list_cameras():
            pytest.skip("this machine has no camera")
        pictures, _, protocol = await _run("device:0", max_frames=3)
        assert protocol.info.live
        assert len(pictures) == 3


_RING_WRITER = """
import sys, time
from runner.live.process.ring import TapWriter
from runner.live.trickle.pattern import TestPattern

pattern, tap = TestPattern(320, 240), TapWriter()
for number in range(10_000):
    if tap.write(pattern.frame(number)):
        print(tap.ring.name, flush=True)
    time.sleep(0.005)
"""


class TestSharedMemory:
    async def test_pictures_come_until_their_writer_is_killed(self) -> None:
        writer = subprocess.Popen([sys.executable, "-c", _RING_WRITER], stdout=subprocess.PIPE, text=True)
        try:
            assert writer.stdout is not None
            ring = await asyncio.to_thread(writer.stdout.readline)
            numbers = []
            async with _stream(f"shm:{ring.strip()}", size=(240, 240)) as protocol:
                assert (protocol.info.width, protocol.info.height, protocol.info.live) == (320, 240, True)
                async for frame in protocol.frames():
                    assert isinstance(frame, RawFrame)
                    numbers.append((read_frame_number(frame.pixels), frame.pts))
                    if len(numbers) == 20:
                        writer.kill()
        finally:
            writer.kill()
            writer.communicate()
        assert len(numbers) >= 20
        assert all(number == pts for number, pts in numbers)
        assert numbers == sorted(set(numbers))

    async def test_a_ring_that_is_closed_and_its_name_taken_again_ends(self) -> None:
        ring = FrameRing.create(3, 64, 64)
        ring.write(0, TestPattern(64, 64).frame(7))
        seen = []
        async with _stream(f"shm:{ring.name}", size=(64, 64)) as protocol:
            async for frame in protocol.frames():
                assert isinstance(frame, RawFrame)
                seen.append(frame.pts)
                ring.close()
                other = FrameRing.create(3, 64, 64)
        other.close()
        assert seen == [7]

    @pytest.mark.parametrize(
        ("name", "message"), [("/proc/self/fd/987654", "does not exist"), (__file__, "is not a ring")]
    )
    async def test_what_is_no_ring_is_said(self, name: str, message: str) -> None:
        with pytest.raises(SourceError, match=message):
            await _run(f"shm:{name}")


class TestSinks:
    async def test_a_bad_sink_is_said_at_once(self, clip: Path, tmp_path: Path) -> None:
        for sink in ("out.xyz", "missing/out.mp4"):
            with pytest.raises(SinkError):
                await _run(clip, sink=str(tmp_path / sink))
        await _threads_end()
        assert list(tmp_path.iterdir()) == []

    async def test_an_encoder_that_cannot_keep_up_is_waited_for(self, tmp_path: Path) -> None:
        out = tmp_path / "out.mp4"
        pattern = TestPattern(640, 480)
        async with _stream("pattern:", sink=str(out)) as protocol:
            for number in range(120):
                await protocol.put(pattern.frame(number))
            await protocol.finish()
            statistics = protocol.statistics
        written = [picture.pts * picture.time_base * 30 for picture in _read(out)[0]]
        assert (statistics.frames_out, statistics.dropped) == (120, {})
        assert written == list(range(120))

    async def test_pixels_may_be_reused_after_put(self, tmp_path: Path) -> None:
        out = tmp_path / "out.mp4"
        pattern = TestPattern(256, 256)
        slot = np.zeros((256, 256, 3), np.uint8)
        async with _stream("pattern:", sink=str(out), policy="lossless") as protocol:
            for number in range(30):
                slot[:] = pattern.picture(number)
                await protocol.put(RawFrame(slot, number, Fraction(1, 30)))
                slot[:] = 0
            await protocol.finish()
        assert _numbers(_read(out)[0]) == list(range(30))

    async def test_repeated_timestamps_are_counted(self, tmp_path: Path) -> None:
        pattern = TestPattern(64, 64)
        async with _stream("pattern:", sink=str(tmp_path / "out.mp4"), policy="lossless") as protocol:
            for number in (0, 1, 1, 2):
                await protocol.put(pattern.frame(number))
            await protocol.finish()
            assert (protocol.statistics.frames_out, protocol.statistics.dropped) == (3, {"timestamp": 1})

    async def test_a_failing_sink_raises_and_leaves_nothing(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        pattern = TestPattern(64, 64)
        async with _stream("pattern:", sink=str(folder / "out.mp4"), policy="lossless") as protocol:
            await protocol.put(pattern.frame(0))
            for entry in folder.iterdir():
                entry.unlink()
            folder.rmdir()
            with pytest.raises(StreamError, match=r"out\.mp4 cannot be written"):
                await _put_all(protocol, [pattern.frame(number) for number in range(1, 100)])
        assert list(tmp_path.iterdir()) == []

    async def test_without_a_sink_frames_are_counted(self) -> None:
        _, _, protocol = await _run("pattern:64x64", max_frames=5, **OFFLINE)
        assert protocol.statistics.frames_out == 5


class TestEnds:
    async def test_closing_removes_the_unfinished_file_and_ends_the_threads(self, tmp_path: Path) -> None:
        async with _stream("pattern:", sink=str(tmp_path / "out.mp4"), **OFFLINE) as protocol:
            async for frame in protocol.frames():
                await protocol.put(frame)
                if protocol.statistics.frames_in == 10:
                    break
            assert len(list(tmp_path.iterdir())) == 1
            await protocol.close()
            await protocol.close()
        assert list(tmp_path.iterdir()) == []
        await _threads_end()

    async def test_closing_ends_a_reader_that_waits_for_its_time(self, uneven: tuple[Path, list[int]]) -> None:
        async with _stream(uneven[0]) as protocol:
            reading = asyncio.create_task(_consume(protocol))
            await asyncio.sleep(0.05)
            await protocol.close()
            await asyncio.wait_for(reading, 60)
        await _threads_end()

    async def test_who_is_cancelled_while_opening_leaves_nothing(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
            protocol = LocalProtocol(StreamRequest(url, sink=str(tmp_path / "out.mp4")))
            opening = asyncio.create_task(protocol.open(64, 64))
            await asyncio.sleep(0.1)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        assert list(tmp_path.iterdir()) == []
        await _threads_end()

    async def test_finishing_twice_is_harmless(self, tmp_path: Path) -> None:
        out = tmp_path / "out.mp4"
        _, _, protocol = await _run("pattern:64x64", max_frames=5, sink=str(out), **OFFLINE)
        await protocol.finish()
        assert len(_read(out)[0]) == 5

    async def test_nothing_stays_open(self, clip: Path, tmp_path: Path) -> None:
        if not Path("/proc/self/fd").exists():
            pytest.skip("open files are counted in /proc")
        for number in range(6):
            if number == 2:
                before = len(os.listdir("/proc/self/fd"))
            await _run(clip, sink=str(tmp_path / "out.mp4"), max_frames=3, **OFFLINE)
        assert len(os.listdir("/proc/self/fd")) <= before
