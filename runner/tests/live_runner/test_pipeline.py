"""A session with a real pipeline in its own host: MPEG-TS into one channel, MPEG-TS out of another."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from runner.live.pipelines import builtin_pipeline_spec
from runner.live.trickle import TricklePublisher, TrickleSubscriber
from runner.live_runner import StreamingPipeline
from runner.pipelines.live_video_to_video import LiveVideoToVideoPipeline

from ..http.infer_process import PATIENT_FOLDER
from .conftest import Serve
from .orchestrator import Orchestrator
from .serving import PATIENCE_S, Client, registered, until

PICTURES = 30


@pytest.fixture
async def pipeline(
    nothing_left: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[LiveVideoToVideoPipeline]:
    monkeypatch.setenv("PYTHONPATH", str(PATIENT_FOLDER))
    spec = builtin_pipeline_spec("noop")
    assert spec is not None
    real = LiveVideoToVideoPipeline(spec)
    real.on_line = lambda line: print(line)
    await real.start()
    yield real
    await real.close()


def _transport_stream() -> bytes:
    written = io.BytesIO()
    container = av.open(written, "w", format="mpegts")
    video: Any = container.add_stream("libx264", rate=20)
    video.width = video.height = 512
    video.pix_fmt = "yuv420p"
    video.options = {"preset": "ultrafast", "tune": "zerolatency"}
    for number in range(PICTURES):
        picture = av.VideoFrame.from_ndarray(np.full((512, 512, 3), 8 * number % 256, np.uint8))
        picture.pts, picture.time_base = number, Fraction(1, 20)
        container.mux(video.encode(picture))
    container.mux(video.encode(None))
    container.close()
    return written.getvalue()


async def _everything(url: str) -> bytes:
    data = b""
    async with TrickleSubscriber(url, 0) as subscriber:
        while (segment := await subscriber.next()) is not None:
            while part := await segment.read():
                data += part
    return data


async def test_a_session_with_pictures(
    orchestrator: Orchestrator, serve: Serve, client: Client, pipeline: LiveVideoToVideoPipeline
) -> None:
    face: StreamingPipeline = pipeline
    await serve(pipeline=face)
    await until(lambda: orchestrator.runners, "it registers while the pipeline loads")
    await client.reserve(await registered(orchestrator))
    refused = await client.call("start", {"params": {"width": 5}})
    assert refused.status_code == 400, refused.text
    assert refused.json()["detail"]["kind"] == "ParamsError"
    assert "width" in refused.json()["detail"]["refused"]
    answer = await client.call("start", {"params": {"width": 512, "height": 512}})
    assert answer.status_code == 200, answer.text
    started = answer.json()
    receiving = asyncio.create_task(_everything(started["out"]))
    telling = asyncio.create_task(_everything(started["events"]))
    async with TricklePublisher(started["in"], "video/mp2t") as sender, await sender.next() as segment:
        await segment.write(_transport_stream())
        refused = await client.call("update", {"params": {"height": 1}})
        assert refused.status_code == 400
        assert "height" in refused.json()["detail"]["refused"]
    with av.open(io.BytesIO(await asyncio.wait_for(receiving, PATIENCE_S))) as container:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)]
    assert shapes == [(512, 512, 3)] * PICTURES
    assert "stream_trace" in (await asyncio.wait_for(telling, PATIENCE_S)).decode()
    runner = next(iter(orchestrator.runners.values()))
    await until(lambda: not runner.sessions, "the session is given back when the stream is over")
    assert json.loads((await client.http.get(f"{orchestrator.url}/discovery")).text)[0]["runners"]
