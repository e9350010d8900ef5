"""Settings of one run: flag over environment over ``[tool.ai-runner-studio]`` in pyproject.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ReplaceWay = Literal["auto", "overlap", "hand-over"]
PreviewMode = Literal["auto", "kitty", "sixel", "blocks", "text"]
RouteName = Literal["direct", "trickle"]
HardwareUse = Literal["auto", "hardware", "software"]

LOAD_TIMEOUT_S = 180.0  # the network's own limit
STANDBY_RESERVE_MB = 1024
MAX_FPS = 24.0  # the network's own


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one run is told, already resolved.

    Attributes:
        pipeline_import: ``package.module:Class`` (or a transform function).
        params_import: ``package.module:Class`` of the params class, None to let the pipeline say.
        params: initial params, as given (not validated). typed_params: text of those that flags gave.
        input: sample's name, file, ``webcam`` or ``webcam:N``, ``pattern``, or a URL.
        output: file to write, None for none.
        project: folder that is the working directory and import root of the pipeline.
        python: the project's interpreter as a flag or the environment names it; None lets
            `interpreter.find_interpreter` look. python_configured: as pyproject.toml names it.
        watch: more files, folders or patterns to reload on.
        reload: whether saves reload at all; without it nothing is kept ready for a reload.
        keep_weights: whether changed code is put into the running process where frames prove it.
        in_place: functions, as ``module:Class.method``, whose changes are put there without proof.
        standby: whether a process is kept that has done the third-party imports; standby_reserve_mb: RAM that
            must stay free beside it.
        replace: whether the old process serves until the new one is proven ("overlap"), ends first
            ("hand-over"), or what the free memory says ("auto").
        preview, preview_fps: how and how often the terminal shows pictures.
        loop, paced, frames, duration_s: see `runner.live.streamer.protocol.protocol.StreamRequest`.
        strict: whether a run fails if part of the input could not be read.
        route: "trickle": by way of a local relay, there and back, as in production; "direct": without.
        max_fps: pictures per second that the trickle route lets in, 0 for all.
        hardware: whether the GPU decodes and encodes on that route.
        load_timeout_s: how long the pipeline may take to initialize.
        verbose: debug logs of the host and the pipeline.
    """

    pipeline_import: str
    params_import: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    typed_params: dict[str, str] = field(default_factory=dict)
    input: str = ""
    output: str | None = None
    project: Path = field(default_factory=Path.cwd)
    python: str | None = None
    python_configured: str | None = None
    watch: tuple[str, ...] = ()
    reload: bool = True
    keep_weights: bool = True
    standby: bool = True
    in_place: tuple[str, ...] = ()
    standby_reserve_mb: int = STANDBY_RESERVE_MB
    replace: ReplaceWay = "auto"
    preview: PreviewMode = "auto"
    preview_fps: float = 20.0
    loop: bool = True
    paced: bool = True
    lossless: bool = False
    frames: int | None = None
    duration_s: float | None = None
    strict: bool = False
    theme: str = ""
    route: RouteName = "direct"
    max_fps: float = MAX_FPS
    hardware: HardwareUse = "auto"
    load_timeout_s: float = LOAD_TIMEOUT_S
    verbose: bool = False
