"""``noop-runner`` by streams of the network."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from runner.testing import EntrypointContract

PATIENT_HOST = Path(__file__).parents[3] / "runner" / "tests" / "patient_host"


class TestNoopRunner(EntrypointContract):
    command = ("noop-runner",)
    model_id = "noop"
    environment: ClassVar = {"PYTHONPATH": str(PATIENT_HOST)}
    exact = True
    params: ClassVar = {"width": 384, "height": 384}
    live_params = ({"width": 384, "height": 384, "delay_ms": 1.0},)
    bad_params = ({"width": 100}, {"width": 384, "height": 384, "fail_update": True})
