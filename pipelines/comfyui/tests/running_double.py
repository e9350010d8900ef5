"""RunningDouble: the double of the ComfyUI server as a process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

import comfyui_pipeline

DOUBLE = Path(__file__).parent / "double"
EXTRA_PATHS = Path(comfyui_pipeline.__file__).with_name("node_package") / "extra_model_paths.yaml"
PATIENCE_S = 60.0  # ends a test that hangs


@dataclass
class RunningDouble:
    """The double, listening on `url`."""

    url: str
    process: subprocess.Popen[str]
    reading: threading.Thread


def start_double(base: Path, *, ours: bool = True, port: int = 0) -> RunningDouble:
    """Start it, on a free port unless one is named; `ours`: with our node package."""
    command = [sys.executable, str(DOUBLE / "main.py"), "--port", str(port), "--base-directory", str(base)]
    if ours:
        command += ["--extra-model-paths-config", str(EXTRA_PATHS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "go to: " in line:
            # What it says later must not fill the pipe.
            reading = threading.Thread(target=process.stdout.read)
            reading.start()
            return RunningDouble(line.split("go to: ")[1].strip(), process, reading)
    raise AssertionError(f"the double ended with {process.wait()}")


def stop_double(double: RunningDouble) -> None:
    """End it as a crash would. Safe to call twice."""
    double.process.kill()
    double.process.wait()
    double.reading.join()
    assert double.process.stdout is not None
    double.process.stdout.close()


def left(processes: list[psutil.Process]) -> list[int]:
    """Wait until all of them have exited; the ids of those that run on. Their parent may reap them much later."""
    deadline = time.monotonic() + PATIENCE_S
    while (running := [process.pid for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
