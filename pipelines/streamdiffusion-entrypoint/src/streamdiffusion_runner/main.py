"""``streamdiffusion-runner``: serves `streamdiffusion_pipeline.pipeline:StreamDiffusion`.

``SUBVARIANT`` picks the parameters to begin with, and is part of the name that the network knows it by.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from runner.app import start_app
from runner.live.pipelines import PipelineSpec
from streamdiffusion_pipeline.defaults import default_params


def pipeline_spec(environ: Mapping[str, str] = os.environ) -> PipelineSpec:
    """What is served. Raises ValueError for variables that cannot be used."""
    subvariant = environ.get("SUBVARIANT", "").replace("_", "-")
    return PipelineSpec(
        name=f"streamdiffusion-{subvariant}" if subvariant else "streamdiffusion",
        pipeline_cls="streamdiffusion_pipeline.pipeline:StreamDiffusion",
        params_cls="streamdiffusion_pipeline.params:StreamDiffusionParams",
        initial_params=default_params(environ),
    )


def main() -> None:
    """Serve until SIGTERM; with ``--prepare-models``, only fetch what the pipeline needs."""
    try:
        spec = pipeline_spec()
    except ValueError as error:
        sys.exit(f"error: {error}")
    start_app(spec)


if __name__ == "__main__":
    main()
