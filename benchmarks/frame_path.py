"""What does a frame cost between host and pipeline process, and what did it cost before?

    python -m benchmarks.frame_path [--seconds 4]

Both routes do the same work from end to end: a uint8 picture in the host becomes a float32 tensor
(1, H, W, 3) in [0, 1] in a pipeline process that passes it through, and comes back to the host as
uint8. *plain* is the way of Livepeer's runtime: `multiprocessing.Queue`s of depth one that carry
float tensors, conversions in the host, a full queue drops the frame that comes. *ring* is this
project's: uint8 in shared memory, small messages, conversions in the pipeline process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.report import percentiles, publish
from runner.live.pipelines import builtin_pipeline_spec
from runner.live.process.process import PipelineProcess
from runner.live.trickle import RawFrame

SIZES = ((512, 512), (1280, 720), (1920, 1080))
REQUEST = "bench"

Picture = NDArray[np.uint8]


@dataclass
class Outcome:
    """Of one measurement: frames sent and received, ms from handing in to having back, CPU ms of both processes."""

    sent: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    cpu_ms: float = 0.0
    seconds: float = 0.0

    @property
    def received(self) -> int:
        return len(self.latencies_ms)


class Route(Protocol):
    """One way for frames to a pipeline process and back."""

    name: str
    pid: int

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def begin(self, on_output: Callable[[int, Picture], None]) -> None:
        """Outputs go here from now on: the frame's number, and its pixels."""

    async def push(self, number: int, picture: Picture) -> None:
        """Hand a frame over, waiting until it is taken."""

    def offer(self, number: int, picture: Picture) -> None:
        """Hand a frame over without waiting; it may be dropped."""


class Ring:
    """This project's frame path."""

    name = "ring"

    async def start(self) -> None:
        spec = builtin_pipeline_spec("noop")
        assert spec is not None
        self._process = PipelineProcess(spec, on_frame=self._output, on_message=lambda _: None)
        await self._process.start({})
        await self._process.ready(120)
        self._process.open_stream(REQUEST)
        self.pid = self._process.pid

    async def stop(self) -> None:
        await self._process.stop()

    def begin(self, on_output: Callable[[int, Picture], None]) -> None:
        self._on_output = on_output

    async def push(self, number: int, picture: Picture) -> None:
        await self._process.send(RawFrame(picture, number, Fraction(1, 60), number), REQUEST)

    def offer(self, number: int, picture: Picture) -> None:
        self._process.offer(RawFrame(picture, number, Fraction(1, 60), number), REQUEST)

    def _output(self, frame: RawFrame, _request_id: str) -> None:
        self._on_output(frame.seq, frame.pixels)
        frame.release()


class Plain:
    """Queues of depth one that carry float tensors."""

    name = "plain"

    async def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._inputs: Any = context.Queue(1)
        self._outputs: Any = context.Queue(1)
        self._process: BaseProcess = context.Process(target=_plain_child, args=(self._inputs, self._outputs))
        self._process.start()
        self.pid = self._process.pid or 0
        self._on_output: Callable[[int, Picture], None] = lambda *_: None
        ready = asyncio.Event()
        self._thread = threading.Thread(target=self._receive, args=(asyncio.get_running_loop(), ready), daemon=True)
        self._thread.start()
        await ready.wait()

    async def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._outputs.put(None)
        self._thread.join()

    def begin(self, on_output: Callable[[int, Picture], None]) -> None:
        self._on_output = on_output

    async def push(self, number: int, picture: Picture) -> None:
        await asyncio.to_thread(self._inputs.put, (number, _to_float(picture)))

    def offer(self, number: int, picture: Picture) -> None:
        try:
            self._inputs.put_nowait((number, _to_float(picture)))
        except queue.Full:
            pass

    def _receive(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Event) -> None:
        self._outputs.get()
        loop.call_soon_threadsafe(ready.set)
        while (item := self._outputs.get()) is not None:
            number, tensor = item
            loop.call_soon_threadsafe(self._on_output, number, (tensor.squeeze(0) * 255).byte().numpy())


def _to_float(picture: Picture) -> Any:
    import torch

    return torch.from_numpy(picture.astype(np.float32) / 255.0).unsqueeze(0)


