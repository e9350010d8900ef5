"""What does code in place cost: recording a load, planning next to the frames, and the exchange that frames wait for?

    python -m benchmarks.in_place [--times 20]

- *load*: a pipeline is loaded with and without the record of what runs, in turn: 10,000 lines of Python that are
  imported, a torch model of 24 layers that is built, and a million calls of a small function.
- *plan*: reading, comparing and compiling a saved file of 100, 300 and 1,000 lines, in which one line differs.
- *exchange*: what frames wait for.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import percentiles, publish

SIZES = (100, 300, 1000)
FUNCTION = '''
def function_{number}(x, y=1):
    """Add up."""
    total = 0
    for step in range(3):
        if step % 2:
            total += x * step - y
        else:
            total = max(total, x)
    return total
'''
PIPELINE = "{functions}\nclass Pipe:\n    def transform(self, frame):\n        return frame + {value}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="of each measurement (%(default)s)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        rows = [*_loads(Path(folder), times), *_patches(Path(folder), times)]
    publish("in-place", rows)


# ---- the record of a load ------------------------------------------------------------------------


def _loads(folder: Path, times: int) -> list[dict[str, Any]]:
    for number in range(50):
        folder.joinpath(f"part_{number}.py").write_text(_functions(200))
    work = {"import 10,000 lines": _import_parts, "build a model of 24 layers": _build, "1,000,000 calls": _call}
    return [row for what, load in work.items() for row in _compared(what, load, times)]


def _compared(what: str, load: Callable[[], None], times: int) -> list[dict[str, Any]]:
    from runner.live.code.load_trace import LoadTrace

    took: dict[str, list[float]] = {"plain": [], "recorded": []}
    for _ in range(times):
        for kind, values in took.items():
            trace = LoadTrace()
            if kind == "recorded":
                trace.start()
            started = time.perf_counter()
            load()
            values.append((time.perf_counter() - started) * 1000)
            if kind == "recorded":
                trace.stop()
    return [{"what": f"load: {what}", "how": kind, "times": times, **percentiles(took[kind])} for kind in took]


def _import_parts() -> None:
    for number in range(50):
        sys.modules.pop(f"part_{number}", None)
        importlib.import_module(f"part_{number}")


def _build() -> None:
    import torch

    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 24, enable_nested_tensor=False)
    model.load_state_dict(model.state_dict())


def _call() -> None:
    def small(x: int) -> int:
        return x + 1

    for number in range(1_000_000):
        small(number)


# ---- plan and exchange ---------------------------------------------------------------------------


def _patches(folder: Path, times: int) -> list[dict[str, Any]]:
    from runner.live.code.source import Sources

    rows = []
    for lines in SIZES:
        sources = Sources.install()
        plans, exchanges = _patch(folder / f"pipeline_{lines}.py", sources, lines, times)
        sources.uninstall()
        for what, values in (("plan", plans), ("exchange", exchanges)):
            rows.append({"what": f"{what}: {lines} lines", "how": "one differs", "times": times, **percentiles(values)})
    return rows


def _patch(path: Path, sources: Any, lines: int, times: int) -> tuple[list[float], list[float]]:
    from runner.live.code.plan import plan_patch

    path.write_text(PIPELINE.format(functions=_functions(lines), value=0))
    with sources.tracing_load():
        pipe = importlib.import_module(path.stem).Pipe()
    plans, exchanges = [], []
    for value in range(1, times + 1):
        path.write_text(PIPELINE.format(functions=_functions(lines), value=value))
        started = time.perf_counter()
        patch = plan_patch(sources, pipe)
        planned = time.perf_counter()
        asyncio.run(patch.exchange())
        exchanged = time.perf_counter()
        assert pipe.transform(0) == value
        patch.settle()
        patch.release()
        plans.append((planned - started) * 1000)
        exchanges.append((exchanged - planned) * 1000)
    return plans, exchanges


def _functions(lines: int) -> str:
    return "".join(FUNCTION.format(number=number) for number in range(max(1, lines // FUNCTION.count("\n"))))


if __name__ == "__main__":
    main()
