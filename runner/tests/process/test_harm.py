"""What pipelines do to the runner: each ends in a named state with a useful message, and a picture goes on."""

from __future__ import annotations

import asyncio
import shlex
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runner.live.events import LoadFailed, LoadSucceeded, PipelineFailed, PipelineWarned, ProcessExited
from runner.live.process import guardian, watchdog
from runner.live.process.debugging import ANNOUNCED, HOOK
from runner.live.process.policy import ReloadOptions
from runner.live.process.revision import LoadRequest

from ..conftest import WriteModule, children, raw_frame
from .guarded import Guarded, guarded

pytestmark = pytest.mark.usefixtures("nothing_left")
ON_THE_WAY = 5  # in put_video_frame, waiting, in the output ring

HEAD = "import torch, os, signal, time, ctypes, threading, asyncio\n"
FUNCTION = HEAD + "def f(frame):\n    {harm}\n    return torch.full_like(frame, {value} / 255)\n"
CLASS = """
class f:
    def __init__(self):
        {init}
    def on_stop(self):
        {stop}
    def transform(self, frame):
        return torch.full_like(frame, {value} / 255)
"""
FOR_EVER = "while True: time.sleep(0.01)"

PIPELINE = """
from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoOutput

class f(Pipeline):
    async def initialize(self, **params):
        self.frames = asyncio.Queue()
    async def put_video_frame(self, frame, request_id):
        {harm}
        await self.frames.put(VideoOutput(frame.replace_tensor(torch.full_like(frame.tensor, {value} / 255)), request_id))
    async def get_processed_video_frame(self):
        return await self.frames.get()
    async def update_params(self, **params):
        pass
    async def stop(self):
        pass
    @classmethod
    def prepare_models(cls):
        pass
"""


def function(value: int, harm: str = "pass") -> str:
    return FUNCTION.format(value=value, harm=harm)


def a_class(value: int, init: str = "pass", stop: str = "pass") -> str:
    return HEAD + CLASS.format(value=value, init=init, stop=stop)


def a_pipeline(value: int, harm: str = "pass") -> str:
    return HEAD + PIPELINE.format(value=value, harm=harm)


@asynccontextmanager
async def streaming(write: WriteModule, tmp_path: Path, source: str) -> AsyncIterator[Guarded]:
    """A guardian whose pipeline is this and gives frames of value 10."""
    write("harm", source)
    options = ReloadOptions(standby=True, standby_min_free_bytes=0, snapshots=tmp_path / "snapshots")
    async with guarded("harm:f", options=options) as run:
        run.stream()
        await gives(run, 10)
        yield run


async def gives(run: Guarded, value: int) -> None:
    known = len(run.values)
    await run.until(lambda: value in run.values[known:])


async def save(run: Guarded, write: WriteModule, source: str) -> None:
    write("harm", source)
    run.guardian.replace(LoadRequest("saved"))


async def fails(run: Guarded, write: WriteModule, source: str, told: str) -> None:
    """This code, saved, is given up for that reason, and what served before goes on."""
    await save(run, write, source)
    failed = await run.next(LoadFailed)
    assert told in failed.report.headline, source
    assert failed.serving == 1
    await gives(run, 10)
    assert 20 not in run.values


HARMS = (
    (function(20) + "\nos.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL (out of memory?)"),
    (function(20) + "\nctypes.string_at(0)", "was killed by SIGSEGV (a crash in native code)"),
    (function(20) + "\nos._exit(3)", "exited with code 3"),
    (function(20, "os.kill(os.getpid(), signal.SIGKILL)"), "was killed by SIGKILL (out of memory?)"),
    (function(20, "ctypes.string_at(0)"), "was killed by SIGSEGV (a crash in native code)"),
)
NEVER_READY = (function(20) + "\n" + FOR_EVER, a_class(20, init=FOR_EVER))
NEVER_A_FRAME = (
    function(20, FOR_EVER),
    a_pipeline(20, "time.sleep(1000)"),
    a_pipeline(20, "await asyncio.sleep(1000)"),
    a_pipeline(20, "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)"),
)


def warnings(run: Guarded) -> list[str]:
    return [event.message for event in run.events if isinstance(event, PipelineWarned)]


