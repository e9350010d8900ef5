"""What a pipeline process leaves behind when it ends, in whatever way: processes, shared memory, temporary files."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import shared_memory
from pathlib import Path

import psutil
import pytest

from ..conftest import WriteModule
from .test_process import Child, running, wait_ended

pytestmark = pytest.mark.usefixtures("nothing_left")

HEAD = """
import multiprocessing, os, signal, subprocess, sys, tempfile, time
from multiprocessing import shared_memory

def f(frame):
    return frame

def told(*values):
    os.write(1, (" ".join(map(str, values)) + "\\n").encode())

def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid

def in_a_session():
    os.setsid()
    time.sleep(600)

def daemon():
    os.setsid()
    told("started", forked(lambda: time.sleep(600)))
"""
HELPERS = {
    "exec": "told('started', subprocess.Popen(['sleep', '600'], start_new_session=True).pid)",
    "fork": "told('started', forked(in_a_session))",
    "daemon": "os.waitpid(forked(daemon), 0)",
    "daemon of a program": "subprocess.run(['setsid', '-f', 'sh', '-c', 'echo started $$; exec sleep 600'])",
}
WITHOUT_ENVIRONMENT = "told('started', subprocess.Popen(['/bin/sleep', '600'], start_new_session=True, env={}).pid)"
NAMED = """
memory = shared_memory.SharedMemory(create=True, size=100)
queue = multiprocessing.get_context("spawn").Queue()
folder = tempfile.TemporaryDirectory()
file = tempfile.mkstemp()[1]
told("memory", memory.name, "folder", folder.name, "file", file, "semaphore", queue._rlock._semlock.name)
"""


async def started(child: Child) -> psutil.Process:
    await child.until(lambda: child.logged("started "))
    return psutil.Process(int(child.logged("started ")[0].message.split()[1]))


async def kill(child: Child) -> None:
    """As the kernel does it when memory is short."""
    os.kill(child.process.pid, signal.SIGKILL)
    await child.until(lambda: child.exits)


class TestProcesses:
    @pytest.mark.parametrize("killed", [False, True])
    @pytest.mark.parametrize("helper", HELPERS)
    async def test_in_a_session_of_their_own_are_ended(self, write: WriteModule, helper: str, killed: bool) -> None:
        if sys.platform != "linux" and helper != "exec":
            pytest.skip("only Linux shows the environment of what was forked")
        write("helper_a", HEAD + HELPERS[helper])
        async with running("helper_a:f") as child:
            process = await started(child)
            if killed:
                await kill(child)
        wait_ended(process)

    async def test_without_an_environment_are_ended_with_a_process_that_is_stopped(self, write: WriteModule) -> None:
        write("helper_b", HEAD + WITHOUT_ENVIRONMENT)
        async with running("helper_b:f") as child:
            process = await started(child)
        wait_ended(process)

    async def test_of_another_pipeline_process_go_on(self, write: WriteModule) -> None:
        write("helper_c", HEAD + HELPERS["exec"])
        async with running("helper_c:f") as child:
            process = await started(child)
            async with running("helper_c:f") as other:
                await started(other)
            assert process.is_running()
        wait_ended(process)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no files here")
class TestNamed:
    @pytest.mark.parametrize("killed", [False, True])
    async def test_memory_and_files_are_removed(self, write: WriteModule, killed: bool) -> None:
        write("named_a", HEAD + NAMED)
        async with running("named_a:f") as child:
            await child.until(lambda: child.logged("memory "))
            fields = child.logged("memory ")[0].message.split()
            names = dict(zip(fields[::2], fields[1::2], strict=True))
            paths = [
                Path("/dev/shm", names["memory"]),
                Path("/dev/shm", f"sem.{names['semaphore'].lstrip('/')}"),
                Path(names["folder"]),
                Path(names["file"]),
            ]
            assert all(path.exists() for path in paths)
            if killed:
                await kill(child)
        assert not any(path.exists() for path in paths)
        assert not list(Path(tempfile.gettempdir()).glob(f"ai-runner-process-{os.getpid()}-*"))

    async def test_memory_that_the_pipeline_has_removed_is_not_missed(self, write: WriteModule) -> None:
        write("named_b", HEAD + NAMED + "memory.close()\nmemory.unlink()\n")
        async with running("named_b:f") as child:
            await child.until(lambda: child.logged("memory "))
        assert child.exits[0].reason == "was stopped"

    async def test_memory_of_another_program_stays(self, write: WriteModule, theirs: str) -> None:
        write("named_c", HEAD + f"memory = shared_memory.SharedMemory({theirs!r})\ntold('attached')\n")
        async with running("named_c:f") as child:
            await child.until(lambda: child.logged("attached"))
        assert Path("/dev/shm", theirs).exists()

    async def test_what_torch_compiles_is_kept(self, write: WriteModule) -> None:
        write("named_d", HEAD + "told('cache', os.environ['TORCHINDUCTOR_CACHE_DIR'], tempfile.gettempdir())\n")
        async with running("named_d:f") as child:
            await child.until(lambda: child.logged("cache "))
        _, cache, temporary = child.logged("cache ")[0].message.split()
        assert not cache.startswith(temporary)
        assert re.match(r"torchinductor_\w+$", os.path.basename(cache))


@pytest.fixture
def theirs() -> Iterator[str]:
    """Shared memory of a program that runs."""
    memory = shared_memory.SharedMemory(create=True, size=100)
    try:
        yield memory.name
    finally:
        memory.close()
        with suppress(FileNotFoundError):
            memory.unlink()
