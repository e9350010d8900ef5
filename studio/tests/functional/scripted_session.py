"""A session whose snapshots are posted by hand, with real frame rings behind its taps."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_runner_studio.errors import StudioError
from ai_runner_studio.export.build import BuiltImage
from ai_runner_studio.export.build_progress import BuildProgress
from ai_runner_studio.export.image_export import Exported
from ai_runner_studio.export.verification import Check, Figures, LayerSize, Verification
from ai_runner_studio.preview.tap import Tap
from ai_runner_studio.reload.revisions import FileDifference
from ai_runner_studio.settings import RouteName, Settings
from ai_runner_studio.snapshot import Load, Snapshot
from runner.live.events import (
    HostStarted,
    LoadPlan,
    LogWritten,
    MetricsTaken,
    Route,
    StandbyChanged,
    Step,
    StreamStarted,
)
from runner.live.process.ring import TapWriter
from runner.live.report import CodeLine, ErrorReport
from runner.live.trickle.frame import RawFrame

STARTED_AT = 1_790_000_000.0  # a fixed moment; the scripted clock stands a little after it

SCHEMA: dict[str, Any] = {
    "title": "GreenShiftParams",
    "type": "object",
    "$defs": {"Mode": {"enum": ["soft", "hard", "glow"], "title": "Mode", "type": "string"}},
    "properties": {
        "strength": {
            "default": 0.5,
            "description": "How much of the green channel is moved.",
            "maximum": 1,
            "minimum": 0,
            "title": "Strength",
            "type": "number",
        },
        "radius": {"default": 5, "maximum": 31, "minimum": 1, "title": "Radius", "type": "integer"},
        "mode": {"$ref": "#/$defs/Mode", "default": "soft", "description": "Shape of the curve."},
        "mirror": {"default": False, "title": "Mirror", "type": "boolean"},
        "prompt": {"default": "a watercolour", "title": "Prompt", "type": "string"},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "Seed"},
        "t_index_list": {
            "default": [12, 20, 32],
            "items": {"type": "integer"},
            "title": "T Index List",
            "type": "array",
        },
    },
}
PARAMS: dict[str, Any] = {
    "strength": 0.5,
    "radius": 5,
    "mode": "soft",
    "mirror": False,
    "prompt": "a watercolour",
    "seed": None,
    "t_index_list": [12, 20, 32],
}


PLAN = """\
image     green-shift:1.2.0
pipeline  green_shift.pipeline:GreenShift
base      python:3.11-slim-bookworm, Python 3.11, linux/amd64
torch     2.13.0 (cpu)
models    /models, not in the image

layers, in the order in which they change:
  torch           1 package, from environment
  dependencies   37 packages, from environment
  runner          1 package, from own
  application     2 packages, from own

not in the image:
  notes.txt: outside of the pipeline's package"""
BUILT = BuiltImage("sha256:0c1d", ("green-shift:1.2.0",), "buildah", "buildah build .", 41.2, 20, 9)
VERIFICATION = Verification(
    image="sha256:0c1d",
    tags=("green-shift:1.2.0",),
    runtime="podman",
    source="pattern:512x512@24",
    checks=(
        Check("health", True, "LOADING > IDLE > OK > IDLE; IDLE after 4.1 s"),
        Check("pictures", True, "288 of 288 pictures came back (288 of 288 here)"),
        Check("end", True, "exit code 0 after 1.4 s (allowed: 0, within 8 s)"),
    ),
    container=Figures(1.2, 4.1, 0.3, 0.4, 288, 288, 24.0, {"p50": 14.3, "p95": 31.0}, 1.4),
    local=Figures(1.0, 3.8, 0.2, 0.4, 288, 288, 24.0, {"p50": 13.9, "p95": 30.2}, 1.1),
    size_bytes=1_296_000_000,
    layers=(LayerSize("base", 177_000_000), LayerSize("torch", 768_000_000), LayerSize("application", 39_000)),
)


class RefusedError(StudioError):
    """As a session raises when values are refused: field name -> reason."""

    def __init__(self, message: str, refused: dict[str, str]) -> None:
        super().__init__(message)
        self.refused = refused


