"""Which changes are taken for the pipeline's own doing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ai_runner_studio.reload.loop import AFTER_S, HELD_FROM, HOLDS_S, LET_GO_FROM, REST_S, LoopGuard

FILE, OTHER = Path("/project/counter.py"), Path("/project/effect.py")


class Circle:
    """A guard, a clock, and a pipeline whose loads take `load_s`."""

    def __init__(self, load_s: float = 0.2) -> None:
        self.said: list[str] = []
        self.guard = LoopGuard(self.said.append)
        self.load_s = load_s
        self.now = 1000.0

    def load(self, written_after_s: float | None = None) -> set[Path]:
        """One load in which the file is written; what is to be reported then."""
        began = self.now
        self.guard.load_began(began)
        written = [] if written_after_s is None else [began + written_after_s]
        found = {path for at in written if at <= began + self.load_s for path in self.guard.sift({FILE}, at)}
        self.guard.load_ended(began + self.load_s)
        found |= {path for at in written if at > began + self.load_s for path in self.guard.sift({FILE}, at)}
        self.now = began + max(self.load_s, written_after_s or 0)
        return found

    def due(self) -> set[Path]:
        """Wait for what is held back; nothing if there is none."""
        due = self.guard.next_due()
        if due is None:
            return set()
        assert self.guard.due(due - 0.01) == set()
        self.now = due
        return self.guard.due(due)

    def chain(self, written_after_s: float = 0.1, at_most: int = 20) -> int:
        """How many loads until none causes another."""
        for count in range(1, at_most):
            if not self.load(written_after_s) and not self.due():
                return count
        return at_most


def test_a_chain_of_loads_ends_and_that_is_said_once() -> None:
    circle = Circle()
    assert circle.chain() == LET_GO_FROM
    assert circle.said == [
        "counter.py is written anew each time the pipeline is loaded (by the pipeline itself?): "
        "saves of it are not followed until it is saved at rest"
    ]
    assert circle.chain() == 1
    assert len(circle.said) == 1


@pytest.mark.parametrize("load_s", [0.03, 0.5, 20.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_it_ends_however_long_a_load_takes_and_whenever_it_writes(load_s: float, share: float) -> None:
    assert Circle(load_s).chain(share * load_s) == LET_GO_FROM


def test_what_is_written_just_after_a_load_belongs_to_it() -> None:
    assert Circle().chain(0.2 + 0.9 * AFTER_S) == LET_GO_FROM


def test_a_change_is_held_back_for_longer_each_time() -> None:
    circle = Circle()
    waited = []
    for _ in range(LET_GO_FROM - 1):
        began = circle.now
        if not circle.load(0.1):
            assert circle.due() == {FILE}
            waited.append(pytest.approx(circle.now - began - 0.1))
    assert waited[: len(HOLDS_S)] == list(HOLDS_S)
    assert waited[len(HOLDS_S) :] == [pytest.approx(REST_S + 0.1)] * (LET_GO_FROM - HELD_FROM - len(HOLDS_S))


def test_a_save_at_rest_is_followed_again_and_the_next_load_lets_it_go_at_once() -> None:
    circle = Circle()
    circle.chain()
    circle.now += REST_S + AFTER_S
    assert circle.guard.sift({FILE}, circle.now) == {FILE}
    assert circle.chain() == 1


def test_a_save_soon_after_a_file_was_let_go_is_held_back_until_the_file_rests() -> None:
    circle = Circle()
    circle.chain()
    circle.now += REST_S / 4
    assert circle.guard.sift({FILE}, circle.now) == set()
    assert circle.due() == {FILE}


def test_a_save_between_loads_shortens_the_wait_of_what_is_held_back() -> None:
    circle = Circle()
    for _ in range(HELD_FROM + len(HOLDS_S) - 1):
        circle.load(0.1)
        circle.due()
    assert circle.load(0.1) == set()
    circle.now += 2 * AFTER_S
    assert circle.guard.sift({FILE}, circle.now) == set()
    assert circle.guard.next_due() == circle.now + HOLDS_S[0]


@pytest.mark.parametrize("at_rest", [True, False])
def test_a_pipeline_that_no_longer_writes_the_file_is_forgiven(at_rest: bool) -> None:
    circle = Circle()
    circle.chain()
    if not at_rest:
        circle.guard.follow_again()
    for _ in range(5):
        circle.now += REST_S + AFTER_S
        assert circle.guard.sift({FILE}, circle.now) == {FILE}
        circle.load()
    assert circle.guard.held() == set()


def test_other_files_are_reported_as_ever_and_take_what_is_held_along() -> None:
    circle = Circle()
    while circle.load(0.1):
        pass
    assert circle.guard.held() == {FILE}
    assert circle.guard.sift({OTHER, FILE}, circle.now + 0.1) == {OTHER}
    assert circle.guard.release() == {FILE}
    assert circle.guard.held() == set()


def test_a_file_that_is_never_left_alone_is_held_back_and_that_is_said() -> None:
    circle = Circle()
    reports = 0
    for _ in range(3):
        circle.guard.load_began(circle.now)
        for _ in range(100):
            circle.now += 0.03
            reports += bool(circle.guard.sift({FILE}, circle.now) or circle.guard.due(circle.now))
        circle.guard.load_ended(circle.now)
    for _ in range(300):
        circle.now += 0.03
        assert not circle.guard.sift({FILE}, circle.now)
        assert not circle.guard.due(circle.now)
    assert [sentence.split(" (")[0] for sentence in circle.said] == ["counter.py is written all the time"]
    assert circle.due() == {FILE}


def test_the_first_saves_while_a_load_is_under_way_are_reported_at_once() -> None:
    circle = Circle(load_s=30.0)
    for _ in range(HELD_FROM - 1):
        assert circle.load(7.0) == {FILE}


@pytest.mark.parametrize("load_s", [0.05, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("every_s", [0.05, 0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("steady", [True, False])
def test_the_last_save_of_a_person_or_a_tool_is_always_loaded(load_s: float, every_s: float, steady: bool) -> None:
    """Whoever saves without regard to the loads, in whatever rhythm, and however long a load takes."""
    for seed in range(3):
        assert _saves_then_loads(load_s, every_s, steady, random.Random(seed))


def _saves_then_loads(load_s: float, every_s: float, steady: bool, dice: random.Random) -> bool:
    """Save 60 times, load on every report (a newer one gives up the load); whether the last save has been reported."""
    said: list[str] = []
    guard = LoopGuard(said.append)
    step, now, load_until, reported = 0.02, 0.0, 0.0, 0
    saved, next_save = 0, dice.uniform(0.5, 1.0) * every_s
    while saved < 60 or now < next_save + 10.0 + 3 * load_s:
        now += step
        changed = saved < 60 and now >= next_save
        if changed:
            saved += 1
            next_save = now + (every_s if steady else dice.uniform(0.3, 1.7) * every_s)
        if load_until and now >= load_until:
            guard.load_ended(now)
            load_until = 0.0
        report = guard.sift({FILE}, now) if changed else guard.due(now)
        if report:
            reported = saved
            guard.load_began(now)
            load_until = now + load_s
    return reported == 60
