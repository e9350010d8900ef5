"""The contract suite over the pipeline that comes with the runner, which promises everything."""

from __future__ import annotations

from runner.live.pipelines import PipelineSpec
from runner.testing import PipelineContract


class TestNoop(PipelineContract):
    spec = PipelineSpec(
        name="noop",
        pipeline_cls="runner.live.pipelines.noop:Noop",
        params_cls="runner.live.pipelines:BaseParams",
    )
    exact = True
    live_params = ({}, {"show_reloading_frame": False})
    bad_params = ({"width": 100}, {"height": "tall"})
