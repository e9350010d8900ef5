"""``noop-runner``: serves `noop_pipeline.pipeline:Noop`."""

from __future__ import annotations

from runner.app import start_app
from runner.live.pipelines import PipelineSpec

PIPELINE = PipelineSpec(
    name="noop",
    pipeline_cls="noop_pipeline.pipeline:Noop",
    params_cls="noop_pipeline.params:NoopParams",
)


def main() -> None:
    """Serve until SIGTERM; with ``--prepare-models``, only fetch what the pipeline needs."""
    start_app(PIPELINE)


if __name__ == "__main__":
    main()
