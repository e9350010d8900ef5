"""PipelineProcess: one real child, from birth to reaping."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest

from runner.errors import ParamsError, ProcessError
from runner.live.pipelines import PipelineSpec, builtin_pipeline_spec
from runner.live.process.exit import ProcessExit
from runner.live.process.flow_control import OUTPUTS_HELD, WINDOW
from runner.live.process.messages import FrameFailed, LogLine, Message, OutputWarned, ParamsApplied, ParamsReloaded
from runner.live.process.process import LoadError, PipelineProcess
from runner.live.trickle import RawFrame

from ..conftest import WriteModule, raw_frame, segments

pytestmark = pytest.mark.usefixtures("nothing_left")
READY_S = 60.0
OUTERMOST = '  File "<string>", line 1 in <module>'
# It answers the question for its stacks itself, as slowly as a machine that is busy elsewhere.
IN_PIECES = f"""
import signal, sys, time

def tell(*_):
    for line in ("Thread 0x1 (most recent call first):", "Current thread 0x2 (most recent call first):"):
        print(line, file=sys.stderr)
        time.sleep(0.3)
    print({OUTERMOST!r}, file=sys.stderr)

signal.signal(signal.SIGUSR1, tell)

def f(frame):
    return frame
"""


class Child:
    """A process, and what it has said."""

    def __init__(self, spec: PipelineSpec) -> None:
        self.frames: list[tuple[RawFrame, np.ndarray, str]] = []
        self.messages: list[Message] = []
        self.exits: list[ProcessExit] = []
        self.hold = False
        self._there = asyncio.Event()
        self.process = PipelineProcess(spec, on_frame=self._frame, on_message=self._message, on_exit=self._exit)

    def _frame(self, frame: RawFrame, request_id: str) -> None:
        pixels = frame.pixels.copy()  # the frame's own are a view of memory that goes back
        self.frames.append((replace(frame, pixels=pixels), pixels, request_id))
        if not self.hold:
            frame.release()
        self._there.set()

    def _message(self, message: Message) -> None:
        self.messages.append(message)
        self._there.set()

    def _exit(self, exit: ProcessExit) -> None:
        self.exits.append(exit)
        self._there.set()

    async def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        async def wait() -> None:
            while not condition():
                self._there.clear()
                await self._there.wait()

        await asyncio.wait_for(wait(), timeout_s)

    def logged(self, text: str) -> list[LogLine]:
        return [m for m in self.messages if isinstance(m, LogLine) and text in m.message]

    def of(self, kind: type) -> list[Message]:
        return [message for message in self.messages if isinstance(message, kind)]


def wait_ended(process: psutil.Process, meanwhile: Callable[[], None] = lambda: time.sleep(0.01)) -> None:
    """Wait until it has exited, whoever is to reap it."""
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            meanwhile()


@asynccontextmanager
async def running(spec: PipelineSpec | str, **params: object) -> AsyncIterator[Child]:
    child = Child(PipelineSpec(pipeline_cls=spec) if isinstance(spec, str) else spec)
    await child.process.start(params)
    try:
        await child.process.ready(READY_S)
        child.process.open_stream("r1")
        yield child
    finally:
        await child.process.stop()


def noop() -> PipelineSpec:
    spec = builtin_pipeline_spec("noop")
    assert spec is not None
    return spec


class TestFrames:
    @pytest.mark.quick
    @pytest.mark.spawned
    async def test_lossless_every_frame_comes_back_unchanged_and_in_order(self) -> None:
        async with running(noop()) as child:
            for seq in range(60):
                await child.process.send(raw_frame(seq), "r1")
            await child.process.drain(5.0)
            assert [frame.seq for frame, _, _ in child.frames] == list(range(60))
            assert all((pixels == frame.seq).all() for frame, pixels, _ in child.frames)
            assert {frame.time_base for frame, _, _ in child.frames} == {raw_frame(0).time_base}
            assert {request for _, _, request in child.frames} == {"r1"}

    async def test_each_boundary_is_stamped_in_order(self) -> None:
        async with running(noop()) as child:
            await child.process.send(raw_frame(0), "r1")
            await child.until(lambda: child.frames)
            names = ["captured", "queued", "taken", "uploaded", "processed", "downloaded", "received"]
            stamps = child.frames[0][0].stamps
            assert list(stamps) == names
            assert sorted(stamps.values()) == list(stamps.values())

    async def test_a_slow_pipeline_gets_the_newest_and_drops_are_counted(self, write: WriteModule) -> None:
        write("slow_a", "import time\ndef slow(frame):\n    time.sleep(0.2)\n    return frame\n")
        async with running("slow_a:slow") as child:
            for seq in range(10):
                child.process.offer(raw_frame(seq), "r1")
            await child.until(lambda: len(child.frames) == 2)
            assert [frame.seq for frame, _, _ in child.frames] == [0, 9]
            assert child.process.dropped == {"superseded": 8}

    async def test_sizes_may_change_on_the_way(self) -> None:
        async with running(noop()) as child:
            for seq, (width, height) in enumerate([(512, 512), (1280, 720), (384, 384), (1920, 1080)]):
                await child.process.send(raw_frame(seq, width, height), "r1")
            await child.process.drain(5.0)
            assert [pixels.shape for _, pixels, _ in child.frames] == [
                (512, 512, 3),
                (720, 1280, 3),
                (384, 384, 3),
                (1080, 1920, 3),
            ]

    async def test_more_and_fewer_outputs_than_inputs(self, write: WriteModule) -> None:
        write(
            "many_a",
            """
            class Uneven:
                number = -1
                def transform(self, frame):
                    self.number += 1
                    return frame.repeat(self.number % 3, 1, 1, 1) if self.number % 3 else None
            """,
        )
        async with running("many_a:Uneven") as child:
            for seq in range(6):
                await child.process.send(raw_frame(seq * 10), "r1")
            await child.process.drain(1.0)
            times = [float(frame.time_s) * 30 for frame, _, _ in child.frames]
            assert times == pytest.approx([10, 20, 25, 40, 50, 55])

    async def test_a_batch_that_is_not_full_is_flushed_at_the_end(self, write: WriteModule) -> None:
        write("batch_a", "class Four:\n    batch_size = 4\n    def transform(self, frames):\n        return frames\n")
        async with running("batch_a:Four") as child:
            for seq in range(10):
                await child.process.send(raw_frame(seq), "r1")
            await child.process.drain(5.0)
            assert [frame.seq for frame, _, _ in child.frames] == list(range(10))

    async def test_outputs_beyond_the_number_of_inputs_are_waited_for_at_the_end(self, write: WriteModule) -> None:
        write("five_a", "def five(frame):\n    return frame.repeat(5, 1, 1, 1)\n")
        async with running("five_a:five") as child:
            for seq in range(4):
                await child.process.send(raw_frame(seq * 10), "r1")
            await child.process.drain(5.0)
            assert len(child.frames) == 20

    async def test_a_host_that_holds_its_outputs_holds_the_input_too(self) -> None:
        async with running(noop()) as child:
            child.hold = True

            async def send_all() -> None:
                for seq in range(20):
                    await child.process.send(raw_frame(seq), "r1")

            sending = asyncio.create_task(send_all())
            await child.until(lambda: len(child.frames) >= OUTPUTS_HELD)
            await asyncio.sleep(0.3)
            assert child.process.frames_sent <= WINDOW + OUTPUTS_HELD
            child.hold = False
            for frame, _, _ in list(child.frames):
                frame.release()
            await sending
            await child.process.drain(5.0)
            assert len(child.frames) == 20


class TestLoading:
    async def test_it_reports_params_schema_sources_and_device(self, write: WriteModule) -> None:
        params = write(
            "load_a.params", "from runner.live.pipelines import BaseParams\nclass P(BaseParams):\n    n: int = 3\n"
        )
        pipeline = write("load_a.pipeline", "from .params import P\ndef same(frame, params: P):\n    return frame\n")
        async with running("load_a.pipeline:same") as child:
            loaded = child.process.loaded
            assert loaded is not None
            assert loaded.params["n"] == 3
            assert loaded.schema["properties"]["n"]["default"] == 3
            assert loaded.device in ("cpu", "cuda")
            assert set(child.process.sources) == {str(params), str(pipeline)}

    @pytest.mark.parametrize(
        ("source", "phase", "kind", "line"),
        [
            ("def f(frame):\n    return frame +\n", "import", "SyntaxError", 2),
            ("import not_there_at_all\n", "import", "ModuleNotFoundError", 1),
            ("x = 1\ny = 1 / 0\n", "import", "ZeroDivisionError", 2),
            (
                "class f:\n    def __init__(self):\n        self.a = b\n    def transform(self, frame): ...\n",
                "initialize",
                "NameError",
                3,
            ),
            ("import sys\nsys.exit(3)\n", "import", "SystemExit", 2),
            ("import os\nos._exit(3)\n", "process", "ProcessExited", 0),
            ("import os\nos.kill(os.getpid(), 11)\n", "process", "ProcessExited", 0),
        ],
    )
    async def test_a_mistake_is_told_with_its_place(
        self, write: WriteModule, source: str, phase: str, kind: str, line: int
    ) -> None:
        path = write("broken_a", source)
        child = Child(PipelineSpec(pipeline_cls="broken_a:f"))
        await child.process.start({})
        with pytest.raises(LoadError) as caught:
            await child.process.ready(READY_S)
        report = caught.value.report
        assert (report.phase, report.kind, report.line) == (phase, kind, line)
        if line:
            assert report.file == str(path)
            assert [code.number for code in report.code if code.fault] == [line]
            assert str(path) in child.process.sources
        await child.process.stop()

    async def test_refused_params_fail_the_load(self) -> None:
        child = Child(noop())
        await child.process.start({"width": 100})
        with pytest.raises(LoadError, match="multiple of 64") as caught:
            await child.process.ready(READY_S)
        assert caught.value.report.phase == "params"
        await child.until(lambda: child.exits)
        assert child.exits[0].code == 1
        assert not child.of(OutputWarned)
        await child.process.stop()

    async def test_a_load_that_takes_too_long_tells_where_it_is(self, write: WriteModule) -> None:
        write(
            "stuck_a",
            "class f:\n    def __init__(self):\n        while True: pass\n    def transform(self, frame): ...\n",
        )
        child = Child(PipelineSpec(pipeline_cls="stuck_a:f"))
        await child.process.start({})
        await child.until(lambda: any(getattr(m, "name", "") == "initialize" for m in child.messages), READY_S)
        with pytest.raises(LoadError, match="not ready") as caught:
            await child.process.ready(1.0)
        assert "stuck_a.py" in caught.value.report.traceback
        await child.process.stop()


class TestMessages:
    async def test_output_logs_and_warnings_come_line_by_line(self, write: WriteModule) -> None:
        write(
            "talk_a",
            """
            import logging, os, sys, warnings
            print("to stdout")
            print("progress 1\\rprogress 2", file=sys.stderr)
            os.write(1, b"from C\\n")
            logging.getLogger("mine").warning("a %s", "record")
            warnings.warn("old thing", stacklevel=1)
            def f(frame):
                return frame
            """,
        )
        async with running("talk_a:f") as child:
            await child.until(lambda: child.logged("from C") and child.logged("progress 2"))
            assert child.logged("to stdout")[0].source == "stdout"
            assert [line.message for line in child.logged("progress")] == ["progress 1", "progress 2"]
            assert (child.logged("a record")[0].level, child.logged("a record")[0].source) == ("WARNING", "mine")
            assert "old thing" in child.logged("old thing")[0].message

    async def test_an_exception_in_a_frame_is_told_in_full_and_the_next_frame_goes_on(self, write: WriteModule) -> None:
        write(
            "fail_a",
            """
            def deeper(frame):
                raise ValueError("third frame")
            class Third:
                number = 0
                def transform(self, frame):
                    self.number += 1
                    return deeper(frame) if self.number == 3 else frame
            """,
        )
        async with running("fail_a:Third") as child:
            for seq in range(6):
                await child.process.send(raw_frame(seq), "r1")
            await child.process.drain(1.0)
            assert [frame.seq for frame, _, _ in child.frames] == [0, 1, 3, 4, 5]
            (failed,) = child.of(FrameFailed)
            assert (failed.report.kind, failed.report.message, failed.report.function) == (
                "ValueError",
                "third frame",
                "deeper",
            )
            assert "in transform" in failed.report.traceback

    async def test_a_wrong_tensor_points_at_the_return(self, write: WriteModule) -> None:
        write("wrong_a", "def grey(frame):\n    grey = frame.mean(-1)\n    return grey\n")
        async with running("wrong_a:grey") as child:
            await child.process.send(raw_frame(0), "r1")
            await child.until(lambda: child.of(FrameFailed))
            report = child.of(FrameFailed)[0].report
            assert "(1, 512, 512)" in report.message
            assert report.line == 3

    async def test_values_outside_the_range_are_told_once(self, write: WriteModule) -> None:
        write("range_a", "def shift(frame):\n    return frame * 2 - 1\n")
        async with running("range_a:shift") as child:
            for seq in (0, 255, 100):
                await child.process.send(raw_frame(seq), "r1")
            await child.process.drain(1.0)
            (warning,) = child.of(OutputWarned)
            assert "from -1 to -1" in warning.message
            assert [int(pixels[0, 0, 0]) for _, pixels, _ in child.frames] == [0, 255, 0]


class TestStacks:
    async def test_are_told_whole_each_time(self) -> None:
        async with running(noop()) as child:
            first, second = await child.process.dump_stacks(), await child.process.dump_stacks()
            for stacks in (first, second):
                assert stacks.count("most recent call first") > 1
                assert "in run_forever" in stacks
                assert stacks.endswith(OUTERMOST)

    async def test_that_come_in_pieces_are_waited_for(self, write: WriteModule) -> None:
        write("pieces_a", IN_PIECES)
        async with running("pieces_a:f") as child:
            assert (await child.process.dump_stacks()).endswith(OUTERMOST)


class TestParams:
    async def test_they_are_applied_or_refused_and_the_old_ones_stay(self, write: WriteModule) -> None:
        write(
            "par_a.params",
            "from pydantic import Field\nfrom runner.live.pipelines import BaseParams\nclass P(BaseParams):\n    gain: float = Field(1.0, ge=0, le=1)\n",
        )
        write("par_a.pipeline", "from .params import P\ndef f(frame, params: P):\n    return frame * params.gain\n")
        async with running("par_a.pipeline:f") as child:
            assert (await child.process.update_params({"gain": 0.5})).params["gain"] == 0.5
            with pytest.raises(ParamsError, match="less than or equal to 1"):
                await child.process.update_params({"gain": 2})
            await child.process.send(raw_frame(200), "r1")
            await child.until(lambda: child.frames)
            assert child.frames[0][1][0, 0, 0] == 100

    async def test_the_size_cannot_change_within_a_stream(self) -> None:
        async with running(noop()) as child:
            child.process.open_stream("r1")
            await child.process.update_params({"width": 512})
            with pytest.raises(ParamsError, match="start a new one"):
                await child.process.update_params({"width": 640})


class TestParamsInForce:
    """A pipeline that knows more of its parameters than its params class does."""

    FORMS = """
        import asyncio
        from pydantic import create_model
        from runner.live.pipelines import BaseParams
        from runner.live.pipelines.noop import Noop

        class Forms(Noop):
            async def initialize(self, **params):
                self.take(params.get("pipeline", "one"))

            def take(self, name):
                self.params = create_model("Form", __base__=BaseParams, **{name: (int, 5)})()

            def params_in_force(self):
                return self.params

            async def update_params(self, pipeline, slowly=False, fails=False, **params):
                if not slowly:
                    return self.take(pipeline)
                async def reload():
                    await asyncio.sleep(0)
                    if not fails:
                        self.take(pipeline)
                return asyncio.create_task(reload())
        """

    async def test_they_and_their_schema_are_told_when_it_is_loaded(self, write: WriteModule) -> None:
        write("forms_a", self.FORMS)
        async with running("forms_a:Forms", pipeline="two") as child:
            assert child.process.loaded is not None
            assert child.process.loaded.params["two"] == 5
            assert child.process.loaded.schema["properties"]["two"]["default"] == 5

    async def test_they_are_told_when_it_has_taken_others(self, write: WriteModule) -> None:
        write("forms_b", self.FORMS)
        async with running("forms_b:Forms") as child:
            applied = await child.process.update_params({"pipeline": "three"})
            assert applied.params["three"] == 5
            assert "three" in applied.schema["properties"]

    @pytest.mark.parametrize(("fails", "name"), [(False, "four"), (True, "one")])
    async def test_after_a_reload_they_are_what_has_become_of_it(
        self, write: WriteModule, fails: bool, name: str
    ) -> None:
        write("forms_c", self.FORMS)
        async with running("forms_c:Forms") as child:
            await child.process.update_params({"pipeline": "four", "slowly": True, "fails": fails})
            await child.until(lambda: child.of(ParamsReloaded))
            (reloaded,) = child.of(ParamsReloaded)
            assert isinstance(reloaded, ParamsReloaded)
            assert reloaded.params[name] == 5
            assert name in reloaded.schema["properties"]

    async def test_a_reload_that_is_over_before_its_beginning_is_heard_of_is_told_as_over(self) -> None:
        async with running(noop()) as child:
            updating = asyncio.create_task(child.process.update_params({}))
            await asyncio.sleep(0)  # it is sent, and both messages come at once
            child.process._receive(ParamsApplied(1, {"wanted": 1}, {}, True, 512, 512))
            child.process._receive(ParamsReloaded({"kept": 1}, {"title": "Kept"}))
            applied = await updating
            assert (applied.params, applied.schema, applied.reloading) == ({"kept": 1}, {"title": "Kept"}, False)


@pytest.mark.spawned
class TestDeath:
    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("os._exit(3)", "exited with code 3"),
            ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
            ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ],
    )
    async def test_a_crash_is_named(self, write: WriteModule, code: str, reason: str) -> None:
        write("crash_a", f"import os\ndef f(frame):\n    print('last words', flush=True)\n    {code}\n")
        async with running("crash_a:f") as child:
            child.process.offer(raw_frame(0), "r1")
            await child.until(lambda: child.exits)
            assert child.exits[0].reason.startswith(reason)
            assert "last words" in child.exits[0].logs
            with pytest.raises(ProcessError, match=reason):
                await child.process.send(raw_frame(1), "r1")

    async def test_one_that_ignores_everything_is_killed(self, write: WriteModule) -> None:
        write(
            "stubborn_a",
            """
            import asyncio, signal, time
            class f:
                def on_ready(self, params=None): ...
                def transform(self, frame): return frame
                async def on_stop(self):
                    while True:
                        time.sleep(1)
            """,
        )
        async with running("stubborn_a:f") as child:
            pid = child.process.pid
            await child.process.stop(0.5)
            assert not psutil.pid_exists(pid)

    async def test_what_it_has_started_goes_with_it(self, write: WriteModule) -> None:
        write(
            "parent_a",
            """
            import subprocess
            class f:
                def on_ready(self, params=None):
                    print("pid", subprocess.Popen(["sleep", "1000"]).pid, flush=True)
                def transform(self, frame): return frame
            """,
        )
        async with running("parent_a:f") as child:
            await child.until(lambda: child.logged("pid "))
            sleeper = psutil.Process(int(child.logged("pid ")[0].message.split()[1]))
        await asyncio.wait_for(asyncio.to_thread(wait_ended, sleeper), 60)

    async def test_late_requests_to_stop_do_not_change_how_it_exits(self, write: WriteModule) -> None:
        """Its event loop has handlers for signals, and the interpreter behind it has not."""
        write("late_a", "def f(frame): return frame\n")
        async with running("late_a:f") as child:
            process = psutil.Process(child.process.pid)

            asking = asyncio.create_task(asyncio.to_thread(wait_ended, process, process.terminate))
            assert (await child.process.stop(60)).code == 0
            await asking

    async def test_memory_goes_with_the_last_frame_in_use(self, write: WriteModule) -> None:
        write("held_a", "def f(frame): return frame\n")
        before = segments()
        kept: list[RawFrame] = []
        async with running("held_a:f") as child:
            child.process.belong_to(
                lambda frame, _: (kept.append(frame), child._there.set()), child._message, child._exit
            )
            child.process.offer(raw_frame(7), "r1")
            await child.until(lambda: kept)
            await child.process.stop()
            assert (kept.pop().pixels == 7).all()
            assert segments() == before

    async def test_a_stopped_process_cannot_block_the_host(self) -> None:
        async with running(noop()) as child:
            os.kill(child.process.pid, signal.SIGSTOP)
            for seq in range(50):
                child.process.offer(raw_frame(seq), "r1")
            assert child.process.dropped["superseded"] == 48
            await child.process.stop(0.3)
            assert child.exits
