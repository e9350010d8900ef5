"""What does each sample and pipeline cost? Frames per second, latency, CPU, import time of its params, installed size.

    python -m benchmarks.pipelines [--seconds 5] [--size 512x512] [--only NAME ...] [--spec JSON ...]

Every pipeline that an installed package declares (entry points `ai_runner_studio.pipelines`), and those named by
``--spec``, each in a pipeline process of its own, fed with the pictures of a sample clip: first as fast as it takes
them, then 30 a second, of which latency and CPU are told. One that does not load is told with its reason.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import Distribution, distribution, distributions, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement

import ai_runner_samples.videos
from benchmarks.report import percentiles, publish
from runner.live.pipelines import PipelineSpec
from runner.live.process.process import LoadError, PipelineProcess
from runner.live.trickle.frame import RawFrame

GROUP = "ai_runner_studio.pipelines"
CLIP = Path(ai_runner_samples.videos.__file__).parent / "astronaut.mp4"
FPS = 30
CLIP_FRAMES = 60
WARM_UP_FRAMES = 20
READY_S = 180.0
IMPORTS = 3  # of which the fastest is told
BASE = "ai-runner-base"
_IMPORT = """
import importlib, sys, time
began = time.perf_counter()
importlib.import_module(sys.argv[1])
print(time.perf_counter() - began)
"""


@dataclass
class Measured:
    """One pipeline process under load.

    Attributes:
        latencies_ms: from handing a frame over to having its output.
    """

    latencies_ms: list[float] = field(default_factory=list)

    def took(self, frame: RawFrame, _request_id: str) -> None:
        self.latencies_ms.append((frame.stamps["received"] - frame.stamps["captured"]) / 1e6)
        frame.release()


async def main(specs: list[PipelineSpec], size: tuple[int, int], seconds: float) -> None:
    pictures = clip_pictures(size)
    rows = [await measure(spec, pictures, seconds) for spec in specs]
    publish("pipelines", rows, size=size, clip=CLIP.name)
    print()
    publish("package_sizes", [package_size(package) for package in our_packages()])


async def measure(spec: PipelineSpec, pictures: list[Any], seconds: float) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"pipeline": spec.name, "params import ms": params_import_ms(spec)}
    measured = Measured()
    process = PipelineProcess(spec, on_frame=measured.took, on_message=lambda _: None)
    await process.start(spec.initial_params)
    try:
        await process.ready(READY_S)
        process.open_stream("benchmark")
        await feed(process, pictures, range(WARM_UP_FRAMES), None)
        row |= await run(process, measured, pictures, seconds)
    except LoadError as error:
        row["not measured"] = error.report.message[:100]
    finally:
        await process.stop()
    return row


async def run(process: PipelineProcess, measured: Measured, pictures: list[Any], seconds: float) -> dict[str, Any]:
    """Both ways of feeding it."""
    began = time.monotonic()
    number, deadline = WARM_UP_FRAMES, began + seconds
    while time.monotonic() < deadline:
        await feed(process, pictures, range(number, number + 10), None)
        number += 10
    await process.drain(1.0)
    fps = (number - WARM_UP_FRAMES) / (time.monotonic() - began)
    measured.latencies_ms.clear()
    before, count = cpu_s(process), int(seconds * FPS)
    await feed(process, pictures, range(number, number + count), FPS)
    await process.drain(1.0)
    found = percentiles(measured.latencies_ms)
    return {
        "max fps": round(fps, 1),
        "p50 ms": found.get("p50"),
        "p95 ms": found.get("p95"),
        "CPU ms a frame": round((cpu_s(process) - before) * 1000 / count, 1),
    }


async def feed(process: PipelineProcess, pictures: list[Any], numbers: range, fps: int | None) -> None:
    """Hand frames over, as fast as they are taken, or at most so many a second."""
    began = time.monotonic()
    for index, number in enumerate(numbers):
        if fps is not None:
            await asyncio.sleep(max(0.0, began + index / fps - time.monotonic()))
        stamps = {"captured": time.monotonic_ns()}
        frame = RawFrame(pictures[number % len(pictures)], number * 3000, Fraction(1, 90_000), number, stamps)
        await process.send(frame, "benchmark")


def cpu_s(process: PipelineProcess) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def clip_pictures(size: tuple[int, int]) -> list[Any]:
    """Pictures of the clip, uint8 (H, W, 3)."""
    import av

    with av.open(str(CLIP), "r") as container:
        decoded = zip(container.decode(video=0), range(CLIP_FRAMES), strict=False)
        return [frame.to_ndarray(width=size[0], height=size[1], format="rgb24") for frame, _ in decoded]


# ---- imports and sizes -----------------------------------------------------------------------


def params_import_ms(spec: PipelineSpec) -> float | str:
    """To import the module of its params in a fresh interpreter, the runner's and pydantic's own included."""
    package = spec.pipeline_cls.partition(":")[0].rpartition(".")[0]
    module = spec.params_cls.partition(":")[0] if spec.params_cls else f"{package}.params"
    if not package or importlib.util.find_spec(module) is None:
        return ""
    command = [sys.executable, "-c", _IMPORT, module]
    took = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(IMPORTS)]
    return round(min(took) * 1000)


def our_packages() -> list[str]:
    """Names of installed packages that are the runner, or need it."""
    found = {dist.name for dist in distributions() if dist.name == BASE or BASE in requirements(dist)}
    return sorted(found)


def requirements(dist: Distribution) -> set[str]:
    """Names of what a package needs here, without its extras."""
    needed = (Requirement(text) for text in dist.requires or ())
    return {each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})}


def package_size(name: str) -> dict[str, Any]:
    """A row: megabytes of a package alone, and with all that it needs."""
    sizes: dict[str, int] = {}
    todo = [name]
    while todo:
        current = todo.pop()
        if (key := current.lower().replace("_", "-")) not in sizes:
            dist = distribution(current)
            sizes[key] = installed_bytes(dist)
            todo += requirements(dist)
    own = sizes.pop(name.lower().replace("_", "-"))
    torch = sizes.get("torch", 0)
    return {
        "package": name,
        "own MB": round(own / 1e6, 2),
        "torch MB": round(torch / 1e6),
        "all other MB": round((sum(sizes.values()) - torch) / 1e6),
        "packages": len(sizes),
    }


def installed_bytes(dist: Distribution) -> int:
    """Of its files; of an editable install, those of its ``src`` folder."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        source = Path(urlsplit(origin["url"]).path) / "src"
        return sum(path.stat().st_size for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc")
    files = (Path(str(file.locate())) for file in dist.files or ())
    return sum(path.stat().st_size for path in files if path.is_file())


def declared() -> list[PipelineSpec]:
    """What installed packages bring."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return [PipelineSpec(name=point.name, pipeline_cls=point.value) for point in points]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the two ways to feed a pipeline")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--only", nargs="*", help="names of pipelines; all by default")
    parser.add_argument("--spec", nargs="*", default=[], help="further pipelines, each a PipelineSpec as JSON")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    chosen = declared() + [PipelineSpec.model_validate_json(text) for text in options.spec]
    asyncio.run(
        main([s for s in chosen if not options.only or s.name in options.only], (width, height), options.seconds)
    )
