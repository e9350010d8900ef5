"""Observation: whether every changed part of the code runs on each of the next frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from .marks import Mark

Verdict = Literal["proven", "refuted", "open"]
PROOF_FRAMES = 3  # on which each changed part must be seen to run
_UNRELATED_OUTPUTS = 30  # after as many, times of outputs are taken to have nothing to do with those of inputs


class Observation:
    """Looks at the marks each time an input is answered.

    Args:
        marks: the marks that must move.
        params_kept: whether the params are those that the process was loaded with: then a branch that they do not take
            has never run.
        idle: answers in a row that may come without a mark moving: a pipeline with a queue of its own may work on two
            frames between one pair of outputs and on none between the next, and a batch is worked on at once.

    Attributes:
        reason: which part did not run, once refuted.
    """

    def __init__(self, marks: Sequence[Mark], *, params_kept: Callable[[], bool], idle: int = 0) -> None:
        self.reason = ""
        self._marks = list(marks)
        self._params_kept = params_kept
        self._idle_limit = idle
        self._counts = [0] * len(self._marks)
        self._moved = [0] * len(self._marks)  # answers before which it ran
        self._idle = [0] * len(self._marks)  # answers in a row before which it did not
        self._inputs: deque[int] = deque()  # pts of those that are not answered
        self._unrelated = 0

    def fed(self, pts: int) -> None:
        """A frame went in."""
        self._inputs.append(pts)

    def output(self, pts: int) -> Verdict:
        """A frame came out. It answers all inputs up to its own pts; further outputs of one input count once."""
        if not self._answers(pts):
            return "open"
        for index, mark in enumerate(self._marks):
            self._look(index, mark)
        return self._verdict()

    def _answers(self, pts: int) -> bool:
        before = len(self._inputs)
        while self._inputs and self._inputs[0] <= pts:
            self._inputs.popleft()
        if len(self._inputs) < before:
            self._unrelated = 0
            return True
        self._unrelated += bool(self._inputs)
        return self._unrelated > _UNRELATED_OUTPUTS

    def count_all(self) -> None:
        """The params were applied again: what ran for them has had its run."""
        for index, mark in enumerate(self._marks):
            if mark.count > self._counts[index]:
                self._moved[index] = PROOF_FRAMES

    def _look(self, index: int, mark: Mark) -> None:
        moved = mark.count > self._counts[index] or (self._params_kept() and _is_excused(mark))
        self._counts[index] = mark.count
        self._moved[index] += moved
        self._idle[index] = 0 if moved or self._moved[index] >= PROOF_FRAMES else self._idle[index] + 1

    def _verdict(self) -> Verdict:
        for mark, idle in zip(self._marks, self._idle, strict=True):
            if idle > self._idle_limit:
                self.reason = f"{mark.where} did not run on the last frame; its result may be kept somewhere"
                return "refuted"
        return "proven" if all(moved >= PROOF_FRAMES for moved in self._moved) else "open"


def _is_excused(mark: Mark) -> bool:
    return any(branch.not_taken for branch in mark.guards)
