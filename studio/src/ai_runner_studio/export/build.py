"""ImageBuild: one run of a builder, from the context to an image with a name, or to nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from runner.time_limit import time_limit

from ..errors import BuildError, EngineError, UsageError
from .build_failure import explain_build, explain_push
from .build_progress import BuildLog, BuildProgress
from .engine import BuildRequest, Engine
from .run_record import own_record

END_LIMIT_S = 10.0  # for a builder that was told to stop
_LOCK_LOOK_S = 0.2
_NOTE_S = 0.5
_TAIL_LINES = 200  # of the log, kept to explain a failure
# distribution/reference: [registry[:port]/]path[:tag]
_TAG = re.compile(
    r"^(?:[A-Za-z0-9.-]+(?::\d{1,5})?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$"
)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What came of a build.

    Attributes:
        id: of the image. tags: its names, in the engine's own store.
        command: the builder's command line, as it can be typed.
        cached_steps: steps that earlier builds had done already.
    """

    id: str
    tags: tuple[str, ...]
    engine: str
    command: str
    duration_s: float
    steps: int
    cached_steps: int


def check_tag(tag: str) -> str:
    """The tag, if every engine takes it.

    Raises:
        UsageError: it is no name of an image.
    """
    if not _TAG.match(tag):
        raise UsageError(
            f"'{tag}' is no name for an image",
            hint="it looks like [registry/]name[:tag]; the name in lower case, e.g. registry.example/glow:1.2.0",
        )
    return tag


class ImageBuild:
    """Runs a builder over a context; the image gets its names only when it is whole."""

    def __init__(
        self,
        engine: Engine,
        request: BuildRequest,
        tags: tuple[str, ...],
        log: Path,
        show: Callable[[BuildProgress], None] = lambda _progress: None,
    ) -> None:
        """`log`: file that gets everything that the builder writes; `show`: is told of each step."""
        self._engine = engine
        self._request = request
        self._tags = tuple(check_tag(tag) for tag in tags)
        self._log = log
        self._show = show
        self._reading = BuildLog()
        self._tail: list[str] = []

    async def run(self) -> BuiltImage:
        """Build and name.

        Raises:
            BuildError: it failed; the message says in which step and why.
            EngineError: the image cannot be named.
        """
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ai-runner-studio-") as folder:
            id_file = Path(folder) / "id"
            command = self._engine.build_command(self._request, id_file)
            shown = shlex.join(part for part in command if part not in ("--iidfile", str(id_file)))
            async with alone(self._engine.lock_file):
                await self._build(command, shown)
            image = id_file.read_text().strip() if id_file.exists() else f"sha256:{self._reading.image}"
        for tag in self._tags:
            await self._engine.tag(image, tag)
        progress = self._reading.progress
        duration_s = time.monotonic() - began
        return BuiltImage(image, self._tags, self._engine.name, shown, duration_s, progress.steps, progress.cached)

    async def _build(self, command: list[str], shown: str) -> None:
        """Run the builder; where it does not end well, remove what it has left."""
        before = await self._engine.working_containers()
        noting = asyncio.create_task(self._note_containers(before))
        try:
            code = await self._run(command, shown)
        except BaseException:
            await asyncio.shield(self._sweep(before))
            raise
        finally:
            noting.cancel()
            own_record().note(builder=None, containers=())
        if code:
            await self._sweep(before)
            raise explain_build(self._reading.progress, self._tail, self._log)

    async def push(self) -> None:
        """Push every tag.

        Raises:
            BuildError: a registry refuses it or cannot be reached.
        """
        for tag in self._tags:
            self._tail.clear()
            command = self._engine.push_command(tag)
            if await self._run(command, shlex.join(command)):
                raise explain_push(tag, self._tail, self._log)

    async def _run(self, command: list[str], shown: str) -> int:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ {shown}\n")
            async with _process(command, self._engine.environment) as process:
                assert process.stdout is not None
                own_record().note(builder=_identity(process.pid))
                async for line in _lines(process.stdout):
                    log.write(line + "\n")
                    log.flush()
                    self._tail = [*self._tail[-_TAIL_LINES:], line]
                    if self._reading.read(line):
                        self._show(self._reading.progress)
                return await process.wait()

    async def _sweep(self, before: dict[str, tuple[str, str]]) -> None:
        """Remove what a builder that did not end well has left in its store."""
        with contextlib.suppress(EngineError):  # the store itself may be what has failed
            for container in await self._containers(before):
                await self._engine.remove_working_container(container)

    async def _containers(self, before: dict[str, tuple[str, str]]) -> list[str]:
        """This build's working containers: new ones, of the images of our steps."""
        return [
            container
            for container, image in (await self._engine.working_containers()).items()
            if container not in before and any(one.startswith(seen) for one in image for seen in self._reading.images)
        ]

    async def _note_containers(self, before: dict[str, tuple[str, str]]) -> None:
        """Note the working containers in the record: in each step at first, and then at times twice as far apart."""
        step = turns = 0
        while True:
            await asyncio.sleep(_NOTE_S)
            turns = turns + 1 if step == self._reading.progress.step else 0
            step = self._reading.progress.step
            if turns & (turns - 1) == 0:
                with contextlib.suppress(EngineError):
                    own_record().note(containers=tuple(await self._containers(before)))


def _identity(pid: int) -> tuple[int, float] | None:
    """Process id and start time; None if the process is gone."""
    try:
        return pid, psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


@contextlib.asynccontextmanager
async def alone(lock_file: Path | None) -> AsyncIterator[None]:
    """Hold the file; wait while another build does. The system lets go of it when a process ends, however it does."""
    if lock_file is None:
        yield
        return
    import fcntl

    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_LOOK_S)
        yield


@contextlib.asynccontextmanager
async def _process(command: list[str], environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A builder in a process group of its own, none of which is left when this is."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the group to stop; what does not, and what the builder has started and left, is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(END_LIMIT_S):
                await process.wait()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of any length; a carriage return, with which progress bars begin anew, ends one too."""
    rest = ""
    while chunk := await stream.read(65_536):
        *lines, rest = re.split(r"\r\n|\n|\r", rest + chunk.decode(errors="replace"))
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest
