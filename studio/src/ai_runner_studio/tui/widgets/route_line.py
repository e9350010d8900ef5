"""RouteLine: what a frame's way by trickle takes, hop by hop; there only while frames go that way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from .. import figures, wording
from .line import SplitLine

if TYPE_CHECKING:
    from runner.live.events import MetricsTaken, Route

    from ...snapshot import Snapshot

_FAINT = "$foreground 60%"
_SEPARATOR = "$foreground 20%"
_DIGITS = 4  # cells of a time, so that nothing jumps


class RouteLine(SplitLine):
    """Median ms of each hop and of all of them, and how many frames were sent and came back, as full as it fits."""

    def show_snapshot(self, snapshot: Snapshot) -> None:
        route = wording.route_of(snapshot)
        if route is None or not route.hops_ms:
            self.set(Content.styled("trickle: no frame has come back yet", _FAINT))
            return
        room = self.content_size.width
        forms = _forms(route, snapshot.metrics)
        self.set(next((form for form in forms if form.cell_length <= room), forms[-1]))

    def on_resize(self) -> None:
        show = getattr(self.screen, "show_route", None)
        if show is not None:
            show()


def _forms(route: Route, metrics: MetricsTaken) -> list[Content]:
    """The fullest first."""
    hops, short = _hops(route, short=False), _hops(route, short=True)
    total, sent, codecs = _total(route), _sent(route), Content.styled(wording.codecs(metrics), _FAINT)
    p95 = Content.assemble(total, (f"  p95 {_time(route.total_ms.get('p95', 0.0))}", _FAINT))
    return [
        _joined(hops, p95, sent, codecs),
        _joined(hops, p95, sent),
        _joined(short, p95, sent, codecs),
        _joined(short, p95, sent),
        _joined(short, total, sent),
        _joined(short, total),
        _joined(total, sent),
    ]


def _hops(route: Route, *, short: bool) -> Content:
    names = {hop: wording.hop(hop, short=short) for hop in route.hops_ms if hop != "total"}
    parts = [_pair(name, _time(route.hops_ms[hop])) for hop, name in names.items()]
    return Content.styled(" › ", _SEPARATOR).join(parts)


def _total(route: Route) -> Content:
    total = _time(route.hops_ms["total"]) if "total" in route.hops_ms else "–"
    return Content.assemble(("= ", _FAINT), (total, "bold"), (" ms", _FAINT))


def _sent(route: Route) -> Content:
    return Content.assemble(_pair("sent", f"{route.sent:,}"), " ", _pair("back", f"{route.returned:,}"))


def _joined(*parts: Content) -> Content:
    return Content("  ").join([part for part in parts if part])


def _pair(name: str, value: str) -> Content:
    return Content.assemble((f"{name} ", _FAINT), value)


def _time(value_ms: float) -> str:
    return figures.milliseconds(value_ms).rjust(_DIGITS)
