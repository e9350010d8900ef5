"""LossCounter: counts the frames that a reload loses, by the presentation times of inputs and outputs.

An input is answered once an output of it was passed on: one of the same pts, or of a pts before the next input's.
Outputs leave in order, so every input up to the newest answered one is either answered or lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..trickle.frame import RawFrame

INPUTS_KEPT = 600  # of which outputs may still come; ten seconds at 60 fps
OUTPUTS_KEPT = 256  # their times, for the moments between a save and its load
RATIO_INPUTS = 60  # before a save, that say how many inputs the pipeline normally answers
NEW_OUTPUTS = 2  # of the new code; code that looks back at the frame before runs in full from its second frame on
_INPUTS_AFTER_HOLD = 2  # the one that was on its way when the source was held, and the first one after it
_SAME_TIME_S = 1e-6  # the same instant in two time bases


@dataclass(frozen=True, slots=True)
class ReloadLoss:
    """Frames and time that a reload has cost.

    Attributes:
        frames: inputs without an output that would have one without the reload.
        gap_s: longest interval between two outputs; None where fewer than two were passed on.
    """

    frames: int = 0
    gap_s: float | None = None


class LossWindow:
    """Inputs from a save up to that of the new code's second output.

    Attributes:
        done: set when the loss is known, or when nothing more can be known of it.
        counts: whether there is anything to count: outputs came before the save.
        switched: the new code serves; only its outputs are waited for.
    """

    def __init__(self, first: int = 0, ratio: float = 0.0) -> None:
        """Args: first: number of its first input. ratio: answered inputs per input before the save."""
        self.first = first
        self.done = asyncio.Event()
        self.counts = ratio > 0
        self.switched = False
        self._ratio = ratio
        self._answered = 0
        self._last = first - 1  # newest input that was answered
        self._new_from: int | None = None  # first input that only the new code can answer
        self._new_outputs = 0
        self._end: int | None = None
        self._gap_s: float | None = None

    @property
    def next(self) -> int:
        """Number of the first input that is neither answered nor lost yet."""
        return max(self.first, self._last + 1)

    def switch(self, new_from: int) -> None:
        """Leave inputs from this number on to the new code."""
        self.switched, self._new_from = True, new_from

    def end_at(self, number: int) -> None:
        """End the window with input `number`, whose output is the new code's second one."""
        self._end = number
        self._check_end()

    def reopen(self) -> None:
        """Continue for the reload that supersedes this one; where it ends is not known any more."""
        self._end = None

    def add_gap(self, interval_s: float) -> None:
        """Add an interval between two outputs."""
        self._gap_s = max(self._gap_s or 0.0, interval_s)

    def add_output(self, number: int, *, first: bool) -> None:
        """Add an output of input `number`; `first`: the first one of this input."""
        self._answered += first and number >= self.first
        self._last = max(self._last, number)
        if self._new_from is not None and number >= self._new_from:
            self._new_outputs += 1
            if self._new_outputs == NEW_OUTPUTS:
                self._end = number
        self._check_end()

    def result(self) -> ReloadLoss:
        """Return the loss, as far as it is known."""
        if not self.counts:
            return ReloadLoss()
        last = self._last if self._end is None else min(self._last, self._end)
        inputs = max(0, last - self.first + 1)
        return ReloadLoss(max(0, round(inputs * self._ratio - self._answered)), self._gap_s)

    def _check_end(self) -> None:
        if self._end is not None and self._last >= self._end:
            self.done.set()


@dataclass(slots=True)
class _Input:
    time_s: float
    at: float
    answered: bool = False
    reloading: bool = False  # while a reload was counted: not how the pipeline normally is


