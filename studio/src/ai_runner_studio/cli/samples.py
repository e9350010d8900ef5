"""``ai-runner-studio samples``: bundled videos and pipelines to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..sources.samples import SamplePipeline, SampleVideo


def command(json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the sample videos (for --input) and the sample pipelines (for --pipeline-import)."""
    from ..sources.samples import sample_pipelines, sample_videos

    videos, pipelines = sample_videos(), sample_pipelines()
    typer.echo(_as_json(videos, pipelines) if json else _as_text(videos, pipelines))


def _as_json(videos: list[SampleVideo], pipelines: list[SamplePipeline]) -> str:
    import json
    from dataclasses import asdict

    return json.dumps(
        {"videos": [asdict(video) for video in videos], "pipelines": [asdict(pipeline) for pipeline in pipelines]},
        default=str,
        indent=2,
    )


def _as_text(videos: list[SampleVideo], pipelines: list[SamplePipeline]) -> str:
    if not videos and not pipelines:
        return "No samples are installed. Install them with: pip install ai-runner-samples"
    lines = ["Videos, for --input:"]
    width = max(len(name) for name in [*(video.name for video in videos), *(item.name for item in pipelines)])
    lines += [f"  {video.name:<{width}}  {video.size_bytes / 1e6:5.1f} MB  {video.path}" for video in videos]
    lines += ["", "Pipelines, for --pipeline-import:"]
    wide = max((len(item.pipeline_import) for item in pipelines), default=0)
    lines += [f"  {item.name:<{width}}  {item.pipeline_import:<{wide}}  {item.path or ''}" for item in pipelines]
    return "\n".join(line.rstrip() for line in lines)
