"""RunReport: what a run without a screen did, for people (`summary`) and for scripts (`as_json`).

The JSON document, whether the run went well or not (every key is always there):

    ok            true or false
    error         null, or {kind, message, hint, exit_code, report}; kind is "pipeline", "source", "sink",
                  "host", "usage" or "interrupted"; report is null or what is known of the exception in the
                  user's code: {phase, kind, message, hint, file, line, function, code: [{number, text,
                  fault}], traceback}
    pipeline      import path
    input         {name, source, width, height, fps, frames, duration_s}; what the source does not say is null
    damage        null if all of the input could be read, else {decode_errors, corrupt, missing, expected}: packets that
                  could not be decoded, packets and frames that arrived incomplete, frames that the container
                  promises and that did not come, and how many it promises (null if it does not say)
    output        path of the written file, null without one
    frames_in     video frames given to the pipeline
    frames_out    video frames that came back and were delivered
    dropped       {reason: count}; with a route also what was lost on the way there and back
    duration_s    wall-clock seconds from the start of the stream to its end
    fps           frames_out per second of duration_s
    latency_ms    {p50, p95, p99} over all frames: from the pipeline's input to its output, with --realtime and live
                  inputs from source to sink
    stages_ms     {stage: median ms}, over all frames
    route         null without --route trickle, else {sent, returned, hops_ms, total_ms, dropped, decoder, encoder,
                  max_fps}; see below
    startup       {step: seconds}: "host", then the steps of the first load, and "total"
    memory_bytes  peak resident memory of the pipeline process
    vram_bytes    peak GPU memory of the pipeline process, null without a GPU
    device        where the pipeline runs, "cpu" or "cuda"
    params        as the pipeline has taken them; NaN and infinity as "NaN", "Infinity" and "-Infinity"
    revision      number of the load that served at the end, null if none did
    warnings      [text]
    loads         one object per load, oldest first; see below
    versions      {studio, runner, python}: runner and python are those of the project's interpreter

A route (`RunRoute`):

    sent, returned  frames of the source, and of what came back
    hops_ms       {hop: median ms} of the latest frames: "encode", "relay, decode", "runner", "encode back",
                  "relay, decode back", "total"
    total_ms      {p50, p95} from the source's frame to the one that came back
    dropped       {reason: count} of `dropped`: those outside of the runner
    decoder, encoder
                  what did the work in the runner, e.g. "h264" and "libx264"
    max_fps       frames per second that the runner let in, null for all

A load (`RunLoad`):

    revision      1, 2, ...
    reason        why it was loaded, in words
    files         [saved files that made it happen, absolute paths]
    restores      earlier revision whose code it is, null for what was on disk
    outcome       "serving" (it came up, also where a later one has replaced it), "failed" or "superseded"
    level         "code": into the running process; "process": a fresh one; "" where it was given up before that
                  was decided, as for the next three
    way           "start": nothing to replace; "in place": level "code"; "overlap": the old process served until
                  the new one was proven; "hand-over": the old one ended first
    why           why not a cheaper level or way, "" where it was the cheapest
    standby       where the process came from: "fork" or "spawn" of a standby, "" for a cold start
    steps         {step: seconds}
    total_s       seconds from the save, or the start, to the end of the load
    forced        true where code was put into the process without proof that it takes effect
    frames_lost   input frames, from the save up to that of the new code's second output, that have no output
                  and would have one without the reload
    output_gap_s  longest interval between two outputs in that time, null where no stream was running
    memory_before_bytes, memory_after_bytes
                  resident memory of the pipeline process before (0 if there was none) and after the load;
                  both 0 unless it came up
    vram_before_bytes, vram_after_bytes
                  its GPU memory, null without a GPU
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from runner.live.input_damage import InputDamage
from runner.live.plain_json import plain_json
from runner.live.report import ErrorReport

from .run_load import RunLoad

ErrorKind = Literal["pipeline", "source", "sink", "host", "usage", "interrupted"]


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed. `report` is there when the user's code raised."""

    kind: ErrorKind
    message: str
    hint: str = ""
    exit_code: int = 1
    report: ErrorReport | None = None


@dataclass(frozen=True, slots=True)
class RunInput:
    """What the frames came from; see the document above."""

    name: str
    source: str = ""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRoute:
    """The way by trickle, there and back; see the document above."""

    sent: int = 0
    returned: int = 0
    hops_ms: dict[str, float] = field(default_factory=dict)
    total_ms: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    decoder: str = ""
    encoder: str = ""
    max_fps: float | None = None

    def summary(self) -> list[str]:
        """Lines for a person."""
        figures = [f"route: {self.sent} frames sent, {self.returned} came back"]
        if "p50" in self.total_ms:
            figures.append(f"total p50 {self.total_ms['p50']:.1f} ms, p95 {self.total_ms.get('p95', 0.0):.1f} ms")
        lines = ["; ".join(figures)]
        hops = [f"{hop} {median:.1f}" for hop, median in self.hops_ms.items() if hop != "total"]
        if hops:
            lines.append(f"hops, median ms: {'; '.join(hops)}")
        if self.decoder or self.encoder:
            limit = f", at most {self.max_fps:g} fps" if self.max_fps else ""
            lines.append(f"runner: decoder {self.decoder or '-'}, encoder {self.encoder or '-'}{limit}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """See the top of the file."""

    pipeline: str
    input: RunInput
    error: RunError | None = None
    damage: InputDamage | None = None
    output: str | None = None
    frames_in: int = 0
    frames_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)
    route: RunRoute | None = None
    startup: dict[str, float] = field(default_factory=dict)
    memory_bytes: int = 0
    vram_bytes: int | None = None
    device: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    revision: int | None = None
    warnings: tuple[str, ...] = ()
    loads: tuple[RunLoad, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the run did all that it was asked to."""
        return self.error is None

    @property
    def fps(self) -> float:
        """Frames delivered per second of wall clock."""
        return self.frames_out / self.duration_s if self.duration_s > 0 else 0.0

    def as_json(self) -> str:
        """The document described above; NaN and infinity, for which JSON has no name, as null."""
        body = asdict(self)
        document = {"ok": self.ok, "error": body.pop("error"), **body, "fps": round(self.fps, 2)}
        return plain_json(document, indent=2).decode()

    def summary(self) -> str:
        """A few lines for a person, of a run that went well."""
        figures = [f"{self.frames_out} frames in {self.duration_s:.1f} s ({self.fps:.1f} fps)"]
        if "p50" in self.latency_ms:
            figures.append(f"latency p50 {self.latency_ms['p50']:.1f} ms, p95 {self.latency_ms.get('p95', 0.0):.1f} ms")
        if self.dropped:
            figures.append("dropped " + ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()))
        if self.memory_bytes:
            figures.append(f"memory {self.memory_bytes / 2**20:.0f} MiB")
        lines = ["; ".join(figures)]
        lines += self.route.summary() if self.route else []
        lines += [f"warning: {warning}" for warning in self.warnings]
        if self.output:
            lines.append(f"written: {self.output}")
        return "\n".join(lines)
