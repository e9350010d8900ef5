"""Timestamps for outputs that are more or fewer than the inputs they were made of."""

from __future__ import annotations

from collections.abc import Sequence


def spread(inputs: Sequence[int], interval: int, count: int, after: int | None = None) -> list[int]:
    """`count` timestamps, in the unit of `inputs`, growing strictly.

    As many as the inputs: theirs. Else they are even over the time that the inputs cover, from the first to one
    interval after the last. What would not be later than `after` is moved behind it, and the rest is even over the
    time that is left; where the unit is too coarse for that, they follow one another by one unit.

    Args:
        inputs: growing, at least one.
        interval: time between two inputs; 0 if it is not known yet.
        count: of outputs.
        after: timestamp of the output before.
    """
    if count == len(inputs) and (after is None or inputs[0] > after):
        return list(inputs)
    start, end = inputs[0], inputs[-1] + max(interval, 1)
    if after is not None and after >= start:
        start = after + 1
    span = max(end - start, count)
    return [start + span * index // count for index in range(count)]
