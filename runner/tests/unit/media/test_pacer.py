from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from runner.live.streamer.protocol import pacer as pacer_module
from runner.live.streamer.protocol.pacer import Pacer


class _SimulatedTime(threading.Event):
    """A clock that only goes on while somebody waits for it, and the event that is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, timeout: float | None = None) -> bool:
        self.now_s += timeout or 0.0
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _SimulatedTime:
    clock = _SimulatedTime()
    monkeypatch.setattr(pacer_module, "time", clock)
    return clock


def _times(clock: _SimulatedTime, pacer: Pacer, pts_s: list[float], work: Callable[[int], float]) -> list[float]:
    """When each picture was let through, where work for it takes `work(number)` seconds before."""
    times = []
    for number, time_s in enumerate(pts_s):
        clock.now_s += work(number)
        assert pacer.wait(time_s)
        times.append(clock.now_s)
    return times


def test_pictures_keep_their_distance_without_drift(clock: _SimulatedTime) -> None:
    pts_s = [5 + number / 30 for number in range(900)]
    times = _times(clock, Pacer(clock), pts_s, lambda _: 0.007)
    assert [at - times[0] for at in times] == pytest.approx([at - pts_s[0] for at in pts_s])


def test_uneven_timestamps_are_followed(clock: _SimulatedTime) -> None:
    pts_s = [0.0, 0.01, 0.5, 3.0, 3.033]
    times = _times(clock, Pacer(clock), pts_s, lambda _: 0.001)
    assert [at - times[0] for at in times] == pytest.approx(pts_s)


def test_a_short_hiccup_is_caught_up_gently(clock: _SimulatedTime) -> None:
    pts_s = [number / 30 for number in range(60)]
    times = _times(clock, Pacer(clock), pts_s, lambda number: 0.09 if number == 20 else 0.001)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) >= 0.5 / 30 - 1e-9
    assert times[-1] - times[0] == pytest.approx(59 / 30)


def test_after_a_stall_there_is_no_burst(clock: _SimulatedTime) -> None:
    pts_s = [number / 30 for number in range(60)]
    times = _times(clock, Pacer(clock), pts_s, lambda number: 5.0 if number == 20 else 0.001)
    gaps = [after - before for before, after in itertools.pairwise(times[20:])]
    assert gaps == pytest.approx([1 / 30] * 39)


@pytest.mark.parametrize("jump_s", [-100.0, 3600.0])
def test_a_jump_of_the_timestamps_is_not_waited_for(clock: _SimulatedTime, jump_s: float) -> None:
    pts_s = [200.0, 200.1, 200.2 + jump_s, 200.3 + jump_s]
    times = _times(clock, Pacer(clock), pts_s, lambda _: 0.001)
    assert times[3] - times[1] == pytest.approx(0.1, abs=0.01)


def test_stopping_ends_the_waiting() -> None:
    stop = threading.Event()
    pacer = Pacer(stop)
    assert pacer.wait(0.0)
    stop.set()
    assert not pacer.wait(9.0)
