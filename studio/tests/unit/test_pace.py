"""The pace of the preview, on a clock of its own."""

from __future__ import annotations

import pytest

from ai_runner_studio.preview.pace import Pace

FEWER = ("few levels", "256")


def run(pace: Pace, seconds: float, cost_s: float, backlog: int = 0, start: float = 0.0) -> int:
    """Look 100 times a second for so long; how many frames were drawn."""
    drawn = 0
    for tick in range(int(seconds * 100)):
        now = start + tick / 100
        if pace.due(now, backlog):
            pace.drawn(now, cost_s)
            drawn += 1
    return drawn


def test_cheap_frames_come_at_the_rate_asked_for() -> None:
    pace = Pace(20)
    assert 195 <= run(pace, 10, 0.004) <= 201
    assert pace.depth == "24-bit"
    assert 18 < pace.fps < 22


@pytest.mark.parametrize(("cost_s", "depths"), [(0.033, ["24-bit"]), (0.05, ["24-bit"]), (0.1, ["24-bit", *FEWER])])
def test_dear_frames_come_less_often_then_in_fewer_levels_then_in_256_colours(cost_s: float, depths: list[str]) -> None:
    pace = Pace(20)
    seen = [pace.depth]
    drawn = 0
    for second in range(40):
        drawn += run(pace, 1, cost_s, start=second)
        seen += [pace.depth] if pace.depth != seen[-1] else []
    assert drawn * cost_s / 40 < 0.45  # the share of a core
    assert seen == depths
    assert pace.reason == (f"drawing a frame takes {cost_s * 1000:.0f} ms" if len(depths) > 1 else "")


def test_fewer_levels_are_enough_where_they_are_cheap_enough() -> None:
    pace = Pace(20)
    for second in range(20):
        run(pace, 1, 0.1 if pace.depth == "24-bit" else 0.05, start=second)
    assert pace.depth == "few levels"


def test_it_never_stops_altogether() -> None:
    assert run(Pace(20), 10, 5.0) >= 15


def test_a_busy_line_holds_frames_back_and_takes_fewer_colours() -> None:
    pace = Pace(20)
    assert run(pace, 2, 0.004, backlog=3) == 0
    assert (pace.depth, pace.reason) == ("few levels", "the terminal reads slowly")
    run(pace, 3, 0.004, backlog=3, start=2)
    assert pace.depth == "256"


def test_all_colours_come_back_after_a_while_on_a_quick_line() -> None:
    pace = Pace(20)
    run(pace, 5, 0.004, backlog=3)
    run(pace, 5, 0.004, start=5)
    assert pace.depth == "256"
    run(pace, 20, 0.004, start=10)
    assert pace.depth == "few levels"
    run(pace, 40, 0.004, start=30)
    assert (pace.depth, pace.reason) == ("24-bit", "")


def test_a_terminal_of_256_colours_never_gets_more() -> None:
    pace = Pace(20, "256")
    run(pace, 60, 0.001)
    assert pace.depth == "256"
