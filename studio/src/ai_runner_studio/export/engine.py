"""Engine: a program that builds container images; `Runtime` is one that runs them too."""

from __future__ import annotations

import asyncio
import os
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.time_limit import time_limit

from ..errors import EngineError

EngineName = Literal["docker", "podman", "buildah"]

ANSWER_LIMIT_S = 30.0  # for what an engine only has to look up
TAG_LIMIT_S = 120.0  # a store on a busy disk is slow to sync


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        context: folder with the Dockerfile.
        platform: ``linux/arm64`` and the like; None for the engine's own.
        build_args: ``NAME=VALUE``.
        engine_args: given to the build command as they are.
        local_base: the base image is on this machine alone, so no registry is asked for it.
        network: False: no step needs one, so none gets one.
    """

    context: Path
    platform: str | None = None
    no_cache: bool = False
    build_args: tuple[str, ...] = ()
    engine_args: tuple[str, ...] = ()
    local_base: bool = False
    network: bool = True


class Engine(ABC):
    """One program, found and answering. `find` and its like are in `engines`.

    Attributes:
        name: as `--builder` takes it.
    """

    name: EngineName

    @property
    @abstractmethod
    def program(self) -> list[str]:
        """The program and the options that come before every verb."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the program needs beside ours."""
        return {}

    @abstractmethod
    def build_command(self, request: BuildRequest, id_file: Path) -> list[str]:
        """The complete build command. The image has no name yet; its id goes to `id_file` or is the last line."""

    @property
    def warnings(self) -> list[str]:
        """What a user should know of the way this engine is set up."""
        return []

    async def tag(self, image: str, name: str) -> None:
        """Give an image a name.

        Raises:
            EngineError: it is refused.
        """
        await self.call("tag", image, name, limit_s=TAG_LIMIT_S)

    def push_command(self, name: str) -> list[str]:
        """The complete push command."""
        return [*self.program, "push", name]

    @property
    def lock_file(self) -> Path | None:
        """File that one build at a time holds, so that what a failed one leaves is known as its own; None: no need."""
        return None

    async def working_containers(self) -> dict[str, tuple[str, str]]:
        """What builds use now, or have left when they were killed: container's id -> its image's id and name."""
        return {}

    async def remove_working_container(self, container: str) -> None:
        """Remove one of them."""

    async def call(self, *arguments: str, limit_s: float = ANSWER_LIMIT_S, codes: tuple[int, ...] = (0,)) -> str:
        """Run the program to its end; its standard output.

        Raises:
            EngineError: it fails, or takes longer than `limit_s`.
        """
        return await call(
            [*self.program, *arguments], self.environment, limit_s, codes, what=f"{self.name} {arguments[0]}"
        )


async def call(
    command: list[str],
    environment: dict[str, str] | None = None,
    limit_s: float = ANSWER_LIMIT_S,
    codes: tuple[int, ...] = (0,),
    what: str = "",
    cwd: Path | None = None,
) -> str:
    """Run a command to its end; its standard output.

    Args:
        codes: exit codes that are no failure.
        what: the command, as errors name it; by default the program's name.
        cwd: folder that it runs in.

    Raises:
        EngineError: it is not there, fails, or takes longer than `limit_s`.
    """
    what = what or Path(command[0]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(f"'{what}' cannot be started: {error.strerror}") from error
    try:
        async with time_limit(limit_s):
            out, err = await process.communicate()
    except asyncio.TimeoutError:
        raise EngineError(f"'{what}' did not answer within {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode not in codes:
        raise EngineError(f"'{what}' failed: {last_line(err.decode(errors='replace')) or process.returncode}")
    return out.decode(errors="replace")


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def located(program: str) -> str | None:
    """Path of a program, also where only root's PATH has it; None if it is not installed."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def installed(program: str) -> str:
    """Path of a program that has to be installed.

    Raises:
        EngineError: it is not.
    """
    path = located(program)
    if path is None:
        raise EngineError(f"{program} is not installed")
    return path
