"""Container: whatever happens in it, it is removed, and so are its companions. With a program that plays the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ai_runner_studio.errors import EngineError
from ai_runner_studio.export.container import container
from ai_runner_studio.export.engine import BuildRequest
from ai_runner_studio.export.runtime import ContainerRequest, Layer, Runtime

REQUEST = ContainerRequest(image="image", name="tried", network="none")
COMPANION = ContainerRequest(image="image", name="", network="")
# Notes each call; `refuses` has the verb that fails.
ENGINE = """#!/bin/sh
echo "$*" >> {folder}/calls
[ "$1" != "$(cat {folder}/refuses)" ]
"""


class Played(Runtime):
    """An engine that does nothing."""

    name = "docker"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "engine").write_text(ENGINE.format(folder=folder))
        (folder / "engine").chmod(0o755)
        self.refuse("")

    @property
    def program(self) -> list[str]:
        return [str(self._folder / "engine")]

    def refuse(self, verb: str) -> None:
        (self._folder / "refuses").write_text(verb)

    def removed(self) -> list[str]:
        """Names of containers that it was asked to remove."""
        calls = (self._folder / "calls").read_text().splitlines()
        return [call.removeprefix("rm --force ") for call in calls if call.startswith("rm ")]

    def build_command(self, request: BuildRequest, id_file: Path) -> list[str]:
        raise NotImplementedError

    async def layers(self, image: str) -> list[Layer]:
        raise NotImplementedError


@pytest.fixture
def runtime(tmp_path: Path) -> Played:
    return Played(tmp_path)


async def use_with_companions(runtime: Played) -> None:
    async with container(runtime, REQUEST) as made:
        await made.companion(COMPANION, 60.0)
        runtime.refuse("run")
        with pytest.raises(EngineError):
            await made.companion(COMPANION, 60.0)  # may run all the same, as one that takes too long does
        assert runtime.removed() == []


async def test_it_is_removed_with_its_companions(runtime: Played) -> None:
    await use_with_companions(runtime)
    assert runtime.removed() == ["tried-1", "tried-2", "tried"]


async def test_a_container_that_the_engine_cannot_remove_does_not_keep_the_others(runtime: Played) -> None:
    async with container(runtime, REQUEST) as made:
        await made.companion(COMPANION, 60.0)
        runtime.refuse("rm")
    assert runtime.removed() == ["tried-1", "tried"]


async def test_it_is_removed_after_an_error(runtime: Played) -> None:
    with pytest.raises(ValueError, match="not as expected"):
        async with container(runtime, REQUEST):
            raise ValueError("not as expected")
    assert runtime.removed() == ["tried"]


async def test_it_is_removed_if_the_engine_cannot_start_it(runtime: Played) -> None:
    """Docker keeps the container of a start that failed."""
    runtime.refuse("run")
    with pytest.raises(EngineError, match="docker run"):
        async with container(runtime, REQUEST):
            raise AssertionError("it cannot run")
    assert runtime.removed() == ["tried"]


async def test_it_is_removed_when_the_task_is_cancelled(runtime: Played) -> None:
    started = asyncio.Event()

    async def use() -> None:
        async with container(runtime, REQUEST):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await asyncio.wait_for(started.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    assert runtime.removed() == ["tried"]