class TestNewCode:
    async def test_that_crashes_never_takes_over(self, write: WriteModule, tmp_path: Path) -> None:
        async with streaming(write, tmp_path, function(10)) as run:
            await run.until(lambda: run.guardian.standby.told.state == "ready")
            for source, told in HARMS:
                await fails(run, write, source, told)
            await save(run, write, function(30))
            await gives(run, 30)

    async def test_that_hangs_never_takes_over(self, write: WriteModule, tmp_path: Path) -> None:
        async with streaming(write, tmp_path, function(10)) as run:
            await run.until(lambda: run.guardian.standby.told.state == "ready")
            run.limit(load_timeout_s=1.0)
            for source in NEVER_READY:
                await fails(run, write, source, "LoadTimeout: not ready after 1 s")
            run.limit()
            await save(run, write, function(30))
            await gives(run, 30)

    async def test_that_gives_no_frame_never_takes_over(self, write: WriteModule, tmp_path: Path) -> None:
        async with streaming(write, tmp_path, function(10)) as run:
            await run.until(lambda: run.guardian.standby.told.state == "ready")
            run.limit(first_frame_timeout_s=1.0)
            for source in NEVER_A_FRAME:
                await fails(run, write, source, "NoOutput: no output frame within 1 s")
            run.limit()
            await save(run, write, function(30))
            await gives(run, 30)


class TestOldCode:
    @pytest.mark.parametrize(
        "stop",
        [FOR_EVER, "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)", "os._exit(5)", "1 / 0"],
    )
    async def test_that_does_not_want_to_stop_is_ended(self, write: WriteModule, tmp_path: Path, stop: str) -> None:
        async with streaming(write, tmp_path, a_class(10, stop=stop)) as run:
            await save(run, write, a_class(20))
            loaded = await run.next(LoadSucceeded)
            assert loaded.revision == 2
            assert loaded.frames_lost <= run.gaps()
            await gives(run, 20)

    async def test_that_ignores_sigterm_is_ended(self, write: WriteModule, tmp_path: Path) -> None:
        ignores = a_pipeline(10, "signal.signal(signal.SIGTERM, signal.SIG_IGN)").replace(
            "async def stop(self):\n        pass", "async def stop(self):\n        await asyncio.sleep(1000)"
        )
        async with streaming(write, tmp_path, ignores) as run:
            await save(run, write, a_pipeline(20))
            await gives(run, 20)
            await run.until(lambda: any(isinstance(e, LoadSucceeded) and e.revision == 2 for e in run.events))


