"""What a killed export has left is removed by the next one: what its record proves to be its own, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ai_runner_studio.errors import EngineError
from ai_runner_studio.export.container import NAME
from ai_runner_studio.export.engine import BuildRequest
from ai_runner_studio.export.killed_runs import remove_killed_runs
from ai_runner_studio.export.run_record import RunRecord, dead_runs
from ai_runner_studio.export.runtime import Layer, Runtime

pytestmark = pytest.mark.skipif(os.name == "nt", reason="records need locks that end with a process")
ENGINES = [["engine", "--root", "a"]]
SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


class Engine(Runtime):
    """Answers as an engine with these containers."""

    def __init__(self, names: list[str], working: list[str]) -> None:
        self.names = names
        self.working = working
        self.broken = False

    @property
    def program(self) -> list[str]:
        return ENGINES[0]

    def build_command(self, request: BuildRequest, id_file: Path) -> list[str]:
        raise NotImplementedError

    async def layers(self, image: str) -> list[Layer]:
        raise NotImplementedError

    async def call(self, *arguments: str, **_limits: object) -> str:
        if self.broken:
            raise EngineError("it does not answer")
        if arguments[0] == "rm":
            self.names.remove(arguments[-1])
        return "\n".join(self.names)

    async def working_containers(self) -> dict[str, tuple[str, str]]:
        return dict.fromkeys(self.working, ("", ""))

    async def remove_working_container(self, container: str) -> None:
        self.working.remove(container)


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def killed(folder: Path, **changed: object) -> None:
    """The record of a run whose process is gone."""
    started = {"engines": ENGINES * 2, "builder": None, "containers": [], "secrets": ""}
    (folder / "dead").write_text(json.dumps(started | changed))


async def test_its_builder_its_working_containers_and_its_images_under_test_are_removed(
    tmp_path: Path, orphan: subprocess.Popen[bytes]
) -> None:
    started_at = psutil.Process(orphan.pid).create_time()
    killed(tmp_path, builder=[orphan.pid, started_at], containers=["ours", "gone"])
    engine = Engine([f"{NAME}-dead-1", f"{NAME}-dead-1-2", f"{NAME}-other-1", "mine"], ["ours", "theirs"])
    assert await remove_killed_runs(engine, engine, tmp_path) == 1
    assert not psutil.pid_exists(orphan.pid)
    assert engine.names == [f"{NAME}-other-1", "mine"]
    assert engine.working == ["theirs"]
    assert list(tmp_path.iterdir()) == []


async def test_a_process_that_has_the_id_of_a_builder_by_chance_goes_on(
    tmp_path: Path, orphan: subprocess.Popen[bytes]
) -> None:
    killed(tmp_path, builder=[orphan.pid, psutil.Process(orphan.pid).create_time() - 5])
    engine = Engine([], [])
    assert await remove_killed_runs(engine, engine, tmp_path) == 1
    assert orphan.poll() is None


async def test_a_run_that_lives_keeps_everything(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    record.note(engines=ENGINES * 2, containers=("ours",))
    engine = Engine([f"{NAME}-{record.token}-1"], ["ours"])
    assert await remove_killed_runs(engine, engine, tmp_path) == 0
    assert (len(engine.names), engine.working) == (1, ["ours"])
    record.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changed", [{"engines": [["other"]]}, {"engines": ENGINES}])
async def test_a_run_of_other_engines_waits_for_an_export_with_those(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    killed(tmp_path, containers=["ours"], **changed)
    engine = Engine([], ["ours"])
    assert await remove_killed_runs(engine, engine, tmp_path) == 0
    assert engine.working == ["ours"]
    assert [run.token for run in dead_runs(tmp_path)] == ["dead"]


async def test_what_an_engine_does_not_remove_is_tried_again(tmp_path: Path) -> None:
    killed(tmp_path)
    engine = Engine([f"{NAME}-dead-1"], [])
    engine.broken = True
    assert await remove_killed_runs(engine, engine, tmp_path) == 0
    engine.broken = False
    assert await remove_killed_runs(engine, engine, tmp_path) == 1
    assert engine.names == []


@pytest.mark.parametrize(("name", "stays"), [("ai-runner-secrets-x1", False), ("other", True)])
async def test_its_secrets_are_deleted(tmp_path: Path, name: str, stays: bool) -> None:
    records, folder = tmp_path / "records", tmp_path / name
    records.mkdir()
    folder.mkdir()
    (folder / "pip.conf").touch()
    killed(records, secrets=str(folder))
    engine = Engine([], [])
    await remove_killed_runs(engine, engine, records)
    assert folder.exists() is stays


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"engines": 1, "builder": 2, "containers": 3}'])
def test_a_damaged_record_proves_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "dead").write_text(text)
    assert list(dead_runs(tmp_path)) == []


def test_a_process_that_is_killed_leaves_its_record_unlocked(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from ai_runner_studio.export.run_record import RunRecord\n"
        "record = RunRecord(Path(sys.argv[1])); record.note(containers=('ours',)); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    (run,) = dead_runs(tmp_path)
    assert run.started.containers == ("ours",)


def test_without_a_folder_to_write_to_there_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    record = RunRecord(tmp_path / "file")
    record.note(containers=("ours",))
    record.close()
    assert record.token
