"""What runs inside the pipeline process. User code, torch and the GPU are here and nowhere else.

The event loop belongs to the user's pipeline, which may block it; one thread beside it sends
heartbeats and ends the process when the host is gone. Nothing here outlives the host: on Linux the
kernel kills the process with its parent, and everywhere the thread sees the socket hang up.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from ...errors import ParamsError, RunnerError
from ...time_limit import time_limit
from ..plain_json import plain, plain_text
from ..project_folder import enter_project, put_project_first
from ..report import ErrorReport, Phase, report_exception
from . import debugging
from .channel import ChildChannel
from .child_log import LogSender, send_logs
from .child_rings import OUTPUT_SLOTS as OUTPUT_SLOTS
from .child_rings import InputRings, OutputRing
from .descendants import label_this_process
from .event_loop import MainThread, PipelineEventLoop
from .fork_signals import ForkSignals
from .forking import serve_template
from .messages import (
    Boot,
    DropPatch,
    Flushed,
    FrameFailed,
    FrameSent,
    FrameTaken,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    Message,
    ModulesSeen,
    OutputWarned,
    ParamsApplied,
    ParamsRefused,
    ParamsReloaded,
    ParamsSent,
    PatchCode,
    ReloadChanged,
    RingOpened,
    SourcesSeen,
    StepEntered,
    Stop,
    StreamDrained,
    StreamOpened,
    Warm,
    Warmed,
)
from .patches import Patches, output_report
from .resources import use_folder
from .sources import failed_sources, imported_sources, runtime_modules
from .stacks import StackPrinter, register_faulthandler
from .user_code import UserCode
from .warm import warm_up

if TYPE_CHECKING:
    from ..code.source import SourceFile, Sources
    from ..pipelines import BaseParams, Pipeline
    from ..trickle.frame import RawFrame, VideoFrame

HEARTBEAT_S = 0.5
STOP_GRACE_S = 2.5  # for the pipeline's own stop(); the host's SIGKILL comes at 3 s
EXIT_FUNCTIONS_S = 0.4
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_REMEMBERED_INPUTS = 256
_AFTER_FAILURE_S = 0.02  # what fails at once must not spin
_MOST_OUTPUTS = 64  # of one input; a pipeline that always has another one must get its next input all the same


def main(boot: Boot) -> None:
    """Entry of the spawned process."""
    # Between frames torch's threads sleep instead of spinning, which at 30 fps is 15 ms of CPU per frame for
    # nothing, taken from everybody else. Read by OpenMP when torch is loaded; the user's own setting counts.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # How the host starts processes is not how the user's code does: it may choose, as in a process of its own.
    multiprocessing.set_start_method(None, force=True)
    _settle_in(boot)
    if boot.template:
        boot = serve_template(boot)
        _settle_in(boot)
    channel = ChildChannel(boot.control)
    sender = send_logs(channel, boot.verbose)
    child = PipelineChild(channel)
    debugging.announce = lambda text: channel.send(OutputWarned(text))
    threading.Thread(target=_beat, args=(channel, child, sender), name="heartbeat", daemon=True).start()
    thread = MainThread(lambda error: channel.send(FrameFailed(report_exception(error, "process"))))
    _serving = thread.loop.create_task(_serve(child, channel, sender))  # the loop has only a weak reference
    thread.run()


async def _serve(child: PipelineChild, channel: ChildChannel, sender: LogSender) -> None:
    """Run the pipeline, then exit.

    From inside the event loop: closing it restores the default action of SIGTERM, and a request to stop that arrives
    late would kill a process that is exiting in order.
    """
    code = 1
    try:
        code = await child.run()
    except BaseException as error:
        channel.send(FrameFailed(report_exception(error, "process")))
    await _cancel_other_tasks()
    await _run_exit_functions()
    # Not sys.exit: Python's and torch's own shutdown takes 0.4 s and frees nothing that the kernel does not.
    sender.flush()
    _flush_output()
    os._exit(code)


async def _cancel_other_tasks() -> None:
    """Give the tasks that user code has left running the chance to clean up, as `asyncio.run` does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _run_exit_functions() -> None:
    """Call what user code has registered with `atexit`, for a limited time: the main thread may be busy."""
    from ..pipelines.worker_call import call_in_worker, script_thread

    calling = asyncio.ensure_future(call_in_worker(script_thread(), atexit._run_exitfuncs))
    await asyncio.wait([calling], timeout=EXIT_FUNCTIONS_S)


