"""OutputLog: every picture that comes out of a session's pipeline, seen through the output tap like a screen does."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.live.streamer.metrics import STAGES
from runner.live.trickle.pattern import read_frame_number

if TYPE_CHECKING:
    from ai_runner_studio.session import Session

LOOK_EVERY_S = 0.002

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture.

    Attributes:
        at: when it was seen, `time.perf_counter`.
        number: of the test pattern's picture that it was made from, None where it cannot be read.
        colour: of a pixel in the lower left corner.
        count: pictures that had come out by then, this one and those that nobody has seen included.
        stamps: when it crossed which boundary, see `runner.live.trickle.frame.STAMPS`.
    """

    at: float
    number: int | None
    colour: Colour
    stamps: dict[str, int]
    count: int

    @property
    def latency_ms(self) -> float:
        """From decoded to back in the host."""
        return (self.stamps.get("received", 0) - self.stamps.get("captured", 0)) / 1e6

    def stages_ms(self) -> dict[str, float]:
        """Stage -> how long this picture was in it."""
        return {
            stage: round((self.stamps[last] - self.stamps[first]) / 1e6, 2)
            for stage, (first, last) in STAGES.items()
            if first in self.stamps and last in self.stamps
        }


class OutputLog:
    """Looks at the output tap until it is cancelled.

    Attributes:
        seen: the pictures, loading pictures left out. loading: how many of those there were.
        arrived: set with every picture; whoever waits for it clears it.
    """

    def __init__(self, session: Session) -> None:
        self.seen: list[Seen] = []
        self.loading = 0
        self.arrived = asyncio.Event()
        self._session = session

    async def follow(self) -> None:
        """Look, for ever."""
        tap = self._session.output_tap
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            frame = tap.newest()
            if frame is None:
                continue
            if frame.is_loading_frame:
                self.loading += 1
                continue
            red, green, blue = frame.pixels[-8, 8].tolist()
            number = read_frame_number(frame.pixels)
            self.seen.append(Seen(time.perf_counter(), number, (red, green, blue), frame.stamps, tap.count))
            self.arrived.set()

    async def first_of(self, colour: Colour, limit_s: float, after: int = 0) -> Seen:
        """The first picture of that colour behind the first `after` ones, waiting for it.

        Raises:
            asyncio.TimeoutError: none came in time.
        """
        return await asyncio.wait_for(self._first_of(colour, after), limit_s)

    async def _first_of(self, colour: Colour, start: int) -> Seen:
        while True:
            for seen in self.seen[start:]:
                if seen.colour == colour:
                    return seen
            start = len(self.seen)
            self.arrived.clear()
            await self.arrived.wait()

    def skipped(self) -> int:
        """Numbers of the pattern that are missing between the first and the last picture seen.

        More than the pipeline lost where this process was too busy to look; never fewer.
        """
        numbers = [seen.number for seen in self.seen if seen.number is not None]
        return sum(max(0, after - before - 1) for before, after in itertools.pairwise(numbers))
