"""PipelineProcess: the host's handle of one pipeline process, from its birth to its reaping."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing
import os
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from ...errors import ParamsError, ProcessError
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from . import child
from .channel import HostChannel
from .messages import (
    Boot,
    Flushed,
    FrameSent,
    FrameTaken,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    LogLine,
    Message,
    ParamsApplied,
    ParamsRefused,
    ParamsSent,
    RingOpened,
    SourcesSeen,
    Stop,
    StreamDrained,
    StreamOpened,
)
from .ring import FrameRing

INPUT_SLOTS = 3  # one in the pipeline, one waiting, one to spare while rings change
TERM_GRACE_S = 3.0  # from the request to stop to SIGKILL (contract part 6)
KILL_GRACE_S = 2.0
PARAMS_TIMEOUT_S = 10.0
RECENT_LOG_LINES = 50
_LINE_BYTES = 8192  # longer lines of output are cut there


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a pipeline process ended.

    Attributes:
        code: exit code; negative for a signal.
        reason: in words: "exited with code 3", "was killed by SIGSEGV", "was stopped".
        logs: its last lines.
    """

    code: int
    reason: str
    logs: tuple[str, ...] = ()


class LoadError(ProcessError):
    """The pipeline did not come up; `report` says why."""

    def __init__(self, report: ErrorReport) -> None:
        super().__init__(report.headline)
        self.report = report


