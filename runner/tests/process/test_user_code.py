"""What user code raises, returns, names and prints: one call fails, with its place; process and channel go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from runner.errors import ParamsError
from runner.live.process.messages import FrameFailed, OutputWarned
from runner.live.report import ErrorReport

from ..conftest import WriteModule, raw_frame
from .test_process import Child, running

pytestmark = pytest.mark.usefixtures("nothing_left")

HEAD = """
import asyncio, contextvars, logging, os, resource, sys, threading
import torch
from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

class Unprintable(Exception):
    def __str__(self):
        return self.args[5]

class Text(str):
    pass

async def cancelled():
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task
"""
TASKS = """
class f:
    def __init__(self):
        self.asked, self.answered = asyncio.Event(), threading.Event()
        self.task = asyncio.create_task(self.answer())
    async def answer(self):
        await self.asked.wait()
        self.answered.set()
        asyncio.get_running_loop().stop()  # the runner resumes it
    async def on_ready(self):
        self.loop = asyncio.get_running_loop()
        assert threading.current_thread() is threading.main_thread()
    def transform(self, frame):
        self.loop.call_soon_threadsafe(self.asked.set)
        assert self.answered.wait(60)
        assert threading.current_thread() is threading.main_thread()
        return frame
"""
TRANSFORM = """
class f:
    frames = 0
    {kind} transform(self, frame):
        self.frames += 1
        if self.frames == 2:
            {harm}
        return frame
"""
PIPELINE = """
class f(Pipeline):
    def __init__(self):
        self.outputs = asyncio.Queue()
        self.given = 0
    async def initialize(self, **params):
        pass
    async def put_video_frame(self, frame, request_id):
        {put}
        await self.outputs.put(VideoOutput(frame, request_id))
    async def get_processed_video_frame(self):
        output = await self.outputs.get()
        self.given += 1
        {get}
        return output
    async def update_params(self, **params):
        {update}
    async def stop(self):
        {stop}
    @classmethod
    def prepare_models(cls):
        pass
"""
# As a captured CUDA graph: one place for all results, each of which is shown six times.
STATIC = """
class f(Pipeline):
    def __init__(self):
        self.outputs = asyncio.Queue()
        self.static = torch.zeros(1, 64, 64, 3)
    async def initialize(self, **params):
        pass
    async def put_video_frame(self, frame, request_id):
        await asyncio.to_thread(self.static.copy_, frame.tensor)
        for number in range(6):
            shown = VideoFrame(self.static, frame.timestamp * 6 + number, frame.time_base)
            await self.outputs.put(VideoOutput(shown, request_id))
    async def get_processed_video_frame(self):
        output = await {get}
        return output[0] if isinstance(output, list) else output
    async def update_params(self, **params):
        pass
    @classmethod
    def prepare_models(cls):
        pass
"""

SYNCHRONOUS = (
    ("next(iter(()))", "StopIteration", "exhausted"),
    ("sys.exit(3)", "SystemExit", "3"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
    ("raise GeneratorExit", "GeneratorExit", ""),
    ("raise asyncio.CancelledError", "CancelledError", "cancelled"),
    ("raise Unprintable('x')", "Unprintable", "__str__ raised IndexError"),
    ("raise ValueError(os.fsdecode(b'caf\\xe9'))", "ValueError", "caf\\udce9"),
    ("raise ValueError(Text('odd'))", "ValueError", "odd"),
    ("raise ValueError('x' * 5_000_000)", "ValueError", "omitted"),
)
ASYNCHRONOUS = (*SYNCHRONOUS, ("await cancelled()", "CancelledError", "cancelled"))


def a_pipeline(**harm: str) -> str:
    return HEAD + PIPELINE.format(**{"put": "pass", "get": "pass", "update": "pass", "stop": "pass"} | harm)


def the_failure(child: Child) -> ErrorReport:
    reports = [message.report for message in child.of(FrameFailed) if isinstance(message, FrameFailed)]
    assert len(reports) == 1, reports
    return reports[0]


async def feed(child: Child, frames: int = 4) -> None:
    for seq in range(frames):
        await child.process.send(raw_frame(seq, 64, 64), "r1")
    await child.process.drain(1.0)


class TestExceptions:
    @pytest.mark.parametrize(("harm", "kind", "text"), SYNCHRONOUS)
    async def test_of_a_synchronous_transform_cost_one_frame(
        self, write: WriteModule, harm: str, kind: str, text: str
    ) -> None:
        await self._costs_one_frame(write, HEAD + TRANSFORM.format(kind="def", harm=harm), kind, text)

    @pytest.mark.parametrize(("harm", "kind", "text"), ASYNCHRONOUS)
    async def test_of_an_asynchronous_transform_cost_one_frame(
        self, write: WriteModule, harm: str, kind: str, text: str
    ) -> None:
        await self._costs_one_frame(write, HEAD + TRANSFORM.format(kind="async def", harm=harm), kind, text)

    @pytest.mark.parametrize(("harm", "kind", "text"), ASYNCHRONOUS)
    async def test_of_getting_an_output_cost_one_frame(
        self, write: WriteModule, harm: str, kind: str, text: str
    ) -> None:
        source = a_pipeline(get=f"\n        if self.given == 2:\n            {harm}")
        await self._costs_one_frame(write, source, kind, text)

    async def test_of_a_thread_pool_of_the_pipeline_cost_one_frame(self, write: WriteModule) -> None:
        put = "\n        if frame.timestamp == 2:\n            await asyncio.to_thread(next, iter(()))"
        await self._costs_one_frame(write, a_pipeline(put=put), "StopIteration", "exhausted")

    async def _costs_one_frame(self, write: WriteModule, source: str, kind: str, text: str) -> None:
        path = write("raises_a", source)
        async with running("raises_a:f") as child:
            await feed(child)
            report = the_failure(child)
            assert (report.kind, report.file) == (kind, str(path))
            assert text in report.message
            assert len(report.message) < 20_000
            assert len(child.frames) == 3
        assert child.exits[0].reason == "was stopped"

    async def test_of_new_params_refuse_them(self, write: WriteModule) -> None:
        write("raises_b", a_pipeline(update="await cancelled()"))
        async with running("raises_b:f") as child:
            with pytest.raises(ParamsError, match="cancelled"):
                await child.process.update_params({})
            await feed(child)
            assert len(child.frames) == 4

    async def test_of_stop_are_reported(self, write: WriteModule) -> None:
        write("raises_c", a_pipeline(stop="await cancelled()"))
        async with running("raises_c:f") as child:
            pass
        assert (the_failure(child).phase, the_failure(child).kind) == ("stop", "CancelledError")
        assert child.exits[0].code == 0

    async def test_that_exit_from_a_task_of_the_pipeline_are_reported(self, write: WriteModule) -> None:
        put = "self.task = asyncio.create_task(self.leave()) if frame.timestamp == 1 else None"
        leave = "    async def leave(self):\n        sys.exit(4)\n"
        path = write("raises_d", a_pipeline(put=put) + leave)
        async with running("raises_d:f") as child:
            await feed(child)
            assert (the_failure(child).kind, the_failure(child).file) == ("SystemExit", str(path))
            assert len(child.frames) == 4

    async def test_of_tasks_that_are_all_cancelled_end_nothing(self, write: WriteModule) -> None:
        put = "[task.cancel() for task in asyncio.all_tasks() if frame.timestamp == 1]"
        write("raises_e", a_pipeline(put=put))
        async with running("raises_e:f") as child:
            await feed(child)
            assert child.of(OutputWarned)
            assert [frame.pts for frame, _, _ in child.frames][-2:] == [2, 3]


class TestOutputs:
    @pytest.mark.parametrize(
        ("output", "text"),
        [
            ("VideoOutput(frame, object())", "request_id of the output is object"),
            ("VideoOutput(VideoFrame(frame.tensor, 0.5, frame.time_base), request_id)", "integer"),
            ("VideoOutput(VideoFrame(frame.tensor, 1 << 80, frame.time_base), request_id)", ""),
            ("VideoOutput(VideoFrame(frame.tensor, frame.timestamp, None), request_id)", "numerator"),
        ],
    )
    async def test_that_cannot_be_sent_keep_no_slot(self, write: WriteModule, output: str, text: str) -> None:
        bad = f"if frame.timestamp < 8:\n            return await self.outputs.put({output})"
        write("odd_a", a_pipeline(put=bad))
        async with running("odd_a:f") as child:
            await feed(child, frames=12)
            reports = [message.report for message in child.of(FrameFailed) if isinstance(message, FrameFailed)]
            assert len(reports) == 8
            assert all(text in report.message for report in reports)
            assert [frame.pts for frame, _, _ in child.frames] == [8, 9, 10, 11]

    async def test_text_of_a_class_of_the_pipeline_arrives_as_plain_text(self, write: WriteModule) -> None:
        write("odd_b", a_pipeline(put="request_id = Text(request_id)"))
        async with running("odd_b:f") as child:
            await feed(child)
            assert {type(request_id) for _, _, request_id in child.frames} == {str}

    async def test_in_memory_that_is_written_again_show_their_own_frame(self, write: WriteModule) -> None:
        write(
            "static_a",
            HEAD
            + """
class f:
    result = None
    def transform(self, frame):
        if self.result is None:
            self.result = torch.empty(8, *frame.shape[1:])
        torch.mul(frame.expand(8, -1, -1, -1), 1.0, out=self.result)
        return self.result
""",
        )
        async with running("static_a:f") as child:
            for seq in range(20):
                await child.process.send(raw_frame(seq, 64, 64), "r1")
            await child.process.drain(1.0)
            values = [pixels.reshape(-1) for _, pixels, _ in child.frames]
            assert all((value == value[0]).all() for value in values)
            assert [int(value[0]) for value in values] == [seq for seq in range(20) for _ in range(8)]

    @pytest.mark.parametrize("get", ["self.outputs.get()", "asyncio.gather(asyncio.wait_for(self.outputs.get(), 60))"])
    async def test_in_a_queue_of_static_memory_leave_before_the_next_input(self, write: WriteModule, get: str) -> None:
        write("static_b", HEAD + STATIC.format(get=get))
        async with running("static_b:f") as child:
            for seq in range(20):
                await child.process.send(raw_frame(seq, 64, 64), "r1")
            await child.process.drain(1.0)
            values = [int(pixels.reshape(-1)[0]) for _, pixels, _ in child.frames]
            assert values == [seq for seq in range(20) for _ in range(6)]


class TestContext:
    async def test_variables_are_those_of_one_thread_of_control(self, write: WriteModule) -> None:
        write(
            "context_a",
            HEAD
            + """
var = [contextvars.ContextVar(f"v{n}", default=0) for n in range(4)]
var[0].set(1)

class f:
    def __init__(self):
        var[1].set(1)
    def on_ready(self):
        var[2].set(1)
    def transform(self, frame):
        var[3].set(var[3].get() + 1)
        print("seen", [one.get() for one in var], flush=True)
        return frame
    def on_stop(self):
        print("last", var[2].get(), flush=True)
""",
        )
        async with running("context_a:f") as child:
            await feed(child, frames=2)
            await child.until(lambda: child.logged("seen [1, 1, 1, 2]"))
            assert child.logged("seen [1, 1, 1, 1]")
        await child.until(lambda: child.logged("last 1"))


class TestText:
    async def test_of_logs_is_valid_unicode_of_built_in_types(self, write: WriteModule) -> None:
        harm = "logging.getLogger(Text('n\\udce9')).warning('cannot read %s', os.fsdecode(b'caf\\xe9'))"
        write("text_a", HEAD + TRANSFORM.format(kind="def", harm=harm))
        async with running("text_a:f") as child:
            await feed(child)
            [line] = child.logged("cannot read")
            assert (line.source, line.message) == ("n\\udce9", "cannot read caf\\udce9")
            assert type(line.source) is str

    async def test_that_is_printed_may_be_any(self, write: WriteModule) -> None:
        write("text_b", HEAD + TRANSFORM.format(kind="def", harm="print('file', os.fsdecode(b'caf\\xe9'), '\\0')"))
        async with running("text_b:f") as child:
            await feed(child)
            assert len(child.frames) == 4
            assert child.logged("file caf\\udce9")


EXHAUSTED = """
import time

def release(held):
    while not os.path.exists("release"):
        time.sleep(0.01)
    while held:
        os.close(held.pop())

class f:
    def __init__(self):
        self.frames = 0
    def transform(self, frame):
        self.frames += 1
        if self.frames == 2:
            held = []
            threading.Thread(target=release, args=(held,), daemon=True).start()
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            try:
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
        return frame
"""


class TestDescriptors:
    async def test_that_are_used_up_are_named_and_frames_go_on_when_there_are_some(self, write: WriteModule) -> None:
        project = write("full_a", HEAD + EXHAUSTED).parent
        async with running("full_a:f") as child:
            await feed(child, frames=2)
            await child.process.send(raw_frame(2, 256, 256), "r1")  # in a ring that has to be opened first
            await child.until(lambda: child.of(FrameFailed))
            assert the_failure(child).message.startswith("[Errno 24]")
            assert "No file descriptors are left" in the_failure(child).hint
            (project / "release").touch()
            seq = 2
            while len(child.frames) < 3:
                seq += 1
                await child.process.send(raw_frame(seq, 256, 256), "r1")


class TestFloods:
    @pytest.mark.parametrize(
        "flood",
        [
            "print('flood')",
            "print('flood', file=sys.stderr)",
            "logging.info('flood')",
            "os.write(1, b'flood\\n' * 10_000)",
        ],
    )
    async def test_of_a_thread_do_not_hold_up_frames(self, write: WriteModule, flood: str) -> None:
        go = f"def go():\n    while True:\n        {flood}\nthreading.Thread(target=go, daemon=True).start()\n"
        write("flood_a", HEAD + go + "def f(frame):\n    return frame\n")
        async with running("flood_a:f") as child:
            await feed(child, frames=20)
            assert len(child.frames) == 20
            await child.until(lambda: child.logged("dropped: more than"))

    async def test_before_a_crash_leave_its_reason(self, write: WriteModule) -> None:
        crash = "for number in range(200_000): print(number, file=sys.stderr)\n    print('the reason', file=sys.stderr)"
        write("flood_b", HEAD + f"def f(frame):\n    {crash}\n    os._exit(3)\n")
        async with running("flood_b:f") as child:
            await child.process.send(raw_frame(0, 64, 64), "r1")
            await child.until(lambda: child.exits)
            assert child.exits[0].logs[-1] == "the reason"
            assert child.logged("dropped: more than")


class TestStacks:
    async def test_of_busy_threads_are_printed_and_do_no_harm(self, write: WriteModule) -> None:
        go = "def go():\n    while True:\n        logging.info('busy')\n"
        start = "for _ in range(3):\n    threading.Thread(target=go, daemon=True).start()\n"
        write("busy_a", HEAD + go + start + "def f(frame):\n    return frame\n")
        async with running("busy_a:f") as child:
            for _ in range(20):
                assert "in go" in await child.process.dump_stacks()
            await feed(child)
            assert len(child.frames) == 4

    async def test_of_native_code_that_holds_the_interpreter_are_printed(self, write: WriteModule) -> None:
        # Unlike CDLL, PyDLL keeps the lock. A read continues after a signal, which a sleep does not.
        hold = "ctypes.PyDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)"
        write("held_a", HEAD + f"import ctypes\ndef f(frame):\n    {hold}\n")
        async with running("held_a:f") as child:
            await child.process.send(raw_frame(0, 64, 64), "r1")
            while "held_a.py" not in await child.process.dump_stacks():
                pass


SCRIPT = """
import asyncio, atexit, contextvars, decimal, faulthandler, logging, os, signal, sqlite3, sys, threading
import numpy as np
import torch

HITS, LOCAL, NAME = [], threading.local(), contextvars.ContextVar("name")

