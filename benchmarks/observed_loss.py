"""ObservedLoss: what a reload has cost, from the frame numbers in the pictures that came out."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.output_log import Colour, Seen

RATIO_INPUTS = 60  # before a save, that show what is normal


@dataclass(frozen=True, slots=True)
class ObservedLoss:
    """Inputs from a save up to that of the second picture of the new code.

    Attributes:
        frames: inputs without an output, against what was normal before the save.
        missing: inputs without an output.
        gap_s: longest interval between two pictures that were seen.
        ratio: outputs per input before the save.
        last: number of the window's last input.
    """

    frames: int
    missing: int
    gap_s: float
    ratio: float
    last: int


def observed_loss(seen: list[Seen], first: int, colour: Colour, normal_from: int) -> ObservedLoss | None:
    """Count for one reload; None if the second picture of the new code was not seen yet.

    Pictures that nobody has seen are counted by `Seen.count`: a burst is faster than whoever looks.

    Args:
        seen: pictures with a frame number, in order.
        first: number of the first input after the save.
        colour: of the new code's pictures.
        normal_from: number of an input since which no reload was under way.
    """
    numbers = [_number(picture) for picture in seen]
    before = max(0, bisect.bisect_left(numbers, first) - 1)
    start = seen[before]
    new = next((picture for picture in seen[before:] if picture.colour == colour), None)
    end = next((picture for picture in seen[before:] if new is not None and picture.count > new.count), None)
    if end is None:
        return None
    base = seen[bisect.bisect_left(numbers, max(normal_from, _number(start) - RATIO_INPUTS))]
    normal = _number(start) - _number(base)
    ratio = min(1.0, (start.count - base.count) / normal) if normal > 0 else 1.0
    inputs, outputs = _number(end) - first + 1, end.count - start.count
    window = seen[before : seen.index(end) + 1]
    gap_s = max(later.at - earlier.at for earlier, later in itertools.pairwise(window))
    return ObservedLoss(
        frames=max(0, round(inputs * ratio - outputs)),
        missing=max(0, inputs - outputs),
        gap_s=gap_s,
        ratio=ratio,
        last=_number(end),
    )


def _number(picture: Seen) -> int:
    assert picture.number is not None
    return picture.number
