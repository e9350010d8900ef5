"""When changed code counts as proven or refuted, by what the pipeline does between inputs and outputs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable

import pytest

from runner.live.code.marks import Branch, Mark
from runner.live.code.observation import PROOF_FRAMES, Observation

Step = tuple[str, int]  # ("in", pts), ("out", pts) or ("run", how often)


def verdict(steps: Iterable[Step], *, idle: int = 0) -> str:
    """What comes of it; "open" if it is not decided at the end."""
    mark = Mark("f()")
    watch = Observation([mark], params_kept=lambda: True, idle=idle)
    for kind, value in steps:
        if kind == "in":
            watch.fed(value)
        elif kind == "run":
            mark.count += value
        else:
            found = watch.output(value)
            if found != "open":
                return found
    return "open"


def frames(count: int, steps: Callable[[int], list[Step]]) -> list[Step]:
    return [step for number in range(1, count + 1) for step in steps(number)]


CASES: dict[str, tuple[list[Step], int, str]] = {
    "runs on each frame": (frames(3, lambda n: [("in", n), ("run", 1), ("out", n)]), 0, "proven"),
    "needs three of them": (frames(2, lambda n: [("in", n), ("run", 1), ("out", n)]), 0, "open"),
    "does not run": (frames(1, lambda n: [("in", n), ("out", n)]), 0, "refuted"),
    "runs hundreds of times on the first frame": (
        frames(2, lambda n: [("in", n), ("run", 300 if n == 1 else 0), ("out", n)]),
        0,
        "refuted",
    ),
    "runs on every second frame": (frames(2, lambda n: [("in", n), ("run", n % 2), ("out", n)]), 0, "refuted"),
    "no output": (frames(9, lambda n: [("in", n)]), 0, "open"),
    "outputs of frames from before": (frames(9, lambda n: [("in", n + 100), ("out", n)]), 0, "open"),
    "a pipeline that looks ahead": (
        frames(9, lambda n: [("in", n), ("run", 1), *([("out", n - 3)] if n > 3 else [])]),
        0,
        "proven",
    ),
    "several outputs of one input": (
        frames(3, lambda n: [("in", 10 * n), ("run", 1), ("out", 10 * n), ("out", 10 * n + 3), ("out", 10 * n + 6)]),
        0,
        "proven",
    ),
    "fewer outputs than inputs": (
        frames(6, lambda n: [("in", n), *([("run", 1), ("out", n)] if n % 2 == 0 else [])]),
        0,
        "proven",
    ),
    "batches of three": (
        frames(3, lambda n: [*(("in", 3 * n + i) for i in range(3)), ("run", 1), *(("out", 3 * n + i) for i in range(3))]),
        2,
        "proven",
    ),
    "once in batches of three": (
        frames(2, lambda n: [*(("in", 3 * n + i) for i in range(3)), ("run", n % 2), *(("out", 3 * n + i) for i in range(3))]),
        2,
        "refuted",
    ),
    "a worker that is two frames ahead": (
        [
            *[("in", 1), ("in", 2), ("in", 3), ("run", 3), ("out", 1), ("out", 2), ("out", 3)],
            *frames(3, lambda n: [("in", 3 + n), ("run", 1), ("out", 3 + n)]),
        ],
        2,
        "proven",
    ),
    "a clock of its own": (frames(40, lambda n: [("in", n + 1000), ("run", 1), ("out", n)]), 0, "proven"),
    "the same frame again": ([("in", 5), ("run", 1), ("out", 5)] * 3, 0, "proven"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    steps, idle, expected = CASES[name]
    assert verdict(steps, idle=idle) == expected


def test_each_mark_counts_by_itself() -> None:
    runs, does_not = Mark("f()"), Mark("g()")
    watch = Observation([runs, does_not], params_kept=lambda: True)
    watch.fed(1)
    runs.at()
    assert watch.output(1) == "refuted"
    assert watch.reason == "g() did not run on the last frame; its result may be kept somewhere"


@pytest.mark.parametrize(
    ("evaluated", "only_params", "taken", "kept", "expected"),
    [
        (True, True, False, True, "proven"),
        (False, True, False, True, "refuted"),  # the condition itself does not run
        (True, False, False, True, "refuted"),  # it depends on something else
        (True, True, True, True, "refuted"),  # the branch runs, and a part of it does not
        (True, True, False, False, "refuted"),  # other params have taken it, perhaps
    ],
)
def test_a_branch_that_the_params_do_not_take_need_not_run(
    evaluated: bool, only_params: bool, taken: bool, kept: bool, expected: str
) -> None:
    test, inside = Mark(""), Mark("")
    test.only_params = only_params
    mark = Mark("f()", (Branch(test, inside),))
    watch = Observation([mark], params_kept=lambda: kept)
    found = "open"
    for pts in range(PROOF_FRAMES):
        watch.fed(pts)
        test.count += evaluated
        inside.count += taken
        found = watch.output(pts)
        if found != "open":
            break
    assert found == expected


def test_what_ran_for_params_need_not_run_on_frames() -> None:
    for_params, for_frames = Mark("on_update()"), Mark("transform()")
    watch = Observation([for_params, for_frames], params_kept=lambda: True)
    for_params.at()
    watch.count_all()
    found = "open"
    for pts in range(PROOF_FRAMES):
        watch.fed(pts)
        for_frames.at()
        found = watch.output(pts)
    assert found == "proven"


def test_a_mark_can_go_to_another_process_and_counts_there() -> None:
    """Libraries that send functions by value send the constants of their code."""
    mark = Mark("f()", (Branch(Mark(""), Mark("")),))
    pickle.loads(pickle.dumps(mark)).at()
    assert mark.count == 0
