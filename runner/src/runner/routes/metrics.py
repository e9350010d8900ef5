"""``GET /metrics`` for Prometheus: this server's own metrics, and those of the runner host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ..errors import RunnerError
from ..pipelines.live_video_to_video import HEALTH_WORDS, LiveVideoToVideoPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    pipeline = request.app.state.pipeline
    try:
        health = await pipeline.health()
    except RunnerError:
        health = ""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OwnMetrics(pipeline, health))
    return Response(generate_latest(registry) + await pipeline.metrics_text(), media_type=CONTENT_TYPE_LATEST)


class _OwnMetrics:
    """What is known here, also when the host does not answer. `health`: "" where that cannot be told."""

    def __init__(self, pipeline: LiveVideoToVideoPipeline, health: str) -> None:
        self._pipeline = pipeline
        self._health = health

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        version = GaugeMetricFamily("version", "Runner version", labels=["app", "version"])
        version.add_metric(["ai-runner", self._pipeline.version], 1)
        yield version
        health = GaugeMetricFamily("ai_runner_health", "1 for what /health says.", labels=["status"])
        for word in HEALTH_WORDS:
            health.add_metric([word], float(word == self._health))
        yield health
        restarts = "How often the runner host was started again."
        yield CounterMetricFamily("ai_runner_host_restarts", restarts, value=self._pipeline.restarts)
