"""Session with a real host: saves, mistakes, params and sources, as the developer lives through them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ai_runner_studio.errors import HostError, ParamsRefused, SourceNotFound, StudioError
from ai_runner_studio.session import Session
from ai_runner_studio.settings import Settings
from ai_runner_studio.snapshot import Snapshot
from runner.live.events import Event, StreamStarted

PATIENCE_S = 60.0
# Slow enough that a machine busy elsewhere keeps up.
SOURCE = "pattern:320x240@15"


def level(value: int, more: str = "") -> str:
    """A pipeline that gives every pixel the same value."""
    return f"{more}\ndef effect(frame):\n    return frame * 0 + {value} / 255\n"


def params(*fields: str) -> str:
    lines = ["from pydantic import Field", "from runner.live.pipelines import BaseParams", "class P(BaseParams):"]
    return "\n    ".join(["\n".join(lines), *fields]) + "\n"


WITH_PARAMS = "from .params import P\ndef effect(frame, params: P):\n    return frame * 0 + params.level / 255\n"


class Watched:
    """A session, and what its output has shown so far.

    Attributes:
        values: of each new picture's brightest pixel, in order; pictures that say "loading" are not among them.
        events: everything the host has told.
        pictures: how many there were, loading ones included.
    """

    def __init__(self, settings: Settings) -> None:
        self.session = Session(settings)
        self.values: list[int] = []
        self.pictures = 0
        self.sizes: set[tuple[int, int]] = set()
        self.events: list[Event] = []
        self.session.listen(self.events.append)
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            picture = self.session.output_tap.newest()
            self.pictures += picture is not None
            if picture is not None and not picture.is_loading_frame:
                self.values.append(int(picture.pixels.max()))
                self.sizes.add((picture.pixels.shape[1], picture.pixels.shape[0]))
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        self._looking.cancel()
        await self.session.close()

    async def until(self, condition: Callable[[Snapshot], object]) -> Snapshot:
        """The first snapshot for which the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(snapshot := self.session.snapshot):
            assert time.monotonic() < deadline, replace(snapshot, logs=())
            await asyncio.sleep(0.02)
        return snapshot

    async def shows(self, value: int) -> None:
        """Wait for a new picture of that value."""
        before = len(self.values)
        await self.until(lambda _: any(abs(seen - value) <= 1 for seen in self.values[before:]))

    async def serves(self, revision: int) -> Snapshot:
        return await self.until(lambda now: now.load and (now.load.revision, now.load.outcome) == (revision, "serving"))

    async def failed(self, revision: int) -> Snapshot:
        return await self.until(lambda now: now.load and (now.load.revision, now.load.outcome) == (revision, "failed"))

    async def watches(self, count: int) -> None:
        """Wait until saves of that many files would be seen."""
        await self.until(lambda now: now.watching == count)


