"""From the command to the first picture: how long, and which part takes what?

    python -m benchmarks.startup [--times 7]

*screen* is the real `ai-runner-studio` on a pseudo-terminal of 120x36 cells that answers questions like
a plain terminal: when its first bytes come, when its screen opens, and when the first half-blocks of the
pipeline's output are drawn. The input is one colour, which the pipelines turn into another that nothing else
on the screen has. *parts* takes the same way in a process without a screen that writes down when it comes to what; the
host's own marks are from its events. Beside that: `--help` against a Python that does nothing, and
the packages whose imports cost most in each of the three processes (their own time, summed).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_runner_studio.session import Session
    from runner.live.events import Event

INPUT_COLOUR = (92, 163, 20)
OUTPUT_COLOUR = (85, 170, 0)
LIMIT_S = 120.0
COSTLIEST = 5

# A pipeline in a project of its own, without params; poster shades like the sample's.
NUMPY_PIPELINE = """\
import numpy as np
import torch


def poster(frame: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.round(frame.cpu().numpy() * 3) / 3)
"""
PIPELINES = {"posterize": "ai_runner_samples.posterize.pipeline:posterize", "numpy": "poster:poster"}

Marks = dict[str, float]


def prepare(project: Path) -> None:
    """The project of one run: a pipeline and a clip of one colour."""
    import av
    import numpy as np

    (project / "poster.py").write_text(NUMPY_PIPELINE)
    picture = np.full((360, 640, 3), INPUT_COLOUR, np.uint8)
    with av.open(str(project / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", 30, {"preset": "superfast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for _ in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


# ---- with a screen ---------------------------------------------------------------------------


def on_screen(project: Path, pipeline: str) -> Marks:
    """Mark -> ms since the command was started."""
    from benchmarks.pseudo_terminal import PseudoTerminal

    script = Path(sys.executable).with_name("ai-runner-studio")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "ai_runner_studio"]
    command += ["--pipeline-import", pipeline, "--input", "clip.mp4", "--python", sys.executable, "--preview", "blocks"]
    drawn = ";".join(map(str, (2, *OUTPUT_COLOUR))).encode()
    with PseudoTerminal(command, project, columns=120, rows=36) as terminal:
        marks = {
            "first bytes": terminal.read_until(b"\x1b", LIMIT_S),
            "screen opened": terminal.read_until(b"\x1b[?1049h", LIMIT_S),
            "output drawn": terminal.read_until(drawn, LIMIT_S),
        }
        terminal.write(b"q")
        terminal.wait(LIMIT_S)
    return marks


# ---- its parts -------------------------------------------------------------------------------


def in_parts(project: Path, pipeline: str, python: str) -> Marks:
    """Mark -> ms since the command, of a run without a screen in a process of its own."""
    began = time.time()
    command = [sys.executable, "-m", "benchmarks.startup", "--part", pipeline, "--python", python]
    done = subprocess.run(
        [*command, "--project", str(project)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    marks: Marks = json.loads(done.stdout)
    return {name: (at - began) * 1000 for name, at in sorted(marks.items(), key=lambda mark: mark[1])}


class Parts:
    """What the command does, step by step, with a note of the time (seconds since the epoch) at each."""

    def __init__(self) -> None:
        self.marks: Marks = {}
        self._loaded = asyncio.Event()

    def mark(self, name: str, at: float | None = None) -> None:
        self.marks.setdefault(name, time.time() if at is None else at)

    async def run(self, project: Path, pipeline: str, python: str) -> None:
        self.mark("python is up")
        from ai_runner_studio.cli import app

        app.build()
        self.mark("command line imported")
        from ai_runner_studio import interpreter, session
        from ai_runner_studio.host import Host
        from ai_runner_studio.settings import Settings

        self.mark("session imported")
        check = interpreter.check_interpreter
        host_start = Host.start

        def checked(*arguments: Any) -> Any:
            found = check(*arguments)
            self.mark("interpreter checked")
            return found

        async def started(*arguments: Any) -> Any:
            host = await host_start(*arguments)
            self.mark("host answers")
            return host

        setattr(session, "check_interpreter", checked)  # noqa: B010
        setattr(Host, "start", started)  # noqa: B010
        run = session.Session(Settings(pipeline, input="clip.mp4", project=project, python=python))
        run.listen(self._hear)
        try:
            await run.start()
            await asyncio.wait_for(self._first_picture(run), LIMIT_S)
            await asyncio.wait_for(self._loaded.wait(), LIMIT_S)
        finally:
            await run.close()

    def _hear(self, event: Event) -> None:
        if event.type == "LoadStarted":
            self.mark("host starts pipeline process", event.at)
        elif event.type == "LoadSucceeded":
            # A listener that comes late is not told of every step when it begins, but of all of them in the end.
            at = self.marks["host starts pipeline process"]
            for step in event.steps:
                if step.name != "start process":
                    self.mark(f"pipeline process: {step.name}", at)
                at += step.seconds
            self._loaded.set()
        elif event.type == "LoadFailed":
            raise SystemExit(event.report.headline)
        elif event.type == "StreamStarted":
            self.mark("input opened", event.at)

    async def _first_picture(self, run: Session) -> None:
        while True:
            await asyncio.sleep(0.002)
            frame = run.output_tap.newest()
            if frame is not None and not frame.is_loading_frame:
                self.mark("first output in the tap")
                return


def other_environment(folder: Path) -> str:
    """A virtual environment with the same packages, which the studio does not take for its own."""
    own = Path(sys.prefix)
    if not (own / "pyvenv.cfg").exists():
        return sys.executable
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text((own / "pyvenv.cfg").read_text())
    (folder / "lib").symlink_to(own / "lib")
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    return str(python)


# ---- imports ---------------------------------------------------------------------------------

# The option would be handed on to the pipeline process, whose lines would lie between the host's.
_HOST = """
import runpy, sys