class RingTap(Tap):
    """A tap together with the writer of its ring."""

    def __init__(self) -> None:
        super().__init__()
        self._writer = TapWriter()
        self._seq = 0

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Publish a picture, uint8 (H, W, 3)."""
        grown = self._writer.write(RawFrame(pixels, self._seq, Fraction(1, 30), self._seq))
        if grown and self._writer.ring is not None:
            self.open(self._writer.ring.name)
        self._seq += 1

    def end(self) -> None:
        self.close()
        self._writer.close()


class ScriptedJob:
    """An export that goes as far as it is let: `planned` and `go_on` open its two gates."""

    def __init__(self) -> None:
        self.planned, self.go_on = asyncio.Event(), asyncio.Event()
        self.refuse: StudioError | None = None
        self.closed = 0

    async def plan(self) -> str:
        await self.planned.wait()
        if self.refuse:
            raise self.refuse
        return PLAN

    async def build(self, show: Callable[[str, BuildProgress | None], None]) -> Exported:
        show("", BuildProgress(6, 20, "RUN uv pip install -r /opt/app/req/10-torch.txt", 4))
        await self.go_on.wait()
        if self.refuse:
            raise self.refuse
        return Exported(BUILT, Path("/home/me/reports/green-shift-1.2.0"), VERIFICATION)

    async def close(self) -> None:
        self.closed += 1


class ScriptedSession:
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings("green_shift.pipeline:GreenShift", **settings)
        self.snapshot = Snapshot()
        self.input_tap, self.output_tap = RingTap(), RingTap()
        self.paused = False
        self.calls: list[tuple[str, Any]] = []
        self.refuse: dict[str, str] = {}
        self.refuse_input = ""
        self.refuse_revert = ""
        self.diffs: dict[tuple[int, int | None], list[FileDifference]] = {}
        self.job = ScriptedJob()
        self._news = asyncio.Event()

    def image_job(self, tell: Callable[[str], None]) -> ScriptedJob:
        tell("pinning dependencies by the environment and its index")
        return self.job

    def post(self, **changes: Any) -> Snapshot:
        """A new snapshot: the last one with these changes."""
        self.snapshot = replace(self.snapshot, **changes)
        self._news.set()
        return self.snapshot

    async def changed(self) -> Snapshot:
        await self._news.wait()
        self._news.clear()
        return self.snapshot

    async def set_params(self, changes: dict[str, Any]) -> None:
        self.calls.append(("set_params", dict(changes)))
        refused = {name: reason for name, reason in self.refuse.items() if name in changes}
        if refused:
            raise RefusedError("values refused", refused)
        self.post(params={**self.snapshot.params, **changes})

    async def reload(self, reason: str = "asked for", level: str = "auto") -> None:
        self.calls.append(("reload", reason if level == "auto" else level))

    async def revert(self, revision: int) -> None:
        self.calls.append(("revert", revision))
        if self.refuse_revert:
            raise StudioError(self.refuse_revert)

    async def set_keep_weights(self, on: bool) -> None:
        self.calls.append(("set_keep_weights", on))
        self.post(keep_weights=on)

    async def set_standby(self, on: bool) -> None:
        self.calls.append(("set_standby", on))
        self.post(standby_on=on)

    def differences(self, revision: int, against: int | None = None) -> list[FileDifference]:
        return self.diffs.get((revision, against), [])

    async def set_route(self, route: RouteName) -> None:
        self.calls.append(("set_route", route))
        self.settings = replace(self.settings, route=route)
        self.post(route=route)

    async def set_input(self, text: str) -> None:
        self.calls.append(("set_input", text))
        if self.refuse_input:
            raise StudioError(self.refuse_input, "Is the path right?")

    async def set_paused(self, paused: bool) -> None:
        self.calls.append(("set_paused", paused))
        self.paused = paused

    def close(self) -> None:
        self.input_tap.end()
        self.output_tap.end()


def plasma(moment: float, width: int = 512, height: int = 512) -> NDArray[np.uint8]:
    """A colourful moving picture, uint8 (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [
        np.sin(x / 60 + moment) + np.sin(y / 45 - moment * 1.3),
        np.sin((x + y) / 70 + moment * 0.7) + np.sin(np.hypot(x - width / 2, y - height / 2) / 30 - moment * 2),
        np.sin(x / 90 - moment) + np.sin((x - y) / 55 + moment),
    ]
    return (np.stack(waves, axis=-1) * 60 + 128).clip(0, 255).astype(np.uint8)


def running(**changes: Any) -> dict[str, Any]:
    """What a snapshot holds while all is well."""
    first = Load(
        1,
        "start",
        STARTED_AT - 60,
        outcome="replaced",
        total_s=1.94,
        steps=(
            Step(name="start process", seconds=0.04),
            Step(name="import", seconds=1.42),
            Step(name="initialize", seconds=0.3),
        ),
    )
    second = Load(
        2,
        "saved",
        STARTED_AT,
        files=("/home/me/green_shift/pipeline.py",),
        outcome="serving",
        total_s=0.31,
        plan=LoadPlan(way="overlap"),
        steps=(
            Step(name="start process", seconds=0.003),
            Step(name="import", seconds=0.012),
            Step(name="initialize", seconds=0.21),
            Step(name="first frame", seconds=0.04),
            Step(name="switch", seconds=0.001),
        ),
    )
    values: dict[str, Any] = {
        "phase": "running",
        "host": HostStarted(
            version="0.1.0",
            python="3.11.7",
            interpreter="/home/me/green_shift/.venv/bin/python",
            pid=100,
            pipeline="GreenShift",
            pipeline_import="green_shift.pipeline:GreenShift",
        ),
        "state": "ONLINE",
        "serving": 2,
        "device": "cpu",
        "pipeline_pid": 4242,
        "load": second,
        "loads": (first, second),
        "params": dict(PARAMS),
        "params_schema": SCHEMA,
        "stream": StreamStarted(
            source="people.mp4", source_width=1280, source_height=720, width=512, height=512, fps=30.0, duration_s=12.0
        ),
        "metrics": metrics(),
        "logs": logs(),
        "watching": 3,
    }
    return {**values, **changes}


def metrics(**changes: Any) -> MetricsTaken:
    values: dict[str, Any] = {
        "fps_in": 30.0,
        "fps_out": 29.9,
        "latency_ms": {"p50": 12.4, "p95": 17.8, "p99": 24.1},
        "stages_ms": {
            "decode": 2.4,
            "queue in": 0.4,
            "upload": 0.5,
            "pipeline": 7.6,
            "download": 0.6,
            "queue out": 0.3,
            "deliver": 0.5,
        },
        "frames_in": 5321,
        "frames_out": 5302,
        "dropped": {"newer frame came": 15, "late": 4},
        "memory_bytes": 412_000_000,
        "cpu_percent": 83.0,
        "position_s": 177.0,
        "at": STARTED_AT,
    }
    return MetricsTaken(**{**values, **changes})


def routed(**changes: Any) -> dict[str, Any]:
    """What a snapshot holds while frames go by trickle."""
    route = Route(
        hops_ms={
            "encode": 4.31,
            "relay, decode": 2.12,
            "runner": 12.4,
            "encode back": 5.07,
            "relay, decode back": 1.94,
            "total": 25.9,
        },
        total_ms={"p50": 25.9, "p95": 41.2},
        sent=6651,
        returned=5298,
        dropped={"encoder": 3},
    )
    dropped = {"rate": 1330, "source": 20}
    figures = metrics(
        dropped=dropped, fps_in=24.0, fps_out=24.0, decoder="h264", encoder="libx264", max_fps=24.0, route=route
    )
    return running(route="trickle", metrics=figures, **changes)


def logs() -> tuple[LogWritten, ...]:
    lines = (
        ("INFO", "green_shift", "loading GreenShift on cpu"),
        ("DEBUG", "green_shift.kernel", "kernel of 5 taps built"),
        ("INFO", "stdout", "warm-up took 41 ms"),
        ("WARNING", "runner", "output outside [0, 1]: 1.08 at most; it is clamped"),
        ("INFO", "green_shift", "strength is now 0.5"),
        ("ERROR", "stderr", "libpng warning: iCCP: known incorrect sRGB profile"),
    )
    return tuple(
        LogWritten(level=level, source=source, message=message, revision=2, at=STARTED_AT + number)
        for number, (level, source, message) in enumerate(lines)
    )


def name_error() -> ErrorReport:
    """A mistake in the frame's code, as the child reports it."""
    source = (
        "    def transform(self, frame, params):",
        "        green = frame[..., 1]",
        "        shifted = torch.roll(green, params.radius, dims=1)",
        "        frame[..., 1] = strenght * shifted",
        "        return frame",
    )
    return ErrorReport(
        phase="frame",
        kind="NameError",
        message="name 'strenght' is not defined",
        hint="Did you mean 'strength'?",
        file="/home/me/green_shift/pipeline.py",
        line=27,
        function="transform",
        code=tuple(CodeLine(24 + index, text, index == 3) for index, text in enumerate(source)),
        traceback=(
            "Traceback (most recent call last):\n"
            '  File "/home/me/green_shift/pipeline.py", line 27, in transform\n'
            "    frame[..., 1] = strenght * shifted\n"
            "                    ^^^^^^^^\n"
            "NameError: name 'strenght' is not defined. Did you mean: 'strength'?\n"
        ),
    )


# revision -> its files and their digests
SOURCES = {revision: {"/home/me/green_shift/pipeline.py": f"{revision:064x}"} for revision in (1, 2, 3, 6)}


def reloads() -> tuple[Load, ...]:
    """Every kind of load, oldest first; revision 8 serves, and 9 is under way."""
    first, second = running()["loads"]
    pipeline, kernel = "/home/me/green_shift/pipeline.py", "/home/me/green_shift/kernel.py"
    at = STARTED_AT
    refused = "not in place: initialize() has changed"
    return (
        replace(first, sources=SOURCES[1], memory_after_bytes=401_000_000),
        replace(
            second,
            outcome="replaced",
            plan=LoadPlan(way="overlap", why=refused, memory="RAM", needed_bytes=1_200_000_000,
                          free_bytes=10_300_000_000, standby="fork"),
            memory_before_bytes=401_000_000, memory_after_bytes=412_000_000, sources=SOURCES[2],
        ),
        Load(3, "saved", at + 40, files=(pipeline,), outcome="replaced", total_s=0.062, output_gap_s=0.037, sources=SOURCES[3],
             plan=LoadPlan(level="code", way="in place"),
             steps=_steps(check=0.0008, execute=0.002, **{"first frame": 0.033}),
             memory_before_bytes=412_000_000, memory_after_bytes=412_000_000),
        Load(4, "saved", at + 95, files=(pipeline,), outcome="failed", total_s=0.018, report=syntax_error(),
             plan=LoadPlan(level="code", way="in place"), steps=_steps(check=0.0006)),
        Load(5, "saved 14 files", at + 130, outcome="superseded",
             files=tuple(f"/home/me/green_shift/part_{number}.py" for number in range(14)),
             plan=LoadPlan(way="overlap", why="not in place: a base class of GreenShift has changed")),
        Load(6, "saved", at + 131, files=(pipeline, kernel), outcome="replaced", total_s=7.4, frames_lost=84,
             output_gap_s=7.2, sources=SOURCES[6],
             plan=LoadPlan(way="hand-over", why="not in place: kernel.CACHE has changed", memory="GPU", needed_bytes=9_100_000_000,
                           free_bytes=4_000_000_000),
             steps=_steps(**{"stop old": 0.31, "start process": 0.04, "import": 1.9, "initialize": 4.9,
                             "first frame": 0.2}),
             memory_before_bytes=1_900_000_000, memory_after_bytes=1_900_000_000,
             vram_before_bytes=3_900_000_000, vram_after_bytes=4_100_000_000),
        Load(7, "the serving process was killed by SIGSEGV", at + 300, outcome="failed", total_s=2.2,
             report=name_error(), plan=LoadPlan(way="start"), steps=_steps(**{"start process": 0.04, "import": 1.9})),
        Load(8, "asked for", at + 340, restores=3, outcome="serving", total_s=0.41, sources=SOURCES[3],
             plan=LoadPlan(way="start", standby="spawn"),
             steps=_steps(**{"import": 0.02, "initialize": 0.3, "first frame": 0.04}), memory_after_bytes=398_000_000),
        Load(9, "saved", at + 360, files=(kernel,), step="import",
             plan=LoadPlan(way="overlap", standby="fork", memory="RAM", needed_bytes=1_200_000_000,
                           free_bytes=10_300_000_000, why="not in place: weights are not kept")),
    )  # fmt: skip


def _steps(**seconds: float) -> tuple[Step, ...]:
    return tuple(Step(name=name, seconds=value) for name, value in seconds.items())


def standby(**changes: Any) -> StandbyChanged:
    """A standby that forks, ready."""
    values: dict[str, Any] = {"state": "ready", "kind": "fork", "memory_bytes": 150_000_000, "modules": 212}
    return StandbyChanged(**{**values, **changes})


def syntax_error() -> ErrorReport:
    return ErrorReport(
        phase="import",
        kind="SyntaxError",
        message="'(' was never closed",
        file="/home/me/green_shift/pipeline.py",
        line=31,
        code=(CodeLine(31, "        return frame.clamp(0, 1", True),),
    )


_OLD = """import torch

from .kernel import blur


class GreenShift(Pipeline):
    def initialize(self, **params):
        self.model = torch.hub.load("green", "shift").eval()

    def transform(self, frame, params):
        green = frame[..., 1]
        shifted = torch.roll(green, params.radius, dims=1)
        frame[..., 1] = blur(shifted)
        return frame
"""
_NEW = _OLD.replace(
    "blur(shifted)", "blur(shifted) * params.strength + self.model(green) * (1 - params.strength)"
).replace(
    "        shifted =",
    "        # Shifted twice: it looks better on faces, and the strength is told apart\n        shifted =",
)


def differences() -> dict[tuple[int, int | None], list[FileDifference]]:
    """Revision 3 against the one before it: three files. Revision 8 against the disk: one."""
    return {
        (2, 3): [
            difference("pipeline.py", "changed", _OLD, _NEW),
            difference("blur.py", "added", "", "def blur(x):\n    return x\n"),
            difference("kernel.py", "removed", "CACHE = {}\n", ""),
        ],
        (8, None): [difference("pipeline.py", "changed", _NEW, _OLD)],
    }


def difference(name: str, change: Any, before: str, after: str) -> FileDifference:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name)
    return FileDifference(Path("green_shift") / name, change, tuple(lines))