class Project:
    """A project folder with a package `effects`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "effects"
        self.package.mkdir()
        (self.package / "__init__.py").touch()

    def save(self, name: str, source: str) -> Path:
        path = self.package / f"{name}.py"
        path.write_text(source)
        return path

    @asynccontextmanager
    async def opened(self, **settings: Any) -> AsyncIterator[Watched]:
        given = {"pipeline_import": "effects.pipeline:effect", "input": SOURCE, "project": self.folder, **settings}
        watched = Watched(Settings(**given))
        try:
            await watched.session.start()
            yield watched
        finally:
            await watched.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class TestReload:
    @pytest.mark.quick
    async def test_a_save_is_loaded_with_reason_file_and_timed_steps(self, project: Project) -> None:
        file = project.save("pipeline", level(40))
        async with project.opened(keep_weights=False, standby=False) as run:
            first = await run.serves(1)
            assert (first.load and first.load.reason) == "start"
            await run.watches(2)
            await run.shows(40)
            project.save("pipeline", level(80))
            now = await run.serves(2)
            await run.shows(80)
            assert now.load is not None
            assert (now.load.reason, now.load.files) == ("saved pipeline.py", (str(file),))
            names = [step.name for step in now.load.steps]
            assert names == [
                "notice the save", "start process", "import", "import torch", "initialize", "first frame", "stop old",
            ]  # fmt: skip
            assert now.load.total_s == pytest.approx(sum(step.seconds for step in now.load.steps), abs=0.5)
            assert [load.outcome for load in now.loads] == ["replaced", "serving"]
            # never black, never anything but one of the two
            assert {value for value in run.values if abs(value - 40) > 1 and abs(value - 80) > 1} == set()

    async def test_mistakes_keep_the_old_code_serving_and_mending_them_clears_the_error(self, project: Project) -> None:
        mistakes = [
            ("def effect(frame)\n    return frame\n", "SyntaxError", 1, "def effect(frame)"),
            ("import torchh\n" + level(1), "ModuleNotFoundError", 1, "import torchh"),
            ("weights = open('none.bin')\n" + level(1), "FileNotFoundError", 1, "weights = open('none.bin')"),
            ("def effect(frame):\n    scale = 2\n    return frame * scael\n", "NameError", 3, "return frame * scael"),
            ("def effect(frame):\n    return frame[..., 0]\n", "OutputError", 2, "return frame[..., 0]"),
        ]
        file = project.save("pipeline", level(40))
        async with project.opened() as run:
            await run.serves(1)
            await run.shows(40)
            for number, (source, kind, line, code) in enumerate(mistakes, 2):
                project.save("pipeline", source)
                now = await run.failed(number)
                assert now.error is not None
                assert (now.error.kind, now.error.file, now.error.line) == (kind, str(file), line)
                assert [shown.text.strip() for shown in now.error.code if shown.fault] == [code]
                assert now.serving == 1
                await run.shows(40)
            project.save("pipeline", level(120))
            now = await run.serves(len(mistakes) + 2)
            assert now.error is None
            await run.shows(120)
            assert 0 not in run.values

    async def test_a_first_load_that_fails_recovers_when_the_mended_file_is_saved(self, project: Project) -> None:
        project.save("pipeline", "def effect(frame)\n    return frame\n")
        async with project.opened() as run:
            now = await run.failed(1)
            assert now.error is not None
            assert now.error.kind == "SyntaxError"
            assert (now.serving, now.state) == (None, "ERROR")
            project.save("pipeline", level(60))
            now = await run.serves(2)
            assert now.error is None
            await run.shows(60)

    async def test_a_module_that_an_edit_imports_is_watched_from_then_on(self, project: Project) -> None:
        project.save("pipeline", level(40))
        helper = project.save("helper", "VALUE = 70\n")
        async with project.opened() as run:
            await run.serves(1)
            project.save(
                "pipeline",
                "from .helper import VALUE\ndef effect(frame):\n    return frame * 0 + VALUE / 255\n",
            )
            await run.serves(2)
            await run.shows(70)
            await run.watches(3)
            project.save("helper", "VALUE = 140\n")
            now = await run.serves(3)
            assert now.load is not None
            assert now.load.files == (str(helper),)
            await run.shows(140)

    async def test_asking_for_a_reload_loads_what_is_on_disk(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(reload=False) as run:
            await run.serves(1)
            project.save("pipeline", level(80))
            await run.session.reload()
            now = await run.serves(2)
            assert now.load is not None
            assert now.load.reason == "requested"
            await run.shows(80)

    async def test_a_host_that_died_is_told_and_started_again(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened() as run:
            await run.shows(40)
            host = run.session.snapshot.host
            assert host is not None
            psutil.Process(host.pid).kill()
            now = await run.until(lambda now: now.phase == "ended")
            assert now.error is not None
            assert now.error.message == "the runner host was killed by SIGKILL"
            assert (now.serving, now.load and now.load.outcome) == (None, "replaced")
            with pytest.raises(HostError, match="not running"):
                await run.session.set_params({"width": 512})
            reload = asyncio.create_task(run.session.reload())
            await asyncio.sleep(0)
            assert (run.session.snapshot.phase, run.session.snapshot.error) == ("starting", None)
            await reload
            now = await run.serves(1)
            assert (now.phase, now.error) == ("running", None)
            await run.shows(40)

    async def test_a_host_that_cannot_be_started_again_is_told_too(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.save("pipeline", level(40))
        async with project.opened() as run:
            await run.shows(40)
            host = run.session.snapshot.host
            assert host is not None
            psutil.Process(host.pid).kill()
            await run.until(lambda now: now.phase == "ended")
            with monkeypatch.context() as patch:
                patch.setattr(run.session, "_python", "/bin/false")
                with pytest.raises(HostError, match="the runner host exited with code 1"):
                    await run.session.reload()
            now = run.session.snapshot
            assert (now.phase, now.error and now.error.message) == ("ended", "the runner host exited with code 1")
            await run.session.reload()
            now = await run.serves(1)
            assert (now.phase, now.error) == ("running", None)


class TestParams:
    @pytest.fixture
    def project(self, project: Project) -> Project:
        project.save("params", params("level: int = Field(default=50, ge=0, le=255)"))
        project.save("pipeline", WITH_PARAMS)
        return project

    async def test_good_ones_show_and_refused_ones_change_nothing(self, project: Project) -> None:
        async with project.opened(params={"level": 30}) as run:
            await run.shows(30)
            await run.session.set_params({"level": 200})
            await run.shows(200)
            await run.until(lambda now: now.params["level"] == 200)
            with pytest.raises(ParamsRefused) as refused:
                await run.session.set_params({"level": 999})
            assert "less than or equal to 255" in refused.value.refused["level"]
            assert run.session.snapshot.params["level"] == 200
            await run.shows(200)

    async def test_a_new_field_appears_and_values_survive(self, project: Project) -> None:
        async with project.opened() as run:
            await run.serves(1)
            assert "gamma" not in run.session.snapshot.params_schema["properties"]
            await run.session.set_params({"level": 90})
            project.save("params", params("level: int = 50", "gamma: float = Field(default=1.0, le=4)"))
            now = await run.serves(2)
            assert now.params_schema["properties"]["gamma"]["maximum"] == 4
            assert (now.params["level"], now.params["gamma"]) == (90, 1.0)
            await run.shows(90)

    async def test_another_width_begins_the_stream_again_in_that_size(self, project: Project) -> None:
        async with project.opened() as run:
            await run.shows(50)
            await run.session.set_params({"width": 384, "height": 448})
            await run.until(lambda _: (384, 448) in run.sizes)
            started = [(event.width, event.height) for event in run.events if isinstance(event, StreamStarted)]
            assert started == [(512, 512), (384, 448)]
            assert 0 not in run.values
            # a size that is refused leaves everything as it was
            with pytest.raises(ParamsRefused):
                await run.session.set_params({"width": 10})
            await run.shows(50)
            assert run.sizes == {(512, 512), (384, 448)}


class TestInput:
    async def test_another_one_takes_over_and_one_that_cannot_be_opened_does_not(self, project: Project) -> None:
        project.save("pipeline", level(40))
        (project.folder / "notes.txt").write_text("no video in here\n" * 100)
        async with project.opened() as run:
            await run.shows(40)
            await run.session.set_input("pattern:640x480@15")
            now = await run.until(lambda now: now.stream and now.stream.source_width == 640)
            assert run.session.settings.input == "pattern:640x480@15"
            await run.shows(40)
            with pytest.raises(SourceNotFound, match="no such file"):
                await run.session.set_input("nothing.mp4")
            with pytest.raises(StudioError, match=r"notes\.txt"):
                await run.session.set_input("notes.txt")
            await run.shows(40)
            now = run.session.snapshot
            assert now.ended is None
            assert now.stream is not None
            assert now.stream.source_width == 640
            assert run.session.settings.input == "pattern:640x480@15"
            # what is there now is also what a new host begins with
            await run.session.set_params({})
            assert len([event for event in run.events if isinstance(event, StreamStarted)]) == 2

    async def test_one_that_cannot_be_opened_at_the_start_ends_the_stream_not_the_session(
        self, project: Project
    ) -> None:
        project.save("pipeline", level(40))
        (project.folder / "notes.txt").write_text("no video in here\n" * 100)
        async with project.opened(input="notes.txt") as run:
            now = await run.until(lambda now: now.ended)
            assert now.ended is not None
            assert now.ended.error_kind == "source"
            assert "notes.txt" in now.ended.error
            await run.serves(1)
            await run.session.set_input(SOURCE)
            await run.shows(40)
            assert run.session.snapshot.ended is None

    async def test_paused_it_stands_still_and_goes_on(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened() as run:
            await run.shows(40)
            await run.session.set_paused(True)
            await run.until(lambda now: now.metrics.fps_in == 0)
            await run.session.set_paused(False)
            await run.shows(40)

    async def test_a_save_while_it_is_paused_is_loaded_all_the_same(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened() as run:
            await run.shows(40)
            await run.session.set_paused(True)
            project.save("pipeline", level(80))
            await run.serves(2)
            await run.session.set_paused(False)
            await run.shows(80)
