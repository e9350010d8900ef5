"""``comfyui-runner``: serves `comfyui_pipeline.pipeline:ComfyUI`."""

from __future__ import annotations

import os

from comfyui_pipeline.settings import DEFAULT_URL
from runner.app import start_app
from runner.live.pipelines import PipelineSpec

PIPELINE = PipelineSpec(
    name="comfyui",
    pipeline_cls="comfyui_pipeline.pipeline:ComfyUI",
    params_cls="comfyui_pipeline.params:ComfyUIParams",
)


def main() -> None:
    """Serve until SIGTERM; with ``--prepare-models``, only look whether the server can be used.

    Which server is used is for whoever starts this to say, never for a stream's parameters.
    """
    if not any(os.environ.get(name) for name in ("COMFYUI_URL", "COMFYUI_FOLDER", "COMFY_UI_WORKSPACE")):
        os.environ["COMFYUI_URL"] = DEFAULT_URL
    start_app(PIPELINE)


if __name__ == "__main__":
    main()
