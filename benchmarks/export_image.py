"""How long does a production image take to build, to build again, and to come up; and how large is it?

    python -m benchmarks.export_image --base IMAGE [--builder buildah] [--image-store DIR] [-- more flags]

A sample pipeline is exported three times by the command itself: from nothing, with one line of code changed, and
unchanged. Each image is verified, which gives its start and its stream beside the run on this machine. Without a hub,
`--base` names an image of the local store, and the flag ``--offline`` after ``--`` brings the wheels along.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import publish

_PARAMS = """
from pydantic import Field

from runner.live.pipelines import BaseParams


class TintParams(BaseParams):
    red: float = Field(default=1.0, ge=0.0, le=2.0)
"""
_PIPELINE = """
import torch

from .params import TintParams


class Tint:
    def transform(self, frame: torch.Tensor, params: TintParams) -> torch.Tensor:
        return frame * torch.tensor([params.red, 1.0, {blue}])
"""


def main(base: str, builder: str, store: str | None, more: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        package = project / "tint"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "params.py").write_text(_PARAMS)
        flags = [
            "--builder",
            builder,
            *(["--base", base] if base else []),
            *(["--image-store", store] if store else []),
        ]
        flags += ["--report", f"{folder}/report", "--tag", "benchmark-tint:1", *more]
        rows: list[dict[str, Any]] = []
        last: dict[str, Any] = {}
        for name, blue, again in (
            ("from nothing", 1.0, ["--no-cache"]),
            ("code changed", 0.5, []),
            ("unchanged", 0.5, []),
        ):
            (package / "pipeline.py").write_text(_PIPELINE.format(blue=blue))
            row, last = _export(name, project, [*flags, *again])
            rows.append(row)
    layers = {layer["name"]: f"{layer['size_bytes'] / 1e6:.1f} MB" for layer in last["layers"]}
    publish("export_image", rows, layers=layers, size=f"{last['size_bytes'] / 1e6:.0f} MB")


def _export(name: str, project: Path, flags: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One export: its row of the table, and what the verification saw."""
    command = [sys.executable, "-m", "ai_runner_studio", "export-image", "tint.pipeline:Tint", "--json", "--build"]
    command += ["--params-import", "tint.params:TintParams", *flags]
    began = time.monotonic()
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout)
    seen = told["verification"]
    image, here = seen["container"], seen["local"]
    row = {
        "export": name,
        "command s": round(time.monotonic() - began, 1),
        "build s": round(told["duration_s"], 1),
        "steps cached": f"{told['cached_steps']}/{told['steps']}",
        "healthy s": round(image["healthy_s"], 1),
        "here s": round(here["healthy_s"], 1),
        "pictures": f"{image['returned']}/{image['sent']}",
        "p50 ms": round(image["latency_ms"]["p50"], 1),
        "p50 here ms": round(here["latency_ms"]["p50"], 1),
        "stop s": round(image["stop_s"], 1),
    }
    return row, seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="", help="base image with a Python")
    parser.add_argument("--builder", default="buildah")
    parser.add_argument("--image-store")
    parser.add_argument("more", nargs="*", help="flags of export-image, after --")
    options = parser.parse_args()
    main(options.base, options.builder, options.image_store, options.more)
