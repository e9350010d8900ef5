"""Observation: whether every changed part of the code runs on each of the next frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from .marks import Mark

Verdict = Literal["proven", "refuted", "open"]
PROOF_FRAMES = 3  # on which each changed part must be seen to run
# A pipeline with a queue of its own may work on two frames between one pair of outputs, and on none between the next.
_IDLE_FRAMES = 1


class Observation:
    """Looks at the marks each time a frame has come out.

    Args:
        marks: the marks that must move.
        params_kept: whether the params are those that the process was loaded with: then a branch that they do not take
            has never run.
        batch: inputs that the pipeline works on at once.

    Attributes:
        frames: outputs since the new code was put in.
        reason: which part did not run, once refuted.
    """

    def __init__(self, marks: Sequence[Mark], *, params_kept: Callable[[], bool], batch: int = 1) -> None:
        self.frames = 0
        self.reason = ""
        self._marks = list(marks)
        self._params_kept = params_kept
        self._idle_limit = max(_IDLE_FRAMES, batch)
        self._counts = [0] * len(self._marks)
        self._moved = [0] * len(self._marks)  # frames on which it ran
        self._idle = [0] * len(self._marks)  # frames in a row on which it did not
        self._fed = False

    def fed(self) -> None:
        """A frame went in: the next output ends an interval."""
        self._fed = True

    def output(self) -> Verdict:
        """A frame came out. Several outputs of one input count once."""
        self.frames += 1
        if not self._fed:
            return "open"
        self._fed = False
        for index, mark in enumerate(self._marks):
            self._look(index, mark)
        return self._verdict()

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
