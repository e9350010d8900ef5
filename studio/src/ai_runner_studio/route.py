"""Route: what is known of a stream that goes by a local relay, there and back, as in production."""

from __future__ import annotations

from collections import Counter

from runner.live.events import MetricsTaken

from .settings import Settings

LOST = "lost"  # sent, not come back, and nobody has counted it


def route_flags(settings: Settings) -> list[str]:
    """How the host is to decode and encode where frames go by trickle."""
    return ["--max-fps", f"{settings.max_fps:g}", "--hardware", settings.hardware]


def drops(metrics: MetricsTaken) -> dict[str, int]:
    """Reason -> frames that came to nothing, in the runner and on the way there and back."""
    beside = metrics.route.dropped if metrics.route is not None else {}
    return dict(Counter(metrics.dropped) + Counter(beside))


def drops_in_all(metrics: MetricsTaken) -> dict[str, int]:
    """As `drops`, of a stream that is over: what was sent and neither came back nor was dropped has got lost."""
    dropped = drops(metrics)
    if metrics.route is not None:
        lost = metrics.route.sent - metrics.route.returned - sum(dropped.values())
        if lost > 0:
            dropped[LOST] = lost
    return dropped
