"""The stopwatch of a load: its steps, and when it stops."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runner.live.process import revision
from runner.live.process.revision import Stopwatch


def test_the_total_ends_when_the_new_code_serves_and_the_steps_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(revision, "time", SimpleNamespace(monotonic=lambda: clock.now))
    watch = Stopwatch(already_s=0.5)
    for step, seconds in (("import", 2.0), ("first frame", 1.0)):
        watch.enter(step)
        clock.now += seconds
    watch.serves()
    watch.enter("stop old")
    clock.now += 30.0
    steps = [(step.name, step.seconds) for step in watch.finish()]
    assert steps == [("notice the save", 0.5), ("import", 2.0), ("first frame", 1.0), ("stop old", 30.0)]
    assert watch.elapsed_s == 3.5