class TestServingCode:
    async def test_that_hangs_is_told_with_its_place_and_a_save_replaces_it(
        self, write: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watchdog, "SLOW_AFTER_S", 1.0)
        hangs = function(10, "if os.path.exists('hang'): time.sleep(1000)")
        async with streaming(write, tmp_path, hangs) as run:
            Path("hang").touch()
            warned = await run.next(PipelineWarned)
            assert warned.message.startswith("a frame has been in the pipeline for")
            assert "harm.py:3 in f" in warned.message
            await save(run, write, function(20))
            await gives(run, 20)

    async def test_that_blocks_the_event_loop_is_told_with_its_place(
        self, write: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watchdog, "BLOCKED_AFTER_S", 1.0)
        blocks = a_pipeline(10, "time.sleep(1000 if os.path.exists('hang') else 0)")
        async with streaming(write, tmp_path, blocks) as run:
            Path("hang").touch()
            warned = await run.next(PipelineWarned)
            assert warned.message.startswith("the event loop is blocked")
            assert "in put_video_frame" in warned.message
            await save(run, write, a_pipeline(20))
            await gives(run, 20)

    async def test_that_was_slow_to_load_does_not_block_the_event_loop(
        self, write: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watchdog, "BLOCKED_AFTER_S", 0.5)
        monkeypatch.setattr(guardian, "TICK_S", 0.02)
        async with streaming(write, tmp_path, "import time\ntime.sleep(1.5)\n" + function(10)) as run:
            process = run.guardian.process
            assert process is not None
            loaded = process.heartbeat_at
            await run.until(lambda: process.heartbeat_at > loaded and len(run.values) > 5)
            assert not any("event loop" in warning for warning in warnings(run))

    async def test_that_imports_on_a_frame_does_not_block_the_event_loop(
        self, write: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watchdog, "BLOCKED_AFTER_S", 0.3)
        monkeypatch.setattr(watchdog, "SLOW_AFTER_S", 0.3)
        monkeypatch.setattr(guardian, "TICK_S", 0.02)
        write("slow_library", "import time\ntime.sleep(2.0)\n")
        async with streaming(write, tmp_path, a_pipeline(10, "import slow_library")) as run:
            await run.until(lambda: len(run.values) > 5)
            assert warnings(run) == []

    async def test_that_leaks_threads_is_told(self, write: WriteModule, tmp_path: Path) -> None:
        thread = "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
        leaks = function(10, f"for _ in range(20): {thread}")
        async with streaming(write, tmp_path, leaks) as run:
            await run.until(lambda: any("do they ever end?" in warning for warning in warnings(run)))
            await save(run, write, function(20))
            await gives(run, 20)

    @pytest.mark.parametrize(
        ("harm", "reason"),
        [
            ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL (out of memory?)"),
            ("ctypes.string_at(0)", "was killed by SIGSEGV (a crash in native code)"),
            ("os._exit(4)", "exited with code 4"),
        ],
    )
    async def test_that_dies_is_started_again(self, write: WriteModule, tmp_path: Path, harm: str, reason: str) -> None:
        dies = function(10, f"if os.path.exists('die'): os.unlink('die'); {harm}")
        async with streaming(write, tmp_path, dies) as run:
            Path("die").touch()
            exited = await run.next(ProcessExited)
            assert exited.reason == reason
            assert exited.restarting
            await gives(run, 10)

    async def test_that_dies_is_missed_though_what_it_has_forked_lives_on(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        """What is forked holds all descriptors of what forked it."""
        dies = HEAD + "if os.fork() == 0: time.sleep(600)\n" + function(10, "if os.path.exists('die'): os._exit(4)")
        async with streaming(write, tmp_path, dies) as run:
            Path("die").touch()
            assert (await run.next(ProcessExited)).reason == "exited with code 4"
            Path("die").unlink()
            await gives(run, 10)


class TestLosslessStream:
    """Its source waits for the pipeline, so that nothing else shows that a frame is never answered."""

    @pytest.mark.parametrize(
        ("source", "place"),
        [
            (function(10, "time.sleep(1000)"), "f"),
            (a_pipeline(10, "time.sleep(1000)"), "put_video_frame"),
        ],
    )
    async def test_ends_with_an_error_that_names_the_place(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch, source: str, place: str
    ) -> None:
        monkeypatch.setattr(guardian, "FRAME_LIMIT_S", 1.0)
        monkeypatch.setattr(guardian, "TICK_S", 0.05)
        path = write("harm", source)
        async with guarded("harm:f") as run:
            await run.guardian.wait_serving()
            run.guardian.open_stream("r", lossless=True)
            await run.guardian.send(raw_frame(0))
            failed = await run.next(PipelineFailed)
            assert failed.report.message.startswith("the pipeline has not answered a frame for 1 s")
            assert (failed.report.file, failed.report.function) == (str(path), place)
            assert "a frame" in (await run.next(ProcessExited)).reason
            assert len([event for event in run.events if isinstance(event, PipelineFailed)]) == 1

    async def test_waits_for_a_debugger_without_limit(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guardian, "FRAME_LIMIT_S", 2.0)
        monkeypatch.setattr(guardian, "TICK_S", 0.05)
        monkeypatch.setenv("PYTHONBREAKPOINT", HOOK)
        write("harm", function(10, "breakpoint()"))
        async with guarded("harm:f") as run:
            await run.guardian.wait_serving()
            run.guardian.open_stream("r", lossless=True)
            await run.guardian.send(raw_frame(0))
            said = (await run.next(PipelineWarned)).message
            assert said.startswith(f"{ANNOUNCED}harm.py, line ")
            await asyncio.sleep(2.5)  # longer than the limit
            attach = shlex.split(said.partition("attach with: ")[2])
            debugger = await asyncio.create_subprocess_exec(*attach, stdin=PIPE, stdout=PIPE)
            shown, _ = await debugger.communicate(b"p frame.shape\nquit\n")
            assert b"torch.Size([1, 512, 512, 3])" in shown
            await run.until(lambda: run.values)
            await run.guardian.send(raw_frame(1))  # does not stop any more
            await run.until(lambda: len(run.values) == 2)
            assert not [event for event in run.events if isinstance(event, PipelineFailed | ProcessExited)]


class TestStorm:
    async def test_of_saves_ends_with_the_last_one_and_never_without_a_picture(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with streaming(write, tmp_path, function(10)) as run:
            await run.until(lambda: run.guardian.standby.told.state == "ready")
            for number in range(200):
                await save(run, write, function(20 + number % 100))
                await asyncio.sleep(0.02)
            await save(run, write, function(250))
            await gives(run, 250)
            pts = [frame.pts for frame in run.outputs]
            assert pts == sorted(set(pts))
            # Frames went on all the time: what is missing is accounted for, but for those that are on their way.
            lost = sum(event.frames_lost for event in run.events if isinstance(event, LoadSucceeded))
            await run.until(lambda: run.missing() <= lost + ON_THE_WAY)
            await run.until(lambda: run.guardian.loads.under_way is None)
            await run.until(lambda: run.guardian.standby.told.state == "ready")
            while len(children()) > 3:  # serving, template, spare
                await asyncio.sleep(0.05)