class LossCounter:
    """Numbers the inputs of one stream after the other, and counts what reloads lose of them.

    Needs little memory, however long a load takes: the newest inputs, and sums of those before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._inputs: deque[_Input] = deque(maxlen=INPUTS_KEPT)
        self._count = 0  # of the stream's inputs: number of the next one
        self._next_seq = 0
        self._after_hold = 0  # inputs to come that show what was dropped while the source was held
        self._outputs: deque[float] = deque(maxlen=OUTPUTS_KEPT)
        self._first_answered: int | None = None
        self._last_answered = -1
        self._ratio = 1.0  # the newest that was measured
        self._window: LossWindow | None = None

    def reset(self) -> None:
        """Start from nothing: a stream starts or ends, and nothing more is known of a reload under way."""
        self._release()
        self._inputs.clear()
        self._outputs.clear()
        self._after_hold = 0
        self._count, self._first_answered, self._last_answered, self._ratio = 0, None, -1, 1.0

    def interrupt(self) -> None:
        """Ignore the time since the newest output, since the source is held or continues; wait for no output."""
        self._outputs.clear()
        self._after_hold = _INPUTS_AFTER_HOLD
        if self._window is not None and self._window.switched:
            self._release()

    # ---- frames ----------------------------------------------------------------------------

    def add_input(self, frame: RawFrame) -> None:
        """Add an input, whatever becomes of it. The same one again does not count.

        Inputs that the source has dropped since the one before are those missing in `seq`; they count as well.
        """
        if self._inputs and frame.time_s == self._inputs[-1].time_s:
            return
        missing = max(0, frame.seq - self._next_seq) if self._inputs and not self._after_hold else 0
        self._after_hold = max(0, self._after_hold - 1)
        self._next_seq = frame.seq + 1
        reloading = self._window is not None
        # Those that are missing have the time of this one, so that no output is taken for theirs.
        for _ in range(min(missing, INPUTS_KEPT) + 1):
            self._inputs.append(_Input(frame.time_s, self._clock(), reloading=reloading))
        self._count += missing + 1

    def add_output(self, frame: RawFrame) -> None:
        """Add an output that was passed on."""
        now = self._clock()
        if self._outputs and self._window is not None:
            self._window.add_gap(now - self._outputs[-1])
        self._outputs.append(now)
        number = self._number_of(frame.time_s)
        if number is not None:
            self._answer(number)

    def _answer(self, number: int) -> None:
        answered = self._inputs[number - self._first_kept]
        first, answered.answered = not answered.answered, True
        if self._first_answered is None:
            self._first_answered = number
        self._last_answered = max(self._last_answered, number)
        if self._window is not None:
            self._window.add_output(number, first=first)
            if self._window.done.is_set():
                self._window = None

    # ---- reloads ---------------------------------------------------------------------------

    def start(self, saved_at: float) -> LossWindow:
        """Open the window of a reload, at its save.

        Continues the count of one that this one supersedes, so that no input falls between the two.

        Args:
            saved_at: when the save was, `time.monotonic`.
        """
        if self._window is not None and not self._window.switched:
            self._window.reopen()
            return self._window
        first = self._first_since(saved_at)
        if self._window is not None:
            first = min(first, self._window.next)
            self._release()
        self._window = window = LossWindow(first, self._ratio_before(first))
        for number, item in self._numbered():
            if number >= first:
                item.reloading = True
                if item.answered:
                    window.add_output(number, first=True)
        self._add_gaps_since(saved_at, window)
        return window

    def switch(self, window: LossWindow) -> None:
        """Leave inputs from now on to the new code."""
        window.switch(self._count)

    def end(self, window: LossWindow, time_s: float) -> None:
        """End the window with the output of this presentation time, the new code's second one."""
        number = self._number_of(time_s)
        window.end_at(-1 if number is None else number)
        if window.done.is_set():
            self.close(window)

    def close(self, window: LossWindow) -> None:
        """Close the window: its reload is over, in whatever way."""
        if self._window is window:
            self._release()

    def _release(self) -> None:
        if self._window is not None:
            self._window.done.set()
            self._window = None

    def _ratio_before(self, first: int) -> float:
        """Answered inputs per input just before number `first`, reloads excluded; 0 where none was answered yet."""
        if self._first_answered is None:
            return 0.0
        last = min(first - 1, self._last_answered)
        known = [
            item.answered
            for number, item in self._numbered()
            if self._first_answered <= number <= last and not item.reloading
        ][-RATIO_INPUTS:]
        if known:
            self._ratio = sum(known) / len(known)
        return self._ratio

    def _add_gaps_since(self, saved_at: float, window: LossWindow) -> None:
        before: float | None = None
        for at in self._outputs:
            if before is not None and at >= saved_at:
                window.add_gap(at - before)
            before = at

    def _first_since(self, at: float) -> int:
        number = self._count
        for item in reversed(self._inputs):
            if item.at < at:
                break
            number -= 1
        return number

    def _number_of(self, time_s: float) -> int | None:
        """Number of the input that an output with this presentation time answers; None if it is not kept."""
        number = self._count
        for item in reversed(self._inputs):
            number -= 1
            if item.time_s <= time_s + _SAME_TIME_S:
                return number
        return None

    @property
    def _first_kept(self) -> int:
        return self._count - len(self._inputs)

    def _numbered(self) -> Iterator[tuple[int, _Input]]:
        return enumerate(self._inputs, self._first_kept)