class PipelineProcess:
    """One spawned process that holds one pipeline.

    Frames go in by `offer` (newest-frame policy) or `send` (back-pressure) and come out by the
    callback `on_frame`. Everything else the process tells is passed to `on_message`.

    Attributes:
        pid: of the process, 0 before `start`.
        loaded: what it reported when the pipeline was ready, else None.
        exit: how it ended, None while it runs.
        dropped: reason -> input frames that never reached the pipeline.
        frames_sent, frames_received: video frames in and out.
        heartbeat: the newest one, and when it came (monotonic seconds).
        sources: the user's files it has imported.
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
        self.frames_sent = 0
        self.frames_received = 0
        self.heartbeat: Heartbeat | None = None
        self.heartbeat_at = 0.0
        self.sources: tuple[str, ...] = ()
        self._on_frame = on_frame
        self._on_message = on_message
        self._on_exit = on_exit
        self._verbose = verbose
        self._process: BaseProcess | None = None
        self._channel = HostChannel(self._receive)
        self._input = _InputRing()
        self._output_ring: FrameRing | None = None
        self._output_number = 0
        self._idle = asyncio.Event()  # the pipeline can take a frame
        self._outputs_free = asyncio.Event()
        self._outputs_held = 0
        self._ready: asyncio.Future[Loaded] | None = None
        self._exited = asyncio.Event()
        self._flushed = asyncio.Event()
        self._ended_by = ""  # what is said of the exit if it was ours
        self._numbers = 0
        self._answers: dict[int, asyncio.Future[ParamsApplied]] = {}
        self._recent: deque[str] = deque(maxlen=RECENT_LOG_LINES)
        self._outputs_free.set()

    # ---- birth -----------------------------------------------------------------------------

    async def start(self, params: dict[str, Any], *, strict: bool = True) -> None:
        """Spawn the process and tell it to load; `ready` waits for the outcome.

        Args:
            params: given to the pipeline's `initialize`.
            strict: a refused param fails the load; else it is dropped and named in `loaded`.
        """
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair()
        outputs = {name: context.Pipe(duplex=False) for name in ("stdout", "stderr")}
        boot = Boot(theirs, outputs["stdout"][1], outputs["stderr"][1], os.getpid(), self._verbose)
        self._process = context.Process(target=child.main, args=(boot,), name=f"pipeline-{self.spec.name}")
        try:
            self._process.start()
        finally:
            theirs.close()
            for _, writer in outputs.values():
                writer.close()
        self.pid = self._process.pid or 0
        self.heartbeat_at = time.monotonic()
        self._ready = loop.create_future()
        loop.add_reader(self._process.sentinel, self._reap)
        await self._channel.connect(ours)
        for name, (reader, _) in outputs.items():
            pipe = os.fdopen(os.dup(reader.fileno()), "rb", 0)
            reader.close()
            await loop.connect_read_pipe(functools.partial(_LineReader, functools.partial(self._line, name)), pipe)
        self._channel.send(Load(self.spec.model_dump_json(), params, strict))

    async def ready(self, timeout_s: float | None = None) -> Loaded:
        """Wait until the pipeline is initialized.

        Raises:
            LoadError: it could not be loaded, the process died, or the time is over. In the last
                case the process still runs: `stop` it.
        """
        assert self._ready is not None, "start() comes first"
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), timeout_s)
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

    # ---- frames ----------------------------------------------------------------------------

    def open_stream(self, request_id: str) -> None:
        """Frames of this request follow."""
        self._flushed.clear()
        self._channel.send(StreamOpened(request_id))

    def offer(self, frame: RawFrame, request_id: str) -> None:
        """Hand over a frame, newest first: while one waits, the newer takes its place, which is counted."""
        if self.exit is not None:
            self.dropped["no process"] += 1
        elif self._idle.is_set():
            self._send_frame(frame, request_id)
        else:
            self.dropped["superseded"] += self._input.wait(frame, request_id)

    async def send(self, frame: RawFrame, request_id: str) -> None:
        """Hand over a frame, waiting until the pipeline can take it and its outputs are taken away.

        Raises:
            ProcessError: the process has ended.
        """
        for event in (self._outputs_free, self._idle):
            await self._first_of(event)
        self._send_frame(frame, request_id)

    async def _first_of(self, event: asyncio.Event) -> None:
        while not event.is_set():
            waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._exited.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if self.exit is not None:
                raise ProcessError(f"pipeline process {self.exit.reason}")

    def _send_frame(self, frame: RawFrame, request_id: str) -> None:
        self._idle.clear()
        self._announce(self._input.write(frame, request_id))

    def _announce(self, sent: FrameSent) -> None:
        if self._input.announce:
            self._channel.send(self._input.announce)
            self._input.announce = None
        self._channel.send(sent)
        self.frames_sent += 1

    async def drain(self, quiet_s: float) -> None:
        """No more input: wait until everything that will come out has come out.

        How much that is only the pipeline knows; it is taken to be done once every input has an
        output, or when it has been asked to flush and nothing has come for `quiet_s` or ten of its
        recent intervals.
        """
        await self._first_of(self._idle)
        self._channel.send(StreamDrained())
        await self._first_of(self._flushed)
        last, since, interval = self.frames_received, time.monotonic(), 0.0
        while self.exit is None and self.frames_received < self.frames_sent:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            if self.frames_received != last:
                last, since, interval = self.frames_received, now, now - since
            elif now - since > max(quiet_s, 10 * interval):
                break

    def _took_input(self, message: FrameTaken) -> None:
        self._input.free(message)
        waiting = self._input.waiting
        if waiting is not None:
            self._input.waiting = None
            self._announce(waiting)
        else:
            self._idle.set()

    def _received_frame(self, message: FrameSent) -> None:
        ring = self._output_ring
        if ring is None or message.ring != self._output_number:
            return
        frame = ring.read(message.slot)
        frame.stamps["received"] = time.monotonic_ns()
        self.frames_received += 1
        self._outputs_held += 1
        if self._outputs_held >= child.OUTPUT_SLOTS - 1:
            self._outputs_free.clear()
        frame.release = functools.partial(self._release, message)
        self._on_frame(frame, message.request_id)

    def _release(self, message: FrameSent) -> None:
        self._outputs_held -= 1
        self._outputs_free.set()
        if self.exit is None:
            self._channel.send(FrameTaken(message.ring, message.slot))

    @property
    def idle(self) -> bool:
        """Whether the pipeline waits for a frame."""
        return self._idle.is_set()

    @property
    def waiting(self) -> int:
        """Frames (0 or 1) that wait for the pipeline."""
        return int(self._input.waiting is not None)

    # ---- params ----------------------------------------------------------------------------

    async def update_params(self, params: dict[str, Any]) -> ParamsApplied:
        """Apply params (all of them) to the running pipeline.

        Raises:
            ParamsError: refused; the old ones stay in force.
            ProcessError: no answer, or the process has ended.
        """
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[ParamsApplied] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._channel.send(ParamsSent(number, params))
        try:
            return await asyncio.wait_for(answer, PARAMS_TIMEOUT_S)
        except asyncio.TimeoutError:
            message = f"no answer to the params within {PARAMS_TIMEOUT_S:.0f} s: update_params is busy"
            raise ProcessError(message) from None
        finally:
            del self._answers[number]

    def _answer(self, message: ParamsApplied | ParamsRefused) -> None:
        answer = self._answers.get(message.number)
        if answer is None or answer.done():
            return
        if isinstance(message, ParamsApplied):
            answer.set_result(message)
        else:
            answer.set_exception(ParamsError(message.report.message, message.refused))

    # ---- messages --------------------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        match message:
            case FrameSent():
                self._received_frame(message)
                return
            case FrameTaken():
                self._took_input(message)
                return
            case Heartbeat():
                self.heartbeat, self.heartbeat_at = message, time.monotonic()
            case RingOpened(number, name):
                self._open_output_ring(number, name)
            case Loaded():
                self.loaded = message
                self._idle.set()
                self._settle(message)
            case LoadFailed(report):
                self._settle(LoadError(report))
            case ParamsApplied() | ParamsRefused():
                self._answer(message)
            case SourcesSeen(files):
                self.sources = files
            case Flushed():
                self._flushed.set()
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
        if self._output_ring is not None:
            self._output_ring.close()
        try:
            self._output_ring, self._output_number = FrameRing.attach(name), number
        except FileNotFoundError:
            self._output_ring = None  # the process is gone already

    def _line(self, source: str, text: str) -> None:
        self._recent.append(text)
        self._on_message(LogLine("ERROR" if source == "stderr" else "INFO", source, text, time.time()))

    # ---- death -----------------------------------------------------------------------------

    async def stop(self, grace_s: float = TERM_GRACE_S) -> ProcessExit:
        """End it: ask, SIGTERM, then SIGKILL to its whole group after `grace_s`; never fails, never hangs.

        A process that is not ready has nothing to stop in an orderly way, and is killed at once.
        """
        self._ended_by = self._ended_by or "was stopped"
        try:
            if self.exit is None and self.loaded is not None:
                self._channel.send(Stop())
                self._signal(signal.SIGTERM)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._exited.wait(), grace_s)
        finally:
            self.kill()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._exited.wait(), KILL_GRACE_S)
        return self.exit or ProcessExit(0, "does not die (stuck in the kernel?)")

    def kill(self, because: str = "was stopped") -> None:
        """SIGKILL to the process and everything it has started; `because` is told as the reason of its exit."""
        self._ended_by = self._ended_by or because
        if self._process is None or not self.pid or self.exit is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)  # it may not have come so far as to lead a group

    def _signal(self, number: signal.Signals) -> None:
        if self.exit is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def dump_stacks(self) -> str:
        """Have the process print where each of its threads is; the text, "" if it does not answer."""
        before = len(self._recent)
        marks = list(self._recent)
        self._signal(signal.SIGUSR1)
        await asyncio.sleep(0.3)
        new = [line for line in self._recent if line not in marks] if before else list(self._recent)
        return "\n".join(new)

    def _reap(self) -> None:
        """The process has ended: on the event loop, as soon as the kernel says so."""
        assert self._process is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._process.sentinel)
        self._process.join(1)
        code = self._process.exitcode or 0
        self._process.close()
        # Whatever it started and left behind. Its pid stays taken for as long as its group has members.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # What it wrote last may still be in the pipes: let it be read before the exit is told.
        loop.call_later(0.05, self._ended, code)

    def _ended(self, code: int) -> None:
        self.exit = ProcessExit(code, self._ended_by or describe_exit(code), tuple(self._recent))
        self._channel.close()
        self._input.close()
        if self._output_ring is not None:
            self._output_ring.close()
        self._settle(LoadError(self._died_loading(self.exit)))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ProcessError(f"pipeline process {self.exit.reason}"))
        self._exited.set()
        self._outputs_free.set()
        self._on_exit(self.exit)

    def _died_loading(self, exit: ProcessExit) -> ErrorReport:
        return ErrorReport(
            "process",
            "ProcessExited",
            f"the pipeline process {exit.reason} while loading",
            hint="Its last lines are in the log.",
            traceback="\n".join(exit.logs),
        )


class _InputRing:
    """The host's side of the frames into a process: slots, and the one frame that waits.

    Attributes:
        announce: a ring that the process has not been told of yet.
        waiting: the frame that is next once the pipeline is idle.
    """

    def __init__(self) -> None:
        self.announce: RingOpened | None = None
        self.waiting: FrameSent | None = None
        self._ring: FrameRing | None = None
        self._retired: list[FrameRing] = []
        self._number = 0
        self._free: list[int] = []

    def wait(self, frame: RawFrame, request_id: str) -> int:
        """Put a frame in the place of the one that waits; how many (0, 1) that dropped."""
        superseded = self.waiting
        if superseded is not None:
            self.waiting = None
            self.free(FrameTaken(superseded.ring, superseded.slot))
        self.waiting = self.write(frame, request_id)
        return int(superseded is not None)

    def write(self, frame: RawFrame, request_id: str) -> FrameSent:
        """Copy a frame into a free slot."""
        height, width = frame.pixels.shape[:2]
        if self._ring is None or not self._ring.fits(width, height):
            self._open(width, height)
        assert self._ring is not None
        slot = self._free.pop()
        frame.stamps["queued"] = time.monotonic_ns()
        self._ring.write(slot, frame)
        return FrameSent(self._number, slot, request_id)

    def free(self, taken: FrameTaken) -> None:
        if taken.ring != self._number:
            return
        self._free.append(taken.slot)
        while self._retired:
            self._retired.pop().close()

    def close(self) -> None:
        for ring in (*self._retired, self._ring):
            if ring is not None:
                ring.close()
        self._retired, self._ring = [], None

    def _open(self, width: int, height: int) -> None:
        if self._ring is not None:
            # The process may not have attached to it yet: it lives until a slot of the new one comes back.
            self._retired.append(self._ring)
        self._ring = FrameRing.create(INPUT_SLOTS, width, height)
        self._number += 1
        self._free = list(range(INPUT_SLOTS))
        self.announce = RingOpened(self._number, self._ring.name)


class _LineReader(asyncio.Protocol):
    """Cuts a pipe's bytes into lines; a carriage return (progress bars) ends one too."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._pending + data).replace(b"\r", b"\n").split(b"\n")
        if len(rest) > _LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._pending = rest
        for line in lines:
            self._emit(line)

    def connection_lost(self, _error: Exception | None) -> None:
        self._emit(self._pending)

    def _emit(self, line: bytes) -> None:
        text = line[:_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self._on_line(text)


def describe_exit(code: int) -> str:
    """An exit code in words, e.g. "was killed by SIGKILL (out of memory?)"."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    guess = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in native code)"}.get(name, "")
    return f"was killed by {name}{guess}"
