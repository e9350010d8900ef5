"""A server that we start from a folder: started, watched, started again, and gone at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
import torch

from comfyui_pipeline import pipeline as pipeline_module
from comfyui_pipeline.errors import ServerError, ServerLost, ServerStartError, SettingsError
from comfyui_pipeline.pipeline import ComfyUI

from .running_double import DOUBLE, left
from .workflows import PATIENCE_S, chain, frame, node, picture, reloaded, running_pipeline, through

PICTURE, WHITE = picture(0), torch.ones(1, 64, 64, 3)
SIZE = {"width": 64, "height": 64}


def servers(base: Path) -> list[psutil.Process]:
    """Every process whose command line names a test's folder: the server and its keeper."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(base) in command and process.pid != os.getpid():
            found.append(process)
    return found


def listening(process: psutil.Process) -> list[str]:
    """The addresses that a process takes connections at."""
    connections = process.net_connections("tcp")
    return [connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN]


class TestLife:
    async def test_it_is_started_with_our_nodes_for_this_machine_only_and_gone_after_stop(
        self, managed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AUTH_TOKEN", "the network's")
        child = tmp_path / "child"
        async with running_pipeline(prompt=chain(node("LeavesAProcess", file=str(child)))) as pipeline:
            assert pipeline._transport is not None
            assert pipeline._transport.name == "shared_memory"
            (output,) = await through(pipeline, [PICTURE])
            assert torch.equal(output.tensor, PICTURE)
            processes = [*servers(managed), psutil.Process(int(child.read_text()))]
            assert len(processes) == 3
            assert {place for process in processes for place in listening(process)} == {"127.0.0.1"}
            assert ["AUTH_TOKEN" in process.environ() for process in processes] == [False, False, False]
        assert left(processes) == []

    def test_nothing_is_left_when_its_owner_is_killed(self, managed: Path, tmp_path: Path) -> None:
        child = tmp_path / "child"
        script = tmp_path / "owner.py"
        script.write_text(
            textwrap.dedent(
                f"""
                import asyncio
                from comfyui_pipeline.pipeline import ComfyUI

                prompt = {chain(node("LeavesAProcess", file=str(child)))!r}

                async def main():
                    await ComfyUI().initialize(width=64, height=64, prompt=prompt)
                    print("ready", flush=True)
                    await asyncio.sleep(600)

                asyncio.run(main())
                """
            )
        )
        owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        with owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "ready\n"
            processes = [*servers(managed), psutil.Process(int(child.read_text()))]
            assert len(processes) == 3
            owner.send_signal(signal.SIGKILL)
        assert left(processes) == []


@pytest.mark.usefixtures("managed")
class TestRestarts:
    async def test_a_crash_costs_what_was_under_way_and_the_server_comes_back(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def process(pipeline: ComfyUI) -> None:
            await pipeline.put_video_frame(frame(WHITE), "r")
            await asyncio.wait_for(pipeline.get_processed_video_frame(), PATIENCE_S)

        caplog.set_level(logging.INFO)
        once = chain(node("CrashOnce", file=str(tmp_path / "crashed")))
        async with running_pipeline(prompt=once) as pipeline:
            with pytest.raises(ServerLost, match="ComfyUI was killed by SIGKILL") as raised:
                await process(pipeline)  # by the first call, if it crashes before it has answered that
            assert raised.value.hint == "It is being restarted."
            (output,) = await through(pipeline, [WHITE])
            assert torch.equal(output.tensor, WHITE)
            assert pipeline._server.restarts == 1
        assert "ComfyUI was killed by SIGKILL (out of memory?); its last lines:" in caplog.text
        assert "Fatal: the driver is gone" in caplog.text

    async def test_one_that_hangs_is_started_again(
        self, managed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline_module, "INTERRUPT_LIMIT_S", 0.2)
        slow = chain(node("Gate", file=str(tmp_path / "never"), above=0.9, hangs=True))
        async with running_pipeline(prompt=slow, frame_timeout_s=0.3) as pipeline:
            await pipeline.put_video_frame(frame(WHITE), "r")
            with pytest.raises(ServerError, match="does not react to an interrupt: it is started again"):
                await asyncio.wait_for(pipeline.get_processed_video_frame(), PATIENCE_S)
            await reloaded(pipeline)
            await pipeline.put_video_frame(frame(PICTURE), "r")
            output = await asyncio.wait_for(pipeline.get_processed_video_frame(), PATIENCE_S)
        assert torch.equal(output.tensor, PICTURE)
        assert left(servers(managed)) == []


class TestStarts:
    async def test_one_that_ends_at_once_is_told_with_its_last_lines(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "main.py").write_text("raise SystemExit('no module named torchsde')")
        monkeypatch.setenv("COMFYUI_FOLDER", str(tmp_path))
        with pytest.raises(ServerStartError, match=r"exited with code 1 before it answered; (?s:.)*torchsde"):
            await ComfyUI().initialize(**SIZE)

    async def test_one_that_never_answers_is_told_and_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "main.py").write_text("import time; print('importing', flush=True); time.sleep(600)")
        monkeypatch.setattr("comfyui_pipeline.supervisor.START_LIMIT_S", 0.5)
        monkeypatch.setenv("COMFYUI_FOLDER", str(tmp_path))
        monkeypatch.setenv("COMFYUI_ARGS", str(tmp_path / "mark"))
        with pytest.raises(ServerStartError, match="does not answer"):
            await ComfyUI().initialize(**SIZE)
        assert left(servers(tmp_path / "mark")) == []

    async def test_a_start_that_is_cut_off_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "main.py").write_text("import time; time.sleep(600)")
        monkeypatch.setenv("COMFYUI_FOLDER", str(tmp_path))
        monkeypatch.setenv("COMFYUI_ARGS", str(tmp_path / "mark"))
        starting = asyncio.create_task(ComfyUI().initialize(**SIZE))
        while len(servers(tmp_path / "mark")) < 2:
            await asyncio.sleep(0.02)
        processes = servers(tmp_path / "mark")
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert left(processes) == []

    @pytest.mark.parametrize(
        ("variables", "reason"),
        [
            ({"COMFYUI_FOLDER": "/nowhere"}, "/nowhere is no ComfyUI folder: there is no main.py"),
            ({"COMFYUI_FOLDER": str(DOUBLE), "COMFYUI_PYTHON": "/nowhere/python"}, "cannot be run"),
            ({"COMFYUI_FOLDER": str(DOUBLE), "COMFYUI_ARGS": "'open"}, "quote it as in a shell"),
            ({"COMFYUI_FOLDER": str(DOUBLE), "COMFYUI_URL": "http://127.0.0.1:1"}, "both set"),
            ({"COMFYUI_URL": "ftp://127.0.0.1"}, "must be http or https"),
        ],
    )
    async def test_settings_that_cannot_be_are_told(
        self, variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=reason):
            await ComfyUI().initialize(**SIZE)
        with pytest.raises(SettingsError, match=reason):
            ComfyUI.prepare_models()
