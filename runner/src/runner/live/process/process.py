"""PipelineProcess: the host's handle of one pipeline process, from its birth to its reaping."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import ParamsError, ProcessError
from ...time_limit import time_limit
from ..code.source import SourceFile
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from .channel import HostChannel
from .debugging import is_traced
from .descendants import children_of, kill_all, kill_descendants
from .exit import ProcessExit, describe_exit
from .flow_control import CEILING, CEILING_PATIENCE_S
from .frame_sender import FrameSender
from .launch import ChildHandle, Wires, reap_group, spawn
from .lines import LineReader, follow_lines
from .messages import (
    CodePatched,
    DropPatch,
    Flushed,
    FrameFailed,
    FrameSent,
    FrameTaken,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    LogLine,
    Message,
    ModulesSeen,
    OutputWarned,
    ParamsApplied,
    ParamsRefused,
    ParamsReloaded,
    ParamsSent,
    PatchCode,
    PatchFailed,
    RingOpened,
    SourcesSeen,
    Stop,
    StreamDrained,
    StreamOpened,
    Warm,
    Warmed,
)
from .resources import ProcessResources
from .ring import FrameRing
from .stacks import ASK_SIGNAL, INSIST_SIGNAL

if TYPE_CHECKING:
    import psutil

TERM_GRACE_S = 3.0  # from the request to stop to SIGKILL (contract part 6)
KILL_GRACE_S = 2.0
PARAMS_TIMEOUT_S = 10.0
ANSWERED_QUIET_S = 0.1  # after the last output, once there are as many as inputs
RECENT_LOG_LINES = 50
_LAST_LINES_S = 0.05  # for what a process that has ended wrote last to be read
DUMP_LIMIT_S = 3.0  # for a process to print where its threads are
_DUMP_LOOK_S = 0.02
# Last lines of what is printed: where `multiprocessing` has a process begin, or of a stack that is too deep.
_DUMPED = (b"Thread 0x", b"Current thread 0x", b"  File ", b"  ...")
_OUTERMOST = ('  File "<string>", line 1 in <module>', "  ...")


class LoadError(ProcessError):
    """The pipeline did not come up; `report` says why."""

    def __init__(self, report: ErrorReport) -> None:
        super().__init__(report.headline)
        self.report = report


class PatchRefused(ProcessError):
    """Changed code cannot be put into the running pipeline; the message says why."""


class PipelineProcess:
    """One process that holds one pipeline.

    Frames go in by `offer` (newest-frame policy) or `send` (back-pressure) and come out by the
    callback `on_frame`. Everything else the process tells is passed to `on_message`.

    Attributes:
        pid: of the process, 0 before `start`.
        loaded: what it reported when the pipeline was ready, else None.
        exit: how it ended, None while it runs.
        dropped: reason -> input frames that never reached the pipeline.
        frames_sent, frames_received: video frames in and out.
        heartbeat: the newest one, and when it came (monotonic seconds).
        sources: the user's files it has imported. snapshot: what those held that were loaded whole.
        modules: names of what it has imported that is not the user's.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        *,
        on_frame: Callable[[RawFrame, str], None],
        on_message: Callable[[Message], None],
        on_exit: Callable[[ProcessExit], None] = lambda _: None,
        verbose: bool = False,
    ) -> None:
        self.spec = spec
        self.pid = 0
        self.loaded: Loaded | None = None
        self.exit: ProcessExit | None = None
        self.dropped: Counter[str] = Counter()
        self.frames_received = 0
        self.heartbeat: Heartbeat | None = None
        self.heartbeat_at = 0.0
        self.sources: tuple[str, ...] = ()
        self.snapshot: tuple[SourceFile, ...] = ()
        self.modules: tuple[str, ...] = ()
        self._on_frame = on_frame
        self._on_message = on_message
        self._on_exit = on_exit
        self._verbose = verbose
        self._handle: ChildHandle | None = None
        self._channel = HostChannel(self._receive)
        self._input = FrameSender(self._channel.send, self._warn_of_ceiling)
        self._output_ring: FrameRing | None = None
        self._output_number = 0
        self._flow = self._input.flow
        self._request_id = ""
        self._ready: asyncio.Future[Loaded] | None = None
        self._exited = asyncio.Event()
        self._flushed = asyncio.Event()
        self._warmed = asyncio.Event()
        self._patched: asyncio.Future[CodePatched | PatchFailed] | None = None
        self._patch_number = 0
        self._ended_by = ""  # what is said of the exit if it was ours
        self._numbers = 0
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._applied: ParamsApplied | None = None  # the newest, and what has become of it
        self._recent: deque[str] = deque(maxlen=RECENT_LOG_LINES)
        self._dumps: list[list[str]] = []  # each gets what is printed while somebody waits for the stacks
        self._readers: tuple[LineReader, ...] = ()
        self._resources: ProcessResources | None = None
        self._children: list[psutil.Process] = []  # as they were when it was asked to stop
        self._cleaning: asyncio.Task[None] | None = None

    # ---- birth -----------------------------------------------------------------------------

    async def start(self, params: dict[str, Any], *, strict: bool = True) -> None:
        """Launch the process and tell it to load; `ready` waits for the outcome. Arguments as `load`."""
        await self.launch()
        self.load(params, strict=strict)

    async def launch(self) -> None:
        """Spawn the process. Raises OSError if there is no room for one more."""
        await self.connect(*spawn(f"pipeline-{self.spec.name}", verbose=self._verbose))

    async def connect(self, handle: ChildHandle, wires: Wires) -> None:
        """Take charge of a process that has just been launched."""
        loop = asyncio.get_running_loop()
        self._handle, self.pid = handle, handle.pid
        self.heartbeat_at = time.monotonic()
        self._ready = loop.create_future()
        loop.add_reader(handle.sentinel, self._reap)
        await self._channel.connect(wires.control)
        self._readers = (
            await follow_lines(wires.stdout, functools.partial(self._line, "stdout")),
            await follow_lines(wires.stderr, functools.partial(self._line, "stderr"), self._watch_dumps),
        )

    def belong_to(
        self,
        on_frame: Callable[[RawFrame, str], None],
        on_message: Callable[[Message], None],
        on_exit: Callable[[ProcessExit], None],
    ) -> None:
        """From now on somebody else is told what it does."""
        self._on_frame, self._on_message, self._on_exit = on_frame, on_message, on_exit

    async def warm(self, modules: tuple[str, ...], timeout_s: float) -> None:
        """Have it do what can be done before it is told to load. Returns also when it ends or takes too long.

        Args:
            modules: to import, by name.
        """
        self._channel.send(Warm(modules))
        with contextlib.suppress(asyncio.TimeoutError, ProcessError):
            async with time_limit(timeout_s):
                await self._first_of(self._warmed)

    @property
    def is_warm(self) -> bool:
        """Whether it has done all that it was told by `warm`."""
        return self._warmed.is_set()

    def load(
        self,
        params: dict[str, Any],
        *,
        strict: bool = True,
        store: str = "",
        snapshot: tuple[SourceFile, ...] = (),
        patchable: bool = False,
    ) -> None:
        """Tell it to load the pipeline; `ready` waits for the outcome.

        Args:
            params: given to the pipeline's `initialize`.
            strict: a refused param fails the load; else it is dropped and named in `loaded`.
            store, snapshot, patchable: see `messages.Load`.
        """
        self._channel.send(
            Load(self.spec.model_dump_json(), params, strict, store, snapshot, patchable, self._make_folder())
        )

    def _make_folder(self) -> str:
        try:
            self._resources = ProcessResources()
        except OSError as error:
            logging.warning("temporary files of the pipeline are not removed: %s", error)
            return ""
        return self._resources.folder

    async def ready(self, timeout_s: float | None = None) -> Loaded:
        """Wait until the pipeline is initialized.

        Raises:
            LoadError: it could not be loaded, the process died, or the time is over. In the last
                case the process still runs: `stop` it.
        """
        assert self._ready is not None, "start() comes first"
        try:
            return await self._ready_within(timeout_s)
        except asyncio.TimeoutError:
            where = await self.dump_stacks()
            raise LoadError(
                ErrorReport(
                    "initialize",
                    "LoadTimeout",
                    f"not ready after {timeout_s:.0f} s",
                    hint="See the log for where each thread is. Raise --load-timeout if this is expected.",
                    traceback=where,
                )
            ) from None

    async def _ready_within(self, timeout_s: float | None) -> Loaded:
        assert self._ready is not None
        while True:
            try:
                async with time_limit(timeout_s):
                    return await asyncio.shield(self._ready)
            except asyncio.TimeoutError:
                if not self.debugged:
                    raise

    # ---- frames ----------------------------------------------------------------------------

    def open_stream(self, request_id: str) -> None:
        """Frames of this request follow."""
        self._flushed.clear()
        self._request_id = request_id
        self._flow.open_stream()
        self._channel.send(StreamOpened(request_id))
        self._input.advance()

    def offer(self, frame: RawFrame, request_id: str) -> None:
        """Hand over a frame, newest first: while one waits, the newer takes its place, which is counted."""
        if self.exit is not None:
            self.dropped["no process"] += 1
        else:
            self.dropped["superseded"] += self._input.offer(frame, request_id)

    async def send(self, frame: RawFrame, request_id: str) -> None:
        """Hand over a frame once there is room for it inside the pipeline, and its outputs are released.

        Raises:
            ProcessError: the process has ended.
        """
        await self._input.send(frame, request_id, self._first_of)

    async def _first_of(self, event: asyncio.Event) -> None:
        while not event.is_set():
            waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._exited.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self.exit is not None:
                raise ProcessError(f"pipeline process {self.exit.reason}")

    @property
    def frames_sent(self) -> int:
        return self._input.sent

    async def drain(self, quiet_s: float) -> None:
        """No more input: wait until everything that will come out has come out.

        How much that is only the pipeline knows. It has been asked to flush; it is taken to be done when nothing
        has come for `quiet_s` or ten of its recent intervals, and sooner if every input has an output: those of a
        pipeline that gives several for each follow one another at once.
        """
        await self._first_of(self._input.taken)
        self._channel.send(StreamDrained())
        await self._first_of(self._flushed)
        last, since, interval = self.frames_received, time.monotonic(), 0.0
        while self.exit is None:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            if self.frames_received != last:
                last, since, interval = self.frames_received, now, now - since
                continue
            if self._flow.outputs_held:  # the sink may be all that keeps further ones back
                since = now
                continue
            answered = self.frames_received >= self.frames_sent
            if now - since > (min(quiet_s, ANSWERED_QUIET_S) if answered else max(quiet_s, 10 * interval)):
                break

    def _received_frame(self, message: FrameSent) -> None:
        ring = self._output_ring
        if ring is None or message.ring != self._output_number:
            return
        frame = ring.read(message.slot)
        frame.stamps["received"] = time.monotonic_ns()
        self.frames_received += 1
        self._flow.outputs_held += 1
        if message.request_id == self._request_id:
            self._flow.answered(frame.time_s if frame.seq >= 0 else None, time.monotonic())
        frame.release = functools.partial(self._release, message)
        self._on_frame(frame, message.request_id)
        self._input.advance()

    def _release(self, message: FrameSent) -> None:
        self._flow.released(time.monotonic())
        if self.exit is None:
            self._channel.send(FrameTaken(message.ring, message.slot))
            self._input.advance()

    @property
    def idle(self) -> bool:
        """True if no frame is in `put_video_frame`."""
        return not self._flow.busy

    @property
    def inside(self) -> int:
        """Frames sent to the pipeline and not answered by an output."""
        return self._flow.inside

    @property
    def window(self) -> int:
        """Limit for `inside`; see `FlowControl`."""
        return self._flow.window

    def expect_window(self, window: int) -> None:
        """Start from the window that another process with much the same code has needed."""
        self._flow.window = max(self._flow.window, window)

    @property
    def busy_s(self) -> float:
        """For how long the frame that is in the pipeline has been there; 0 if none is."""
        return self._input.busy_s

    @property
    def debugged(self) -> bool:
        """Whether a debugger is attached or waited for: no time limit means anything then."""
        return is_traced(self.pid) or (self.heartbeat is not None and self.heartbeat.debugged)

    @property
    def vram_reserved(self) -> int:
        """Bytes of GPU memory that torch says it has reserved."""
        return self.heartbeat.vram_bytes if self.heartbeat else 0

    @property
    def waiting(self) -> int:
        """Frames that wait for the pipeline."""
        return self._input.waiting

    def _warn_of_ceiling(self) -> None:
        per_s = 1 / CEILING_PATIENCE_S
        self._on_message(
            OutputWarned(
                f"the pipeline keeps {CEILING} frames without an output; until there is one, it gets {per_s:.0f} per "
                "second. Drop references to frames that get no output"
            )
        )

    # ---- params ----------------------------------------------------------------------------

    async def update_params(self, params: dict[str, Any]) -> ParamsApplied:
        """Apply params (all of them) to the running pipeline.

        A reload may be over before this comes to answer: then it is told as such.

        Raises:
            ParamsError: refused; the old ones stay in force.
            ProcessError: no answer, or the process has ended.
        """
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._channel.send(ParamsSent(number, params))
        try:
            async with time_limit(PARAMS_TIMEOUT_S):
                await answer
        except asyncio.TimeoutError:
            message = f"no answer to the params within {PARAMS_TIMEOUT_S:.0f} s: update_params is busy"
            raise ProcessError(message) from None
        finally:
            del self._answers[number]
        assert self._applied is not None
        return self._applied

    def _reloaded(self, message: ParamsReloaded) -> None:
        if self._applied is not None:
            self._applied = replace(self._applied, params=message.params, schema=message.schema, reloading=False)

    def _answer(self, message: ParamsApplied | ParamsRefused) -> None:
        if isinstance(message, ParamsApplied):
            self._applied = message
        answer = self._answers.get(message.number)
        if answer is None or answer.done():
            return
        if isinstance(message, ParamsApplied):
            answer.set_result(None)
        else:
            answer.set_exception(ParamsError(message.report.message, message.refused))

    # ---- code ------------------------------------------------------------------------------

    async def patch(self, message: PatchCode, timeout_s: float) -> CodePatched:
        """Put the code that is on disk now into the running pipeline.

        Raises:
            PatchRefused: it needs a fresh process.
            LoadError: the code is wrong. Nothing has changed in either case.
            ProcessError: no answer in time, or the process has ended.
        """
        self._patched, self._patch_number = asyncio.get_running_loop().create_future(), message.number
        self._channel.send(message)
        try:
            async with time_limit(timeout_s):
                answer = await self._patched
        except asyncio.TimeoutError:
            raise ProcessError(f"the pipeline did not come to take new code within {timeout_s:.0f} s") from None
        finally:
            self._patched = None
        if isinstance(answer, CodePatched):
            return answer
        if answer.report is not None:
            raise LoadError(answer.report)
        raise PatchRefused(answer.refused)

    def hold_frames(self, on: bool) -> None:
        """Let a few frames wait instead of replacing one another, while new code goes in; give them time afterwards."""
        if on:
            self._input.hold()
        else:
            self._input.let_go()

    def drop_patch(self, number: int) -> None:
        """Take back new code that nobody waits for any more."""
        if self.exit is None:
            self._channel.send(DropPatch(number))

    # ---- messages --------------------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        match message:
            case FrameSent():
                self._received_frame(message)
                return
            case FrameTaken():
                self._input.take_back(message)
                return
            case Heartbeat():
                self.heartbeat, self.heartbeat_at = message, time.monotonic()
            case RingOpened(number, name):
                self._open_output_ring(number, name)
            case Loaded():
                self.loaded = message
                if self.heartbeat is not None:  # imports hold the event loop up, which is no fault of the pipeline
                    self.heartbeat = replace(self.heartbeat, loop_lag_s=0.0)
                self._flow.busy = False
                self._input.advance()
                self._settle(message)
            case LoadFailed(report):
                self._settle(LoadError(report))
            case ParamsReloaded():
                self._reloaded(message)
            case ParamsApplied() | ParamsRefused():
                self._answer(message)
            case SourcesSeen(files, loaded):
                self.sources, self.snapshot = files, loaded
            case ModulesSeen(names):
                self.modules = names
            case Warmed():
                self._warmed.set()
            case CodePatched(number=number) | PatchFailed(number=number):
                # An answer that nobody waits for any more is not one to the next question.
                if self._patched is not None and number == self._patch_number and not self._patched.done():
                    self._patched.set_result(message)
            case Flushed():
                self._flushed.set()
            case FrameFailed(report):
                if report.phase == "frame":
                    self._flow.failed()
                    self._input.advance()
            case LogLine():
                self._recent.append(f"{message.level} {message.source}: {message.message}")
        self._on_message(message)

    def _settle(self, outcome: Loaded | LoadError) -> None:
        if self._ready is None or self._ready.done():
            return
        if isinstance(outcome, Loaded):
            self._ready.set_result(outcome)
        else:
            self._ready.set_exception(outcome)
            self._ready.exception()  # looked at: nobody may be waiting for it

    def _open_output_ring(self, number: int, name: str) -> None:
        self._close_output_ring()
        with contextlib.suppress(FileNotFoundError):  # the process is gone already
            self._output_ring, self._output_number = FrameRing.attach(name), number

    def _close_output_ring(self) -> None:
        """Close it and drop the reference: a frame that is still in use keeps the memory, and nothing else may."""
        if self._output_ring is not None:
            self._output_ring.close()
            self._output_ring = None

    def _line(self, source: str, text: str) -> None:
        self._recent.append(text)
        self._on_message(LogLine("ERROR" if source == "stderr" else "INFO", source, text, time.time()))

    def _watch_dumps(self, lines: Sequence[bytes]) -> None:
        """Take the stacks that somebody waits for out of all that is printed, also of what is too much to log."""
        if self._dumps:
            found = [line.decode("utf-8", "replace").rstrip() for line in lines if line.startswith(_DUMPED)]
            for dump in self._dumps:
                dump.extend(found)

    # ---- death -----------------------------------------------------------------------------

    async def stop(self, grace_s: float = TERM_GRACE_S) -> ProcessExit:
        """End it: ask, SIGTERM, then SIGKILL to its whole group after `grace_s`; never fails, never hangs.

        A process that is not ready has nothing to stop in an orderly way, and is killed at once.
        """
        self._ended_by = self._ended_by or "was stopped"
        try:
            if self.exit is None and self.loaded is not None:
                await self._note_children()
                self._channel.send(Stop())
                self._signal(signal.SIGTERM)
                with contextlib.suppress(asyncio.TimeoutError):
                    async with time_limit(grace_s):
                        await self._exited.wait()
        finally:
            self.kill()
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(KILL_GRACE_S):
                await self._exited.wait()
        return self.exit or ProcessExit(0, "does not die (stuck in the kernel?)")

    async def _note_children(self) -> None:
        """Once it has exited, nobody knows any more whose children they were."""
        with contextlib.suppress(RuntimeError):  # this process ends, and has no more threads for it
            self._children += await asyncio.to_thread(children_of, self.pid)

    def kill(self, because: str = "was stopped") -> None:
        """SIGKILL to the process and everything it has started; `because` is told as the reason of its exit."""
        self._ended_by = self._ended_by or because
        if self._handle is None or not self.pid or self.exit is not None:
            return
        self._children += children_of(self.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        kill_all(self._children)
        self._signal(signal.SIGKILL)  # it may not have come so far as to lead a group

    def _signal(self, number: signal.Signals) -> None:
        if self.exit is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def dump_stacks(self) -> str:
        """Have the process print where each of its threads is; the text, "" if it does not answer."""
        lines: list[str] = []
        self._dumps.append(lines)
        self._signal(ASK_SIGNAL)
        began, insisted = time.monotonic(), False
        try:
            while self.exit is None and time.monotonic() - began < DUMP_LIMIT_S and not _is_whole(lines):
                await asyncio.sleep(_DUMP_LOOK_S)
                if not insisted and not lines and time.monotonic() - began > DUMP_LIMIT_S / 2:
                    self._signal(INSIST_SIGNAL)
                    insisted = True
        finally:
            self._dumps = [other for other in self._dumps if other is not lines]
        return "\n".join(lines)

    def _reap(self) -> None:
        """The process has ended: on the event loop, as soon as the kernel says so."""
        assert self._handle is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._handle.sentinel)
        # Whatever it started and left behind. Its pid stays taken for as long as its group has members.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # What it wrote last may still be in the pipes: let it be read before the exit is told.
        for reader in self._readers:
            reader.read_on()
        self._cleaning = loop.create_task(self._clean_up())

    async def _clean_up(self) -> None:
        """End and remove what it has left behind, then report its exit."""
        assert self._handle is not None
        try:
            # Not waited for yet: its number, which is part of the label of what it has started, stays taken.
            await asyncio.gather(asyncio.sleep(_LAST_LINES_S), asyncio.to_thread(self._end_descendants))
            if self._resources is not None:
                self._resources.close()
                await asyncio.to_thread(self._resources.remove)
        except Exception:
            logging.exception("what the pipeline process has left behind could not be removed")
        finally:
            self._ended(self._handle.reap())

    def _end_descendants(self) -> None:
        kill_all(self._children)
        kill_descendants(self.pid)

    def _ended(self, code: int) -> None:
        reap_group(self.pid)
        for reader in self._readers:
            reader.flush()
        self.exit = ProcessExit(code, self._ended_by or describe_exit(code), tuple(self._recent))
        self._channel.close()
        self._input.close()
        self._close_output_ring()
        self._settle(LoadError(self._died_loading(self.exit)))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ProcessError(f"pipeline process {self.exit.reason}"))
        if self._patched is not None and not self._patched.done():
            self._patched.set_exception(ProcessError(f"the pipeline process {self.exit.reason}"))
        self._exited.set()
        self._on_exit(self.exit)

    def _died_loading(self, exit: ProcessExit) -> ErrorReport:
        return ErrorReport(
            "process",
            "ProcessExited",
            f"the pipeline process {exit.reason} while loading",
            hint=f"it printed last: {exit.logs[-1]}" if exit.logs else "",
            traceback="\n".join(exit.logs),
        )


def _is_whole(stacks: list[str]) -> bool:
    """Whether faulthandler has printed all there is. It writes in pieces, and no mark at the end.

    The main thread, which gets the signal and so is the current one, comes last, and its outermost frame last of all.
    """
    heads = [index for index, line in enumerate(stacks) if line.startswith("Current thread")]
    return bool(heads) and any(line in _OUTERMOST for line in stacks[heads[0] :])
