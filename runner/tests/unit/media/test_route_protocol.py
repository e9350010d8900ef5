"""RouteProtocol: what it counts as returned is in the file."""

from __future__ import annotations

import time
from pathlib import Path

import av
import pytest

from runner.live.streamer.protocol.protocol import StreamRequest
from runner.live.streamer.protocol.route import RouteProtocol
from runner.live.streamer.protocol.trickle import TrickleOptions
from runner.live.trickle.encoder import Encoder
from runner.live.trickle.frame import AudioFrame, RawFrame

FRAMES, SIZE = 30, (160, 160)
SLOW_S = 0.06  # for a picture; they come every 0.04 s


async def test_every_picture_that_comes_back_is_in_the_file_of_a_slow_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Encoder.write

    def slow(self: Encoder, frame: RawFrame | AudioFrame) -> bool:
        time.sleep(SLOW_S)
        return write(self, frame)

    monkeypatch.setattr(Encoder, "write", slow)
    out = tmp_path / "out.mp4"
    source = f"pattern:{SIZE[0]}x{SIZE[1]}@24"
    request = StreamRequest(source, str(out), request_id="r1", protocol="route", max_frames=FRAMES)
    protocol = RouteProtocol(request, TrickleOptions())
    await protocol.open(*SIZE)
    async for frame in protocol.frames():
        await protocol.put(frame)
    await protocol.finish()
    with av.open(str(out)) as container:
        written = sum(1 for _ in container.decode(video=0))
    route = protocol.route
    assert route.sent == FRAMES
    assert written == route.returned > FRAMES // 2
    assert route.returned + sum(route.dropped.values()) == FRAMES
