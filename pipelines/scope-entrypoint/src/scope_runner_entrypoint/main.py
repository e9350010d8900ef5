"""``scope-runner``: serves the Scope pipeline that `SCOPE_PIPELINE` or a stream's parameter `pipeline` names."""

from __future__ import annotations

from runner.app import start_app
from runner.live.pipelines import PipelineSpec

PIPELINE = PipelineSpec(
    name="scope",
    pipeline_cls="scope_pipeline.pipeline:Scope",
    params_cls="scope_pipeline.params:ScopeParams",
)


def main() -> None:
    """Serve until SIGTERM; with ``--prepare-models``, only fetch what the pipeline needs."""
    start_app(PIPELINE)


if __name__ == "__main__":
    main()
