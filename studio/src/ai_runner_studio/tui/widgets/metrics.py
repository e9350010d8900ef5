"""MetricsPane: where the time of a frame goes, what was dropped and why, and what the process takes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ...route import drops
from .. import figures, wording

if TYPE_CHECKING:
    from runner.live.events import MetricsTaken, Route

    from ...snapshot import Snapshot

_HISTORY = 120  # values kept for the lines of bars; about two minutes
_TWO_COLUMNS = 72  # cells of width from which the figures stand beside the stages
_NAME = 12
_FAINT = "$foreground 60%"
_HOPS = {"relay, decode": "relay there", "relay, decode back": "relay back"}  # no longer than `_NAME`


class MetricsPane(VerticalScroll):
    """Figures of the last second, and how fps and latency went before that."""

    def __init__(self) -> None:
        super().__init__(id="metrics", classes="pane")
        self._body = Static(id="metrics-body")
        self._metrics: MetricsTaken | None = None
        self._route: Route | None = None
        self._reloading: list[Content] = []
        self._fps: deque[float] = deque(maxlen=_HISTORY)
        self._latency: deque[float] = deque(maxlen=_HISTORY)

    def compose(self) -> ComposeResult:
        yield self._body

    def show_snapshot(self, snapshot: Snapshot) -> None:
        metrics, reloading = snapshot.metrics, _reloading(snapshot)
        route = wording.route_of(snapshot)
        if (metrics, route, reloading) == (self._metrics, self._route, self._reloading):
            return
        if metrics != self._metrics and metrics.frames_in:
            self._fps.append(metrics.fps_out)
            self._latency.append(metrics.latency_ms.get("p50", 0.0))
        self._metrics, self._route, self._reloading = metrics, route, reloading
        if metrics.frames_in:
            self._update()

    def on_resize(self) -> None:
        self._update()

    def _update(self) -> None:
        metrics, width = self._metrics, self.scrollable_content_region.width
        if metrics is None or width < 20:
            return
        if width < _TWO_COLUMNS:
            lines = [*self._figures(metrics, width), Content(), *self._times(metrics, width)]
        else:
            half = width // 2 - 2
            lines = _beside(self._times(metrics, half), self._figures(metrics, half), half)
        self._body.update(Content("\n").join(lines))

    def _times(self, metrics: MetricsTaken, width: int) -> list[Content]:
        """The stages in the runner, and the hops of the way to it and back."""
        stages = _bars(metrics.stages_ms, width) or [Content.styled("No frame has come through yet.", _FAINT)]
        if self._route is None or not self._route.hops_ms:
            return stages
        hops = {_HOPS.get(hop, hop): median for hop, median in self._route.hops_ms.items()}
        return [*_bars(hops, width), Content(), *stages]

    def _figures(self, metrics: MetricsTaken, width: int) -> list[Content]:
        bars = max(8, min(40, width - _NAME - 10))
        latency = metrics.latency_ms
        line = _line("fps out", f"{metrics.fps_out:6.1f}", figures.sparkline([*self._fps], bars, metrics.fps_in))
        times = "  ".join(figures.milliseconds(value) for value in latency.values())
        lines = [
            line,
            _line("latency ms", f"{latency.get('p50', 0.0):6.1f}", figures.sparkline([*self._latency], bars)),
            _line("/".join(latency).replace("/p", "/"), times or "–"),
            _line("frames", f"{metrics.frames_in:,} in  {metrics.frames_out:,} out"),
        ]
        if self._route is not None:
            lines += _by_trickle(self._route, metrics)
        lines += _dropped(metrics)
        lines.append(_line("memory", f"{figures.memory(metrics.memory_bytes)}  cpu {metrics.cpu_percent:.0f}%"))
        if metrics.vram_bytes is not None:
            total = f" of {figures.memory(metrics.vram_total_bytes)}" if metrics.vram_total_bytes else ""
            lines.append(_line("vram", figures.memory(metrics.vram_bytes) + total))
        return lines + self._reloading


def _by_trickle(route: Route, metrics: MetricsTaken) -> list[Content]:
    lines = [_line("trickle", f"{route.sent:,} sent  {route.returned:,} back")]
    if codecs := wording.codecs(metrics):
        limit = f", ≤ {metrics.max_fps:g} fps" if metrics.max_fps else ""
        lines.append(_line("codecs", codecs + limit))
    return lines


def _bars(times_ms: dict[str, float], width: int) -> list[Content]:
    """One bar per name, all on one scale."""
    longest = max(times_ms.values(), default=0.0) or 1.0
    cells = max(6, width - _NAME - 12)
    return [
        Content.assemble(
            (f"{name:<{_NAME}}", _FAINT),
            (figures.bar(value / longest, cells), "$primary"),
            f"{figures.milliseconds(value):>7} ms",
        )
        for name, value in times_ms.items()
    ]


def _dropped(metrics: MetricsTaken) -> list[Content]:
    reasons = {reason: number for reason, number in drops(metrics).items() if number}
    if not reasons:
        return [_line("dropped", "none")]
    return [
        _line("dropped" if index == 0 else "", f"{number:,} {reason}", style="$text-warning")
        for index, (reason, number) in enumerate(sorted(reasons.items(), key=lambda item: -item[1]))
    ]


def _reloading(snapshot: Snapshot) -> list[Content]:
    """How the next reload will be done."""
    name, _, state = wording.standby(snapshot).partition(" ")
    modules = snapshot.standby.modules if snapshot.standby is not None else 0
    if modules and wording.standby_state(snapshot) == "ready":
        state += f", {figures.count(modules, 'module')}"
    return [_line("weights", "kept" if snapshot.keep_weights else "not kept"), _line(name, state)]


def _line(name: str, value: str, bars: str = "", style: str = "$foreground") -> Content:
    return Content.assemble((f"{name:<{_NAME}}", _FAINT), (value, style), (f"  {bars}" if bars else "", "$secondary"))


def _beside(left: list[Content], right: list[Content], width: int) -> list[Content]:
    lines = []
    for index in range(max(len(left), len(right))):
        first = left[index] if index < len(left) else Content()
        second = right[index] if index < len(right) else Content()
        lines.append(Content.assemble(first, " " * (width + 4 - first.cell_length), second))
    return lines