def alarm(*_):
    raise TimeoutError("too slow")

{module}

class f:
    def __init__(self):
        {init}
    def transform(self, frame):
        {transform}
        return frame
"""
FORKS = "p = multiprocessing.Process(target=threading.Event().wait); p.start(); p.terminate(); p.join()"
# What a module and `__init__` do, and what is true in `transform` for that.
SCRIPTS = {
    "context": (
        "NAME.set(1)",
        "decimal.getcontext().prec = 7",
        "assert (NAME.get(), decimal.getcontext().prec) == (1, 7)",
    ),
    "numerics": ("np.seterr(divide='raise')", "torch.set_num_threads(3)", "assert np.geterr()['divide'] == 'raise'"),
    "thread": ("LOCAL.module = 1", "LOCAL.init = 2", "assert (LOCAL.module, LOCAL.init) == (1, 2)"),
    "connection": ("", "self.database = sqlite3.connect(':memory:')", "self.database.execute('select 1')"),
    "device": ("torch.set_default_device('meta')", "", "assert torch.zeros(1).is_meta; frame = frame.to('cpu')"),
    "signal": ("signal.signal(signal.SIGHUP, lambda *_: HITS.append(1))", "", "signal.raise_signal(1); assert HITS"),
    "loop": ("asyncio.run(asyncio.sleep(0))", "asyncio.run(asyncio.sleep(0))", "asyncio.run(asyncio.sleep(0))"),
    "policy": (
        "asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())",
        "",
        "asyncio.new_event_loop().close()",
    ),
    "logging": ("logging.basicConfig(format='mine %(message)s', force=True)", "os.chdir('/')", "logging.error('x')"),
    "streams": ("sys.stdout.reconfigure(encoding='latin-1')", "faulthandler.enable()", "print('x')"),
}


class TestScript:
    """What a script does at its start, for all that follows."""

    @pytest.mark.parametrize("name", SCRIPTS)
    async def test_settings_hold_in_transform(self, write: WriteModule, name: str) -> None:
        module, init, transform = SCRIPTS[name]
        write("pkg.p", SCRIPT.format(module=module, init=init or "pass", transform=transform))
        async with running("pkg.p:f") as child:
            await feed(child, 2)
            assert not child.of(FrameFailed)
            assert len(child.frames) == 2

    @pytest.mark.spawned
    async def test_the_start_method_may_be_chosen_and_exit_functions_are_called(
        self, write: WriteModule, project: Path
    ) -> None:
        start = "import multiprocessing; multiprocessing.set_start_method('fork')"
        at_exit = f"atexit.register(os.mkdir, {str(project / 'called')!r})"
        write("pkg.p", SCRIPT.format(module=start, init=at_exit, transform=FORKS))
        async with running("pkg.p:f") as child:
            await feed(child, 3)
            assert len(child.frames) == 3
        assert (project / "called").exists()

    async def test_a_signal_handler_may_raise_at_any_time(self, write: WriteModule) -> None:
        module = "signal.signal(signal.SIGALRM, alarm)"
        transform = "if not HITS: HITS.append(1); signal.setitimer(signal.ITIMER_REAL, 0.01); threading.Event().wait()"
        write("pkg.p", SCRIPT.format(module=module, init="pass", transform=transform))
        async with running("pkg.p:f") as child:
            await feed(child, 1)
            assert the_failure(child).kind == "TimeoutError"
            os.kill(child.process.pid, signal.SIGALRM)  # while nothing is called
            # Raised out of the event loop, or logged by it, wherever the main thread was.
            await child.until(lambda: len(child.of(FrameFailed)) == 2 or child.logged("Exception in callback"))
            await feed(child, 1)
            assert len(child.frames) == 1

    async def test_tasks_of_the_event_loop_continue_during_a_call(self, write: WriteModule) -> None:
        write("pkg.p", HEAD + TASKS)
        async with running("pkg.p:f") as child:
            await feed(child, 3)
            assert not child.of(FrameFailed)
            assert len(child.frames) == 3
