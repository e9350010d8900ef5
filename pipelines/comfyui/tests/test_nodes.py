"""Our nodes, alone: what they open, and what they do not; their command; the memory behind them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.install import PACKAGE, install_nodes, main
from comfyui_pipeline.node_package.custom_nodes.ai_runner_live_frames import LiveFrameIn, LiveFrameOut
from comfyui_pipeline.transport.memory import PREFIX, FrameMemory, sweep

pytestmark = pytest.mark.quick

TOKEN = "00" * 16


def read(memory: FrameMemory, **other: Any) -> torch.Tensor:
    inputs = {"segment": memory.name, "token": memory.token, "offset": memory.input_offset(0), "width": 8, "height": 8}
    return LiveFrameIn().read(**{**inputs, "seq": 1, **other})[0]


def write(memory: FrameMemory, images: torch.Tensor, **other: Any) -> None:
    inputs = {"segment": memory.name, "token": memory.token, "offset": memory.output_offset(0)}
    LiveFrameOut().write(images, **{**inputs, "capacity": memory.capacity, "seq": 1, **other})


def read_elsewhere(name: str, token: str, offset: int) -> bytes:
    """In another process."""
    return LiveFrameIn().read(name, token, offset, 8, 8, 1)[0].numpy().tobytes()


class TestNodes:
    def test_another_process_reads_what_was_written_bit_by_bit(self, tmp_path: Path) -> None:
        picture = torch.rand(1, 8, 8, 3)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for memory in (FrameMemory.create(2, 64), FrameMemory.create_file(2, 64, tmp_path)):
                memory.picture(1, 8, 8)[:] = picture.numpy()
                seen = pool.apply(read_elsewhere, (memory.name, memory.token, memory.input_offset(1)))
                assert seen == picture.numpy().tobytes()
                memory.close()
        assert list(tmp_path.iterdir()) == []

    def test_a_result_is_there_for_its_own_picture_only(self) -> None:
        memory = FrameMemory.create(1, 64)
        write(memory, torch.full((1, 4, 8, 3), 0.25), seq=5)
        assert memory.result(0, 4) is None
        result = memory.result(0, 5)
        assert result is not None
        assert torch.equal(torch.from_numpy(result.copy()), torch.full((1, 4, 8, 3), 0.25))
        memory.close()

    def test_a_channel_for_transparency_is_left_out(self) -> None:
        memory = FrameMemory.create(1, 64)
        write(memory, torch.cat([torch.zeros(1, 8, 8, 3), torch.ones(1, 8, 8, 1)], -1))
        result = memory.result(0, 1)
        assert result is not None
        assert result.max() == 0
        memory.close()

    @pytest.mark.parametrize(
        "name",
        ["/etc/passwd", "/proc/self/fd/1", "/proc/1/fd/1/../../environ", "/tmp/../etc/ai-runner-x", "ai-runner-x", ""],
    )
    def test_names_of_other_files_are_not_opened(self, name: str) -> None:
        memory = FrameMemory.create(1, 64)
        with pytest.raises(ValueError, match="is not the name of a segment"):
            read(memory, segment=name)
        memory.close()

    def test_a_file_without_the_token_is_neither_read_nor_written(self, tmp_path: Path) -> None:
        memory = FrameMemory.create(1, 64)
        file = tmp_path / "ai-runner-something"
        file.write_bytes(b"A" * 10_000)
        for call in (
            lambda: read(memory, segment=str(file)),
            lambda: write(memory, torch.zeros(1, 8, 8, 3), segment=str(file)),
        ):
            with pytest.raises(ValueError, match="is not the segment that was meant"):
                call()
        with pytest.raises(ValueError, match="is not the segment"):
            read(memory, token=TOKEN)
        assert file.read_bytes() == b"A" * 10_000
        memory.close()

    def test_a_pipe_behind_a_name_is_not_waited_for(self) -> None:
        memory = FrameMemory.create(1, 64)
        reading, writing = os.pipe()
        try:
            with pytest.raises(ValueError, match="is not the segment"):
                read(memory, segment=f"/proc/{os.getpid()}/fd/{reading}")
        finally:
            os.close(reading)
            os.close(writing)
            memory.close()

    def test_what_does_not_fit_is_not_written(self) -> None:
        memory = FrameMemory.create(1, 64)
        with pytest.raises(ValueError, match=r"16x8 with 3 channels, there is room for 64 pixels: set output_width"):
            write(memory, torch.zeros(1, 8, 16, 3))
        with pytest.raises(ValueError, match="the segment ends inside the picture"):
            read(memory, width=4096, height=4096)
        with pytest.raises(ValueError, match="makes 3 pictures of one"):
            write(memory, torch.zeros(3, 8, 8, 3))
        memory.close()

    def test_a_segment_that_is_closed_is_gone(self) -> None:
        memory = FrameMemory.create(1, 64)
        memory.close()
        memory.close()
        with pytest.raises(OSError, match=memory.name):
            read(memory)


class TestFiles:
    def test_those_of_killed_processes_are_removed_and_no_others(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from pathlib import Path; from comfyui_pipeline.transport.memory import FrameMemory; "
            "FrameMemory.create_file(1, 64, Path(sys.argv[1])); os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path)])
        alive = FrameMemory.create_file(1, 64, tmp_path)
        (tmp_path / "somebody-elses").touch()
        assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2
        assert sweep(tmp_path) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([Path(alive.name).name, "somebody-elses"])
        alive.close()

    def test_they_are_for_their_owner_alone(self, tmp_path: Path) -> None:
        memory = FrameMemory.create_file(1, 64, tmp_path)
        assert os.stat(memory.name).st_mode & 0o777 == 0o600
        memory.close()


class TestInstall:
    def test_the_nodes_are_copied_and_an_older_version_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "custom_nodes" / PACKAGE.name).mkdir(parents=True)
        (tmp_path / "custom_nodes" / PACKAGE.name / "old.py").touch()
        target = install_nodes(tmp_path)
        assert [path.name for path in target.iterdir()] == ["__init__.py"]
        assert (target / "__init__.py").read_bytes() == (PACKAGE / "__init__.py").read_bytes()
        assert [path.name for path in tmp_path.iterdir()] == ["custom_nodes"]

    def test_another_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="is no ComfyUI folder: it has no custom_nodes"):
            install_nodes(tmp_path)

    def test_the_command_says_what_it_has_done(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "custom_nodes").mkdir()
        main(["install", str(tmp_path)])
        assert f"installed in {tmp_path}/custom_nodes/ai_runner_live_frames" in capsys.readouterr().out
        with pytest.raises(SystemExit, match=r"error: .* is no ComfyUI folder"):
            main(["install", str(tmp_path / "custom_nodes")])
