"""Does a live source go through without a loss, and does anything grow meanwhile?

    python -m benchmarks.soak [--seconds 60] [--source pattern:512x512@30] [--route trickle]

A studio session without a screen: a source in real time, the host and a pass-through in processes of
their own. Frames are counted in and out; memory, open files and threads of both processes are
taken at the beginning and at the end. With ``--route trickle`` the frames go encoded by a relay, there and back, and
none is left out for its frame rate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.output_log import OutputLog
from benchmarks.report import percentiles, publish

if TYPE_CHECKING:
    import psutil

    from ai_runner_studio.session import Session
    from ai_runner_studio.settings import RouteName
    from runner.live.events import Event, MetricsTaken, StreamEnded

PASS_THROUGH = "runner.live.pipelines.noop:Noop"
SETTLED_S = 5.0  # what is allocated once has been allocated by then


class Usage:
    """What a process holds: its memory (private, and shared with others), files and threads, over time."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._process: psutil.Process = psutil.Process(pid)
        self._taken: list[dict[str, float]] = []

    def take(self) -> None:
        """Take the figures now."""
        process = self._process
        memory = process.memory_full_info()
        cpu = process.cpu_times()
        self._taken.append(
            {
                "own MB": memory.uss / 1e6,
                "resident MB": memory.rss / 1e6,
                "files": process.num_fds(),
                "threads": process.num_threads(),
                "cpu s": cpu.user + cpu.system,
            }
        )

    def row(self) -> dict[str, Any]:
        """First and last figures; of memory also how much it grew after it had settled."""
        first, last = self._taken[0], self._taken[-1]
        half = len(self._taken) // 2
        own = [taken["own MB"] for taken in self._taken]
        growth = statistics.median(own[half:]) - statistics.median(own[:half]) if half else 0.0
        row: dict[str, Any] = {}
        for key in ("own MB", "resident MB", "files", "threads"):
            row[key] = f"{first[key]:.0f} -> {last[key]:.0f}"
        return row | {"growth MB": round(growth, 2), "CPU s": round(last["cpu s"] - first["cpu s"], 2)}


async def main(seconds: float, source: str, route: RouteName) -> None:
    from ai_runner_studio.session import Session
    from ai_runner_studio.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            PASS_THROUGH,
            input=source,
            project=Path(folder),
            python=sys.executable,
            duration_s=seconds,
            reload=False,
            route=route,
            max_fps=0.0,
        )
        session = Session(settings, stream_when_ready=True)
        windows: list[MetricsTaken] = []
        session.listen(lambda event: _keep(event, windows))
        await session.start()
        try:
            outputs = OutputLog(session)
            watching = asyncio.create_task(outputs.follow())
            processes = await _processes(session)
            ended = await _to_the_end(session, processes, seconds)
            watching.cancel()
        finally:
            await session.close()
    _publish(seconds, source, outputs, windows[-1], ended, [usage.row() for usage in processes])


def _keep(event: Event, windows: list[MetricsTaken]) -> None:
    if event.type == "MetricsTaken" and event.frames_in:
        windows.append(event)


async def _processes(session: Session) -> list[Usage]:
    """The host and the pipeline process, once they do their work."""
    while not session.snapshot.metrics.frames_out:
        if session.snapshot.error is not None:
            raise SystemExit(session.snapshot.error.headline)
        await session.changed()
    host = session.snapshot.host
    assert host is not None
    return [Usage(host.pid), Usage(session.snapshot.pipeline_pid)]


async def _to_the_end(session: Session, processes: list[Usage], seconds: float) -> StreamEnded:
    ended = asyncio.create_task(session.wait_ended())
    await asyncio.wait([ended], timeout=min(SETTLED_S, seconds / 4))
    while not ended.done():
        for usage in processes:
            usage.take()
        await asyncio.wait([ended], timeout=max(0.5, seconds / 60))
    return ended.result()


def _publish(
    seconds: float,
    source: str,
    outputs: OutputLog,
    metrics: MetricsTaken,
    ended: StreamEnded,
    processes: list[dict[str, Any]],
) -> None:
    row: dict[str, Any] = {
        "source": source,
        "route": "trickle" if ended.route else "direct",
        "s": seconds,
        "frames in": ended.frames_in,
        "frames out": ended.frames_out,
        "lost": ended.frames_in - ended.frames_out,
        "dropped": metrics.dropped or "none",
        "seen": len(outputs.seen),
        "skipped": outputs.skipped(),
    }
    # What has come back by a relay was captured by another clock than the pipeline's inputs: the route has its own.
    latency = ended.route.total_ms if ended.route else percentiles([seen.latency_ms for seen in outputs.seen])
    row |= {f"{name} ms": value for name, value in latency.items()}
    if ended.route:
        row |= {"sent": ended.route.sent, "back": ended.route.returned}
    if ended.error:
        row["error"] = ended.error
    slowest = sorted(outputs.seen, key=lambda seen: seen.latency_ms)[-3:]
    slow = {f"frame {seen.number}": seen.stages_ms() for seen in reversed(slowest)}
    publish(
        "soak_trickle" if ended.route else "soak",
        [row],
        host=processes[0],
        pipeline=processes[1],
        stages_ms=metrics.stages_ms,
        **({"hops_ms": ended.route.hops_ms} if ended.route else {"slowest": slow}),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the source (default: %(default)g)")
    parser.add_argument("--source", default="pattern:512x512@30", help="as --input (default: %(default)s)")
    parser.add_argument("--route", choices=("direct", "trickle"), default="direct")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(options.seconds, options.source, options.route))