def _settle_in(boot: Boot) -> None:
    label_this_process()
    os.setsid()  # own process group: a Ctrl-C in the terminal is the host's affair
    _die_with(boot.parent_pid)
    _redirect_output(boot)


def _die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the host dies, where it can."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before this was in force
        os._exit(1)


def _redirect_output(boot: Boot) -> None:
    """stdout and stderr of this process, C libraries included, go to the host line by line."""
    for connection, descriptor in ((boot.stdout, 1), (boot.stderr, 2)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    # As Python has it for stderr, whatever the locale: a file name that is not UTF-8 can be printed. New ones, because
    # those of before may take the pipes for the files that were there, and seek in them when they are reconfigured.
    sys.stdout, sys.stderr = _output_stream(1), _output_stream(2)
    register_faulthandler()


def _output_stream(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def _beat(channel: ChildChannel, child: PipelineChild, sender: LogSender) -> None:
    """The heartbeat thread."""
    printer = StackPrinter()
    while not channel.wait_hangup(HEARTBEAT_S, printer.wake):
        printer.answer()
        lag_s = time.monotonic() - child.last_turn
        channel.send(Heartbeat(lag_s, threading.active_count(), _vram_bytes(), debugging.is_debugged()))
        sender.flush()
    # The host is gone. Take with us whatever the pipeline has started.
    os.killpg(0, signal.SIGKILL)


def _vram_bytes() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_reserved())


class PipelineChild:
    """Loads one pipeline and moves frames, params and errors between it and the host.

    Attributes:
        last_turn: when the event loop last came round, on the monotonic clock.
    """

    def __init__(self, channel: ChildChannel) -> None:
        self.last_turn = time.monotonic()
        self._channel = channel
        self._load: asyncio.Queue[Load] = asyncio.Queue()
        self._frames: asyncio.Queue[FrameSent | StreamDrained | _Exchange] = asyncio.Queue()
        self._params: asyncio.Queue[ParamsSent] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._input = InputRings()
        self._output = OutputRing(channel)
        self._user_code = UserCode()
        self._context = contextvars.copy_context()
        self._outputs_seen = 0
        self._waits_for_output = asyncio.Event()
        self._request_id = ""
        self._inputs: OrderedDict[int, RawFrame] = OrderedDict()
        self._tensors: list[weakref.ref[Any]] = []  # of inputs, for as long as the pipeline refers to them
        self._pipeline: Pipeline
        self._params_class: type[BaseParams]
        self._in_force: dict[str, Any] = {}
        self._resolution = (0, 0)
        self._resolution_request = ""
        self._checked = False
        self._checked_from: int | None = None  # pts of the first input of the code that is to be checked
        self._code: Sources
        self._patches: Patches
        self._sources: tuple[str, ...] = ()
        self._modules = 0
        self._reloading: asyncio.Task[None] | None = None  # the pipeline brings itself back

    async def run(self) -> int:
        """Serve until the host says stop; the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.fileno(), self._receive)
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stopping.set)
        ForkSignals(_STOP_SIGNALS)
        turning = asyncio.create_task(self._keep(self._turn))
        load = await self._first_load()
        if load is None or not await self._load_pipeline(load):
            self._user_code.ending = True
            return 0 if load is None else 1
        self._context = contextvars.copy_context()  # with what modules, __init__ and initialize have set
        works = (self._feed, self._drain, self._update, self._report_sources)
        tasks = [self._start(self._keep(work)) for work in works]
        self._patches.own_tasks = tuple(tasks)
        await self._wait_stopping()
        self._user_code.ending = True
        for task in filter(None, (*tasks, turning, self._reloading)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait([self._start(self._stop_pipeline())])
        return 0

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that calls the pipeline. All of them share one context, so that a variable is set for all."""
        if sys.version_info >= (3, 11):
            return asyncio.create_task(work, context=self._context)
        return asyncio.create_task(work)

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this until the process ends: user code can cancel any task of its event loop, these included."""
        while not self._user_code.ending:
            try:
                await work()
            except asyncio.CancelledError:
                if self._user_code.ending:
                    raise
                self._channel.send(OutputWarned("the pipeline cancelled a task of the runner; it was started again"))
            except BaseException as error:
                self._channel.send(FrameFailed(report_exception(error, "process")))
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(_AFTER_FAILURE_S)

    async def _wait_stopping(self) -> None:
        while not self._stopping.is_set():
            with suppress(asyncio.CancelledError):  # by user code: nobody else cancels the main task
                await self._stopping.wait()

    async def _first_load(self) -> Load | None:
        load = asyncio.create_task(self._load.get())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([load, stopping], return_when=asyncio.FIRST_COMPLETED)
        return load.result() if load.done() else None

    async def _turn(self) -> None:
        while True:
            self.last_turn = time.monotonic()
            await asyncio.sleep(HEARTBEAT_S / 2)

    def _receive(self) -> None:
        for message in self._channel.receive():
            try:
                self._dispatch(message)
            except Exception as error:  # the messages after it are handled all the same
                self._channel.send(FrameFailed(report_exception(error, "process")))

    def _dispatch(self, message: Message) -> None:
        match message:
            case FrameSent() | StreamDrained():
                self._frames.put_nowait(message)
            case PatchCode():
                self._patches.plan(message)
            case DropPatch(number):
                self._patches.drop(number)
            case FrameTaken(ring, slot):
                self._output.free(ring, slot)
            case RingOpened(number, name):
                self._input.opened(number, name)
            case ParamsSent():
                self._params.put_nowait(message)
            case StreamOpened(request_id):
                self._request_id = request_id
                self._inputs.clear()
                self._checked_from = None
            case Warm(modules):
                warm_up(modules)
                self._channel.send(Warmed())
            case Load():
                self._load.put_nowait(message)
            case Stop():
                self._stopping.set()

    # ---- loading ---------------------------------------------------------------------------

    async def _load_pipeline(self, load: Load) -> bool:
        phase: Phase = "params"
        tracing = ExitStack()
        try:
            from ..pipelines.loader import (
                accepted_params,
                as_typed,
                check_typed,
                load_params_class,
                load_pipeline_class,
                parse_params,
            )
            from ..pipelines.spec import PipelineSpec
            from ..pipelines.worker_call import call_in_worker, script_thread

            use_folder(load.folder)
            enter_project()
            put_project_first()
            self._channel.send(StepEntered("import"))
            self._code = _user_code(load)
            spec = PipelineSpec.model_validate_json(load.spec)
            tracing.enter_context(self._code.tracing_load() if load.patchable else nullcontext())
            thread = script_thread()
            params_class = await call_in_worker(thread, partial(load_params_class, spec))
            phase = "import"
            pipeline_class = await call_in_worker(thread, partial(load_pipeline_class, spec.pipeline_cls))
            if spec.params_cls is None:
                params_class = getattr(pipeline_class, "params_class", None) or params_class
            phase = "params"
            params = as_typed(params_class, load.params, spec.typed_params)
            dropped: dict[str, str] = {}
            if load.strict:
                check_typed(params_class, pipeline_class, spec.typed_params)
            else:
                params, dropped = accepted_params(params_class, params)
            parsed = parse_params(params_class, params)
            phase = "initialize"
            self._channel.send(StepEntered("import torch"))
            self._converter = _converter()
            self._channel.send(StepEntered("initialize"))
            self._pipeline = pipeline_class()
            await self._pipeline.initialize(**params)
            in_force = self._pipeline.params_in_force() or parsed
            tracing.close()
            self._take_params(in_force)
            loaded = self._loaded(in_force, dropped)
        except BaseException as error:
            tracing.close()
            self._channel.send(SourcesSeen(failed_sources(load.spec, error)))
            self._channel.send(LoadFailed(_load_report(error, phase)))
            return False
        self._params_class = params_class
        self._patches = Patches(
            self._channel,
            self._code,
            self._pipeline,
            ready=lambda: self._frames.put_nowait(_Exchange()),
            changed=self._send_patched,
            apply_params=self._apply_again,
            user_code=self._user_code,
        )
        self._send_sources(imported_sources())
        self.last_turn = time.monotonic()  # what held the event loop up until now was the load
        self._channel.send(loaded)
        return True

    def _loaded(self, params: BaseParams, dropped: dict[str, str]) -> Loaded:
        dump, schema = _as_json(params)
        return Loaded(
            params=dump,
            schema=schema,
            dropped=plain(dropped),
            device=str(self._converter.device),
            show_reloading_frame=bool(params.show_reloading_frame),
            output_width=self._resolution[0],
            output_height=self._resolution[1],
        )

    def _take_params(self, params: BaseParams) -> None:
        """These are in force."""
        self._in_force = plain(params.model_dump(mode="json"))
        width, height = params.get_output_resolution()
        self._resolution = int(width), int(height)
        self._resolution_request = self._request_id

    async def _stop_pipeline(self) -> None:
        try:
            async with time_limit(STOP_GRACE_S):
                await self._pipeline.stop()
        except asyncio.TimeoutError:
            logging.error("stop() of the pipeline took more than %.1f s; the process ends without it", STOP_GRACE_S)
        except BaseException as error:
            self._channel.send(FrameFailed(report_exception(error, "stop")))

    async def _report_sources(self) -> None:
        """Imports that happen later (in the first frame, say) are watched too."""
        while True:
            await asyncio.sleep(1.0)
            if len(sys.modules) != self._modules:
                self._modules = len(sys.modules)
                self._send_sources(imported_sources())
                self._channel.send(ModulesSeen(runtime_modules()))

    def _send_sources(self, files: tuple[str, ...]) -> None:
        if files != self._sources:
            self._sources = files
            self._channel.send(SourcesSeen(files, self._loaded_files()))

    def _loaded_files(self) -> tuple[SourceFile, ...]:
        try:
            return self._code.files()
        except OSError as error:
            logging.warning("no snapshot of the code is kept: %s", error)
            return ()

    # ---- frames ----------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Frames into the pipeline, one after the other; new code between two of them."""
        while True:
            message = await self._frames.get()
            match message:
                case FrameSent():
                    await self._put(message)
                case StreamDrained():
                    await self._outputs_left()
                    await self._flush()
                case _Exchange():
                    await self._patches.exchange()

    async def _put(self, message: FrameSent) -> None:
        try:
            await self._outputs_left()
            await self._put_once(message)
        except Exception as error:
            if self._patches.failed(error):
                await self._put_again(message)
            else:
                self._channel.send(FrameFailed(report_exception(error, "frame")))
                self._follow_reload()
        finally:
            self._channel.send(FrameTaken(message.ring, message.slot, self._referenced()))

    async def _put_once(self, message: FrameSent) -> None:
        frame = self._take_frame(message)
        self._patches.frame_taken(frame.timestamp)
        with self._user_code:
            await self._pipeline.put_video_frame(frame, message.request_id)

    async def _outputs_left(self) -> None:
        """Wait until all outputs so far have been copied: a pipeline may write the next ones to the same memory.

        Nothing is copied for this. Mostly it takes no time: an output has left before the next input arrives. Those in
        a queue of the pipeline have been returned when its coroutines have nothing more to do.
        """
        loop = cast("PipelineEventLoop", asyncio.get_running_loop())
        seen = -1
        for _ in range(_MOST_OUTPUTS):
            if seen == self._outputs_seen:
                return
            seen = self._outputs_seen
            await self._waits_for_output.wait()
            await loop.settle()

    async def _put_again(self, message: FrameSent) -> None:
        """The frame at which new code was taken back: the code before it can do it."""
        try:
            await self._put_once(message)
        except Exception as error:
            self._channel.send(FrameFailed(report_exception(error, "frame")))

    def _send_patched(self) -> None:
        self._checked, self._checked_from = False, None
        self._sources = ()
        self._send_sources(imported_sources())

    def _take_frame(self, message: FrameSent) -> VideoFrame:
        from ..trickle.frame import VideoFrame

        raw = self._input.ring(message.ring).read(message.slot)
        raw.stamps["taken"] = time.monotonic_ns()
        tensor = self._converter.to_tensor(raw.pixels)
        self._tensors.append(weakref.ref(tensor))
        raw.stamps["uploaded"] = time.monotonic_ns()
        raw.pixels = raw.pixels[:0]  # the slot goes back; only the header is kept
        self._inputs[raw.pts] = raw
        if self._checked_from is None:
            self._checked_from = raw.pts
        while len(self._inputs) > _REMEMBERED_INPUTS:
            self._inputs.popitem(last=False)
        now = time.time()
        captured_s = (raw.stamps["uploaded"] - raw.stamps.get("captured", raw.stamps["taken"])) / 1e9
        return VideoFrame(tensor, raw.pts, raw.time_base, {"frame_init": now - captured_s, "pre_process_frame": now})

    def _referenced(self) -> int:
        """Count the input tensors that the pipeline has not let go of."""
        self._tensors = [tensor for tensor in self._tensors if tensor() is not None]
        return len(self._tensors)

    async def _flush(self) -> None:
        """End of a stream: a pipeline that gathers batches (a transform does) gives up what it has."""
        flush = getattr(self._pipeline, "flush", None)
        if flush is not None:
            try:
                with self._user_code:
                    await flush()
            except Exception as error:
                self._channel.send(FrameFailed(report_exception(error, "frame")))
        self._channel.send(Flushed())

    async def _drain(self) -> None:
        """Frames out of the pipeline."""
        while True:
            self._waits_for_output.set()
            try:
                with self._user_code:
                    output = await self._pipeline.get_processed_video_frame()
                    self._waits_for_output.clear()
                    self._outputs_seen += 1
                    await self._send_output(output)
                    self._patches.output_sent(output.timestamp)
            except Exception as error:
                if self._patches.failed(error):
                    continue
                self._channel.send(FrameFailed(output_report(error, self._pipeline)))
                self._follow_reload()
                self._waits_for_output.set()
                await asyncio.sleep(_AFTER_FAILURE_S)

    async def _send_output(self, output: Any) -> None:
        from .tensor import OutputError, check_output

        processed = time.monotonic_ns()
        try:
            tensor, timestamp, request_id = output.tensor, output.timestamp, output.request_id
        except AttributeError as error:
            raise OutputError(
                f"get_processed_video_frame returned {type(output).__name__}, expected a VideoOutput"
            ) from error
        if not isinstance(request_id, str):
            raise OutputError(f"request_id of the output is {type(request_id).__name__}, expected that of the input")
        width, height = check_output(tensor)
        if not self._checked and self._checked_from is not None and timestamp >= self._checked_from:
            self._check_first(tensor, width, height)  # outputs of earlier inputs are those of the code before
        raw = self._input_of(timestamp)
        raw.pts, raw.time_base = timestamp, output.time_base
        raw.stamps["processed"] = processed
        ring, slot = await self._output.take(width, height)
        try:
            self._converter.to_pixels(tensor, ring.pixels(slot, width, height))
            raw.stamps["downloaded"] = time.monotonic_ns()
            ring.commit(slot, raw, width, height)
        except BaseException:  # a timestamp that is not an integer, a CUDA error that comes late
            self._output.put_back(slot)
            raise
        self._channel.send(FrameSent(self._output.number, slot, plain_text(request_id)))

    def _input_of(self, timestamp: int) -> RawFrame:
        """Header of the input that an output came from: that of the same or the next earlier pts."""
        raw = self._inputs.get(timestamp)
        if raw is None:
            earlier = [pts for pts in self._inputs if pts <= timestamp]
            raw = self._inputs[max(earlier)] if earlier else _no_input()
        return replace(raw, stamps=dict(raw.stamps))

    def _check_first(self, tensor: Any, width: int, height: int) -> None:
        """Once per revision: what costs a look at the values, or is odd but usable."""
        from .tensor import range_warning

        self._checked = True
        warnings = [range_warning(tensor)]
        if (width, height) != self._resolution:
            expected = "{}x{}".format(*self._resolution)
            warnings.append(f"output is {width}x{height}; params say {expected} (get_output_resolution)")
        for warning in filter(None, warnings):
            self._channel.send(OutputWarned(warning))

    # ---- params ----------------------------------------------------------------------------

    async def _update(self) -> None:
        while True:
            message = await self._params.get()
            while not self._params.empty():
                self._refuse(message, RunnerError("newer params came before these were looked at"))
                message = self._params.get_nowait()
            await self._apply(message)

    async def _apply(self, message: ParamsSent) -> None:
        from ..pipelines.loader import parse_params

        try:
            with self._user_code:
                parsed = parse_params(self._params_class, message.params)
                self._check_size(parsed)
                self._patches.params_kept &= plain(parsed.model_dump(mode="json")) == self._in_force
                reload_task = await self._pipeline.update_params(**message.params)
                # While it reloads, what is in force is still the old; it is asked again when that is over.
                in_force = (self._pipeline.params_in_force() if reload_task is None else None) or parsed
                self._take_params(in_force)
                dump, schema = _as_json(in_force)
        except Exception as error:
            self._refuse(message, error)
            return
        width, height = self._resolution
        self._channel.send(ParamsApplied(message.number, dump, schema, reload_task is not None, width, height))
        if reload_task is not None:
            await self._finish_reload(reload_task, parsed)

    def _check_size(self, parsed: BaseParams) -> None:
        """Contract 5.1: within one stream the size of the frames stays. Raises ParamsError."""
        resolution = parsed.get_output_resolution()
        if self._request_id and resolution != self._resolution and self._request_id == self._resolution_request:
            raise ParamsError(
                f"the output size cannot change within a stream ({self._resolution} to {resolution}): start a new one"
            )

    async def _finish_reload(self, reload_task: Awaitable[Any], parsed: BaseParams) -> None:
        try:
            with self._user_code:
                await reload_task
                in_force = self._pipeline.params_in_force() or parsed
                self._take_params(in_force)
                reloaded = ParamsReloaded(*_as_json(in_force))
        except Exception as error:
            # Contract part 6: a reload that fails leaves no usable pipeline; the process ends.
            self._channel.send(FrameFailed(report_exception(error, "update_params")))
            self._stopping.set()
            return
        self._channel.send(reloaded)

    def _follow_reload(self) -> None:
        """After a failure: a pipeline that brings itself back counts as loading meanwhile."""
        if self._reloading is not None:
            return
        with self._user_code:
            task = self._pipeline.reloading()
        if task is not None:
            self._channel.send(ReloadChanged(True))
            self._reloading = self._start(self._wait_reloaded(task))

    async def _wait_reloaded(self, task: Awaitable[Any]) -> None:
        try:
            with self._user_code:
                await task
        except Exception as error:
            self._channel.send(FrameFailed(report_exception(error, "frame")))
            self._stopping.set()
        else:
            self._channel.send(ReloadChanged(False))
        finally:
            self._reloading = None

    async def _apply_again(self, defaults: dict[str, tuple[Any, Any]]) -> None:
        """Apply the params in force, with new defaults where they had the old ones.

        Raises:
            Exception: whatever `update_params` raises.
        """
        from ..pipelines.loader import parse_params

        _schema_of.cache_clear()
        params = dict(self._in_force)
        for name, (old, new) in defaults.items():
            if params.get(name) == old:
                params[name] = new
                self._patches.params_kept = False
        with self._user_code:
            parsed = parse_params(self._params_class, params)
            reload_task = await self._pipeline.update_params(**params)
            if reload_task is not None:
                await reload_task
            in_force = self._pipeline.params_in_force() or parsed
            self._take_params(in_force)
            reloaded = ParamsReloaded(*_as_json(in_force))
        self._channel.send(reloaded)

    def _refuse(self, message: ParamsSent, error: Exception) -> None:
        refused = plain(error.refused) if isinstance(error, ParamsError) else {}
        self._channel.send(ParamsRefused(message.number, report_exception(error, "update_params"), refused))


class _Exchange:
    """In the queue of frames: new code is planned, and goes in before the next one."""


def _as_json(params: BaseParams) -> tuple[dict[str, Any], dict[str, Any]]:
    """Params as plain data, and the JSON schema of their class. Raises what serializers of the class raise."""
    return plain(params.model_dump(mode="json")), _schema_of(type(params))


@functools.lru_cache(maxsize=8)  # params may come many times a second, and the class is mostly the same
def _schema_of(params_class: type[BaseParams]) -> dict[str, Any]:
    schema: dict[str, Any] = plain(params_class.model_json_schema())
    return schema


def _user_code(load: Load) -> Sources:
    from ..code.source import Sources
    from ..code.store import SnapshotStore

    return Sources.install(SnapshotStore(Path(load.store)) if load.store else None, load.snapshot)


def _converter() -> Any:
    from .tensor import FrameConverter

    return FrameConverter()


def _no_input() -> RawFrame:
    """The header of an output that no remembered input belongs to."""
    from fractions import Fraction

    import numpy as np

    from ..trickle.frame import RawFrame

    return RawFrame(np.empty((0, 0, 3), np.uint8), 0, Fraction(1), seq=-1)


def _load_report(error: BaseException, phase: Phase) -> ErrorReport:
    if isinstance(error, ParamsError):
        phase = "params"
    return report_exception(error, phase)
