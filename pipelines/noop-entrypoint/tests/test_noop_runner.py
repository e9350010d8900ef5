"""``noop-runner`` by streams of the network."""

from __future__ import annotations

from runner.testing import EntrypointContract


class TestNoopRunner(EntrypointContract):
    command = ("noop-runner",)
    model_id = "noop"
    exact = True
    live_params = ({"show_reloading_frame": False},)
    bad_params = ({"width": 100},)
