"""What goes wrong in a server: nodes that fail, memory that is full, prompts that hang, servers that die."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import torch

from comfyui_pipeline import pipeline as pipeline_module
from comfyui_pipeline.errors import (
    ExecutionError,
    FrameTimeoutError,
    InterruptedExecutionError,
    OutOfMemoryError,
    ServerError,
    ServerLost,
    ServerStartError,
)
from comfyui_pipeline.pipeline import ComfyUI
from comfyui_pipeline.transport import choice
from comfyui_pipeline.transport.memory import FrameMemory
from runner.live.process.segment import Segment

from .running_double import RunningDouble, stop_double
from .workflows import INVERT, PATIENCE_S, chain, frame, node, picture, running_pipeline, through

WHITE = torch.ones(1, 64, 64, 3)
PICTURE = picture(0)
SIZE = {"width": 64, "height": 64}


@pytest.fixture
def server(double: RunningDouble, monkeypatch: pytest.MonkeyPatch) -> RunningDouble:
    monkeypatch.setenv("COMFYUI_URL", double.url)
    return double


async def lost(pipeline: ComfyUI, tensor: torch.Tensor, kind: type[Exception], match: str) -> None:
    """A picture that must be lost for a reason."""
    with pytest.raises(kind, match=match):
        await through(pipeline, [tensor])


async def there_and_back(pipeline: ComfyUI, tensor: torch.Tensor) -> None:
    """One picture, whose way may end at either of the two calls."""
    await asyncio.wait_for(pipeline.put_video_frame(frame(tensor), "r"), PATIENCE_S)
    await asyncio.wait_for(pipeline.get_processed_video_frame(), PATIENCE_S)


async def post(url: str, body: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        assert response.status == 200


@pytest.mark.usefixtures("server")
class TestNodes:
    async def test_a_node_that_fails_costs_one_picture(self) -> None:
        async with running_pipeline(prompt=chain(node("RaiseAbove", most=0.9))) as pipeline:
            await lost(pipeline, WHITE, ExecutionError, r"node 2 \(RaiseAbove\) failed: RuntimeError: too bright")
            (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, PICTURE)

    async def test_pictures_around_a_lost_one_keep_their_order(self) -> None:
        async with running_pipeline(prompt=chain(node("RaiseAbove", most=0.9)), prompts_in_flight=3) as pipeline:
            for number, tensor in enumerate([PICTURE, WHITE, PICTURE]):
                await pipeline.put_video_frame(frame(tensor, number), "r")
            assert (await pipeline.get_processed_video_frame()).timestamp == 0
            with pytest.raises(ExecutionError):
                await pipeline.get_processed_video_frame()
            assert (await pipeline.get_processed_video_frame()).timestamp == 2


@pytest.mark.usefixtures("server")
class TestMemory:
    async def test_full_memory_is_freed_and_the_picture_tried_again(self, tmp_path: Path) -> None:
        async with running_pipeline(prompt=chain(node("NeedsMemory", key=str(tmp_path), frees=1))) as pipeline:
            (output,) = await through(pipeline, [WHITE])
        assert torch.equal(output.tensor, WHITE)

    async def test_memory_that_stays_full_is_told_with_the_way_out(self, tmp_path: Path) -> None:
        async with running_pipeline(prompt=chain(node("NeedsMemory", key=str(tmp_path), frees=1000))) as pipeline:
            await lost(pipeline, WHITE, OutOfMemoryError, r"also after all models were unloaded: use smaller pictures")
            (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, PICTURE)


@pytest.mark.usefixtures("server")
class TestStalls:
    async def test_a_picture_that_takes_too_long_is_interrupted(self, tmp_path: Path) -> None:
        slow = chain(node("Gate", file=str(tmp_path / "never"), above=0.9, hangs=False))
        async with running_pipeline(prompt=slow, frame_timeout_s=0.3) as pipeline:
            await lost(pipeline, WHITE, FrameTimeoutError, r"took more than 0.3 s and was interrupted")
            await pipeline.update_params(**SIZE, prompt=slow, frame_timeout_s=60)
            (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, PICTURE)

    async def test_a_picture_behind_somebody_elses_prompt_is_taken_out_of_the_queue(
        self, server: RunningDouble, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        theirs = chain(
            node("Gate", file=str(gate), above=-1.0, hangs=False), first="EmptyImage", last="SaveImageWebsocket"
        )
        theirs["1"]["inputs"] = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
        async with running_pipeline(prompt=INVERT, frame_timeout_s=0.3) as pipeline:
            await post(f"{server.url}/prompt", {"prompt": theirs})
            await lost(pipeline, PICTURE, FrameTimeoutError, "while 1 prompts of others were in ComfyUI's queue")
            gate.touch()
            await pipeline.update_params(**SIZE, prompt=INVERT, frame_timeout_s=60)
            (output,) = await through(pipeline, [PICTURE])
            assert pipeline._server.restarts == 0
        assert torch.equal(output.tensor, 1 - PICTURE)

    async def test_an_interrupt_from_outside_costs_one_picture(self, server: RunningDouble, tmp_path: Path) -> None:
        slow = chain(node("Gate", file=str(tmp_path / "never"), above=0.9, hangs=False))
        async with running_pipeline(prompt=slow, frame_timeout_s=60) as pipeline:
            await pipeline.put_video_frame(frame(WHITE), "r")
            getting = asyncio.create_task(pipeline.get_processed_video_frame())
            while not (tmp_path / "never.reached").exists():
                await asyncio.sleep(0.01)
            await post(f"{server.url}/interrupt", {})
            with pytest.raises(InterruptedExecutionError, match=r"interrupted in ComfyUI at node 2 \(Gate\)"):
                await getting
            (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, PICTURE)

    async def test_a_server_of_the_users_that_hangs_is_told_and_used_again_when_it_works(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline_module, "INTERRUPT_LIMIT_S", 0.2)
        gate = tmp_path / "gate"
        slow = chain(node("Gate", file=str(gate), above=0.9, hangs=True))
        async with running_pipeline(prompt=slow, frame_timeout_s=0.3) as pipeline:
            await lost(pipeline, WHITE, ServerError, "does not react to an interrupt: restart it")
            gate.touch()
            (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, PICTURE)


class TestLostServers:
    async def test_a_server_of_the_users_that_comes_back_is_connected_to_again(
        self, own_double: Callable[..., RunningDouble], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as keeper:  # the port is nobody else's while the server is restarted
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind(("127.0.0.1", 0))
            first = own_double(port=keeper.getsockname()[1])
            monkeypatch.setenv("COMFYUI_URL", first.url)
            async with running_pipeline(prompt=INVERT) as pipeline:
                await through(pipeline, [PICTURE])
                stop_double(first)
                with pytest.raises(ServerLost, match=rf"ComfyUI at {first.url} is gone: ") as raised:
                    await there_and_back(pipeline, PICTURE)
                assert "Start it again" in raised.value.hint
                with pytest.raises(ServerLost, match="is gone: "):  # at once: it does not wait for the server
                    await pipeline.put_video_frame(frame(PICTURE), "r")
                reloading = pipeline.reloading()
                assert reloading is not None
                assert not reloading.done()
                own_double(port=keeper.getsockname()[1])
                (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, 1 - PICTURE)

    async def test_one_that_is_not_there_is_told_with_the_way_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("comfyui_pipeline.supervisor.ANSWER_LIMIT_S", 0.1)
        monkeypatch.setenv("COMFYUI_URL", "http://someone:secret@127.0.0.1:9")
        with pytest.raises(ServerStartError, match=r"http://127.0.0.1:9 does not answer: .* COMFYUI_FOLDER") as raised:
            await ComfyUI().initialize(**SIZE)
        assert "secret" not in str(raised.value)

    async def test_another_kind_of_server_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from aiohttp import web

        async def page(_request: web.Request) -> web.Response:
            return web.Response(text="<html>")

        app = web.Application()
        app.router.add_get("/system_stats", page)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        monkeypatch.setenv("COMFYUI_URL", f"http://127.0.0.1:{runner.addresses[0][1]}")
        try:
            with pytest.raises(ServerStartError, match="is not ComfyUI: /system_stats is not JSON"):
                await ComfyUI().initialize(**SIZE)
        finally:
            await runner.cleanup()

    async def test_one_without_our_nodes_is_uploaded_to_unless_that_is_not_wanted(
        self,
        own_double: Callable[..., RunningDouble],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv("COMFYUI_URL", own_double(ours=False).url)
        async with running_pipeline(prompt=INVERT) as pipeline:
            (output,) = await through(pipeline, [PICTURE])
        assert (output.tensor - (1 - PICTURE)).abs().max() <= 1.01 / 255
        assert "lacks our nodes: comfyui-nodes install" in caplog.text
        with pytest.raises(Exception, match="lacks our nodes"):
            await ComfyUI().initialize(**SIZE, transport="shared_memory")


@pytest.mark.usefixtures("server")
class TestMemoryThatTheServerDoesNotSee:
    async def test_a_file_is_used_where_proc_is_another_one(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(FrameMemory, "create", _elsewhere)
        monkeypatch.setattr(choice, "shared_folder", lambda: tmp_path)
        async with running_pipeline(prompt=INVERT, transport="shared_memory") as pipeline:
            assert len(list(tmp_path.iterdir())) == 1
            (output,) = await through(pipeline, [PICTURE])
        assert torch.equal(output.tensor, 1 - PICTURE)
        assert list(tmp_path.iterdir()) == []

    async def test_pictures_are_uploaded_where_no_memory_is_shared(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(FrameMemory, "create", _elsewhere)
        monkeypatch.setattr(choice, "shared_folder", lambda: tmp_path / "missing")
        async with running_pipeline(prompt=INVERT) as pipeline:
            (output,) = await through(pipeline, [PICTURE])
        assert (output.tensor - (1 - PICTURE)).abs().max() <= 1.01 / 255
        assert "does not share memory with this process" in caplog.text


def _elsewhere(_slots: int, pixels: int) -> FrameMemory:
    """Memory under a name that means nothing in the server, as that of a process in another container."""
    memory = FrameMemory(Segment.create(1 << 20), pixels * 12)
    memory.name = "/proc/999999999/fd/3"
    return memory