del sys._xoptions["importtime"]
runpy.run_module("runner.live.infer", run_name="__main__")
"""

# The pipeline process is started like in the host; what it says before it takes its own output over goes
# to our stderr, what it says after that comes as messages.
_CHILD = """
import asyncio, importlib.util, os, sys
from runner.live.pipelines import PipelineSpec
from runner.live.process.messages import LogLine, StepEntered
from runner.live.process.process import PipelineProcess

def hear(message):
    if isinstance(message, StepEntered):
        print("STEP", message.name, file=sys.stderr, flush=True)
    elif isinstance(message, LogLine) and message.source == "stderr":
        print(message.message, file=sys.stderr, flush=True)

async def main():
    process = PipelineProcess(PipelineSpec(pipeline_cls=sys.argv[1]), on_frame=lambda *_: None, on_message=hear)
    os.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    await process.start({})
    await process.ready(60)
    await process.stop()

sys.modules["__main__"].__spec__ = importlib.util.find_spec("runner.live.infer")
sys.path.insert(0, os.getcwd())
asyncio.run(main())
"""


def import_times(lines: Iterable[str]) -> dict[str, float]:
    """Package -> ms that its modules took to import, without what they imported from other packages."""
    packages: dict[str, float] = defaultdict(float)
    for line in lines:
        numbers, _, module = line.rpartition("|")
        if line.startswith("import time:") and "self" not in numbers:
            own_us = int(numbers.split(":")[1].split("|")[0])
            name = module.strip()
            ours = name.split(".")[0] in ("runner", "ai_runner_studio", "ai_runner_samples")
            packages[name if ours else name.split(".")[0]] += own_us / 1000
    return packages


def costliest(lines: list[str]) -> dict[str, Any]:
    packages = import_times(lines)
    top = sorted(packages.items(), key=lambda item: -item[1])[:COSTLIEST]
    return {"all ms": round(sum(packages.values()), 1)} | {name: round(value, 1) for name, value in top}


def importing(project: Path) -> dict[str, dict[str, Any]]:
    """What each process imports before it is of use."""
    python = [sys.executable, "-X", "importtime"]
    found = {
        "command line": _stderr([*python, "-c", "import ai_runner_studio.cli.app"], project),
        "--help": _stderr([*python, "-m", "ai_runner_studio", "--help"], project),
        "screen": _stderr([*python, "-c", "import ai_runner_studio.session, ai_runner_studio.tui.app"], project),
        "host": _host_imports(project),
    }
    child = _stderr([sys.executable, "-c", _CHILD, PIPELINES["numpy"]], project)
    steps = [index for index, line in enumerate(child) if line.startswith("STEP")]
    first = steps[0] if steps else len(child)
    found["pipeline process, until its step 'import'"] = child[:first]
    found["pipeline process, in all"] = child
    return {name: costliest(lines) for name, lines in found.items()}


def _stderr(command: list[str], project: Path) -> list[str]:
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=True
    )
    return done.stderr.splitlines()


def _host_imports(project: Path) -> list[str]:
    """Of the host until it answers."""
    options = ["--studio", "--http-port", "0", "--pipeline-import", "no_such_module:P"]
    with tempfile.TemporaryFile("w+") as log:
        host = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-c", _HOST, *options],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert host.stdout is not None
        for line in host.stdout:
            if "listening" in line:
                break
        log.seek(0)
        lines = log.read().splitlines()
        host.communicate(timeout=LIMIT_S)
    return lines


# ---- all of it -------------------------------------------------------------------------------


def wall_ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def helped(times: int) -> dict[str, Any]:
    """`--help` beside a Python that does nothing, ms."""
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(times):
        taken["python -c pass"].append(wall_ms([sys.executable, "-c", "pass"]))
        taken["--help"].append(wall_ms([sys.executable, "-m", "ai_runner_studio", "--help"]))
    return {name: round(statistics.median(values), 1) for name, values in taken.items()}


def rows_of(name: str, runs: list[Marks]) -> list[dict[str, Any]]:
    """One row per mark: medians, in the order in which they come."""
    medians = {mark: statistics.median(run[mark] for run in runs if mark in run) for mark in runs[0]}
    ordered = sorted(medians.items(), key=lambda item: item[1])
    before = [0.0, *(at for _, at in ordered)]
    return [
        {"run": name, "mark": mark, "at ms": round(at), "after ms": round(at - last)}
        for (mark, at), last in zip(ordered, before, strict=False)
    ]


def main(times: int) -> None:
    from benchmarks.report import publish

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        project.mkdir()
        prepare(project)
        python = other_environment(Path(folder) / "environment")
        runs: dict[str, list[Marks]] = defaultdict(list)
        for _ in range(times):
            for name, pipeline in PIPELINES.items():
                runs[f"{name}, screen"].append(on_screen(project, pipeline))
                runs[f"{name}, parts"].append(in_parts(project, pipeline, sys.executable))
            runs["numpy, parts, other environment"].append(in_parts(project, PIPELINES["numpy"], python))
        rows = [row for name, marks in runs.items() for row in rows_of(name, marks)]
        publish("startup", rows, help_ms=helped(times), **{"imports, ms": importing(project)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="medians of that many runs (default: %(default)s)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--python", help=argparse.SUPPRESS)
    parser.add_argument("--project", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        parts = Parts()
        asyncio.run(parts.run(options.project, options.part, options.python))
        print(json.dumps(parts.marks))
    else:
        main(options.times)