def _plain_child(inputs: Any, outputs: Any) -> None:
    import torch  # noqa: F401  # sends and receives tensors

    outputs.put("ready")
    while True:
        number, tensor = inputs.get()
        try:
            outputs.put_nowait((number, tensor.clone()))
        except queue.Full:
            outputs.put((number, tensor.clone()))  # kinder than upstream, which drops finished work here


async def measure(route: Route, run: Callable[[Outcome], Awaitable[None]]) -> Outcome:
    """Run something over a route and account for it: time, CPU of both processes, what came back."""
    outcome = Outcome()
    processes = [psutil.Process(), psutil.Process(route.pid)]
    before = [process.cpu_times() for process in processes]
    began = time.perf_counter()
    await run(outcome)
    outcome.seconds = time.perf_counter() - began
    after = [process.cpu_times() for process in processes]
    outcome.cpu_ms = 1000 * sum(b.user + b.system - a.user - a.system for a, b in zip(before, after, strict=True))
    return outcome


def _collect(route: Route, outcome: Outcome, sent_at: dict[int, float]) -> None:
    def output(number: int, _picture: Picture) -> None:
        outcome.latencies_ms.append((time.perf_counter() - sent_at.pop(number)) * 1000)

    route.begin(output)


async def _settle(outcome: Outcome) -> None:
    """Wait for what is still under way."""
    for _ in range(50):
        if outcome.received >= outcome.sent:
            return
        await asyncio.sleep(0.01)


def flat_out(route: Route, pictures: list[Picture], seconds: float) -> Callable[[Outcome], Awaitable[None]]:
    """As many frames as will go through."""

    async def run(outcome: Outcome) -> None:
        sent_at: dict[int, float] = {}
        _collect(route, outcome, sent_at)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            number = outcome.sent
            sent_at[number] = time.perf_counter()
            await route.push(number, pictures[number % len(pictures)])
            outcome.sent += 1
        await _settle(outcome)

    return run


def paced(route: Route, pictures: list[Picture], fps: int, seconds: float) -> Callable[[Outcome], Awaitable[None]]:
    """A live source: frames at a steady rate, dropped where they cannot be taken."""

    async def run(outcome: Outcome) -> None:
        sent_at: dict[int, float] = {}
        _collect(route, outcome, sent_at)
        due = time.perf_counter()
        for number in range(int(fps * seconds)):
            sent_at[number] = time.perf_counter()
            route.offer(number, pictures[number % len(pictures)])
            outcome.sent += 1
            due += 1 / fps
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await _settle(outcome)

    return run


async def row(route: Route, width: int, height: int, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(4)]
    await measure(route, flat_out(route, pictures, 0.5))  # warm
    fast = await measure(route, flat_out(route, pictures, seconds))
    at_30 = await measure(route, paced(route, pictures, 30, seconds))
    at_60 = await measure(route, paced(route, pictures, 60, seconds))
    latency = percentiles(at_30.latencies_ms)
    return {
        "size": f"{width}x{height}",
        "route": route.name,
        "max fps": round(fast.received / fast.seconds, 1),
        "CPU ms/frame": round(fast.cpu_ms / max(1, fast.received), 2),
        "CPU ms/frame at 30": round(at_30.cpu_ms / max(1, at_30.received), 2),
        **{f"{name} ms": latency.get(name) for name in ("p50", "p95", "p99")},
        "lost at 30": f"{at_30.sent - at_30.received}/{at_30.sent}",
        "lost at 60": f"{at_60.sent - at_60.received}/{at_60.sent}",
    }


async def main(seconds: float) -> None:
    rows = []
    for width, height in SIZES:
        for route in (Plain(), Ring()):
            await route.start()
            rows.append(await row(route, width, height, seconds))
            await route.stop()
    ratios = {}
    for plain, ring in zip(rows[::2], rows[1::2], strict=True):
        speed = ring["max fps"] / plain["max fps"]
        cpu = ring["CPU ms/frame"] / plain["CPU ms/frame"]
        ratios[ring["size"]] = f"{speed:.1f}x the throughput, {cpu:.2f} of the CPU per frame"
    publish("frame_path", rows, ring_against_plain=ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: %(default)s)")
    asyncio.run(main(parser.parse_args().seconds))
